// One pair as a page: the rewritten prompt with its verdicts, the dialogue, the two responses.

import { make, quote } from "./dom.js";

const MARKS = { followed: "✓", violated: "✗", not_applicable: "–", unscored: "?" };
const WORDS = { followed: "followed", violated: "violated", not_applicable: "not applicable", unscored: "unscored" };
const SIDES = { chosen: "Chosen", rejected: "Rejected" };

export function renderPair(pair, caseLabel) {
  const reversed = pair.constraints.filter((constraint) => constraint.original !== null).length;
  return [
    make("h2", { dir: "auto", lang: pair.language }, pair.role),
    make("ul", { class: "facts" },
      fact(`turn ${pair.turn}`),
      fact(`margin ${pair.margin}`, "the constraints on which the two differ"),
      fact(`case ${caseLabel}`, "what the two would be under plain DPO"),
      pair.proven === null ? null : fact(pair.proven ? "✓ proven by the audit" : "✗ failed the audit"),
    ),
    section("prompt", `System prompt, ${reversed ? `${reversed} of ${pair.constraints.length} constraints reversed` : "nothing reversed"}`,
      quote("div", pair.opening, pair.language, { class: "opening tall", role: "region", "aria-label": "Role" }),
      renderConstraints(pair),
    ),
    section("dialogue", pair.turn > 1 ? "Dialogue so far" : "Query", ...renderDialogue(pair)),
    make("div", { class: "sides" }, ...Object.keys(SIDES).map((side) => renderResponse(pair[side], side, pair.language))),
    make("dl", { class: "origin whole" },
      ...term("run", pair.run), ...term("pair", pair.pair_id), ...term("dialogue", pair.dialogue_id), ...term("role", pair.role_id)),
  ];
}

function fact(text, title = null) {
  return make("li", { title }, text);
}

function section(name, title, ...children) {
  return make("section", { class: name, "aria-labelledby": `${name}-title` }, make("h3", { id: `${name}-title` }, title), ...children);
}

function term(name, value) {
  return [make("dt", {}, name), make("dd", {}, value)];
}

function renderConstraints(pair) {
  const heads = ["Constraint", ...Object.values(SIDES)];
  // the roles are said again: as blocks, on a narrow screen, the elements lose them
  return make("table", { role: "table" },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" },
      ...heads.map((head) => make("th", { role: "columnheader", scope: "col", class: head.toLowerCase() }, head)))),
    make("tbody", { role: "rowgroup" }, ...pair.constraints.map((constraint) => renderConstraint(constraint, pair.language))));
}

function renderConstraint(constraint, language) {
  const chips = [
    constraint.original === null ? null : make("span", { class: "chip reversed" }, `reversed by ${constraint.method}`),
    constraint.differs ? make("span", { class: "chip differs" }, "they differ") : null,
    constraint.triggered ? null : make("span", { class: "chip" }, "not triggered"),
    make("span", { class: "chip kind" }, constraint.kind),
  ];
  const text = constraint.original === null
    ? [quote("span", constraint.text, language)]
    : [make("p", {}, make("span", { class: "unseen" }, "Original: "), quote("del", constraint.original, language)),
       make("span", { class: "unseen" }, "Rewritten: "), quote("ins", constraint.text, language)];
  return make("tr", { role: "row", class: `${constraint.differs ? "differs" : ""} ${constraint.triggered ? "" : "idle"}`.trim() },
    make("th", { role: "rowheader", scope: "row" }, ...text, " ", ...chips),
    ...Object.keys(SIDES).map((side) => renderVerdict(constraint, side)));
}

function renderVerdict(constraint, side) {
  const verdict = constraint[side];
  const attributes = { role: "cell", "data-side": SIDES[side] };
  if (verdict === null) return make("td", { ...attributes, class: "none" }, "–");
  const split = verdict.split === null ? "" : `, ${describeVotes(verdict.split)}`;
  const judged = constraint.original === null ? null : make("span", { class: "judged" }, ` original ${WORDS[verdict.judged]}`);
  return make("td", { ...attributes, class: verdict.verdict },
    make("p", { class: "verdict" }, `${MARKS[verdict.verdict]} ${WORDS[verdict.verdict]}`, judged),
    make("p", { class: "reason" }, make("bdi", {}, verdict.reason), verdict.reason ? ` (${verdict.judge}${split})` : `${verdict.judge}${split}`));
}

function describeVotes(split) {
  const named = Object.entries(split).filter(([, votes]) => votes > 0);
  return `${named.map(([name, votes]) => `${votes} ${WORDS[name] ?? name}`).join(", ")}`;
}

let earlierOpen = true;

/** The query, below the earlier turns, which stay folded from pair to pair where they were. */
function renderDialogue(pair) {
  const rendered = pair.messages.map((message) => renderMessage(message, pair.language));
  const query = make("ol", { class: "messages" }, rendered.pop());
  if (rendered.length === 0) return [query];
  const turns = pair.turn === 2 ? "1 earlier turn" : `${pair.turn - 1} earlier turns`;
  const earlier = make("details", { open: earlierOpen }, make("summary", {}, turns),
    make("ol", { class: "messages earlier tall" }, ...rendered));
  earlier.addEventListener("toggle", () => { earlierOpen = earlier.open; });
  return [earlier, query];
}

function renderMessage(message, language) {
  const from = message.role === "user" ? "user" : `${message.model}${message.origin === "refined" ? ", refined" : ""}`;
  return make("li", { class: message.role },
    make("p", { class: "who" }, `turn ${message.turn} · ${from}`),
    quote("div", message.text, language));
}

function renderResponse(response, side, language) {
  const note = response.finish_reason === "stop" ? "" : `, ended by ${response.finish_reason}`;
  return make("section", { class: `response ${side}`, "aria-labelledby": `${side}-title` },
    make("h3", { id: `${side}-title` }, SIDES[side]),
    quote("div", response.text, language, { class: "answer tall", role: "region", "aria-label": `${SIDES[side]} response` }),
    make("dl", { class: "origin" },
      ...term("model", response.model),
      ...term("sample", `${response.sample}, ${response.origin}`),
      ...term("length", `${response.text.length.toLocaleString("en")} characters, ${response.tokens} tokens${note}`),
      ...term("response", response.response_id),
      ...term("part", response.part)));
}
