"""Pairs in SQL against the same rules as a plain Python loop."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.pair_loop import loop_pairs
from models.base import digest
from models.errors import StorageError
from models.records import DATASETS, Judgment, Origin, Pair, PartRef, Response, Reversal
from models.settings import Pairs
from storage.pairs import BuiltPairs, build_pairs
from storage.parts import PartStore

VERDICTS = ["followed", "violated", "not_applicable", "unscored"]


def response(
    response_id: str,
    *,
    text: str = "",
    dialogue: str = "d1",
    turn: int = 1,
    sample: int = 0,
    origin: Origin = "sampled",
) -> Response:
    return Response(
        response_id=response_id,
        dialogue_id=dialogue,
        turn=turn,
        sample=sample,
        text=text or response_id,
        model="m",
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        origin=origin,
    )


def judge(of: Response, verdicts: str) -> list[Judgment]:
    """One judgment a letter: f, v, n or u."""
    words = {word[0]: word for word in VERDICTS}
    return [
        Judgment.model_validate(
            {
                "response_id": of.response_id,
                "constraint_id": f"{of.dialogue_id}-c{position}",
                "dialogue_id": of.dialogue_id,
                "turn": of.turn,
                "position": position,
                "verdict": words[letter],
                "reason": "",
                "judge": "code",
                "votes": 1,
            }
        )
        for position, letter in enumerate(verdicts)
        if letter != "-"
    ]


class Bench:
    def __init__(self, root: Path) -> None:
        self.store = PartStore(root)

    def build(
        self,
        responses: list[Response],
        judgments: list[Judgment],
        *,
        rules: Pairs | None = None,
        reversals: list[Reversal] | None = None,
        batch: int = 3,
        key: str = "pairs",
    ) -> BuiltPairs:
        reversal_parts = None if reversals is None else self._parts("reversals", reversals, batch)
        return build_pairs(
            self.store,
            digest(key),
            responses=self._parts("responses", responses, batch),
            judgments=self._parts("judgments", judgments, batch),
            reversals=reversal_parts,
            rules=rules,
        )

    def rows(self, built: BuiltPairs) -> list[dict[str, Any]]:
        return [pair.model_dump() for pair in self.store.read(built.part, Pair)]

    def _parts(self, dataset: str, records: list[Any], batch: int) -> list[PartRef]:
        assert dataset in DATASETS
        return [
            self.store.write(dataset, digest([dataset, start]), records[start : start + batch])
            for start in range(0, len(records), batch)
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def of_turn(*verdicts: str) -> tuple[list[Response], list[Judgment]]:
    responses = [response(f"r{sample}", sample=sample) for sample in range(len(verdicts))]
    return responses, [row for each, word in zip(responses, verdicts, strict=True) for row in judge(each, word)]


def test_two_that_differ_make_two_directed_pairs(bench: Bench) -> None:
    built = bench.build(*of_turn("fvv", "vfv"))
    assert bench.rows(built) == [
        {
            "pair_id": "r0-r1",
            "dialogue_id": "d1",
            "turn": 1,
            "chosen_id": "r0",
            "rejected_id": "r1",
            "reversed_ids": ["d1-c1", "d1-c2"],
            "margin": 2,
            "noise_case": 1,
        },
        {
            "pair_id": "r1-r0",
            "dialogue_id": "d1",
            "turn": 1,
            "chosen_id": "r1",
            "rejected_id": "r0",
            "reversed_ids": ["d1-c0", "d1-c2"],
            "margin": 2,
            "noise_case": 1,
        },
    ]
    assert built.counts.by_margin == {2: 2}
    assert built.counts.by_noise_case == {1: 2}


@pytest.mark.parametrize(
    ("one", "other", "case"),
    [
        ("fvv", "vfv", 1),
        ("ffv", "fvf", 2),
        ("fvv", "vff", 3),
        ("fffvv", "vvfff", 2),
        ("fffv", "vvff", 4),
        ("ffv", "fvv", 5),
        ("vvv", "fvv", 5),
        ("fff", "ffv", 6),
        ("vvv", "fff", 6),
        ("ffn", "fvn", 6),
        ("fn", "fv", 6),
        ("fnv", "fvf", 2),
    ],
)
def test_noise_cases_of_figure_1(bench: Bench, one: str, other: str, case: int) -> None:
    assert {pair["noise_case"] for pair in bench.rows(bench.build(*of_turn(one, other)))} == {case}


def test_only_what_is_violated_makes_a_difference(bench: Bench) -> None:
    built = bench.build(*of_turn("fn", "ff", "f-"))
    assert built.part.rows == 0
    assert built.counts.usable == 2
    assert built.counts.same_verdicts == 1


def test_what_does_not_apply_is_not_violated(bench: Bench) -> None:
    """The chosen of every pair violates nothing of its rewritten prompt, the rejected as much as the margin says."""
    words = ["".join(letters) for letters in product("fvn", repeat=3)]
    pairs = bench.rows(bench.build(*of_turn(*words)))
    broken = {}
    for (chosen, first), (rejected, second) in permutations(enumerate(words), 2):
        opposite = {"f": "v", "v": "f", "n": "n"}
        rewritten = [opposite[b] if a == "v" else b for a, b in zip(first, second, strict=True)]
        broken[f"r{chosen}-r{rejected}"] = rewritten.count("v")
    assert {pair["pair_id"]: pair["margin"] for pair in pairs} == {key: g for key, g in broken.items() if g}


def test_unscored_and_unjudged_make_no_pairs(bench: Bench) -> None:
    responses, judgments = of_turn("ff", "vu", "vv", "--")
    built = bench.build(responses, judgments)
    assert [pair["pair_id"] for pair in bench.rows(built)] == ["r0-r2", "r2-r0"]
    assert (built.counts.unscored, built.counts.unjudged) == (1, 1)


def test_a_contradiction_makes_no_pairs(bench: Bench) -> None:
    responses, judgments = of_turn("fv", "vf", "vv")
    built = bench.build(responses, judgments + judge(responses[0], "vv"))
    assert [pair["pair_id"] for pair in bench.rows(built)] == ["r1-r2", "r2-r1"]
    assert built.counts.contradicted == 1


def test_judgments_of_two_systems_are_not_mixed(bench: Bench) -> None:
    responses, judgments = of_turn("fv", "vv")
    judgments[-1] = judgments[-1].model_copy(update={"constraint_id": "another"})
    with pytest.raises(StorageError, match="dialogue d1 has two constraints in one position"):
        bench.build(responses, judgments)


def test_equal_texts_are_one_and_the_lowest_sample_stays(bench: Bench) -> None:
    responses = [response("b", text="same", sample=1), response("a", text="same", sample=2), response("c", sample=0)]
    judgments = judge(responses[0], "fv") + judge(responses[1], "vf") + judge(responses[2], "vv")
    built = bench.build(responses, judgments)
    assert [pair["pair_id"] for pair in bench.rows(built)] == ["b-c", "c-b"]
    assert built.counts.same_text == 1


def test_last_position_of_the_mask(bench: Bench) -> None:
    built = bench.build(*of_turn("f" * 63, "f" * 62 + "v"))
    assert [(pair["margin"], pair["reversed_ids"]) for pair in bench.rows(built)] == [(1, []), (1, ["d1-c62"])]


def test_without_a_verified_reversal_that_direction_is_impossible(bench: Bench) -> None:
    def reversal(position: int, *, verified: bool) -> Reversal:
        return Reversal(constraint_id=f"d1-c{position}", system_id="s", text="t", method="author", verified=verified)

    responses, judgments = of_turn("fv", "vf")
    built = bench.build(responses, judgments, reversals=[reversal(0, verified=False), reversal(1, verified=True)])
    assert [pair["pair_id"] for pair in bench.rows(built)] == ["r0-r1"]
    assert built.counts.irreversible == 1
    assert bench.build(responses, judgments, reversals=[], key="none").counts.irreversible == 2


def test_caps_keep_the_largest_margins(bench: Bench) -> None:
    responses, judgments = of_turn("fff", "ffv", "vvv")
    built = bench.build(responses, judgments, rules=Pairs(max_per_turn=3))
    assert [pair["pair_id"] for pair in bench.rows(built)] == ["r0-r2", "r1-r2", "r2-r0"]
    assert built.counts.capped == 3


def test_no_parts_make_an_empty_part(bench: Bench) -> None:
    built = build_pairs(bench.store, digest("x"), judgments=[], responses=[])
    assert bench.store.read(built.part, Pair) == []
    assert built.counts.directed == 0


def test_same_parts_same_bytes_and_lineage(bench: Bench) -> None:
    built = bench.build(*of_turn("fvv", "vfv", "ffv"))
    first = bench.store.path(built.part).read_bytes()
    assert bench.store.path(bench.build(*of_turn("fvv", "vfv", "ffv")).part).read_bytes() == first
    assert {ref.dataset for ref in bench.store.inputs(built.part)} == {"judgments", "responses"}


def test_damaged_and_missing_parts_are_named(bench: Bench) -> None:
    bench.build(*of_turn("fv", "vf"))
    parts = {name: PartRef(dataset=name, key=digest([name, 0]), rows=0) for name in ("judgments", "responses")}
    path = bench.store.path(parts["judgments"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StorageError, match=parts["judgments"].key):
        build_pairs(bench.store, digest("x"), judgments=[parts["judgments"]], responses=[parts["responses"]])
    path.unlink()
    with pytest.raises(StorageError, match="is missing"):
        build_pairs(bench.store, digest("x"), judgments=[parts["judgments"]], responses=[parts["responses"]])
    assert not bench.store.exists("pairs", digest("x"))
    assert os.listdir(bench.store.root / "tmp") == []


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Response], list[Judgment]]:
    responses, judgments = [], []
    for dialogue in draw(st.lists(st.sampled_from(["d1", "d2", "d-3"]), unique=True, max_size=3)):
        for turn in range(1, draw(st.integers(1, 3)) + 1):
            width = draw(st.integers(1, 5))
            for number in range(draw(st.integers(0, 6))):
                each = response(
                    # ids of different lengths: a dash sorts before digits
                    f"{dialogue}{turn}{'x' * (number % 3)}{number}",
                    text=draw(st.sampled_from(["a", "b", "ä", "c c", "d", "e", "f", "g"])),
                    dialogue=dialogue,
                    turn=turn,
                    # a refined response shares its number with the sample that it refines
                    sample=draw(st.integers(0, 5)),
                    origin=draw(st.sampled_from(["sampled", "refined"])),
                )
                responses.append(each)
                judgments += judge(each, "".join(draw(st.sampled_from("ffffvvvvnu-")) for _ in range(width)))
    return responses, judgments


@st.composite
def rule_sets(draw: st.DrawFn) -> Pairs:
    cap = st.none() | st.integers(1, 6)
    return Pairs(
        min_margin=draw(st.integers(1, 3)),
        max_per_turn=draw(cap),
        max_per_dialogue=draw(cap),
        refined=draw(st.sampled_from(["keep", "drop"])),
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(run=runs(), rules=rule_sets(), known=st.none() | st.sets(st.integers(0, 4)), small_blocks=st.booleans())
def test_sql_equals_the_plain_loop(
    folder: Path, run: tuple[list[Response], list[Judgment]], rules: Pairs, known: set[int] | None, small_blocks: bool
) -> None:
    responses, judgments = run
    reversals = None
    if known is not None:
        reversals = [
            Reversal(constraint_id=f"{d}-c{i}", system_id="s", text="t", method="code", verified=i in known)
            for d in ("d1", "d2", "d-3")
            for i in range(5)
        ]
    bench = Bench(folder)
    with pytest.MonkeyPatch.context() as patch:
        if small_blocks:
            patch.setattr("storage.pairs._BLOCK_PAIRS", 5)
        built = bench.build(responses, judgments, rules=rules, reversals=reversals, batch=20)
    given_to = [row for row in responses if rules.refined == "keep" or row.origin == "sampled"]
    expected, counts = loop_pairs(
        [row.model_dump() for row in judgments],
        [row.model_dump() for row in given_to],
        rules=rules,
        reversible=None if reversals is None else {row.constraint_id for row in reversals if row.verified},
    )
    assert bench.rows(built) == expected
    left_out = ["unjudged", "unscored", "contradicted", "same_text", "same_verdicts"]
    left_out += ["below_margin", "irreversible", "capped"]
    assert {name: getattr(built.counts, name) for name in left_out} == {name: counts[name] for name in left_out}
    assert (built.counts.responses, built.counts.refined) == (len(responses), len(responses) - len(given_to))
    assert built.counts.turns_with_pairs == len({(row["dialogue_id"], row["turn"]) for row in expected})
    assert sum(built.counts.by_margin.values()) == sum(built.counts.by_noise_case.values()) == len(expected)
