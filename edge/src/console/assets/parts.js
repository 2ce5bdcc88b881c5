// The parts that views are made of.
import { h } from "./dom.js";
import { NONE, ago, exact, words } from "./format.js";

export function panel(title, note, ...children) {
  return h("section", { class: "panel" },
    h("header", {}, h("h2", {}, title), note && h("p", { class: "note" }, note)), children);
}

/** A number with what it is. */
export function stat(label, value, tone, id) {
  return h("div", { class: `stat ${tone ?? ""}`, id }, h("dt", {}, label), h("dd", {}, value));
}

export const stats = (...all) => h("dl", { class: "stats" }, all);

export const empty = (text) => h("p", { class: "empty" }, text);

export const chip = (text, tone) => h("span", { class: `chip ${tone ?? ""}` }, text);

/** A moment: how long ago; exactly under the pointer and in focus. */
export function when(iso) {
  if (!iso) return NONE;
  return h("time", { datetime: iso, "data-exact": exact(iso), tabindex: 0 }, ago(iso));
}

/**
 * A table. Columns are `[title, kind]`: kind `num` for numbers. `cards` has rows stand as cards where there is little room.
 * A cell that is a list is put into the cell piece by piece.
 */
export function table(caption, columns, rows, { cards = true, nothing = "There is nothing." } = {}) {
  if (!rows.length) return empty(nothing);
  const head = h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title))));
  const body = h("tbody", {}, rows.map((row) => h("tr", { id: row.id, class: row.tone }, row.cells.map((cell, n) => {
    const [title, kind] = columns[n];
    const attributes = { class: kind, "data-label": title };
    if (n === 0) return h("th", { ...attributes, scope: "row" }, cell ?? NONE);
    return h("td", attributes, cell ?? NONE);
  }))));
  return h("div", { class: `scroll ${cards ? "cards" : ""}`, role: "region", "aria-label": caption, tabindex: 0 },
    h("table", {}, h("caption", { class: "unseen" }, caption), head, body));
}

const TONES = {
  CONFIRMED: "good", PARTIALLY_FULFILLED: "good", FULFILLED: "good", CLOSED: "", CANCELLED: "", PENDING: "wait",
  AUTHORIZING: "wait", REJECTED: "bad", EXPIRED: "bad", AUTHORIZED: "good", CAPTURED: "good", FAILED: "bad", REQUIRED: "wait",
  DUE: "wait", DONE: "good", DECLINED: "bad", HELD: "wait", BACKORDERED: "wait", COMMITTED: "good", CONSUMED: "good",
};
export const state = (name) => chip(words(name), TONES[name] ?? "");

export const orderLink = (id) => h("a", { href: `/console/orders/${encodeURIComponent(id)}`, class: "id" }, id);
