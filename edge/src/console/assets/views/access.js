import { get, query } from "../api.js";
import { h } from "../dom.js";
import { NONE, count, nodeNow, words } from "../format.js";
import { chip, panel, stat, stats, table, when } from "../parts.js";
import { counted, lately } from "./traffic.js";

export default {
  title: () => "Access",
  every: 5000,
  async load({ page }, signal) {
    // A key without the scope for it sees what was refused, and not the keys.
    const keys = get(`access${query({ page_token: page })}`, signal).catch((error) => {
      if (error.status === 403) return { refused: error.message, keys: [] };
      throw error;
    });
    const [access, traffic] = await Promise.all([keys, lately(signal)]);
    return { access, traffic };
  },
  draw({ access, traffic: { minute, node_id } }, { page }) {
    const roles = {};
    for (const key of access.keys) if (stateOf(key) === "in force") roles[key.role] = (roles[key.role] ?? 0) + 1;
    const whole = !access.refused && !access.next_page_token && !page;
    const denied = (minute?.codes?.PERMISSION_DENIED ?? 0);
    return [
      stats(
        ...["ADMIN", "SERVICE", "CUSTOMER"].map((role) => stat(`Keys of role ${words(role)}`, whole ? count(roles[role] ?? 0) : NONE)),
        stat("Permission denied", `${count(denied)} in a minute`, denied ? "wait" : ""),
      ),
      panel("API keys", "Those in force are counted above. Nobody can show their secrets.",
        access.refused ? h("p", { class: "empty bad" }, `This key may not see them: ${access.refused}.`) : keys(access.keys),
        h("p", { class: "pager" }, page && h("a", { href: "/console/access" }, "First page"),
          access.next_page_token && h("a", { href: `/console/access${query({ page: access.next_page_token })}` }, "Next page"))),
      panel("Credentials refused", `At node ${node_id}.`, counted("Credentials refused", "Reason", minute?.credentials, "None was refused since the node began.")),
      panel("Logins with a password", `At node ${node_id}.`, counted("Logins", "Outcome", minute?.logins, "Nobody has logged in since the node began.")),
      panel("Limits", `Calls and orders that a limiter of node ${node_id} refused.`,
        counted("Limits", "Limiter", minute?.limiters, "No limiter has refused anything since the node began.")),
    ];
  },
};

function stateOf(key) {
  if (key.revoked) return "revoked";
  if (key.expires && Date.parse(key.expires) <= nodeNow()) return "expired";
  return "in force";
}

function keys(all) {
  const rows = all.map((key) => {
    const state = stateOf(key);
    return {
      id: `key-${key.id}`,
      cells: [
        h("span", { class: "id" }, key.id), key.display_name || NONE, key.account,
        [chip(words(key.role), key.role === "ADMIN" ? "lead" : ""), key.customer && ` ${key.customer}`],
        key.scopes.map(words).join(", "), chip(state, state === "in force" ? "good" : ""), when(key.created),
        key.revoked ? when(key.revoked) : key.expires ? when(key.expires) : "never",
      ],
    };
  });
  return table("API keys", [["Key"], ["Name"], ["Account"], ["Role"], ["Scopes"], ["State"], ["Made"], ["Ends"]], rows, { nothing: "There is no key." });
}
