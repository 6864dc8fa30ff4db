"""What users ask: drawn wishes, queries of a model, openings that vary."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from models.base import Language
from models.constraints import QueryIsQuestion, QueryLongerThan, QueryMentions, QuerySituation
from models.records import SystemProfile, Turn
from tasks.asking import MAX_REPHRASINGS, SMALL_TALK_SHARE, draw_wish, is_alike
from tasks.batch import Batch
from tasks.llm.prompts.user_query import MOODS
from tasks.playing import Dialogue, open_dialogue
from tests.tasks.answering import Start
from tests.tasks.played import QUESTIONS, constraint, inside, play, settings_for, system, user

LANGUAGES: list[Language] = ["en", "zh"]


def opened(data: Path, guide: SystemProfile, place: int = 0) -> Dialogue:
    batch = Batch("play_dialogues", settings_for(data, "http://127.0.0.1:1/v1", turns=5))
    return open_dialogue(batch, guide, user(guide.language), place)


def triggering(*ids: str) -> Turn:
    return Turn(
        dialogue_id="d", turn=1, system_id="s", user_id="u", query="?", triggered_ids=list(ids), reference="",
        reference_score=1, reference_model="m",
    )  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_a_user_model_the_seeds_questions_are_asked(
    tmp_path: Path, answer_with: Start, language: Language
) -> None:
    server = answer_with(lambda name, prompt: "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server, turns=3), system(language=language))
    opening = "Well, hello. " if language == "en" else "你好呀。"
    assert turns[0].query.startswith(opening)
    assert {turns[0].query.removeprefix(opening), *(t.query for t in turns[1:])} == set(QUESTIONS[language])
    assert not left_out and {name for name, _ in server.asked} == {"policy"}


def test_hints_prefer_what_has_not_been_triggered(tmp_path: Path) -> None:
    words = QueryMentions(words=["tide", "moon"])
    guide = system(
        constraint("a", words),
        constraint("b", QueryIsQuestion()),
        constraint("c", QuerySituation(situation="the user is cold")),
        constraint("d", QueryLongerThan(characters=5000)),
        constraint("e"),
        constraint("f", words),
    )
    numbers, first = Counter[int](), Counter[str]()
    for place in range(400):
        dialogue = opened(tmp_path, guide, place)
        dialogue.turns.append(triggering("id of b", "id of e"))
        wish = draw_wish(dialogue)
        assert wish == draw_wish(dialogue)
        assert wish.mood in MOODS["en"]
        if not wish.idea:
            assert not wish.bring_up
            continue
        assert wish.idea in QUESTIONS["en"]
        numbers[len(wish.bring_up)] += 1
        # nothing of what can hardly be brought about, and nothing twice
        assert not any("5000" in hint for hint in wish.bring_up) and len(set(wish.bring_up)) == len(wish.bring_up)
        first.update(wish.bring_up)
        # the question form has been triggered: it stands behind the two that have not
        assert not any("question mark" in hint for hint in wish.bring_up)
    assert set(numbers) == {1, 2}
    assert len(first) == 3, "either word, and the situation"
    everything = opened(tmp_path, guide)
    everything.turns.append(triggering(*(f"id of {name}" for name in "abcdef")))
    wishes = []
    for _ in range(5):
        everything.turns.append(everything.turns[0])
        everything.questions.append(everything.questions[0])
        wishes.append(draw_wish(everything))
    assert any(wish.bring_up for wish in wishes)


def test_a_tenth_is_small_talk_and_moods_change(tmp_path: Path) -> None:
    guide = system(constraint("a", QueryIsQuestion()))
    wishes = [draw_wish(opened(tmp_path, guide, place)) for place in range(1000)]
    assert abs(sum(not wish.idea for wish in wishes) / 1000 - SMALL_TALK_SHARE) < 0.03
    assert {wish.mood for wish in wishes} == set(MOODS["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_asks_and_sees_what_was_said(tmp_path: Path, answer_with: Start, language: Language) -> None:
    said = iter(
        ["Mud everywhere! 😀\nReally.", '"Boots cost how much"'] if language == "en" else ["全是泥！", "“靴子多少钱”"]
    )
    server = answer_with(lambda name, prompt: next(said) if name == "user" else "Left.")
    guide = system(constraint("Never say left.", QueryMentions(words=["harbour"])), language=language)
    turns, left_out, _ = play(settings_for(tmp_path, server, "user"), guide)
    queries = ["Mud everywhere!", "Boots cost how much"] if language == "en" else ["全是泥！", "靴子多少钱"]
    assert [turn.query for turn in turns] == queries
    assert [turn.repeats_opening for turn in turns] == [False, False] and not left_out
    one, other = server.prompts("user")
    assert "<dialogue" not in one and not any("Never say left" in prompt for prompt in (one, other))
    assert queries[0] in inside(other, "dialogue") and "Left." in inside(other, "dialogue")


@pytest.mark.parametrize(
    ("language", "one", "other", "alike"),
    [
        ("en", "How do I get there?", "How do you know?", True),
        ("en", "How long is it, then?", "How do you know?", False),
        ("en", "Hey, which way?", "hey! is it far?", True),
        ("en", "Whatever you say, fine.", "What a mess.", False),
        ("en", "So where is the old mill, please?", "So where was the old hill?", True),
        ("zh", "我想问一下去海边怎么走？", "我想问这里几点关门？", True),
        ("zh", "我想问一下去海边怎么走？", "海边远不远呀？", False),
        ("zh", "请问去海边该怎么走呢？", "那去海边该怎么走呢，远吗？", True),
        ("zh", "嗯，好吧", "嗯。还有呢", True),
    ],
)
def test_openings_that_are_alike(language: Language, one: str, other: str, alike: bool) -> None:
    assert is_alike(one, other, language) is is_alike(other, one, language) is alike


def test_a_repeated_opening_is_rephrased_and_looked_at_again(tmp_path: Path, answer_with: Start) -> None:
    said = iter(["How do I get there?", "How do I get back?", "How do we return?", "And the way back?"])
    server = answer_with(lambda name, prompt: next(said) if name == "user" else "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server, "user"), system())
    assert [turn.query for turn in turns] == ["How do I get there?", "And the way back?"]
    assert [turn.repeats_opening for turn in turns] == [False, False] and not left_out
    first, second = server.prompts("user")[2:]
    assert inside(first, "message") == "How do I get back?" and inside(first, "openings") == "- How do I get there"
    assert inside(second, "message") == "How do we return?" and inside(second, "tried") == "- How do I get back?"


def test_after_some_tries_the_last_stays_and_the_turn_says_so(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: "How do I know?" if name == "user" else "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server, "user", turns=3), system())
    assert [turn.query for turn in turns] == ["How do I know?"] * 3
    assert [turn.repeats_opening for turn in turns] == [False, True, True]
    # each try is a request of its own, though the answer stays the same
    assert len(server.prompts("user")) == len(set(server.prompts("user"))) == 3 + 2 * MAX_REPHRASINGS
    assert not left_out


def test_an_empty_answer_leaves_the_seeds_question(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(lambda name, prompt: " \n" if name == "user" else "Left.")
    turns, left_out, _ = play(settings_for(tmp_path, server, "user"), system())
    assert turns[0].query.startswith("Well, hello. ") and turns[1].query in QUESTIONS["en"]
    assert left_out == {("unreadable", "queries"): 2}


def test_a_user_who_cannot_be_asked_ends_only_the_own_dialogue(tmp_path: Path, answer_with: Start) -> None:
    server = answer_with(
        lambda name, prompt: None if name == "user" and "mute" in inside(prompt, "assistant") else "Onwards."
    )
    turns, left_out, _ = play(settings_for(tmp_path, server, "user"), system(name="mute"), system(name="guide"))
    assert {turn.system_id for turn in turns} == {"s-guide"} and len(turns) == 2
    assert left_out == {("failed", "dialogues"): 1}
