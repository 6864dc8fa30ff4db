"""A small run whose models wrote what a page must not trip over, made by the project's own writers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, get_args

from models.base import digest
from models.constraints import parse_check
from models.records import (
    Audit,
    Constraint,
    Judgment,
    Pair,
    Response,
    Reversal,
    SystemProfile,
    Turn,
    Verdict,
    VoteSplit,
)
from models.settings import Pairs
from storage.manifests import Manifest, save
from storage.pairs import build_pairs
from storage.parts import PartStore
from storage.roots import Root

RUN: Final = "nasty"
SCRIPT: Final = "</div></script><script>window.pwned = 1</script><script src='/assets/pwned.js'></script>"
MARKUP: Final = "<img src=x onerror='window.pwned = 2'><b>bold</b> &amp; {{7*7}} <style>*{display:none}</style>"
ARABIC: Final = "مرحبا بالعالم، هذا نص من اليمين إلى اليسار \u202egnp.exe"
EMOJI: Final = "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \U0001f9d1\U0001f3ff‍🚀 中文，也在这里。\u0000\u0007"
LONG: Final = "Wort " * 3_000 + "x" * 5_000
TEXTS: Final = (SCRIPT, MARKUP, ARABIC, EMOJI, LONG)
KINDS: Final = ("no_comma", "word_count", "style", "tone")
LETTERS: dict[str, Verdict] = {name[0]: name for name in get_args(Verdict)}
# a letter a constraint: followed, violated, not applicable; no two responses alike
VERDICTS: Final = ("ffff", "vfff", "fvvf", "vvvv", "fnfv")


def make_browsed(root: Root) -> list[Pair]:
    """Write the run; returns its pairs."""
    store = PartStore(root)
    store.ensure_schemas()
    systems = [_system("one"), _system("two", '<i>Guide</i> & "two"')]
    system_part = store.write("systems", digest("systems"), systems)
    turns = [_turn(system, number) for system in systems for number in (1, 2)]
    turn_part = store.write("turns", digest("turns"), turns, inputs=[system_part])
    responses = [_response(turn, sample) for turn in turns for sample in range(len(TEXTS))]
    response_part = store.write("responses", digest("responses"), responses, inputs=[turn_part])
    by_id = {system.system_id: system for system in systems}
    judged = [
        verdict
        for response in responses
        for verdict in _judge(response, by_id[response.dialogue_id.removeprefix("d-")].constraints)
    ]
    judgment_part = store.write("judgments", digest("judgments"), judged, inputs=[response_part])
    reversals = [_reversal(system, constraint) for system in systems for constraint in system.constraints]
    reversal_part = store.write("reversals", digest("reversals"), reversals, inputs=[system_part])
    built = build_pairs(
        store, digest("pairs"), judgments=[judgment_part], responses=[response_part], reversals=[reversal_part],
        rules=Pairs(),
    ).part  # fmt: skip
    pairs = store.read(built, Pair)
    audits = [
        Audit(pair_id=pair.pair_id, passed=True, chosen_violated=0, rejected_violated=pair.margin, undecided=2)
        for pair in pairs
    ]
    audit_part = store.write("audits", digest("audits"), audits, inputs=[built, response_part, reversal_part])
    parts = [system_part, turn_part, response_part, judgment_part, reversal_part, built, audit_part]
    now = datetime.now(UTC)
    save(root, Manifest(run=RUN, settings_hash="", settings={}, started_at=now, status="complete", parts=parts))
    return pairs


def _system(system_id: str, name: str = "Guide") -> SystemProfile:
    checks = {
        "no_comma": parse_check({"kind": "no_comma"}),
        "word_count": parse_check({"kind": "word_count", "relation": "at_least", "count": 5}),
    }
    constraints = [
        Constraint(
            constraint_id=digest([system_id, kind], length=16), text=f"Demand {kind}, <u>please</u>.", kind=kind,
            check=checks.get(kind),
        )
        for kind in KINDS
    ]  # fmt: skip
    return SystemProfile(
        system_id=system_id, role_id=f"role_{system_id}", language="en", name=name, description="Shows the way.",
        skills=["maps"], questions=[], author="author", constraints=constraints,
    )  # fmt: skip


def _turn(system: SystemProfile, number: int) -> Turn:
    return Turn(
        dialogue_id=f"d-{system.system_id}", turn=number, system_id=system.system_id, user_id="u",
        query=f"Where is number {number}? <script>window.pwned = 3</script>",
        triggered_ids=[constraint.constraint_id for constraint in system.constraints],
        reference=f"There, {number}. {MARKUP}", reference_score=1, reference_model="responder",
    )  # fmt: skip


def _response(turn: Turn, sample: int) -> Response:
    return Response(
        response_id=digest([turn.dialogue_id, turn.turn, sample], length=16), dialogue_id=turn.dialogue_id,
        turn=turn.turn, sample=sample, text=TEXTS[sample], model="policy<b>", finish_reason="stop", prompt_tokens=1,
        completion_tokens=7, origin="refined" if sample == 4 else "sampled",
    )  # fmt: skip


def _judge(response: Response, constraints: Sequence[Constraint]) -> list[Judgment]:
    given = [LETTERS[letter] for letter in VERDICTS[response.sample]]
    return [
        Judgment(
            response_id=response.response_id, constraint_id=constraint.constraint_id, dialogue_id=response.dialogue_id,
            turn=response.turn, position=position, verdict=verdict, votes=1,
            reason="decided by the check" if constraint.check else f"because <b>{verdict}</b>",
            judge="code" if constraint.check else "referee",
            split=None if constraint.check else _split(verdict),
        )
        for position, (constraint, verdict) in enumerate(zip(constraints, given, strict=True))
    ]  # fmt: skip


def _split(verdict: Verdict) -> VoteSplit:
    return VoteSplit(**{"followed": 0, "violated": 0, "not_applicable": 0, "unreadable": 0, verdict: 1})


def _reversal(system: SystemProfile, constraint: Constraint) -> Reversal:
    return Reversal(
        constraint_id=constraint.constraint_id, system_id=system.system_id,
        text=f"Never {constraint.kind}, <s>ever</s>.",
        check=constraint.check.complement() if constraint.check else None,
        method="code" if constraint.check else "author", verified=True,
    )  # fmt: skip
