// The pair browser: asks the server for one pair after another, and for flags. The address holds what is shown.

import { byId, count, make } from "./dom.js";
import { renderPair } from "./pair.js";

const TYPING_MS = 150;
const main = byId("pair");
const form = byId("filters");
const names = [...form.elements].map((field) => field.name).filter(Boolean);

let run = { choices: {} };
let shown = null; // the last answer: pair, flag, number, total
let asking = new AbortController();
let sending = Promise.resolve();
let typing = 0;

async function ask(address, options = {}) {
  let reply;
  try {
    reply = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `rpo browse` still running?");
  }
  const answer = await reply.json().catch(() => ({ what: `The server answers ${reply.status}.` }));
  if (!reply.ok) throw new Error([answer.what, answer.safe, answer.next_step].filter(Boolean).join(" "));
  return answer;
}

/** Does something that may fail, and says so on the page. */
async function attempt(work) {
  try {
    await work();
    byId("error").hidden = true;
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("error").textContent = error.message;
    byId("error").hidden = false;
  }
}

function filters() {
  return Object.fromEntries(names.map((name) => [name, form.elements[name].value.trim()]).filter(([, value]) => value));
}

/** Shows the pair that `where` names (number, after, before or pair), or the first that matches the filters. */
function show(where = {}) {
  return attempt(async () => {
    asking.abort();
    asking = new AbortController();
    const asked = new URLSearchParams({ ...filters(), ...where });
    const answer = await ask(`/api/pair?${asked}`, { signal: asking.signal });
    // beyond the last or before the first: what is shown stays
    if (answer.pair === null && ("after" in where || "before" in where) && answer.total > 0) {
      say("after" in where ? "This is the last pair." : "This is the first pair.");
      return;
    }
    draw(answer);
  });
}

function draw(answer) {
  shown = answer;
  const { pair, number, total } = answer;
  if (pair === null) {
    main.replaceChildren(make("div", { class: "empty" }, ...renderNothing(total)));
  } else if (main.dataset.pair !== pair.pair_id) {
    main.replaceChildren(...renderPair(pair, caseLabel(pair.noise_case)));
    scrollTo(0, 0);
    for (const region of main.querySelectorAll(".tall")) {
      if (region.scrollHeight > region.clientHeight) region.tabIndex = 0;
    }
  }
  byId("number").value = number ?? 0;
  byId("total").textContent = count(total);
  byId("previous").disabled = !pair || number <= 1;
  byId("next").disabled = !pair || number >= total;
  byId("flag").disabled = !pair;
  drawFlag(answer.flag);
  drawFilters();
  const address = new URLSearchParams({ ...filters(), ...(pair ? { pair: pair.pair_id } : {}) });
  history.replaceState(null, "", `?${address}`);
  document.title = pair ? `${pair.role}, pair ${number} of ${total} · ${run.run}` : `No pair · ${run.run}`;
  say(pair ? `Pair ${count(number)} of ${count(total)}` : main.querySelector("h2").textContent);
  main.dataset.pair = pair?.pair_id ?? "";
  // changes with every answer that is drawn, for what watches the page
  main.dataset.answer = Number(main.dataset.answer ?? 0) + 1;
}

/** Why there is no pair to show, and what to do about it. */
function renderNothing(total) {
  const filtered = Object.keys(filters()).length > 0;
  if (total === 0 && !filtered) {
    return [make("h2", {}, "This run has no pairs"), make("p", {}, "Why not says the table exclusions: ",
      make("code", {}, 'rpo sql "select reason, what, count from exclusions"'))];
  }
  const button = make("button", { type: "button" }, total > 0 ? "Show the first pair" : "Reset the filters");
  button.addEventListener("click", () => (total > 0 ? show() : form.reset()));
  return [make("h2", {}, total > 0 ? "There is no such pair in this run" : "No pair matches"), button];
}

function caseLabel(noiseCase) {
  return run.choices.case?.find((choice) => choice.value === String(noiseCase))?.label ?? noiseCase;
}

function drawFlag(flag) {
  drawFlagged(flag !== null);
  if (flag === null) byId("note-line")?.remove();
  else if (!byId("note-line")) {
    const note = make("input", { id: "note", maxlength: 2000, autocomplete: "off", "aria-keyshortcuts": "m" });
    note.addEventListener("change", () => sendFlag(true, note.value));
    main.prepend(make("p", { id: "note-line" }, make("label", { for: "note" }, "⚑ Flagged. Why?"), note));
  }
  // what is being typed stays; where nothing is yet, somebody else's note is not to be typed over unseen
  if (flag && (document.activeElement?.id !== "note" || !byId("note").value)) byId("note").value = flag.note;
}

