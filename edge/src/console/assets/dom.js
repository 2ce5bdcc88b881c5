// Elements, and how a page becomes another without losing focus, scroll or selection. Text is only ever inserted as text.

/** An element. Children are elements, texts, numbers, lists of those; `null`, `undefined` and `false` are left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Makes the children of `place` what `wanted` is. What has `data-keep` is left as it is while it stays. */
export function draw(place, ...wanted) {
  const next = document.createElement(place.tagName);
  append(next, wanted);
  morphChildren(place, next);
}

function isSame(old, next) {
  return old.nodeType === next.nodeType && old.nodeName === next.nodeName && (old.id ?? "") === (next.id ?? "");
}

function morphChildren(old, next) {
  const wanted = [...next.childNodes];
  for (let n = 0; n < wanted.length; n += 1) {
    let here = old.childNodes[n];
    if (here && !isSame(here, wanted[n]) && wanted[n].id) {
      // It may be further down: then what is before it has gone.
      const found = [...old.children].find((child) => child.id === wanted[n].id && isSame(child, wanted[n]));
      if (found) {
        old.insertBefore(found, here);
        here = found;
      }
    }
    if (!here) old.append(wanted[n]);
    else if (isSame(here, wanted[n])) morph(here, wanted[n]);
    else old.replaceChild(wanted[n], here);
  }
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

function morph(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
    return;
  }
  if (next.hasAttribute("data-keep") && old.hasAttribute("data-keep")) return;
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  // What somebody types is theirs.
  if (old.nodeName !== "INPUT" && old.nodeName !== "SELECT") morphChildren(old, next);
}
