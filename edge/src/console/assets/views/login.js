import { logIn } from "../api.js";
import { draw, h } from "../dom.js";

export default {
  title: () => "Log in",
  draw() {
    return h("form", { id: "login", class: "panel login", method: "post" },
      h("h1", {}, "Log in"),
      h("p", { class: "note" }, "With an administrator's API key. It is exchanged for a cookie of this node that lasts eight hours at most; the page keeps no key."),
      h("label", { for: "key" }, "API key"),
      h("input", { id: "key", name: "api_key", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", maxlength: 128, "aria-describedby": "refused" }),
      h("p", { id: "refused", role: "alert", class: "bad" }),
      h("button", { type: "submit", class: "main" }, "Log in"));
  },
  /** The session; `null` where there is none, and the form says why. */
  async submit(form, values) {
    const [why, button] = [form.querySelector("#refused"), form.querySelector("button")];
    draw(why);
    button.disabled = true;
    try {
      return await logIn(values.api_key);
    } catch (error) {
      draw(why, error.status === 0 ? `The node does not answer: ${error.message}.` : `Refused: ${error.message}.`);
      form.querySelector("#key").select();
      return null;
    } finally {
      button.disabled = false;
    }
  },
};
