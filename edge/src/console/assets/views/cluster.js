import { get } from "../api.js";
import { h } from "../dom.js";
import { NONE, bytes, count, span, words } from "../format.js";
import { chip, empty, panel, stat, stats, table } from "../parts.js";

/** Groups of the table; the rest is told by number. */
const GROUPS_MAX = 256;

export default {
  title: () => "Cluster",
  every: 2000,
  load: (_, signal) => get("cluster", signal),
  draw(cluster, _, session) {
    const groups = cluster.groups;
    const led = groups.filter((group) => group.leader_id).length;
    const away = cluster.liveness.filter((one) => !one.alive).length;
    const lag = Math.max(0, ...groups.map((group) => group.lag));
    const moving = groups.filter((group) => group.arriving_ids.length || group.leaving_ids.length);
    return [
      stats(
        stat("Cluster", cluster.cluster_id.slice(0, 8) || NONE),
        stat("Nodes that answer", `${cluster.liveness.length - away} of ${cluster.liveness.length}`, away ? "bad" : "good"),
        stat("Groups with a leader", `${led} of ${groups.length}`, led < groups.length ? "bad" : "good"),
        stat("Greatest lag, entries", count(lag), lag > 1000 ? "wait" : ""),
        stat("Moves", count(moving.length)),
      ),
      cluster.reasons.length
        ? panel("What is not as it should be", null, h("ul", { class: "reasons" }, cluster.reasons.map((reason) => h("li", {}, reason))))
        : null,
      panel("Nodes", "Each says this of itself; of one that is away the others know how long.", nodes(cluster, session)),
      panel("Leaders and replicas", "Behind a + is how many entries of its leader's log a replica has not got.", matrix(cluster)),
      panel("Moves", null, moves(moving)),
    ];
  },
};

function nodes(cluster, session) {
  const members = new Map(cluster.members.map((member) => [member.node_id, member]));
  const told = new Map(cluster.nodes.map((node) => [node.node_id, node]));
  const rows = cluster.liveness.map((one) => {
    const [member, node] = [members.get(one.node_id), told.get(one.node_id)];
    const leads = cluster.groups.filter((group) => group.leader_id === one.node_id).length;
    return {
      id: `node-${one.node_id}`,
      tone: one.alive ? "" : "away",
      cells: [
        [`${one.node_id}`, one.node_id === session.node_id && h("span", { class: "note" }, " this node")],
        state(one, node),
        [member && member.state !== "MEMBER_STATE_ACTIVE" ? [chip(words(member.state.replace("MEMBER_STATE_", "")), "wait"), " "] : null,
          count(leads)],
        member ? count(member.replicas) : NONE,
        node ? node.version : NONE,
        node ? span(node.uptime_seconds) : NONE,
        node ? bytes(node.memory_bytes) : NONE,
        node?.journal ? bytes(node.journal.disk_bytes) : NONE,
        node?.journal ? [bytes(node.journal.free_bytes), node.journal.low_space && chip("low", "bad")] : NONE,
        member?.peer_address || NONE,
      ],
    };
  });
  return table("Nodes", [["Node"], ["State"], ["Leads", "num"], ["Replicas", "num"], ["Version"], ["Up", "num"], ["Memory", "num"],
    ["Journal", "num"], ["Disk free", "num"], ["Peers reach it at"]], rows);
}

function state(one, node) {
  if (!one.alive) return [chip("away", "bad"), ` ${one.silence_seconds === null ? "never heard" : `for ${span(one.silence_seconds)}`}`];
  if (!node) return [chip("no answer", "bad"), " ", one.error];
  return node.ready ? chip("ready", "good") : [chip("not ready", "bad"), " ", node.reasons.join("; ")];
}

function matrix(cluster) {
  const ids = cluster.liveness.map((one) => one.node_id);
  const alive = new Set(cluster.liveness.filter((one) => one.alive).map((one) => one.node_id));
  const rows = cluster.groups.slice(0, GROUPS_MAX).map((group) => ({
    id: `group-${group.group}`,
    tone: group.leader_id ? "" : "away",
    cells: [
      group.group,
      ...ids.map((id) => cell(group, id, alive.has(id))),
      count(group.term),
      count(group.last_log_index),
    ],
  }));
  if (!rows.length) return empty("No node has told of a group yet.");
  const columns = [["Group"], ...ids.map((id) => [`Node ${id}`, "cell"]), ["Term", "num"], ["Log", "num"]];
  const more = cluster.groups.length - rows.length;
  return [table("Leaders and replicas", columns, rows, { cards: false }), more > 0 && empty(`And ${count(more)} more groups.`)];
}

function cell(group, id, alive) {
  const replica = group.replicas.find((one) => one.node_id === id);
  if (!replica) return h("span", { class: "quiet" }, "no replica");
  const role = words(replica.role.replace("REPLICA_ROLE_", ""));
  const behind = replica.known && replica.lag > 0 ? ` +${count(replica.lag)}` : "";
  const tone = !alive ? "bad" : role === "leader" ? "lead" : role === "learner" ? "wait" : "";
  return [chip(alive ? role : "away", tone), behind, replica.held_back && h("span", { class: "note" }, ` ${replica.held_back}`)];
}

function moves(moving) {
  const rows = moving.map((group) => ({
    id: `move-${group.group}`,
    cells: [group.group, group.leaving_ids.join(", ") || NONE, group.arriving_ids.join(", ") || NONE, count(group.lag)],
  }));
  return table("Moves", [["Group"], ["From node", "num"], ["To node", "num"], ["Lag, entries", "num"]], rows, { nothing: "Nothing is being moved." });
}
