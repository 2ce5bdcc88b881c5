// A small client of Docket over REST: what a program has to get right, and no more. Types for all of the contract can be
// generated from the server's /openapi.json; these are the ones that the example needs.

import { randomUUID } from "node:crypto";

/** 64 bits, as JSON has them: `BigInt(total)` to count with. */
export type Int64 = string;

export interface Line {
  item: string;
  quantity: Int64;
  unitPrice: Int64;
}

export interface Order {
  name: string;
  customer: string;
  state: string;
  currencyCode: string;
  lines: Line[];
  total: Int64;
  etag: string;
  payment?: { state: string; captured: Int64; voided: Int64; refunded: Int64 };
}

export interface Change {
  kind: string;
  order: Order;
  changeTime: string;
}

export interface WatchMessage {
  changes: Change[];
  resumeToken: string;
}

interface Detail {
  "@type": string;
  reason?: string;
}

interface Status {
  code: number;
  message: string;
  details: Detail[];
}

/** A call that was not done, by the reason that programs go by. */
export class Refused extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, told: Status) {
    const info = told.details.find((detail) => detail["@type"].endsWith("/google.rpc.ErrorInfo"));
    super(`${told.message} (${status}, ${info?.reason ?? ""})`);
    this.status = status;
    this.reason = info?.reason ?? "";
  }
}

// After these nobody knows whether it was done, or nothing was: under the same id it may always be sent again.
const REPEATABLE = new Set([429, 503, 504]);
const CALL_MS = 10_000;
const TRIES = 6;
const [PAUSE_MS, PAUSE_MAX_MS] = [50, 2_000];

export class Docket {
  readonly #address: string;
  readonly #headers: Record<string, string>;

  constructor(address: string, key: string) {
    this.#address = address;
    this.#headers = { "x-api-key": key };
  }

  get<Answer>(path: string, query: Record<string, string> = {}): Promise<Answer> {
    const parameters = new URLSearchParams(query).toString();
    return this.#ask<Answer>("GET", parameters === "" ? path : `${path}?${parameters}`);
  }

  /** Does something once: the id is made before the first try and is the same in each. */
  post<Answer>(path: string, body: object, id: string = randomUUID()): Promise<Answer> {
    return this.#ask<Answer>("POST", path, body, id);
  }

  async #ask<Answer>(method: string, path: string, body?: object, id?: string): Promise<Answer> {
    const headers: Record<string, string> = { ...this.#headers, "grpc-timeout": `${CALL_MS}m` };
    if (id !== undefined) headers["idempotency-key"] = `"${id}"`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const request: RequestInit = { method, headers };
    if (body !== undefined) request.body = JSON.stringify(body);
    for (let attempt = 0; ; attempt += 1) {
      let failure: unknown;
      let wait = Math.min(PAUSE_MS * 2 ** attempt, PAUSE_MAX_MS) * (0.5 + Math.random());
      try {
        const answer = await fetch(this.#address + path, { ...request, signal: AbortSignal.timeout(CALL_MS) });
        if (answer.ok) return (await answer.json()) as Answer;
        failure = new Refused(answer.status, (await answer.json()) as Status);
        if (!REPEATABLE.has(answer.status)) throw failure;
        wait = Math.max(wait, 1_000 * Number(answer.headers.get("retry-after") ?? 0));
      } catch (error) {
        if (error === failure) throw error;
        // The connection was lost: nobody knows whether it was done.
        failure = error;
      }
      if (attempt + 1 === TRIES) throw failure;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** The messages of a watch, from behind the token on. It ends with the connection: go on with the last token. */
  async *watch(query: Record<string, string>, resumeToken = ""): AsyncGenerator<WatchMessage> {
    const parameters = new URLSearchParams({ ...query, resumeToken });
    const end = new AbortController();
    const answer = await fetch(`${this.#address}/v1/orders:watch?${parameters}`, {
      headers: this.#headers,
      signal: end.signal,
    });
    if (!answer.ok) throw new Refused(answer.status, (await answer.json()) as Status);
    if (answer.body === null) throw new Error("a watch without a body");
    let rest = "";
    try {
      for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
        const lines = (rest + piece).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const message = JSON.parse(line) as WatchMessage | { error: Status };
          if ("error" in message) throw new Refused(answer.status, message.error);
          yield message;
        }
      }
    } finally {
      end.abort();
    }
  }
}
