import time
from email.utils import formatdate
from typing import Any

import pytest

from models.endpoints import Endpoint, Role
from tasks.llm.calls import MalformedAnswerError, clean_text, hash_requests, read_choices, request_body
from tasks.llm.limits import MAX_PAUSE_S, retry_after

ROLE = Role(endpoint="e", temperature=0.7, top_p=0.9, max_tokens=64)
ENDPOINT = Endpoint(base_url="http://a/v1", model="m")
CHAT: Any = [{"role": "user", "content": "hello"}]


def hashes(role: Role = ROLE, endpoint: Endpoint = ENDPOINT, chat: Any = CHAT, seed: int = 0) -> list[str]:
    return hash_requests(role, endpoint, chat, 3, seed)


@pytest.mark.parametrize(
    "field", [{"base_url": "http://b/v1"}, {"max_concurrency": 1}, {"timeout_s": 1.0}, {"price_in": 2.0}]
)
def test_identity_ignores_what_does_not_change_an_answer(field: dict[str, Any]) -> None:
    assert hashes() == hashes(endpoint=ENDPOINT.model_copy(update=field))
    assert hashes() == hashes(role=ROLE.model_copy(update={"endpoint": "other"}))


def test_identity_tells_apart_what_changes_an_answer() -> None:
    variants = [
        hashes(),
        hashes(seed=1),
        hashes(chat=[{"role": "user", "content": "hello!"}]),
        hashes(chat=[{"role": "system", "content": "hello"}]),
        *(hashes(endpoint=ENDPOINT.model_copy(update=f)) for f in ({"model": "n"}, {"identity": "x"})),
        *(hashes(ROLE.model_copy(update=f)) for f in ({"temperature": 0.0}, {"top_p": 1.0}, {"max_tokens": 65})),
    ]
    assert len({h for variant in variants for h in variant}) == 3 * len(variants)


def test_stored_answers_are_found_again() -> None:
    """If this fails, every call that anybody has paid for is forgotten: that needs a reason and a new HASH_VERSION."""
    endpoint = Endpoint(base_url="http://a/v1", model="m", identity="w")
    chat: Any = [{"role": "system", "content": "中文"}, {"role": "user", "content": "hello"}]
    assert hash_requests(ROLE, endpoint, chat, 2, 7) == [
        "d1afe2fde11002edeb96b3b544fc4d47",
        "eafb3fc5b8c77d838a7c5e2789db3fd4",
    ]


def test_the_response_format_is_part_of_the_identity() -> None:
    formats: list[Any] = [
        None,
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"a": 1, "b": 2}},
        {"type": "json_schema", "json_schema": {"b": 2, "a": 1}},  # a model writes the keys in this order
    ]
    made = [hash_requests(ROLE, ENDPOINT, CHAT, 3, 0, item) for item in formats]
    assert made[0] == hashes()
    assert len({h for group in made for h in group}) == 12
    assert "response_format" not in request_body(ROLE, ENDPOINT, CHAT, hashes())
    assert request_body(ROLE, ENDPOINT, CHAT, made[1], formats[1])["response_format"] == formats[1]


def test_body_is_the_same_for_the_same_samples() -> None:
    first = request_body(ROLE, ENDPOINT, CHAT, hashes())
    assert first == request_body(ROLE, ENDPOINT, CHAT, hashes())
    assert first["n"] == 3
    assert 0 <= first["seed"] < 2**31
    assert first["seed"] != request_body(ROLE, ENDPOINT, CHAT, hashes(seed=1))["seed"]


def answer(*texts: Any, reason: str = "stop", **more: Any) -> dict[str, Any]:
    choices = [{"index": i, "message": {"content": t}, "finish_reason": reason} for i, t in enumerate(texts)]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 10}, **more}


def test_tokens_of_an_n_request_are_counted_once() -> None:
    choices = read_choices(answer("aaaa", "bb", "c"), 3, 99)
    assert [c.prompt_tokens for c in choices] == [7, 0, 0]
    assert sum(c.completion_tokens for c in choices) == 10
    # none is for a text that was not counted
    uneven = read_choices(answer("a" * 999, "b", "", "c"), 4, 99)
    assert [c.completion_tokens for c in uneven] == [8, 1, 0, 1]


def test_llama_cpp_counts_the_first_choice_only() -> None:
    assert [c.completion_tokens for c in read_choices(answer("aaaa", "aaaa", timings={}), 2, 99)] == [10, 10]


def test_choices_come_in_their_order_and_no_more_than_asked() -> None:
    body = answer("a", "b", "c")
    body["choices"].reverse()
    assert [c.text for c in read_choices(body, 2, 99)] == ["a", "b"]


@pytest.mark.parametrize(
    "body", [None, "text", [], {}, {"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": [{}]},
             {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
             {"choices": [{"message": {"content": ["a"]}}]}, {"choices": [{"message": "a"}]}],
)  # fmt: skip
def test_what_is_no_answer_is_malformed(body: object) -> None:
    with pytest.raises(MalformedAnswerError):
        read_choices(body, 1, 99)


def test_a_malformed_answer_says_what_the_server_said() -> None:
    with pytest.raises(MalformedAnswerError, match=r"no choices, but an error: .*the provider is down"):
        read_choices({"error": {"message": "the provider is down", "code": 502}}, 1, 99)
    with pytest.raises(MalformedAnswerError, match="null, not text; it ended with 'content_filter'"):
        read_choices(answer(None, reason="content_filter"), 1, 99)


def test_null_content_at_the_token_limit_is_empty() -> None:
    assert read_choices(answer(None, reason="length"), 1, 99)[0].text == ""


@pytest.mark.parametrize("usage", [None, "many", {}, {"prompt_tokens": "7"}, {"prompt_tokens": -1}])
def test_unreadable_usage_is_none(usage: object) -> None:
    choice = read_choices({**answer("a"), "usage": usage}, 1, 99)[0]
    assert (choice.prompt_tokens, choice.completion_tokens) == (0, 0)


def test_text_is_always_utf8() -> None:
    assert clean_text("a\ud83d b") == "a� b"
    assert clean_text("\ud83d\ude00") == "😀"
    assert clean_text("中文 😀") == "中文 😀"


def test_retry_after() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after("-3") == 0
    assert retry_after("999999") == MAX_PAUSE_S
    assert retry_after("soon") is retry_after("nan") is retry_after("") is retry_after(None) is None
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
