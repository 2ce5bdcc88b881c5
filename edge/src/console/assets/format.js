// How numbers, amounts and times are written. What is not known is a dash.
export const NONE = "—";

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

const isNone = (value) => value === null || value === undefined || Number.isNaN(value);

/** A count; texts are whole numbers that may be too long for a number. */
export function count(value) {
  if (isNone(value) || value === "") return NONE;
  return whole.format(typeof value === "string" ? BigInt(value) : Math.round(value));
}

/** So many a second. */
export function rate(value) {
  if (isNone(value)) return NONE;
  return `${value >= 100 ? whole.format(Math.round(value)) : short.format(value)}/s`;
}

/** Seconds, as people say a latency. */
export function latency(seconds) {
  if (isNone(seconds)) return NONE;
  if (seconds < 0.001) return `${short.format(seconds * 1e6)} µs`;
  if (seconds < 1) return `${short.format(seconds * 1e3)} ms`;
  return `${short.format(seconds)} s`;
}

export function bytes(value) {
  if (isNone(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let n = 0;
  let left = Number(value);
  while (left >= 1024 && n < units.length - 1) {
    left /= 1024;
    n += 1;
  }
  return `${short.format(left)} ${units[n]}`;
}

/** A span of seconds, in its two largest units. */
export function span(seconds) {
  if (isNone(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ""}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h${Math.floor((s % 3600) / 60) ? ` ${Math.floor((s % 3600) / 60)} min` : ""}`;
  return `${Math.floor(s / 86400)} d${Math.floor((s % 86400) / 3600) ? ` ${Math.floor((s % 86400) / 3600)} h` : ""}`;
}

const digits = new Map();
function digitsOf(currency) {
  if (!digits.has(currency)) {
    let found = 2;
    try {
      found = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
    } catch { /* no code that the browser knows */ }
    digits.set(currency, found);
  }
  return digits.get(currency);
}

/** An amount of minor units (a text) in a currency. */
export function money(amount, currency) {
  if (isNone(amount) || amount === "") return NONE;
  const fraction = digitsOf(currency);
  const value = BigInt(amount);
  const text = (value < 0n ? -value : value).toString().padStart(fraction + 1, "0");
  const units = whole.format(BigInt(text.slice(0, text.length - fraction)));
  const rest = fraction ? `.${text.slice(text.length - fraction)}` : "";
  return `${value < 0n ? "−" : ""}${units}${rest} ${currency}`;
}

/** `PARTIALLY_FULFILLED` as people read it. */
export const words = (name) => (name ? name.toLowerCase().replaceAll("_", " ") : NONE);

// The node's clock less this browser's, in milliseconds: ages are by the node's.
let ahead = 0;
export const setClock = (nodeMs) => { ahead = nodeMs - Date.now(); };
export const nodeNow = () => Date.now() + ahead;

/** How long ago, or in how long. */
export function ago(iso) {
  const seconds = (nodeNow() - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return NONE;
  if (Math.abs(seconds) < 1) return "now";
  return seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
}

/** The same moment, exactly, where this browser is. */
export function exact(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return NONE;
  const two = (n) => String(n).padStart(2, "0");
  const ms = String(at.getMilliseconds()).padStart(3, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(at)}.${ms}`;
}

export function clock(at) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
