// What is asked of the node. Nothing is waited for longer than this.
import { setClock } from "./format.js";

const ANSWER_MS = 6000;

/** Why there is no answer: `status` 0 where the node cannot be reached. */
export class Failed extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

async function call(method, path, body, signal) {
  const late = AbortSignal.timeout(ANSWER_MS);
  let response;
  let answer = null;
  try {
    response = await fetch(`/console/api/${path}`, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: body === undefined ? {} : { "content-type": "application/json" },
      credentials: "same-origin",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    if (response.status !== 204) answer = await response.json().catch(() => null);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failed(0, "UNREACHABLE", late.aborted ? "it did not answer in time" : "it cannot be reached");
  }
  if (!response.ok) {
    const told = answer?.error ?? {};
    throw new Failed(response.status, told.reason ?? "", told.message ?? `it answered ${response.status}`);
  }
  if (answer?.now_ms) setClock(answer.now_ms);
  return answer;
}

export const get = (path, signal) => call("GET", path, undefined, signal);
export const logIn = (key) => call("POST", "session", { api_key: key });
export const logOut = () => call("DELETE", "session");

/** `a=1&b=2`, without what is empty. */
export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return set.length ? `?${new URLSearchParams(set)}` : "";
}