function drawFlagged(flagged) {
  byId("flag").setAttribute("aria-pressed", String(flagged));
  byId("flag-word").textContent = flagged ? "Flagged" : "Flag";
}

function drawFilters() {
  const active = Object.keys(filters()).length;
  byId("active").textContent = active ? `(${active})` : "";
  for (const name of names) form.elements[name].toggleAttribute("data-active", name in filters());
}

/** Sends what the flag is to be, after what was sent before: a note must not arrive before its flag. */
function sendFlag(flagged, note = null) {
  const pairId = shown?.pair?.pair_id;
  if (!pairId) return;
  const isShown = () => shown.pair?.pair_id === pairId;
  sending = sending.then(() => attempt(async () => {
    const body = JSON.stringify({ pair_id: pairId, flagged, note });
    try {
      const answer = await ask("/api/flag", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (isShown()) drawFlag((shown.flag = answer.flag));
      say(note !== null ? "Note kept" : flagged ? "Flagged" : "Flag taken off");
    } catch (error) {
      // the note stays to be sent again: without its field what is still being typed would be keys
      if (isShown()) drawFlagged(shown.flag !== null);
      throw error;
    }
  }));
}

function say(text) {
  byId("status").textContent = text;
}

const actions = {
  next: () => shown && show(shown.pair ? { after: shown.pair.place } : {}),
  previous: () => shown?.pair && show({ before: shown.pair.place }),
  // without a flag there is a note only where it could not be sent
  flag: () => sendFlag(shown?.flag === null, (shown?.flag === null && byId("note")?.value) || null),
  note: () => {
    if (!shown?.pair) return;
    // before the answer: the next keys are the note
    drawFlag(shown.flag ?? { note: "" });
    byId("note").focus();
    if (shown.flag === null) sendFlag(true);
  },
  search: () => {
    byId("panel").open = true;
    form.elements.text.select();
  },
  number: () => byId("number").select(),
  reset: () => form.reset(),
  help: () => byId("keys").open || byId("keys").showModal(),
};
const KEYS = {
  j: "next", ArrowRight: "next", k: "previous", ArrowLeft: "previous", f: "flag", m: "note",
  "/": "search", g: "number", r: "reset", "?": "help",
};

document.addEventListener("keydown", (event) => {
  // a box to tick takes no letters; that of the dialog still has the focus just after it is closed
  const field = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && field && !byId("keys").open) {
    field.blur();
    main.focus({ preventScroll: true });
  }
  const action = KEYS[event.key];
  if (!action || field || byId("keys").open || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key.length === 1 && !byId("shortcuts").checked) return;
  event.preventDefault();
  actions[action]();
});

byId("next").addEventListener("click", actions.next);
byId("previous").addEventListener("click", actions.previous);
byId("flag").addEventListener("click", actions.flag);
byId("help").addEventListener("click", actions.help);
byId("jump").addEventListener("submit", (event) => {
  event.preventDefault();
  const number = Number(byId("number").value.replaceAll(",", ""));
  const last = Math.max(1, shown?.total ?? 1);
  show({ number: Number.isInteger(number) ? Math.min(Math.max(number, 1), last) : (shown?.number ?? 1) });
  byId("number").blur();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  show();
});
form.addEventListener("reset", () => setTimeout(show));
form.addEventListener("change", (event) => event.target.name !== "text" && show());
form.elements.text.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(show, TYPING_MS);
});
byId("shortcuts").addEventListener("change", (event) => localStorage.setItem("shortcuts", event.target.checked ? "on" : "off"));
// another tab may have flagged it since
addEventListener("focus", () => shown?.pair && document.activeElement?.id !== "note" && show({ pair: shown.pair.pair_id }));

function fillChoices() {
  for (const name of names) {
    const field = form.elements[name];
    if (field.tagName !== "SELECT" || name === "flagged") continue;
    const options = (run.choices[name] ?? []).map((choice) => make("option", { value: choice.value }, `${choice.label} (${count(choice.pairs)})`));
    field.replaceChildren(make("option", { value: "" }, "Any"), ...options);
  }
}

function start() {
  return attempt(async () => {
    byId("shortcuts").checked = localStorage.getItem("shortcuts") !== "off";
    byId("panel").open = matchMedia("(min-width: 60rem)").matches;
    run = await ask("/api/run");
    byId("run").textContent = run.run;
    fillChoices();
    const address = new URLSearchParams(location.search);
    for (const name of names) form.elements[name].value = address.get(name) ?? "";
    const pair = address.get("pair");
    await show(pair ? { pair } : {});
  });
}

start();
