// Which view is shown, who is logged in, and how often the node is asked: while the page is seen, one question at a time.
import { Failed, get, logOut } from "./api.js";
import { draw, h } from "./dom.js";
import { ago, clock, span } from "./format.js";
import { repaint } from "./plot.js";
import access from "./views/access.js";
import cluster from "./views/cluster.js";
import login from "./views/login.js";
import order from "./views/order.js";
import orders from "./views/orders.js";
import storage from "./views/storage.js";
import traffic from "./views/traffic.js";

const TABS = [["cluster", "Cluster", cluster], ["traffic", "Traffic", traffic], ["orders", "Orders", orders],
  ["storage", "Storage", storage], ["access", "Access", access]];
/** What is on the page is old when the node has not answered for so long. */
const OLD_MS = 5000;
/** Between two questions while it does not answer. */
const RETRY_MS = 2000;

const main = document.getElementById("main");
const news = document.getElementById("news");
const tabs = document.getElementById("tabs");
const where = document.getElementById("where");
const leave = document.getElementById("logout");

let session = null;
// The visit to a view: what comes for another one is late, and dropped.
let visit = { view: null, args: {}, stop: new AbortController(), seen: 0, error: null, timer: 0, asking: false };

function route() {
  const path = location.pathname.replace(/^\/console\/?/, "");
  const args = Object.fromEntries(new URLSearchParams(location.search));
  const one = /^orders\/([0-9A-Za-z]{1,64})$/.exec(path);
  if (one) return { tab: "orders", view: order, args: { ...args, id: one[1] } };
  const tab = TABS.find(([name]) => name === path) ?? TABS[0];
  return { tab: tab[0], view: tab[2], args };
}

function frame(tab) {
  tabs.hidden = !session;
  leave.hidden = !session;
  draw(tabs, TABS.map(([name, title]) => h("a", { href: `/console/${name}`, "aria-current": name === tab ? "page" : null }, title)));
  draw(where, session ? `node ${session.node_id} · ${session.account}` : "");
}

function open({ focus = false } = {}) {
  visit.stop.abort();
  clearTimeout(visit.timer);
  if (!session) {
    visit = { view: login, args: {}, stop: new AbortController(), seen: 0, error: null, timer: 0, asking: false };
    document.title = "Log in · Docket";
    frame(null);
    draw(news);
    main.classList.remove("old");
    draw(main, login.draw());
    document.getElementById("key").focus();
    return;
  }
  const { tab, view, args } = route();
  visit = { view, args, stop: new AbortController(), seen: 0, error: null, timer: 0, asking: false, data: null };
  document.title = `${view.title(args)} · Docket`;
  frame(tab);
  main.classList.remove("old");
  draw(news);
  draw(main, h("h1", { tabindex: -1 }, view.title(args)), h("p", { class: "empty" }, "Asking the node …"));
  window.scrollTo(0, 0);
  if (focus) main.querySelector("h1").focus();
  ask();
}

async function ask() {
  const mine = visit;
  if (mine.asking || document.hidden) return;
  mine.asking = true;
  clearTimeout(mine.timer);
  try {
    mine.data = await mine.view.load(mine.args, mine.stop.signal);
    if (mine !== visit) return;
    mine.seen = Date.now();
    mine.error = null;
    paint();
  } catch (error) {
    if (mine !== visit || mine.stop.signal.aborted) return;
    if (error instanceof Failed && error.status === 401) {
      session = null;
      open();
      return;
    }
    mine.error = error instanceof Failed ? error : new Failed(-1, "", `the page failed: ${error.message}`);
    if (!(error instanceof Failed)) console.error(error);
    paint();
  } finally {
    mine.asking = false;
  }
  mine.timer = setTimeout(ask, mine.error ? RETRY_MS : mine.view.every);
}

function paint() {
  if (!session) return;
  const { view, args, data, error, seen } = visit;
  const title = h("h1", { tabindex: -1 }, view.title(args));
  if (data) draw(main, title, view.draw(data, args, session));
  else if (error) draw(main, title, h("p", { class: "empty bad" }, said(error)));
  if (data) view.drawn?.(data);
  tell();
  return seen;
}

function said(error) {
  if (error.status === 0) return `Node ${session.node_id} does not answer: ${error.message}. It is asked again every ${RETRY_MS / 1000} s.`;
  if (error.status === 404) return `Not found: ${error.message}.`;
  return `Node ${session.node_id} says: ${error.message}.`;
}

/** What is to be said about what is shown: nothing while it is new. */
function tell() {
  const old = visit.seen && visit.error && Date.now() - visit.seen > OLD_MS;
  main.classList.toggle("old", Boolean(old));
  if (!visit.error || !visit.data) return draw(news);
  const since = `What is below is from ${clock(new Date(visit.seen))}, ${span((Date.now() - visit.seen) / 1000)} ago.`;
  draw(news, h("p", { class: "banner" }, h("strong", {}, said(visit.error)), " ", since));
}

setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[datetime]")) {
    const text = ago(time.dateTime);
    if (time.textContent !== text) time.textContent = text;
  }
  if (session && visit.error) tell();
}, 1000);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && session) ask();
});

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || !to.pathname.startsWith("/console") || to.hash) return;
  event.preventDefault();
  go(to);
});

function go(to) {
  history.pushState(null, "", to);
  open({ focus: true });
}

window.addEventListener("popstate", () => open());

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const values = Object.fromEntries(new FormData(form));
  // A field may have the name `id`, and would be found as the form's.
  const name = form.getAttribute("id");
  if (name === "login") {
    const found = await login.submit(form, values);
    if (found) {
      session = found;
      open({ focus: true });
    }
  } else if (name === "find") {
    go(orders.find(values));
  }
});

leave.addEventListener("click", async () => {
  await logOut().catch(() => null);
  session = null;
  open();
});

const theme = document.getElementById("theme");
theme.value = document.documentElement.dataset.theme ?? "auto";
theme.addEventListener("change", () => {
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
  try { localStorage.setItem("docket-theme", theme.value); } catch { /* it holds for this page */ }
  repaint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

async function begin() {
  try {
    const found = await get("session");
    session = found.account ? found : null;
  } catch (error) {
    draw(main, h("h1", {}, "Docket"), h("p", { class: "empty bad" }, `The node does not answer: ${error.message}. It is asked again every ${RETRY_MS / 1000} s.`));
    setTimeout(begin, RETRY_MS);
    return;
  }
  open();
}
begin();
