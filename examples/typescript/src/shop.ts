// An order's whole life, over REST.
//
//     npm ci && npm run build
//     node dist/shop.js http://127.0.0.1:7073 docket-data/admin.key
//
// Makes a customer and an item of its own, so that it may be run again and again. Ends with exit code 0 if all went as it
// should.

import { strict as assert } from "node:assert";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { Docket, Refused, type Order, type WatchMessage } from "./docket.js";

const [address, keyFile] = process.argv.slice(2);
assert(address !== undefined && keyFile !== undefined, "shop.js ADDRESS KEY_FILE");
const docket = new Docket(address, readFileSync(keyFile, "utf8").trim());

function check(what: string, found: unknown, expected: unknown): void {
  assert.deepEqual(found, expected, what);
  console.log(`${what}: ${JSON.stringify(found)}`);
}

/** The reason of a call that must not succeed. */
async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    assert.fail(`this was not refused: ${JSON.stringify(await call)}`);
  } catch (error) {
    if (error instanceof Refused) return error.reason;
    throw error;
  }
}

const kinds = (message: WatchMessage): string[] => message.changes.map((change) => change.kind);

const own = randomUUID().slice(0, 8);
const [customer, item] = [`customers/typescript-${own}`, `items/tea-${own}`];
await docket.post(`/v1/customers?customerId=typescript-${own}`, { currencyCode: "EUR", creditLimit: "50000" });
await docket.post(`/v1/items?sku=tea-${own}`, { currencyCode: "EUR", unitPrice: "450", onHand: "100" });

// A repeat under the same id is the same order; other content under it is refused.
const order = (quantity: bigint, unitPrice: bigint): object => ({
  customer,
  currencyCode: "EUR",
  lines: [{ item, quantity: quantity.toString(), unitPrice: unitPrice.toString() }],
});
const id = randomUUID();
const placed = await docket.post<Order>("/v1/orders", order(3n, 450n), id);
check("placed", [placed.state, BigInt(placed.total) === 3n * 450n], ["CONFIRMED", true]);
const again = await docket.post<Order>("/v1/orders", order(3n, 450n), id);
check("sent again", again.name === placed.name, true);
check("another under that id", await refusal(docket.post("/v1/orders", order(4n, 450n), id)), "REQUEST_ID_REUSED");
check("an old price", await refusal(docket.post("/v1/orders", order(3n, 400n))), "PRICE_CHANGED");
check("no such field", await refusal(docket.post("/v1/orders", { customers: customer })), "INVALID_ARGUMENT");

// The beginning of its history, from a watch that is broken off behind the first message with a change.
const watched = { customer, start: "OLDEST" };
const seen: string[] = [];
let token = "";
for await (const message of docket.watch(watched)) {
  seen.push(...kinds(message));
  token = message.resumeToken;
  if (seen.length > 0) break;
}

const ask = (verb: string, body: object = {}): Promise<Order> => docket.post<Order>(`/v1/${placed.name}:${verb}`, body);
await ask("hold", { reason: "ADDRESS", note: "no such street" });
check("held, nothing is shipped", await refusal(ask("ship")), "ORDER_HELD");
await ask("releaseHold", { reason: "ADDRESS" });
const lines = (quantity: string): object => ({ lines: [{ line: 0, quantity }] });
const shipped = await ask("ship", { ...lines("2"), carrier: "DHL", trackingCode: "JD014" });
check("shipped", [shipped.state, shipped.payment?.captured], ["PARTIALLY_FULFILLED", "900"]);
await ask("deliverFulfilment", { fulfilment: 1 });
await ask("requestReturn", { ...lines("1"), note: "broken" });
await ask("resolveReturn", { returnNumber: 1, approve: true });
await ask("receiveReturn", { returnNumber: 1, restock: true });
await ask("closeReturn", { returnNumber: 1 });
const refunded = await ask("refund", { amount: "450", note: "broken" });
check("refunded", refunded.payment?.refunded, "450");
const cancelled = await ask("cancel");
check("the rest is cancelled", cancelled.payment?.voided, "450");
check("a stale etag", await refusal(ask("cancel", { etag: "v1" })), "STALE_ETAG");

// The rest of its history: from the last token on nothing is missed, and nothing is told twice.
for await (const message of docket.watch(watched, token)) {
  seen.push(...kinds(message));
  if (seen.includes("REFUNDED") && message.changes.length === 0) break;
}
const once = ["HELD", "HOLD_RELEASED", "SHIPPED", "DELIVERED", "RETURN_REQUESTED", "RETURN_APPROVED"];
once.push("RETURN_RECEIVED", "RETURN_CLOSED", "REFUNDED", "LINES_CANCELLED");
check("told of each once", once.filter((kind) => seen.filter((other) => other === kind).length !== 1), []);

const page = await docket.get<{ orders: Order[] }>("/v1/orders", { customer });
check(
  "listed, newest first",
  page.orders.map((one) => one.state),
  ["REJECTED", cancelled.state],
);
console.log("all as it should be");
