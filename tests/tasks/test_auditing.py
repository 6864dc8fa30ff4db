"""The audit with a judge model: under the rewritten prompt, in calls of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.records import Audit, Pair
from models.settings import FactorySettings
from storage.parts import PartStore
from tasks.auditing import audit_pairs
from tasks.judging import judge_responses
from tasks.pairing import build_pairs
from tests.tasks.judged import judge_that_says, make_system, say, settings_of, store_responses, store_reversals

KINDS = ["sentence_count", "style"]
# the first follows style and the second does not; code sees one sentence, then two
TEXTS = ["One.", "One. Two."]


def audited(settings: FactorySettings) -> tuple[list[Pair], list[Audit]]:
    store = PartStore(settings.data_dir)
    system = make_system(KINDS)
    responses, reversals = store_responses(store, [system], TEXTS), store_reversals(store, system)
    judgments = judge_responses.fn(settings, responses)
    pairs = build_pairs.fn(settings, [responses], [judgments], [reversals], [])
    return store.read(pairs, Pair), store.read(audit_pairs.fn(settings, pairs, responses, reversals), Audit)


@pytest.mark.parametrize(
    ("second_look", "passed"),
    [
        # with both reversed the chosen is perfect and the rejected fails both
        ([say("f", "f"), say("v", "v")], [True, True]),
        # the judge, under the rewritten prompt, says otherwise
        ([say("v", "f"), say("v", "v")], [True, False]),
        # unreadable is undecided, however often it was asked again
        (["nothing", say("v", "v"), "nothing", "nothing"], [True, False]),
    ],
)
def test_a_pair_is_judged_again_under_its_rewritten_prompt(
    tmp_path: Path, second_look: list[str], passed: list[bool]
) -> None:
    first_look = [say("f"), say("v")]
    # The first pair reverses nothing: its prompt was judged before, and the call cache answers. In the second both
    # are reversed, and these reversals have no check.
    with judge_that_says(*first_look, *second_look) as server:
        pairs, audits = audited(settings_of(tmp_path, judge=server.base_url))
    assert [pair.margin for pair in pairs] == [2, 2]
    by_id = {audit.pair_id: audit.passed for audit in audits}
    first = next(pair for pair in pairs if not pair.reversed_ids)
    second = next(pair for pair in pairs if pair.reversed_ids)
    assert [by_id[first.pair_id], by_id[second.pair_id]] == passed


def test_without_a_judge_what_has_no_check_is_undecided(tmp_path: Path) -> None:
    with judge_that_says(say("f"), say("v")) as server:
        settings = settings_of(tmp_path, judge=server.base_url)
        store = PartStore(tmp_path)
        system = make_system(KINDS)
        responses, reversals = store_responses(store, [system], TEXTS), store_reversals(store, system)
        judgments = judge_responses.fn(settings, responses)
        pairs = build_pairs.fn(settings, [responses], [judgments], [reversals], [])
    audits = store.read(audit_pairs.fn(settings_of(tmp_path), pairs, responses, reversals), Audit)
    assert [audit.passed for audit in audits] == [False, False]
    assert all(audit.undecided for audit in audits)


def test_a_batch_whose_dialogues_all_ended_early_has_nothing_to_audit(tmp_path: Path) -> None:
    settings, store = settings_of(tmp_path), PartStore(tmp_path)
    responses, reversals = store_responses(store, [], TEXTS), store_reversals(store)
    pairs = build_pairs.fn(settings, [responses], [judge_responses.fn(settings, responses)], [reversals], [])
    assert audit_pairs.fn(settings, pairs, responses, reversals).rows == 0
