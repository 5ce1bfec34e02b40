// What an operator may do to a replica, once logged in with the admin token. Each act says first what it will do.

import * as agent from "./agent.js";
import { announce, el, setText } from "./dom.js";

const dialog = document.getElementById("dialog");
const buttons = { login: document.getElementById("login"), logout: document.getElementById("logout") };

/** Whether there is a token to log in by, and whether this browser has. */
export const access = { token: false, admin: false };
let changed = () => {};

/** `onChange` is called when `access` has changed, or a replica was. */
export async function begin(onChange) {
  changed = onChange;
  buttons.login.addEventListener("click", () => askForToken());
  buttons.logout.addEventListener("click", async () => {
    try { await agent.logout(); } finally { await look(); }
    announce("Logged out");
  });
  await look();
}

/** Asks the agent; a failure is none of the page's: the status tells it. */
export async function look() {
  try {
    const { token_configured, admin } = await agent.session();
    Object.assign(access, { token: token_configured, admin });
  } catch { return; }
  buttons.login.hidden = !access.token || access.admin;
  buttons.logout.hidden = !access.admin;
  changed();
}

const ACTS = {
  drain: {
    label: "Drain",
    what: (of) => `It gets no new connections. Its open connections (${of.flows}) go on until they end, and so do its probes.`,
  },
  maint: {
    label: "Maintenance",
    what: (of) => `It gets no new connections and no probes. Its open connections (${of.flows}) are reset, `
      + "unless the config says on_down = \"leave\". Drain it first to let them end.",
  },
  ready: {
    label: "Ready",
    what: () => "It ends drain and maintenance: the replica gets new connections as soon as its probes find it up.",
  },
  weight: {
    label: "Weight …",
    what: () => "Its share of new connections, in proportion to the other replicas. Open connections stay. 0: no new ones.",
  },
};

/** The buttons for a replica; nothing where nobody is logged in. */
export function actions(service, replica, admin) {
  if (!admin) return null;
  const order = replica.admin ?? ({ draining: "drain", maint: "maint" }[replica.state] ?? "ready");
  const fits = { drain: order !== "drain", maint: order !== "maint", ready: order !== "ready", weight: true };
  const made = Object.entries(ACTS).filter(([action]) => fits[action]).map(([action, act]) =>
    el("button", { type: "button", "data-action": action, text: act.label, onclick: () => confirm(action, service, replica) }));
  return el("div", { class: "actions" }, el("h4", { text: "Change" }), el("div", { class: "buttons" }, ...made));
}

function confirm(action, service, replica) {
  const act = ACTS[action];
  const weight = el("input", { type: "number", id: "weight", min: 0, max: 256, step: 1, required: true, value: replica.weight });
  const one = el("input", { type: "checkbox", id: "one-service" });
  const save = el("input", { type: "checkbox", id: "save" });
  const title = action === "weight" ? `Weight of ${replica.name}` : `${act.label.replace(" …", "")}: ${replica.name}?`;
  show(title, [
    el("p", { text: act.what(replica) }),
    action === "weight" ? el("p", {}, el("label", { for: "weight", text: "Weight, 0 to 256 " }), weight) : null,
    el("p", { class: "check" }, one, el("label", { for: "one-service", text: ` only in service ${service.name}, not in all that have it` })),
    action === "weight" && el("p", { class: "check" }, save, el("label", { for: "save", text: " write it into the config file, too" })),
  ], act.label.replace(" …", ""), async () => {
    const change = { action, replica: replica.name, service: one.checked ? service.name : null };
    // The others are orders for now, and the config has no words for them.
    if (action === "weight") Object.assign(change, { weight: weight.valueAsNumber, save: save.checked });
    await agent.changeReplica(change);
    announce(`${act.label.replace(" …", "")}: ${replica.name}: done`);
    changed();
  });
}

function askForToken() {
  const token = el("input", { type: "password", id: "token", required: true, autocomplete: "current-password", spellcheck: "false" });
  show("Log in", [
    el("p", { text: "The admin token is in the file that agent.admin_token_file names in the agent's config." }),
    el("p", {}, el("label", { for: "token", text: "Admin token " }), token),
  ], "Log in", async () => {
    await agent.login(token.value);
    token.value = "";
    await look();
    announce("Logged in");
  });
}

/** A dialogue that stays open, with the reason, where `act` fails. */
function show(title, content, verb, act) {
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const go = el("button", { type: "submit", class: "primary", text: verb });
  const cancel = el("button", { type: "button", text: "Cancel", onclick: () => dialog.close() });
  const form = el("form", { method: "dialog" }, el("h2", { id: "dialog-title", text: title }),
    ...content.filter(Boolean), error, el("div", { class: "buttons" }, cancel, go));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    error.hidden = true;
    try {
      await act();
      dialog.close();
    } catch (failure) {
      setText(error, `Not done: ${failure.message}`);
      error.hidden = false;
      // The session may have ended meanwhile.
      if (failure.status === 401) await look();
    } finally {
      go.disabled = false;
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
}
