import { get } from "../api.js";
import { h } from "../dom.js";
import { NONE, bytes, count, latency, rate } from "../format.js";
import { chip, panel, stat, stats, table, when } from "../parts.js";
import { fill, plot } from "../plot.js";
import { lately } from "./traffic.js";

const GROUPS_MAX = 256;
const perSecond = (value) => (value === null ? NONE : `${bytes(value)}/s`);

export default {
  title: () => "Storage",
  every: 2000,
  async load(_, signal) {
    const [traffic, cluster] = await Promise.all([lately(signal), get("cluster", signal)]);
    return { traffic, cluster };
  },
  draw({ traffic: { points, minute, node_id }, cluster }) {
    const shown = minute?.shown ?? {};
    const last = (name) => points[name].at(-1) ?? null;
    const node = cluster.nodes.find((one) => one.node_id === node_id);
    return [
      stats(
        stat("Journal", bytes(shown.docket_journal_bytes)),
        stat("Snapshots", bytes(node?.journal?.snapshot_bytes)),
        stat("Disk free", bytes(shown.docket_disk_free_bytes), node?.journal?.low_space ? "bad" : ""),
        stat("Sync p50", latency(last("sync_p50"))),
        stat("Sync p99", latency(last("sync_p99"))),
        stat("Written", perSecond(last("bytes"))),
        stat("Records", rate(last("records"))),
        stat("Wait to be written", count(shown.docket_journal_queue_records)),
      ),
      shown.docket_journal_failed ? h("p", { class: "banner" }, h("strong", {}, `The journal of node ${node_id} has failed: it acknowledges nothing any more.`)) : null,
      h("p", { class: "note" }, `Above and in the plots is node ${node_id}; each node tells of itself.`),
      h("div", { class: "plots" },
        plot("plot-sync", "Sync of the journal", [["sync_p50", "p50", 1], ["sync_p99", "p99", 2]], latency),
        plot("plot-bytes", "Written", [["bytes", "Bytes", 3]], perSecond, { ofBytes: true }),
        plot("plot-disk", "Journal", [["journal", "On the disk", 1]], bytes, { ofBytes: true })),
      panel("Nodes", "As each says of itself.", nodes(cluster)),
      panel("Integrity", "Whether books agree, and whether what is stored is what was written, when each node last looked.", integrity(cluster), damaged(cluster)),
      panel("Snapshots", `The newest of each group on node ${node_id}; its journal is cut behind the oldest of them.`, snapshots(node)),
    ];
  },
  drawn: ({ traffic }) => fill(traffic.points),
};

function nodes(cluster) {
  const told = new Map(cluster.nodes.map((node) => [node.node_id, node.journal]));
  const rows = cluster.liveness.map(({ node_id: id, alive }) => {
    const journal = told.get(id);
    return {
      id: `disk-${id}`,
      tone: alive ? "" : "away",
      cells: [id, journal ? (journal.low_space ? chip("disk low", "bad") : chip("good", "good")) : chip("not known", "bad"),
        bytes(journal?.disk_bytes), bytes(journal?.snapshot_bytes), bytes(journal?.free_bytes),
        count(journal?.first_sequence), count(journal?.last_sequence), count(journal?.syncs)],
    };
  });
  return table("Disks of the nodes", [["Node"], ["State"], ["Journal", "num"], ["Snapshots", "num"], ["Disk free", "num"], ["First record", "num"],
    ["Last record", "num"], ["Syncs", "num"]], rows);
}

function integrity(cluster) {
  const told = new Map(cluster.nodes.map((node) => [node.node_id, node]));
  const rows = cluster.liveness.map(({ node_id: id }) => {
    const books = told.get(id)?.books;
    const scrub = told.get(id)?.scrub;
    const wrong = Object.entries(books?.groups ?? {}).filter(([, n]) => n > 0);
    return {
      id: `integrity-${id}`,
      cells: [id, found(books?.start_time, books?.discrepancy_count, "agree", "wrong"), when(books?.start_time), latency(books?.duration_seconds),
        wrong.map(([group, n]) => `${group}: ${count(n)}`).join(", ") || NONE,
        found(scrub?.start_time, scrub?.damaged_count, "whole", "damaged"), scrub?.running ? chip(`${bytes(scrub.running_bytes)} so far`, "wait") : when(scrub?.start_time),
        latency(scrub?.duration_seconds), bytes(scrub?.bytes)],
    };
  });
  return table("Integrity", [["Node"], ["Books"], ["Verified"], ["Took", "num"], ["Shards that are wrong"], ["Stored"], ["Read"], ["Took", "num"], ["Bytes", "num"]], rows);
}

function found(looked, wrong, good, bad) {
  if (wrong) return chip(`${count(wrong)} ${bad}`, "bad");
  return looked ? chip(good, "good") : chip("not yet", "");
}

function damaged(cluster) {
  const rows = cluster.nodes.flatMap((node) => (node.scrub?.damaged ?? []).map((place, n) => ({
    id: `damaged-${node.node_id}-${n}`,
    cells: [node.node_id, place.kind, place.file, place.place, place.of.join(", ") || "nobody's any more", place.reason],
  })));
  return rows.length ? table("Damaged", [["Node"], ["In"], ["File"], ["Place"], ["Whose"], ["Why"]], rows) : null;
}

function snapshots(node) {
  const rows = (node?.groups ?? []).slice(0, GROUPS_MAX).map((group) => ({
    id: `snapshot-${group.group}`,
    cells: [group.group, group.snapshot_time ? when(group.snapshot_time) : NONE, group.snapshot_index ? count(group.snapshot_index) : NONE,
      count(group.applied_index), count(group.applied_index - group.snapshot_index)],
  }));
  return table("Snapshots", [["Group"], ["Newest"], ["Up to entry", "num"], ["Applied", "num"], ["Entries behind it", "num"]], rows,
    { nothing: "The node tells of no group.", cards: false });
}
