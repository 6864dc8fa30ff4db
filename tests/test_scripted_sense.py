"""The scripted model's answers make sense to the factory: usable, in the right language, of one mind."""

import functools
import json
import random
from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel

from models.base import Language
from models.constraints import QueryMentions, QuerySituation, Trigger
from models.constraints.proposals import read_check
from models.records import Constraint, PersonaSeed, RoleSeed, SystemProfile
from tasks.llm.answers import read_answer, schema_text
from tasks.llm.prompts import critic, judge, reversal, reversal_check, system_profile, triggers, user_profile
from tasks.llm.prompts.system_profile import WrittenProfile
from tasks.llm.structured import Question
from tasks.seeds import read_seeds, seed_path
from tests.scripted_answers import write_answer
from tests.scripted_chat import Chat


def demand(text: str, trigger: Trigger | None = None) -> Constraint:
    return Constraint(constraint_id="0", text=text, kind="content", trigger=trigger)


DEMANDS: dict[Language, str] = {"en": "Mention the map twice.", "zh": "请提到旧地图，说两次。"}
SITUATIONS: dict[Language, str] = {"en": "the user asks about money", "zh": "用户问到钱"}


def profile(language: Language, *constraints: Constraint) -> SystemProfile:
    role = role_in(language)
    return SystemProfile(
        system_id="s", **role.model_dump(exclude={"constraints"}), constraints=list(constraints), author="a"
    )


@functools.cache
def role_in(language: Language) -> RoleSeed:
    seeds = read_seeds(seed_path("seeds/roles.jsonl"), RoleSeed, [language])
    return seeds[0]


def questions_in(language: Language, number: int) -> list[Question[Any]]:
    """One of each kind that the factory asks, another for each number."""
    persona = read_seeds(seed_path("seeds/personas.jsonl"), PersonaSeed, [language])[number]
    role = role_in(language)
    wishes = system_profile.Wishes(constraints=8, max_words=50 + number, edge=False, odd=False)
    constraint = demand(f"{number} {DEMANDS[language]}", QuerySituation(situation=SITUATIONS[language]))
    judged = judge.messages(profile(language, constraint), "?", str(number), [constraint, demand(DEMANDS[language])])
    return [
        Question(user_profile.messages(persona), user_profile.Character, user_profile.complain_in(language)),
        Question(system_profile.messages(role, wishes), WrittenProfile, system_profile.complain_in(language)),
        Question(judged, judge.GivenVerdicts, judge.complain_unless(2, language)),
        Question(
            reversal.messages(constraint, language),
            reversal.Opposite,
            reversal.complain_about(constraint, language),
        ),
        Question(reversal_check.messages(constraint, "x", language), reversal_check.Exactness, reversal_check.complain),
        Question(
            triggers.messages(str(number), [SITUATIONS[language]], language),
            triggers.GivenSituations,
            triggers.complain_unless(1, language),
        ),
        Question(
            critic.messages(profile(language), "?", str(number), [constraint], [demand("x")], (1, 1)),
            critic.Rewrite,
            critic.complain_about(str(number), 1, language),
        ),
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_the_factory_asks_is_answered_usefully(language: Language) -> None:
    for number in range(10):
        for question in questions_in(language, number):
            answer_model: type[BaseModel] = question.answer
            schema = json.loads(schema_text(answer_model))
            said = write_answer(random.Random(number), schema, Chat([dict(m) for m in question.messages]))
            read = read_answer(json.dumps(said), question.answer)
            assert question.complain(read) is None, said


@pytest.mark.parametrize("language", ["en", "zh"])
def test_profiles_have_triggers_that_fire_and_checks_that_are_some(language: Language) -> None:
    role = role_in(language)
    schema = json.loads(schema_text(WrittenProfile))
    given: Counter[str] = Counter()
    for number in range(20):
        wishes = system_profile.Wishes(constraints=8, max_words=50, edge=False, odd=False)
        chat = Chat([dict(m) for m in system_profile.messages(role, wishes)])
        written = WrittenProfile.model_validate(write_answer(random.Random(number), schema, chat))
        for item in written.constraints:
            given["constraints"] += 1
            given["mentioned"] += item.applies == "mention" and item.words[0] in str(role.questions + role.skills)
            given["checks"] += item.check is not None
            given["readable"] += (
                item.check is not None and read_check(item.check, item.text, language).check is not None
            )
    assert given["mentioned"] > 0
    assert given["constraints"] * 0.2 < given["checks"] < given["constraints"] * 0.5
    assert given["readable"] > 0.9 * given["checks"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("triggered", [False, True])
def test_the_judge_turns_with_the_opposite(language: Language, triggered: bool) -> None:
    trigger = QueryMentions(words=["x"]) if triggered else None
    counts: Counter[tuple[str, str]] = Counter()
    for number in range(200):
        constraint = demand(f"{DEMANDS[language]} {number}", trigger)
        chat = Chat([dict(m) for m in reversal.messages(constraint, language)])
        said = write_answer(random.Random(number), json.loads(schema_text(reversal.Opposite)), chat)
        opposite = demand(said["opposite"], trigger)
        verdicts = []
        for asked in (constraint, opposite):
            messages = judge.messages(profile(language, asked), "?", "some response", [asked])
            schema = json.loads(schema_text(judge.GivenVerdicts))
            given = write_answer(random.Random(number), schema, Chat([dict(m) for m in messages]))
            verdicts.append(given["verdicts"][0]["verdict"])
        counts[verdicts[0], verdicts[1]] += 1
    opposed = counts["followed", "violated"] + counts["violated", "followed"]
    assert counts["followed", "violated"] > counts["violated", "followed"] > 20
    assert opposed + counts["not_applicable", "not_applicable"] == 200
    assert (counts["not_applicable", "not_applicable"] > 0) == triggered
