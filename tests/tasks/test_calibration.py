"""The judge measured where code knows: numbers by hand, what is drawn, and the gate."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from models.agreement import ALL, JudgeAgreement, measure_agreement, summarise_agreement
from models.records import Calibration, Exclusion, PartRef, Verdict
from models.settings import FactorySettings, Judging
from storage.parts import PartStore
from tasks.calibration import KindOf, calibrate_judge, find_poor_kinds, is_drawn, tally_calibrations
from tasks.judging import judge_responses
from tasks.pairing import build_pairs
from tests.tasks.judged import judge_that_says, make_system, say, settings_of, store_responses, store_reversals


def measured(**counts: int) -> JudgeAgreement:
    """Agreement from counts by the first letters of the check's and of the judge's verdict."""
    words: dict[str, Verdict] = {"f": "followed", "v": "violated", "n": "not_applicable", "u": "unscored"}
    return measure_agreement("k", "en", {(words[cell[0]], words[cell[1]]): count for cell, count in counts.items()})


def test_the_numbers_by_hand() -> None:
    # Observed 35/50 = 0.7; by chance 30/50 * 25/50 + 20/50 * 25/50 = 0.5; kappa (0.7 - 0.5) / (1 - 0.5)
    found = measured(ff=20, fv=10, vf=5, vv=15)
    assert (found.n, found.unscored, found.agreement) == (50, 0, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert (found.false_positive, found.false_negative) == (5 / 20, 10 / 30)


def test_not_applicable_and_unscored() -> None:
    # not_applicable: observed 6/10; by chance 0.5 * 0.3 + 0.5 * 0.5 = 0.4; kappa (0.6 - 0.4) / 0.6
    found = measured(ff=2, fv=1, fn=2, vv=4, vf=1, fu=3, vu=4)
    assert (found.n, found.unscored, found.agreement) == (10, 7, 0.6)
    assert found.kappa == pytest.approx(1 / 3)
    assert (found.false_positive, found.false_negative) == (1 / 5, 1 / 5)


def test_the_ends_of_kappa() -> None:
    assert measured(ff=7, vv=2).kappa == 1
    assert measured(fv=5, vf=5).kappa == -1
    assert measured(ff=4, fv=4, vf=4, vv=4).kappa == 0
    # a judge that always says followed agrees often and knows nothing
    yes = measured(ff=90, vf=10)
    assert (yes.agreement, yes.kappa, yes.false_positive, yes.false_negative) == (0.9, 0, 1, 0)
    # one verdict on both sides: kappa is 0/0
    same = measured(ff=8)
    assert (same.agreement, same.kappa, same.false_positive, same.false_negative) == (1, None, None, 0)
    none = measured(fu=2)
    assert (none.n, none.unscored, none.agreement, none.kappa) == (0, 2, None, None)


def test_the_summary_has_the_whole_first_then_kinds_and_languages() -> None:
    found = summarise_agreement(
        [
            ("a", "zh", "followed", "followed", 3),
            ("b", "en", "violated", "followed", 2),
            ("a", "en", "violated", "violated", 1),
        ]
    )
    assert [(item.kind, item.language, item.n) for item in found] == [
        (ALL, ALL, 6), (ALL, "en", 3), (ALL, "zh", 3), ("a", "en", 1), ("a", "zh", 3), ("b", "en", 2),
    ]  # fmt: skip
    assert found[0].agreement == pytest.approx(4 / 6)
    assert summarise_agreement([]) == []


def test_a_share_is_drawn_the_same_way_every_time() -> None:
    ids = [(f"r{response}", f"c{constraint}") for response in range(1000) for constraint in range(4)]
    drawn = {share: {place for place in ids if is_drawn(*place, share)} for share in (0.0, 0.05, 0.3, 1.0)}
    assert (len(drawn[0.0]), len(drawn[1.0])) == (0, 4000)
    assert 150 < len(drawn[0.05]) < 250
    assert drawn[0.05] < drawn[0.3]
    # not by response: one with a draw has no more of them than chance
    assert max(Counter(response for response, _ in drawn[0.05]).values()) <= 3


TEXTS = ["One.", "One, two. Three."]


def test_the_judge_is_asked_what_code_knows(tmp_path: Path) -> None:
    with judge_that_says(say("f", "v"), say("f", "v"), say("v", "f"), say("v", "n")) as server:
        store, settings = PartStore(tmp_path), settings_of(tmp_path, judge=server.base_url, calibration_share=1)
        kinds = ["no_comma", "style", "sentence_count"]
        systems = [make_system(kinds, "s", "en"), make_system(kinds, "t", "zh")]
        part = calibrate_judge.fn(settings, store_responses(store, systems, TEXTS))
        rows = store.read(part, Calibration)
        assert [(row.response_id, row.constraint_id, row.kind, row.language) for row in rows[:3]] == [
            ("d-s-0", "s-0", "no_comma", "en"),
            ("d-s-0", "s-2", "sentence_count", "en"),
            ("d-s-1", "s-0", "no_comma", "en"),
        ]
        assert [(row.by_code[0], row.by_judge[0]) for row in rows] == [
            ("f", "f"), ("f", "v"), ("v", "f"), ("v", "v"),
            ("f", "v"), ("f", "f"), ("v", "v"), ("v", "n"),
        ]  # fmt: skip
        assert {row.judge for row in rows} == {"referee"}
        assert server.requests == 4
        assert "demand 1" not in server.bodies[0]["messages"][-1]["content"].split("<constraints")[1]
        whole, english, chinese, *_ = tally_calibrations(rows)
        assert (whole.n, whole.agreement) == (8, 0.5)
        assert (english.language, english.agreement, english.kappa) == ("en", 0.5, 0)
        # by chance 0.5 * 0.25 + 0.5 * 0.5, as one of four is not_applicable
        assert (chinese.language, chinese.agreement) == ("zh", 0.5)
        assert chinese.kappa == pytest.approx(0.2)


def agreement(kind: str, language: str, n: int, kappa: float | None) -> JudgeAgreement:
    return JudgeAgreement(
        kind=kind, language=language, n=n, unscored=0, agreement=0.5, kappa=kappa, false_positive=0, false_negative=0
    )


def test_which_kinds_the_judge_is_not_trusted_with() -> None:
    found = [
        agreement(ALL, "en", 100, 0.3),
        agreement(ALL, "zh", 29, -1),
        agreement("style", "en", 30, 0.9),
        agreement("logic", "en", 29, 0.9),
        agreement("role", "en", 30, None),
    ]
    kinds: set[KindOf] = {("style", "en"), ("logic", "en"), ("content", "en"), ("role", "en"), ("content", "zh")}
    rules = Judging(min_kappa=0.6, min_calibrations=30)
    # style has passed, of logic too little is known, of Chinese nothing: no evidence is no verdict
    assert find_poor_kinds(kinds, found, rules) == [("content", "en"), ("logic", "en")]
    assert find_poor_kinds(kinds, found, Judging(min_kappa=0.3)) == []
    assert find_poor_kinds(kinds, found, Judging()) == []


def run(settings: FactorySettings, store: PartStore, calibrations: list[PartRef]) -> tuple[list[str], dict[str, int]]:
    """Ids of the pairs and counts of what is left out, of two systems: one that code decides, one for the judge too."""
    systems = [make_system(["no_comma", "style"]), make_system(["no_comma"], "t")]
    responses = store_responses(store, systems, TEXTS)
    judgments = judge_responses.fn(settings, responses)
    pairs = build_pairs.fn(settings, [responses], [judgments], [store_reversals(store, *systems)], calibrations)
    exclusions = store.find("exclusions", pairs.key)
    assert exclusions is not None
    left_out = {row.reason: row.count for row in store.read(exclusions, Exclusion)}
    return store.read_table(pairs)["pair_id"].to_pylist(), left_out


@pytest.mark.parametrize("good", [True, False])
def test_the_gate_keeps_a_poor_judge_out_of_the_pairs(tmp_path: Path, good: bool) -> None:
    with judge_that_says(say("f"), say("v")) as server:
        store, settings = PartStore(tmp_path), settings_of(tmp_path, judge=server.base_url, min_kappa=0.5)
        verdicts: list[Verdict] = ["followed", "violated"]
        rows = [
            Calibration(
                response_id=f"r{n}", constraint_id="c", kind="no_comma", language="en", by_code=verdicts[n % 2],
                by_judge=verdicts[n % 2 if good else 0], reason="", judge="referee",
            )
            for n in range(30)
        ]  # fmt: skip
        found, left_out = run(settings, store, [store.write("calibrations", f"{9:032x}", rows)])
        by_code, by_judge = ["d-t-0-d-t-1", "d-t-1-d-t-0"], ["d-s-0-d-s-1", "d-s-1-d-s-0"]
        assert found == ([*by_judge, *by_code] if good else by_code)
        assert (left_out["poor_judge"], left_out["unscored"]) == (0 if good else 2, 0)


def test_a_gate_without_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="min_kappa needs calibrations"):
        FactorySettings.model_validate(json.loads('{"judging": {"min_kappa": 0.6, "calibration_share": 0}}'))
