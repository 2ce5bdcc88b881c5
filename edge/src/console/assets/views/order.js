import { get, query } from "../api.js";
import { h } from "../dom.js";
import { NONE, count, exact, money, words } from "../format.js";
import { chip, panel, stat, stats, state, table, when } from "../parts.js";

export default {
  title: ({ id }) => `Order ${id}`,
  every: 3000,
  async load({ id, page }, signal) {
    const name = encodeURIComponent(id);
    const [all, told] = await Promise.all([get(`orders/${name}`, signal), get(`orders/${name}/events${query({ page_token: page })}`, signal)]);
    return { ...all, ...told };
  },
  draw({ order, customer, items, items_max: most, events, next_page_token: more }, { id, page }) {
    const pay = order.payment;
    const cash = (amount) => money(amount, order.currency);
    return [
      h("p", {}, state(order.state), order.holds.map((hold) => [" ", chip(`held: ${words(hold.reason)}`, "wait")]),
        " placed ", when(order.created), " by ", h("a", { href: `/console/orders${query({ customer: order.customer })}` }, order.customer),
        ", changed ", when(order.updated)),
      order.rejection && h("p", { class: "banner" }, h("strong", {}, order.rejection.reason), ` ${order.rejection.message}`,
        order.rejection.field && ` (${order.rejection.field})`),
      stats(
        stat("Total", cash(order.total)),
        stat("Authorized", cash(pay?.authorized), "", "money-authorized"), stat("Captured", cash(pay?.captured), "", "money-captured"),
        stat("Given back", cash(pay?.voided)), stat("Refunded", cash(pay?.refunded)),
      ),
      panel("Time line", page ? "Later events." : null, timeline(events, order),
        h("p", { class: "pager" }, page && h("a", { href: `/console/orders/${id}` }, "From the beginning"), more && h("a", { href: `/console/orders/${id}${query({ page: more })}` }, "Later"))),
      panel("Lines and stock", order.lines.length > most ? `What is there now is asked of ${most} items.` : null, lines(order, items)),
      panel("Money", pay?.provider ? `Moved by ${pay.provider}.` : "Moved by the customer's account.",
        h("p", {}, pay ? state(pay.state) : NONE), pay?.steps.length ? steps(pay, cash) : null),
      panel("Customer's account", null, account(customer)),
      order.holds.length ? panel("Holds", null, table("Holds", [["Reason"], ["Note"], ["By"], ["Since"]],
        order.holds.map((it) => ({ cells: [words(it.reason), it.note || NONE, it.by || NONE, when(it.created)] })))) : null,
      order.fulfilments.length ? panel("Shipments", null, shipments(order, cash)) : null,
      order.returns.length ? panel("Returns", null, returns(order)) : null,
      order.refunds.length ? panel("Refunds", null, table("Refunds", [["Amount", "num"], ["Note"], ["By"], ["When"]],
        order.refunds.map((it) => ({ cells: [cash(it.amount), it.note || NONE, it.by || NONE, when(it.created)] })))) : null,
    ];
  },
};

const quantities = (all) => all.map((it) => `${count(it.quantity)} of line ${it.line}`).join(", ");

function timeline(events, order) {
  return h("ol", { class: "timeline" }, events.map((event, n) => h("li", { id: `event-${n}` },
    h("div", { class: "at" }, event.time ? [h("span", { class: "exact" }, exact(event.time)), " ", when(event.time)] : "time not kept"),
    h("div", {}, h("strong", {}, words(event.kind)), " ", change(event), event.by && h("span", { class: "note" }, ` by ${event.by}`)),
    details(event, order))));
}

function change({ before, after }) {
  if (!after || before?.state === after.state) return null;
  return before ? [words(before.state), " → ", state(after.state)] : state(after.state);
}

