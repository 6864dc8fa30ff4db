"""Jobs, one for each HTTP request, and the samples and records that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.endpoints import Endpoint, Role, RoleName
from models.records import LlmCall
from storage.call_cache import CachedCall, Payment
from tasks.llm.calls import ChatRequest, ChatSample, Mode, request_body
from tasks.llm.endpoint import Answer, EndpointClient, Ticket
from tasks.llm.failures import GaveUpError
from tasks.llm.flights import Flight


@dataclass(frozen=True, slots=True)
class Job:
    """One HTTP request: the samples it asks for, and who waits for them."""

    role: RoleName
    stage: str
    client: EndpointClient
    body: dict[str, Any]
    flights: dict[str, Flight]
    ticket: Ticket


def plan_jobs(
    role_name: RoleName,
    role: Role,
    stage: str,
    client: EndpointClient,
    requests: Sequence[ChatRequest],
    wanted: Sequence[Sequence[str]],
    flights: dict[str, Flight],
) -> list[Job]:
    """The fewest requests that make these flights: the missing samples of one chat go together, if they may."""
    jobs, left = [], dict(flights)
    for request, hashes in zip(requests, wanted, strict=True):
        mine = [h for h in hashes if h in left]
        for start in range(0, len(mine), client.most_samples):
            group = mine[start : start + client.most_samples]
            body = request_body(role, client.endpoint, request.messages, group, request.response_format)
            jobs.append(Job(role_name, stage, client, body, {h: left.pop(h) for h in group}, Ticket()))
    return jobs


def read_answer(job: Job, answer: Answer) -> list[ChatSample]:
    """The samples of a job that was answered."""
    return [
        ChatSample(
            text=choice.text,
            finish_reason=choice.finish_reason,
            model=job.client.endpoint.model,
            prompt_tokens=choice.prompt_tokens,
            completion_tokens=choice.completion_tokens,
            seconds=answer.seconds,
            tries=answer.tries,
            cached=False,
            request_hash=hash_,
            failures=answer.failures if place == 0 else (),
        )
        for place, (hash_, choice) in enumerate(zip(job.flights, answer.choices, strict=True))
    ]


def failed_samples(job: Job, failure: GaveUpError) -> list[ChatSample]:
    """The samples of a job that failed for good."""
    return [
        ChatSample(
            text="",
            finish_reason="error",
            model=job.client.endpoint.model,
            prompt_tokens=0,
            completion_tokens=0,
            seconds=0.0,
            tries=failure.tries,
            cached=False,
            request_hash=hash_,
            error=str(failure),
            error_kind=failure.failures[-1].kind,
            failures=failure.failures if place == 0 else (),
        )
        for place, hash_ in enumerate(job.flights)
    ]


def pay_for(run: str, endpoint: Endpoint, samples: Sequence[ChatSample], most: float) -> Payment | None:
    """What a run pays for the samples of a job; None where the endpoint has no prices.

    ``most``, the highest price of the job, where the server has not counted: a budget must hold nevertheless.
    """
    if endpoint.price_in is None or endpoint.price_out is None:
        return None
    costs = [cost_of(sample, endpoint) for sample in samples]
    known = [cost for cost in costs if cost is not None]
    return Payment(run=run, calls=len(costs), cost=sum(known) if len(known) == len(costs) else most)


def cost_of(sample: ChatSample, endpoint: Endpoint | None) -> float | None:
    """The cost of a sample; unknown where the endpoint has not both prices, or the server has not counted tokens."""
    if endpoint is None or endpoint.price_in is None or endpoint.price_out is None:
        return None
    if sample.text and not sample.completion_tokens and endpoint.price_in + endpoint.price_out > 0:
        return None
    return (sample.prompt_tokens * endpoint.price_in + sample.completion_tokens * endpoint.price_out) / 1e6


def to_cache(sample: ChatSample) -> CachedCall:
    """A sample as the call cache stores it."""
    return CachedCall(
        request_hash=sample.request_hash,
        text=sample.text,
        finish_reason=sample.finish_reason,
        model=sample.model,
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        seconds=sample.seconds,
        tries=sample.tries,
    )


def from_cache(call: CachedCall) -> ChatSample:
    """A sample that was stored."""
    return ChatSample(
        text=call.text,
        finish_reason=call.finish_reason,
        model=call.model,
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        seconds=call.seconds,
        tries=call.tries,
        cached=True,
        request_hash=call.request_hash,
    )


def give_way(samples: list[ChatSample], earlier: Mapping[str, CachedCall]) -> list[ChatSample]:
    """Samples that were paid for, each with the answer that was stored before where another process was first."""
    return [
        sample
        if (call := earlier.get(sample.request_hash)) is None
        else replace(
            sample,
            text=call.text,
            finish_reason=call.finish_reason,
            prompt_tokens=call.prompt_tokens,
            completion_tokens=call.completion_tokens,
        )
        for sample in samples
    ]


def account_for(
    sample: ChatSample, endpoint: Endpoint | None, role: RoleName, stage: str, mode: Mode | None, round_: int
) -> LlmCall:
    """The record of a sample."""
    return LlmCall(
        request_hash=sample.request_hash,
        stage=stage,
        role=role,
        model=sample.model,
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        seconds=sample.seconds,
        tries=sample.tries,
        cost=cost_of(sample, endpoint),
        cached=sample.cached,
        error=sample.error,
        mode=mode or "",
        round=round_,
    )
