import { get, query } from "../api.js";
import { h } from "../dom.js";
import { NONE, count, money, words } from "../format.js";
import { chip, empty, orderLink, panel, state, table, when } from "../parts.js";

const STATES = ["PENDING", "CONFIRMED", "PARTIALLY_FULFILLED", "FULFILLED", "CANCELLED", "REJECTED", "EXPIRED", "CLOSED"];
const STUCK = [
  ["pending", "Pending for more than 30 s", null],
  ["held", "On hold", "held"],
  ["unpaid", "Payment failed, not settled", null],
  ["planned", "Planned a day ago, not sent", null],
];
const WAIT = [["backordered", "Wait for stock"], ["paying", "Provider to be asked"], ["declined", "Provider has declined"],
  ["releasing", "Items to be told"], ["archived", "In the archive"]];

export default {
  title: ({ state: name, stuck, customer, item }) => {
    const which = STUCK.find(([id]) => id === stuck)?.[1] ?? (name ? words(name) : "");
    return ["Orders", which, customer && `of ${customer}`, item && `with ${item}`].filter(Boolean).join(", ");
  },
  every: 4000,
  /** Where what was typed is to be found. */
  find({ id, customer, item }) {
    const order = id.trim().replace(/^orders\//, "");
    if (order) return `/console/orders/${encodeURIComponent(order)}`;
    return `/console/orders${query({ customer: customer.trim().replace(/^customers\//, ""), item: item.trim().replace(/^items\//, "") })}`;
  },
  async load({ state: name, stuck, customer, item, page, until }, signal) {
    const asked = query({ state: name, stuck, customer, item, page_token: page, until_s: until });
    const [list, counts] = await Promise.all([get(`orders${asked}`, signal), get("orders/counts", signal)]);
    return { list, counts };
  },
  draw({ list, counts }, args) {
    return [
      h("form", { id: "find", class: "find", method: "post", role: "search" },
        field("id", "Order", "26 characters", ""), field("customer", "Customer", "id", args.customer), field("item", "Item", "sku", args.item),
        h("button", { type: "submit" }, "Find")),
      panel("By state", where(counts), h("ul", { class: "tiles" },
        tile("All", null, "/console/orders", !args.state && !args.stuck),
        STATES.map((name) => tile(words(name), number(counts, name), `/console/orders${query({ state: name, customer: args.customer, item: args.item })}`, args.state === name)))),
      panel("What is stuck", null, h("ul", { class: "tiles" },
        STUCK.map(([id, label, key]) => tile(label, key && counts[key], `/console/orders${query({ stuck: id })}`, args.stuck === id)),
        WAIT.map(([key, label]) => h("li", {}, h("span", { class: "tile" }, h("span", {}, label), h("b", {}, count(counts[key]))))))),
      panel("Orders", args.page ? "Older ones." : "Newest first.", rows(list),
        list.unreachable.length ? h("p", { class: "bad" }, `Without ${list.unreachable.join(", ")}: these cannot be read now.`) : null,
        h("p", { class: "pager" }, args.page && h("a", { href: `/console/orders${query({ ...args, page: null, until: null })}` }, "Newest"),
          list.next_page_token && h("a", { href: `/console/orders${query({ ...args, page: list.next_page_token, until: args.stuck ? list.until_s : null })}` }, "Older"))),
    ];
  },
};

const number = (counts, name) => (counts.states[name] ?? 0) + (name === "PENDING" ? counts.states.AUTHORIZING ?? 0 : 0);

function where(counts) {
  if (counts.shards === counts.of_shards) return "As this node's replicas of all shards have them, in memory.";
  return `Of the ${count(counts.shards)} of ${count(counts.of_shards)} shards that have a replica on this node. The list is of all.`;
}

function field(name, label, hint, value) {
  return [h("label", { for: `find-${name}` }, label), h("input", { id: `find-${name}`, name, placeholder: hint, value: value ?? "", autocomplete: "off", spellcheck: "false", maxlength: 80 })];
}

function tile(label, value, href, current) {
  return h("li", {}, h("a", { class: "tile", href, "aria-current": current ? "true" : null }, h("span", {}, label), value === null ? null : h("b", {}, count(value))));
}

function rows(list) {
  if (!list.orders.length && list.next_page_token) return empty("None of those looked at so far. Go on with the older ones.");
  const all = list.orders.map((order) => ({
    id: `order-${order.id}`,
    cells: [
      orderLink(order.id), [state(order.state), order.holds.map((hold) => [" ", chip(`held: ${words(hold)}`, "wait")])],
      h("a", { href: `/console/orders${query({ customer: order.customer })}` }, order.customer),
      money(order.total, order.currency), count(order.lines), order.payment ? words(order.payment) : NONE, when(order.created), when(order.updated),
    ],
  }));
  return table("Orders", [["Order"], ["State"], ["Customer"], ["Total", "num"], ["Lines", "num"], ["Payment"], ["Placed"], ["Changed"]], all,
    { nothing: "There is no such order." });
}