function details(event, order) {
  const cash = (amount) => money(amount, event.currency || order.currency);
  const told = [];
  const [was, is] = [event.before?.payment, event.after?.payment];
  for (const [name, label] of [["authorized", "authorized"], ["captured", "captured"], ["voided", "given back"], ["refunded", "refunded"]]) {
    if (is && is[name] !== (was?.[name] ?? "0")) told.push(`${label} ${cash(is[name])}`);
  }
  if (is && was && is.state !== was.state) told.push(`payment ${words(was.state)} → ${words(is.state)}`);
  if (event.amount !== "0" && !told.length) told.push(cash(event.amount));
  if (event.fulfilment) told.push(`shipment ${event.fulfilment}`);
  if (event.return) told.push(`return ${event.return}`);
  if (event.hold) told.push(words(event.hold));
  if (event.lines.length) told.push(quantities(event.lines));
  const stock = stockOf(event);
  if (stock) told.push(stock);
  if (event.restock) told.push("back on the stock");
  if (event.rejection) told.push(`${event.rejection.reason}: ${event.rejection.message}`);
  if (event.note) told.push(`“${event.note}”`);
  const ids = [event.request_id && `request ${event.request_id}`, event.trace_id && `trace ${event.trace_id}`].filter(Boolean);
  return [
    told.length ? h("div", { class: "told" }, told.join(" · ")) : null,
    ids.length ? h("div", { class: "note ids" }, ids.join(" · ")) : null,
  ];
}

/** What an event did to the lines, where it is not said otherwise. */
function stockOf({ before, after, lines }) {
  if (!before || !after || lines.length) return "";
  const sum = (situation, n) => situation.lines.reduce((whole, line) => whole + line[n], 0);
  const said = ["open", "shipped", "cancelled"].map((label, n) => [label, sum(after, n) - sum(before, n)]).filter(([, by]) => by !== 0);
  return said.map(([label, by]) => `${label} ${by > 0 ? "+" : "−"}${count(Math.abs(by))}`).join(", ");
}

function lines(order, items) {
  const found = new Map(items.map(({ name, item }) => [name.replace(/^items\//, ""), item]));
  const rows = order.lines.map((line, n) => {
    const item = found.get(line.item);
    return {
      id: `line-${n + 1}`,
      cells: [
        [`${n + 1}. `, h("span", { class: "id" }, line.item), item?.display_name && h("span", { class: "note" }, ` ${item.display_name}`)],
        count(line.quantity), money(line.unit_price, order.currency), money(line.amount, order.currency),
        line.stock.map((it) => [state(it.state), ` ${count(it.quantity)}`, it.until && [" until ", when(it.until)], " "]),
        count(line.fulfilled), count(line.cancelled),
        !item ? NONE : item.error ? h("span", { class: "bad" }, item.error.message) : `${count(item.available)} of ${count(item.on_hand)}`,
      ],
    };
  });
  return table("Lines and stock", [["Item"], ["Quantity", "num"], ["Price", "num"], ["Amount", "num"], ["Its stock"], ["Shipped", "num"], ["Cancelled", "num"],
    ["Free in stock now", "num"]], rows);
}

function steps(pay, cash) {
  return table("Steps of the payment", [["Step"], ["What"], ["State"], ["Amount", "num"], ["Reference"], ["Due"], ["Answered"]], pay.steps.map((it) => ({
    cells: [`${it.payment}.${it.number}`, words(it.kind), [state(it.state), it.why && ` ${it.why}`], cash(it.amount), it.reference || NONE, when(it.created), when(it.answered)],
  })));
}

function account(customer) {
  if (customer.error) return h("p", { class: "empty bad" }, `It cannot be read: ${customer.error.message}.`);
  const cash = (amount) => money(amount, customer.currency);
  return [
    h("p", {}, h("span", { class: "id" }, customer.id), customer.display_name && ` ${customer.display_name}`),
    stats(stat("Available", cash(customer.available), customer.available === "0" ? "wait" : ""), stat("Balance", cash(customer.balance)), stat("Credit limit", cash(customer.credit_limit)), stat("Held for open orders", cash(customer.held))),
  ];
}

function shipments(order, cash) {
  return table("Shipments", [["Number"], ["State"], ["Of"], ["Carrier"], ["Tracking"], ["Captured", "num"], ["Planned"], ["Sent"], ["Arrived"]],
    order.fulfilments.map((it) => ({
      cells: [`${it.number}`, [state(it.state), it.cancelled && [" ", when(it.cancelled)]], quantities(it.lines), it.carrier || NONE, it.tracking || NONE, cash(it.captured),
        when(it.opened), when(it.shipped), when(it.delivered)],
    })));
}

function returns(order) {
  return table("Returns", [["Number"], ["State"], ["Of"], ["Note"], ["Asked for"], ["Changed"]], order.returns.map((it) => ({
    cells: [`${it.number}`, [state(it.state), it.restocked && " back on the stock"], quantities(it.lines), it.note || NONE, when(it.created), when(it.updated)],
  })));
}
