"""The algebra's laws, for every kind: exact complements, faithful texts, round trips, no text that breaks a check."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.constraints import ALL_CHECKS, BaseCheck, parse_check, render_constraint_text
from models.constraints.conflicts import conflicts
from models.constraints.states import CountCheck, FlagCheck
from models.constraints.triggers import QueryIsQuestion, QueryLongerThan, QueryMentions
from tests.strategies import FRAGMENTS, checks, checks_of, texts

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
QUERY = "How do I prune roses in winter? 怎么修剪玫瑰？"

laws = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
each_kind = pytest.mark.parametrize("kind", sorted(ALL_CHECKS))


def _examples(kind: str, number: int = 12) -> list[BaseCheck]:
    """Some checks of a kind, the same in every run."""
    found: list[BaseCheck] = []

    @settings(max_examples=number, deadline=None, derandomize=True, database=None)
    @given(check=checks_of(ALL_CHECKS[kind]))
    def collect(check: BaseCheck) -> None:
        found.append(check)

    collect()
    return found


@laws
@given(check=checks(), text=texts, query=texts)
def test_a_check_and_its_complement_never_agree(check: BaseCheck, text: str, query: str) -> None:
    verdict = check.follows(text, query)
    opposite = check.complement()
    assert opposite.kind == check.kind
    assert opposite.follows(text, query) is not verdict
    assert opposite.complement().follows(text, query) is verdict


@laws
@given(check=checks())
def test_a_check_and_its_complement_survive_json(check: BaseCheck) -> None:
    for state in (check, check.complement()):
        assert parse_check(state.model_dump_json()) == state
        assert parse_check(json.loads(state.model_dump_json())) == state


@laws
@given(check=checks())
def test_every_phrasing_is_a_sentence_of_its_own_and_differs_from_the_complement(check: BaseCheck) -> None:
    opposite = check.complement()
    assert check.phrasings >= 3
    for language in ("en", "zh"):
        own = [check.describe(language, phrasing) for phrasing in range(check.phrasings)]
        other = [opposite.describe(language, phrasing) for phrasing in range(check.phrasings)]
        assert len(set(own)) == len(own)
        assert not set(own) & set(other)
        assert check.describe(language, check.phrasings) == own[0]
        for sentence in own:
            assert sentence.strip() == sentence
            assert sentence[-1] in '.。"”'
            assert " None" not in sentence  # a field without a value


@each_kind
def test_real_and_odd_texts_are_decided_either_way(kind: str) -> None:
    samples = ["", " \n\t", *FRAGMENTS, "".join(FRAGMENTS)]
    for check in _examples(kind):
        opposite = check.complement()
        for text in samples:
            assert check.follows(text, QUERY) is not opposite.follows(text, QUERY)


@each_kind
def test_a_hundred_kilobytes_of_one_thing_take_no_time(kind: str) -> None:
    check = _examples(kind, 1)[0]
    # warm-up: models and profiles load once
    check.follows("Hello there.", QUERY)
    for piece in (*'aA*("“ \n#.1|`[-中<', "A ", "* ", ". ", "1,", "n'", "- "):
        text = piece * (100_000 // len(piece))
        start = time.process_time()
        check.follows(text, QUERY)
        assert time.process_time() - start < 3, repr(piece)


def _real_responses() -> Iterator[str]:
    path = SHARED / "ifeval" / "input_response_data_gpt4_20231107_145030.jsonl"
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line)["response"] for line in lines)
    table = pq.read_table(SHARED / "sysbench" / "dev100_tidy.parquet", columns=["response"])
    yield from (text for text in table["response"].unique().to_pylist()[:400] if text is not None)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"real responses are not at {SHARED}")
def test_complements_never_agree_on_real_responses() -> None:
    responses = random.Random(5).sample(list(_real_responses()), 150)
    kinds = {kind: _examples(kind, 4) for kind in ALL_CHECKS}
    for response in responses:
        for examples in kinds.values():
            for check in examples:
                assert check.follows(response, QUERY) is not check.complement().follows(response, QUERY)


@each_kind
def test_numbers_in_the_text_are_those_of_the_check(kind: str) -> None:
    for check in _examples(kind):
        if not isinstance(check, CountCheck):
            assert isinstance(check, FlagCheck)
            continue
        low = check.model_copy(update={"relation": "at_least", "count": 3, "upper": None})
        high = low.complement()
        assert (high.relation, high.count) == ("at_most", 2)
        assert "at least 3" in low.describe("en")
        assert "at most 2" in high.describe("en")
        assert "3" in low.describe("zh")
        assert "2" in high.describe("zh")


def test_at_least_forty_one_kinds_are_registered() -> None:
    assert len(ALL_CHECKS) >= 41
    assert all(cls.model_fields["kind"].default == kind for kind, cls in ALL_CHECKS.items())


@laws
@given(check=checks())
def test_a_check_conflicts_with_its_complement(check: BaseCheck) -> None:
    assert conflicts(check, check.complement())
    assert conflicts(check.complement(), check)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'comma_cuont'.*'comma_count'"):
        parse_check({"kind": "comma_cuont", "relation": "at_least", "count": 1})
    with pytest.raises(ValueError, match="count"):
        parse_check('{"kind": "comma_count", "relation": "at_least", "count": -1}')
    with pytest.raises(ValueError, match="JSON"):
        parse_check("{kind: comma_count")
    with pytest.raises(ValueError, match='"kind"'):
        parse_check("[]")


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [
        ("character_count", " 你好， 世界\n", 5),
        ("emoji_count", "😀 👩‍👩‍👧 🇨🇳 no", 3),
        ("number_count", "42 apples at 3.5 each: 1,000 and 4,5", 5),
        ("exclamation_count", "Hi! 好！", 2),
        ("question_count", "Why? 吗？", 2),
        ("comma_count", "a, b，c、d", 2),
        ("ellipsis_count", "Well... so…… and..", 2),
        ("dash_count", "a — b —— c", 2),
        ("parenthesis_count", "a (b) c（d） () (e(f))", 3),
        ("quotation_count", 'He said "yes" and “no” and 「也许」', 3),
        ("contraction_count", "I'm sure you don't know Tom's dog; they'd", 3),
        ("hashtag_count", "#a b#c ##d #新闻", 2),
        ("url_count", "see https://a.b/c and HTTP://d.e", 2),
        ("numbered_list_count", "1. a\n2) b\n3、丙\n3.5 kg\n4.", 3),
        ("heading_count", "# A\n## B\n#C\ntext # D", 2),
        ("bold_count", "**a** ** b ** **c d**", 2),
        ("code_block_count", "```py\nx\n```\n\n~~~\n```\n~~~\n```\nopen", 3),
        ("line_count", "a\n\n b\n \nc", 3),
        ("longest_line", "ab\n  abcd \n", 4),
        ("longest_sentence", "One two. Three four five! 你好吗？", 3),
        ("longest_word", "It is sunny", 5),
    ],
)
def test_what_is_counted(kind: str, text: str, number: int) -> None:
    check = parse_check({"kind": kind, "relation": "exactly", "count": number})
    assert check.follows(text)


@pytest.mark.parametrize(
    ("data", "follows", "breaks"),
    [
        ({"kind": "starts_with", "phrase": "Sure"}, "\nSure thing", "sure thing"),
        ({"kind": "starts_with", "phrase": "I"}, "I'm here", "In short"),
        ({"kind": "starts_with", "phrase": "I"}, "I", "I2"),
        ({"kind": "starts_with", "phrase": "你"}, "你好", "您好"),
        ({"kind": "ends_with_question"}, "Ok? \n", "Ok?)"),
        ({"kind": "ends_with_period"}, "好。", "好！"),
        ({"kind": "table"}, "| a | b |\n|---|:-:|\n| 1 | 2 |", "a | b\n--- "),
        ({"kind": "single_paragraph"}, "\n\na\nb\n\n", "a\n \nb"),
        ({"kind": "first_person", "language": "en"}, "As for me, no.", "i.e. Mein mystery"),
        ({"kind": "first_person", "language": "en"}, "MY DEAR", "i. MEIN"),
        ({"kind": "first_person", "language": "zh"}, "我们走", "你们走"),
        ({"kind": "second_person", "language": "en"}, "Thank YOU", "young"),
        ({"kind": "repeats_query_word", "language": "en"}, "Pruning? Prune it.", "How do I"),
        ({"kind": "repeats_query_word", "language": "zh"}, "修剪很简单", "修一修，剪一剪"),
        ({"kind": "ascii_only"}, "plain", "naïve"),
        ({"kind": "latin_letters"}, "用a写", "用数字1写"),
        ({"kind": "unique_sentence_starts"}, "I go. You stay.", "The dog. the cat."),
    ],
)
def test_what_holds(data: dict[str, object], follows: str, breaks: str) -> None:
    check = parse_check(data)
    assert check.follows(follows, QUERY)
    assert not check.follows(breaks, QUERY)


def test_triggers_see_whole_words_and_chinese_substrings() -> None:
    trigger = QueryMentions(words=["rose", "玫瑰", "Python", "C++"])
    assert trigger.fires("A ROSE!")
    assert trigger.fires("红玫瑰呢")
    assert trigger.fires("用Python写")
    assert trigger.fires("in C++?")
    assert not trigger.fires("prose and roses")
    assert QueryIsQuestion().fires("吗？")
    assert QueryLongerThan(characters=3).fires(" abcd ")
    assert not QueryLongerThan(characters=4).fires(" abcd ")
    assert QueryMentions(words=["a", "b", "c"]).describe("en") == 'When the user mentions "a", "b" or "c",'
    assert QueryMentions(words=["甲", "乙"]).describe("zh") == "当用户提到“甲”或“乙”时，"


@given(
    words=st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1), min_size=1),
    query=texts,
)
def test_triggers_decide_any_query(words: list[str], query: str) -> None:
    trigger = QueryMentions(words=[word[:60] for word in words][:20])
    assert trigger.fires(query) in (True, False)
    assert trigger.fires(trigger.words[0])


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Use at most 2 commas.", "use at most 2 commas."),
        ("Don't use commas.", "don't use commas."),
        ("JSON is required.", "JSON is required."),
        ("I must be named.", "I must be named."),
        ("English only, please.", "English only, please."),
        ('"Sure" comes first.', '"Sure" comes first.'),
        ("A list is needed.", "a list is needed."),
        ("U.S. spelling is needed.", "U.S. spelling is needed."),
        ("", ""),
    ],
)
def test_a_trigger_and_a_constraint_make_one_sentence(text: str, end: str) -> None:
    trigger = QueryMentions(words=["soil"])
    assert render_constraint_text(text, trigger, "en") == f'When the user mentions "soil", {end}'
    assert render_constraint_text(text, None, "en") == text
    assert render_constraint_text("请用逗号。", trigger, "zh") == "当用户提到“soil”时，请用逗号。"


def test_a_bound_without_a_complement_is_refused() -> None:
    for relation, count in (("at_least", 0), ("at_most", 100_000)):
        with pytest.raises(ValueError, match="complement"):
            parse_check({"kind": "comma_count", "relation": relation, "count": count})
    edge = parse_check({"kind": "comma_count", "relation": "at_most", "count": 99_999})
    assert parse_check(edge.complement().model_dump_json()) == edge.complement()
