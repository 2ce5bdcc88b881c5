import { get, query } from "../api.js";
import { count, latency, rate } from "../format.js";
import { fill, plot } from "../plot.js";
import { chip, panel, stat, stats, table } from "../parts.js";
import { h } from "../dom.js";

/** As many points as the node keeps. */
const POINTS_MAX = 450;

/** What the node has had to do, put together of what it has told so far. */
const kept = { node: null, points: null };

export async function lately(signal) {
  const since = kept.points?.t.at(-1);
  const told = await get(`traffic${query({ since })}`, signal);
  const fresh = !kept.points || kept.node !== told.node_id;
  const points = {};
  for (const name of Object.keys(told.points)) {
    points[name] = [...(fresh ? [] : kept.points[name]), ...told.points[name]].slice(-POINTS_MAX);
  }
  Object.assign(kept, { node: told.node_id, points });
  return { ...told, points };
}

const last = (points, name) => points[name].at(-1) ?? null;

export default {
  title: () => "Traffic",
  every: 2000,
  load: (_, signal) => lately(signal),
  draw({ points, minute, node_id }) {
    const shown = minute?.shown ?? {};
    const errors = last(points, "errors");
    return [
      h("p", { class: "note" }, `What node ${node_id} does for its clients, every two seconds; each node tells of itself. Quantiles are of the histograms' buckets.`),
      stats(
        stat("Orders", rate(last(points, "orders"))),
        stat("Calls", rate(last(points, "calls"))),
        stat("Errors", rate(errors), errors > 0 ? "wait" : ""),
        stat("Refused by limits", rate(last(points, "denials")), last(points, "denials") > 0 ? "wait" : ""),
        stat("p50", latency(last(points, "p50"))),
        stat("p99", latency(last(points, "p99"))),
        stat("p99.9", latency(last(points, "p999"))),
        stat("In flight", count(shown.docket_requests_in_flight)),
        stat("Streams", count(shown.docket_streams_open)),
        stat("Connections", count(shown.docket_connections_open)),
      ),
      h("div", { class: "plots" },
        plot("plot-rate", "Rate", [["orders", "Orders", 1], ["calls", "Calls", 2], ["errors", "Errors", 4]], rate),
        plot("plot-latency", "Latency", [["p50", "p50", 1], ["p99", "p99", 2], ["p999", "p99.9", 3]], latency),
        plot("plot-denials", "Refused by limits", [["denials", "Refused", 4]], rate)),
      panel("By code", within(minute), codes(minute)),
      panel("By method", within(minute), methods(minute)),
      panel("Limits", "Calls and orders that a limiter refused.", limiters(minute)),
    ];
  },
  drawn: ({ points }) => fill(points),
};

export const within = (minute) => (minute ? `In the last ${Math.round(minute.seconds)} s.` : "The node has just begun to look.");

function codes(minute) {
  const all = Object.entries(minute?.codes ?? {}).sort((a, b) => b[1] - a[1]);
  const sum = all.reduce((whole, [, n]) => whole + n, 0);
  const rows = all.map(([code, n]) => ({
    id: `code-${code}`,
    cells: [chip(code, code === "OK" ? "good" : "wait"), count(n), rate(n / minute.seconds), `${((100 * n) / sum).toFixed(2)} %`],
  }));
  return table("By code", [["Code"], ["Count", "num"], ["Rate", "num"], ["Part", "num"]], rows, { nothing: "Nothing was asked of this node.", cards: false });
}

function methods(minute) {
  const all = (minute?.methods ?? []).sort((a, b) => b.calls - a.calls);
  const rows = all.map((it) => {
    const [service, method] = it.method.split("/");
    return {
      id: `method-${method ?? service}${it.streamed ? "-orders" : ""}`,
      cells: [
        [h("span", {}, method ?? service), it.streamed && h("span", { class: "note" }, " orders in it")],
        count(it.calls), rate(it.calls / minute.seconds), it.errors ? chip(count(it.errors), "wait") : "0",
        latency(it.p50), latency(it.p99), latency(it.p999),
      ],
    };
  });
  return table("By method", [["Method"], ["Count", "num"], ["Rate", "num"], ["Errors", "num"], ["p50", "num"], ["p99", "num"], ["p99.9", "num"]], rows,
    { nothing: "Nothing was asked of this node." });
}

export function counted(caption, name, counts, nothing) {
  const all = Object.entries(counts ?? {}).filter(([, it]) => it.since_start > 0).sort((a, b) => b[1].since_start - a[1].since_start);
  const rows = all.map(([label, it]) => ({
    id: `${caption.replaceAll(" ", "-")}-${label}`,
    cells: [label, it.minute > 0 ? chip(count(it.minute), "wait") : "0", count(it.since_start)],
  }));
  return table(caption, [[name], ["Last minute", "num"], ["Since the node began", "num"]], rows, { nothing, cards: false });
}

const limiters = (minute) => counted("Limits", "Limiter", minute?.limiters, "No limiter has refused anything since the node began.");
