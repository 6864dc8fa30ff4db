"""IFEval's 25 instructions: agreement with the reference on real responses, edges, complements, texts, time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import process_time
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from models.constraints import Check
from models.constraints import text as measuring
from models.constraints.base import BaseCheck
from models.constraints.case import AllCapitals, AllLowerCase, CapitalWordCount
from models.constraints.combination import EndsWith, NoComma, Postscript, Quoted, RepeatPrompt, TwoResponses
from models.constraints.formats import (
    BulletCount,
    HighlightCount,
    JsonFormat,
    PlaceholderCount,
    SectionCount,
    Title,
)
from models.constraints.ifeval import IFEVAL_KINDS, check_from_ifeval, follows_loose, follows_strict
from models.constraints.keywords import ForbiddenWords, KeywordCount, KeywordPresent, LetterCount, OneOf
from models.constraints.languages import LANGUAGE_NAMES, ResponseLanguage
from models.constraints.lengths import FirstWordOfParagraph, ParagraphCount, SentenceCount, WordCount
from models.constraints.states import CountedCheck

LABELS = Path(__file__).parents[2].parent / "shared" / "data" / "ifeval" / "labelled_gpt4.parquet"

# the reference draws a random letter for "#" and "!": the one instruction of each of these prompts that is left out
UNUSABLE = {(key, "keywords:letter_frequency") for key in (1122, 1129)}

# (key, instruction id, strict or loose) -> why our verdict may differ from the reference's
DIFFERENCES: dict[tuple[int, str, str], str] = {}

AT_LEAST_2: dict[str, Any] = {"relation": "at_least", "count": 2}
SAMPLES: list[BaseCheck] = [
    WordCount(**AT_LEAST_2),
    SentenceCount(**AT_LEAST_2),
    ParagraphCount(paragraphs=2),
    FirstWordOfParagraph(paragraphs=2, nth=2, word="then"),
    KeywordPresent(keywords=("a", "C++")),
    ForbiddenWords(forbidden=("a", "}{")),
    KeywordCount(keyword="a", **AT_LEAST_2),
    LetterCount(letter="a", **AT_LEAST_2),
    OneOf(statements=("yes", "no")),
    PlaceholderCount(**AT_LEAST_2),
    BulletCount(**AT_LEAST_2),
    HighlightCount(**AT_LEAST_2),
    SectionCount(marker="Section", **AT_LEAST_2),
    JsonFormat(),
    Title(),
    CapitalWordCount(**AT_LEAST_2),
    AllCapitals(),
    AllLowerCase(),
    ResponseLanguage(language="fr"),
    Postscript(marker="P.P.S"),
    TwoResponses(),
    RepeatPrompt(),
    EndsWith(phrase="The end."),
    Quoted(),
    NoComma(),
]
KINDS = [check.kind for check in SAMPLES]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    if not LABELS.exists():
        pytest.skip(f"the labelled responses are not on this machine: {LABELS}")
    table: list[dict[str, Any]] = pq.read_table(LABELS).to_pylist()
    return table


def _usable(row: dict[str, Any]) -> bool:
    return (row["key"], row["instruction_id"]) not in UNUSABLE


def _check(row: dict[str, Any]) -> BaseCheck:
    return check_from_ifeval(row["instruction_id"], json.loads(row["kwargs"]), row["prompt"])


def test_verdicts_are_the_references(rows: list[dict[str, Any]]) -> None:
    # followed_* hold the verdicts; agreed_* only say whether the reference checkers agreed on them
    disputed = [row for row in rows if not (row["agreed_strict"] and row["agreed_loose"])]
    assert {(row["key"], row["instruction_id"]) for row in disputed} == UNUSABLE
    found = set()
    usable = [row for row in rows if _usable(row)]
    for row in usable:
        check = _check(row)
        if follows_strict(check, row["response"], row["prompt"]) != row["followed_strict"]:
            found.add((row["key"], row["instruction_id"], "strict"))
        if follows_loose(check, row["response"], row["prompt"]) != row["followed_loose"]:
            found.add((row["key"], row["instruction_id"], "loose"))
    assert len(usable) == 832
    assert found == set(DIFFERENCES)


def test_totals_are_the_published_ones(rows: list[dict[str, Any]]) -> None:
    prompts: dict[int, list[bool]] = {}
    for row in rows:
        follows = _usable(row) and follows_strict(_check(row), row["response"])
        prompts.setdefault(row["key"], []).append(follows)
    assert (sum(map(sum, prompts.values())), len(rows)) == (697, 834)
    assert (sum(map(all, prompts.values())), len(prompts)) == (416, 541)


def test_complements_are_exact_on_real_responses(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if not _usable(row):
            continue
        check, response = _check(row), row["response"]
        assert check.complement().follows(response) != check.follows(response), (row["key"], check)


def test_the_25_instructions_are_25_kinds() -> None:
    assert len(IFEVAL_KINDS) == len(set(IFEVAL_KINDS.values())) == 25
    assert {type(check) for check in SAMPLES} == set(IFEVAL_KINDS.values())


EDGES = [
    "",
    " ",
    "\n\n\n",
    "a",
    "\ud800",
    "\x00",
    "[",
    "***",
    "******",
    '"',
    "<<>>",
    "[" * 5000,
    "a b\udfff. A!",
    "好。",
]


@pytest.mark.parametrize("check", SAMPLES, ids=KINDS)
def test_total_and_exactly_complementary_on_edges(check: BaseCheck) -> None:
    for response in EDGES:
        assert check.complement().follows(response, "q") is (not check.follows(response, "q"))
    assert check.complement().complement() == check


@pytest.mark.parametrize("check", SAMPLES, ids=KINDS)
def test_survives_json(check: BaseCheck) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Check)
    assert adapter.validate_json(check.model_dump_json()) == check


HOSTILE = [mark * 100_000 for mark in "aA1 \n\t*-[<\"'`.!?,:@{#\\_好"] + [
    pair * 50_000 for pair in ("* ", "\n*", "a.", "A'", "[]", "<>", "? ", ". ", "\n-", "A@", "p.", '\\"', "\n ")
]


@pytest.mark.parametrize("check", SAMPLES, ids=KINDS)
def test_decides_hostile_text_quickly(check: BaseCheck) -> None:
    check.follows("Warm up the models.")
    # a capital in front takes the short way out from the capital words
    for response in [*HOSTILE, *("A" + text for text in HOSTILE)]:
        start = process_time()
        check.follows(response, "a")
        # processor time of this process: the machine may be busy; quadratic time would take minutes
        assert process_time() - start < 10, (check.kind, response[:4])


@pytest.mark.parametrize(
    ("check", "response", "expected"),
    [
        (WordCount(relation="exactly", count=2), "don't", True),
        (SentenceCount(relation="exactly", count=2), "Dr. Smith went home. He was tired.", True),
        (SentenceCount(relation="exactly", count=2), "Wow!!!", True),
        (SentenceCount(relation="at_most", count=0), "", True),
        (ParagraphCount(paragraphs=2), "***\na\n***\nb\n***", True),
        (ParagraphCount(paragraphs=2), "a *** *** b", False),
        (FirstWordOfParagraph(paragraphs=2, nth=2, word="Then"), 'First.\n\n"then, so', True),
        (FirstWordOfParagraph(paragraphs=2, nth=2, word="then"), "a\n\n\n\nthen", False),
        (KeywordPresent(keywords=("C++", "cat")), "Concatenate in c++", True),
        (KeywordPresent(keywords=("C++",)), "CCC", False),
        (ForbiddenWords(forbidden=("cat",)), "Concatenate", True),
        (ForbiddenWords(forbidden=("cat",)), "A CAT.", False),
        (ForbiddenWords(forbidden=("禁用",)), "我禁用他", False),
        (KeywordCount(keyword="a", relation="exactly", count=3), "Banana", True),
        (LetterCount(letter="a", relation="exactly", count=2), "Aha", True),
        (OneOf(statements=("Yes.", "No.")), "I say: No.", True),
        (OneOf(statements=("Yes.", "No.")), "no.", False),
        (PlaceholderCount(relation="exactly", count=2), "[a] [[b] [c\n]", True),
        (BulletCount(relation="exactly", count=2), "* a\n\n  - b\n**c**", True),
        (HighlightCount(relation="exactly", count=2), "*a* and **b** but * * and ****", True),
        (SectionCount(marker="Section", relation="exactly", count=2), "Section 1 x Section2 section 3", True),
        (JsonFormat(), '```json\n{"a": 1}\n```', True),
        (JsonFormat(), "9" * 5000, True),
        (JsonFormat(), "[" * 150 + "]" * 150, True),
        (JsonFormat(), "[" * 300 + "]" * 300, False),
        (JsonFormat(), "Sure: {}", False),
        (Title(), "<<a>>", True),
        (Title(), "<< >>", False),
        (Title(), "<<a\n>>", False),
        (CapitalWordCount(relation="exactly", count=2), "DON'T stop", True),
        (CapitalWordCount(relation="exactly", count=1), "a WELL-KNOWN man", True),
        (AllCapitals(), "THIS IS AN ENGLISH SENTENCE.", True),
        (AllCapitals(), "123", False),
        (AllLowerCase(), "this is an english sentence.", True),
        (AllLowerCase(), "ceci est une phrase en langue française.", False),
        (ResponseLanguage(language="fr"), "Ceci est une phrase en français.", True),
        (ResponseLanguage(language="zh"), "今天天气很好，我们一起去公园散步吧。", True),
        (ResponseLanguage(language="fr"), "123", True),
        (Postscript(marker="P.P.S"), "x\np. p.s. y", True),
        (Postscript(marker="P.S."), "x\nPS y", False),
        (Postscript(marker="(N.B.)"), "x (n.b.) y", True),
        (TwoResponses(), "a\n******\nb", True),
        (TwoResponses(), "a******a", False),
        (TwoResponses(), "a****** ******b", False),
        (RepeatPrompt(request=" Say it. "), "say IT. Done.", True),
        (EndsWith(phrase="The end."), '"So. the end."', True),
        (Quoted(), ' "a" ', True),
        (Quoted(), '"', False),
        (NoComma(), "a，b", True),
        (NoComma(), "a,b", False),
    ],
)
def test_edges(check: BaseCheck, response: str, expected: bool) -> None:
    assert check.follows(response) is expected


def test_repeats_the_query() -> None:
    assert RepeatPrompt().follows("hello there, friend", "Hello there")
    assert not RepeatPrompt().follows("Hi", "Hello there")


def test_strict_and_loose() -> None:
    assert not follows_strict(NoComma(), " ")
    assert not follows_loose(NoComma(), " ")
    assert not follows_strict(NoComma(), "Sure, here:\nText")
    assert follows_loose(NoComma(), "Sure, here:\nText")
    assert follows_loose(Quoted(), '**"Text"**')
    assert not follows_loose(NoComma(), "a, b\nc, d\ne, f")


@pytest.mark.parametrize("check", SAMPLES, ids=KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_describes_itself_and_its_complement(check: BaseCheck, language: Any) -> None:
    every = range(check.phrasings)
    texts = [state.describe(language, n) for state in (check, check.complement()) for n in every]
    assert len(set(texts)) == 2 * check.phrasings >= 6
    assert check.describe(language, check.phrasings) == texts[0]
    for text in texts:
        assert text[-1] in '.。":：”', text
        assert "  " not in text
        assert language == "en" or any("\u4e00" <= char <= "\u9fff" for char in text)
        assert language == "zh" or text[0].isupper() or text[0] == '"', text


def test_describes_bounds_in_numbers_that_fit() -> None:
    three = PlaceholderCount(relation="at_least", count=3)
    assert three.describe("en").startswith("Use at least 3 placeholders in")
    assert three.complement().describe("en").startswith("Use at most 2 placeholders in")
    assert "at least 1 word." in WordCount(relation="at_least", count=1).describe("en")
    assert WordCount(relation="at_most", count=1).describe("zh").startswith("请用至多1个单词")
    none = KeywordCount(keyword="{x}", relation="at_most", count=0)
    assert none.describe("en", 1).startswith('"{x}" must not appear')
    assert "0" not in none.describe("zh")
    assert Title().complement().describe("en").startswith("Do not include a title")
    assert FirstWordOfParagraph(paragraphs=3, nth=2, word="so").describe("en").count("2nd") == 1
    assert "all" not in KeywordPresent(keywords=("x",)).describe("en")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"relation": "between", "count": 0, "upper": 4}, "at most 4 words"),
        ({"relation": "outside", "count": 0, "upper": 4}, "at least 5 words"),
        ({"relation": "between", "count": 2, "upper": 2}, "exactly 2 words"),
        ({"relation": "not_exactly", "count": 0}, "at least 1 word"),
        ({"relation": "not_exactly", "count": 3}, "any number of words except 3"),
        ({"relation": "outside", "count": 1, "upper": 4}, "fewer than 1 word or more than 4 words"),
    ],
)
def test_says_a_bound_plainly(state: dict[str, Any], said: str) -> None:
    check = WordCount(**state)
    assert isinstance(check, CountedCheck)
    assert check.describe("en") == f"Answer in {said}."


@pytest.mark.parametrize(
    ("instruction_id", "kwargs", "message"),
    [
        ("keywords:nothing", {}, "none of IFEval's 25"),
        ("keywords:letter_frequency", {"letter": "#", "let_relation": "at least", "let_frequency": 4}, "letter"),
        ("keywords:letter_frequency", {"letter": "a", "let_relation": "near", "let_frequency": 4}, "near"),
        ("keywords:existence", {"keywords": None}, "'keywords' is missing"),
        ("length_constraints:number_words", {"relation": "less than", "num_words": 0}, "greater than or equal"),
        ("length_constraints:number_words", {"relation": "at least", "num_words": 0}, "no complement"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "a"},
            "does not exist",
        ),
        ("combination:repeat_prompt", {}, "prompt_to_repeat"),
    ],
)
def test_refuses_what_makes_no_check(instruction_id: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_from_ifeval(instruction_id, kwargs, "the prompt")


def test_less_than_leaves_the_bound_out() -> None:
    check = check_from_ifeval("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "")
    assert check == WordCount(relation="at_most", count=2)


def test_every_language_has_names_and_is_detectable() -> None:
    assert len(LANGUAGE_NAMES) == 56
    assert LANGUAGE_NAMES["pa"][0] == "Punjabi"
    assert LANGUAGE_NAMES["zh-tw"] == ("Traditional Chinese", "繁体中文")
    assert set(LANGUAGE_NAMES) - {"zh"} == set(measuring._language_detectors().get_lang_list())


def test_language_is_the_same_on_every_thread() -> None:
    measuring._load_detectors.cache_clear()
    measuring._detected.cache_clear()
    text = "Il était une fois, a mixed text mit ein paar Wörtern."
    with ThreadPoolExecutor(8) as pool:
        first = set(pool.map(measuring._detected.__wrapped__, [text] * 16))
    assert len(first) == 1
    assert first == {measuring.detect_language(text)}
