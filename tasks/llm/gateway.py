"""The one door to all models: every call is looked up, made once, stored, and only then returned."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from models.endpoints import Role, RoleName
from models.errors import FactoryError, SettingsError
from models.records import LlmCall
from models.settings import FactorySettings
from storage.call_cache import CallCache, Payment
from storage.roots import machine_dir
from tasks.llm.budget import Budget, highest_price
from tasks.llm.calls import ChatRequest, ChatSample, Mode, hash_requests
from tasks.llm.commits import CommitWriter
from tasks.llm.endpoint import EndpointClient
from tasks.llm.failures import GaveUpError
from tasks.llm.flights import Flights
from tasks.llm.jobs import (
    Job,
    account_for,
    failed_samples,
    from_cache,
    give_way,
    pay_for,
    plan_jobs,
    read_answer,
    to_cache,
)

# What is in flight is paid for: when the gateway closes, it gets so long to arrive and be stored.
CLOSE_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What has just been done, for a progress bar: numbers of samples to add."""

    stage: str
    role: str
    made: int = 0
    cached: int = 0
    failed: int = 0


ProgressHook = Callable[[Progress], None]


class Gateway:
    """Asks models, from any number of threads.

    One event loop on a thread of its own serves them all, so the bound on requests in flight holds however many
    batches ask, and connections are shared.

    Args:
        settings: Roles, endpoints, seed, data folder.
        cache: Where answers are looked up and committed.
        on_progress: Called from several threads with what has just been done; must be quick and thread-safe.
    """

    def __init__(self, settings: FactorySettings, cache: CallCache, *, on_progress: ProgressHook | None = None) -> None:
        self.on_progress = on_progress
        # by endpoint: the best way to ask it for an object that it has not refused; kept by tasks.llm.structured
        self.modes: dict[str, Mode] = {}
        self.owner = settings.data, settings.run
        self._settings, self._cache = settings, cache
        self._lock = threading.Lock()
        self._flights = Flights()
        self._clients: dict[str, EndpointClient] = {}
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._closed = False
        self._commits = CommitWriter(cache)
        self._budget = Budget(settings.run, settings.budget, cache.spent(settings.run))
        self._loop = _new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-gateway", daemon=True)
        self._thread.start()

    def complete(self, role_name: RoleName, requests: Sequence[ChatRequest], *, stage: str) -> list[list[ChatSample]]:
        """Answers each request with its samples, from the cache where they are stored.

        An answer is on disk before it is returned. A request that fails for good is a sample with ``error``; the
        others go on.

        Raises:
            SettingsError: Nobody plays the role, or the key's variable is not set.
            EndpointError: The server refuses (400, 401, 403, 404). What is queued is not sent; what is in flight is
                stored when it arrives.
            ModelServerError: A managed server does not start or died too often.
            BudgetError: The next call could cost more than is left; as EndpointError otherwise.
            StorageError: The call cache cannot be read or written.
        """
        role = self._settings.role(role_name)
        if role is None:
            known = ", ".join(sorted(self._settings.endpoints))
            raise SettingsError(
                f"Stage {stage!r} needs the role {role_name!r}, which nobody plays.",
                next_step=f"Set roles.{role_name}.endpoint to one of: {known}",
            )
        wanted = self._hash(role, requests)
        samples: dict[str, ChatSample] = {}
        # more than one round only where another batch gave up a sample that this one waited for
        while missing := dict.fromkeys(h for hashes in wanted for h in hashes if h not in samples):
            if self._closed:
                raise closed_error()
            samples |= self._answer(role_name, role, stage, requests, wanted, missing)
        result, seen = [], set[str]()
        for hashes in wanted:
            # what is asked twice in a batch is paid once
            result.append([_made_elsewhere(samples[h]) if h in seen else samples[h] for h in hashes])
            seen.update(hashes)
        return result

    def holds_any(self, role_name: RoleName, requests: Sequence[ChatRequest]) -> bool:
        """Whether an answer to any of these requests is stored."""
        role = self._settings.role(role_name)
        hashes = [h for group in self._hash(role, requests) for h in group] if role is not None else []
        return bool(self._cache.get_many(hashes))

    def accounts(
        self,
        samples: Iterable[Sequence[ChatSample]],
        role: RoleName,
        stage: str,
        *,
        mode: Mode | None = None,
        round_: int = 1,
    ) -> list[LlmCall]:
        """The records of what ``complete`` returned.

        The cost of a cached sample is what it cost when it was made; it is not paid again.

        Args:
            samples: What was returned.
            role: Who answered.
            stage: Who asked.
            mode: How an object was asked for; None: free text was.
            round_: How often these have been asked now; from 2 with what was wrong with the last answer.
        """
        player = self._settings.role(role)
        endpoint = self._settings.endpoints[player.endpoint] if player is not None else None
        return [account_for(sample, endpoint, role, stage, mode, round_) for group in samples for sample in group]

    def server_pids(self) -> dict[str, int]:
        """Process ids of the managed servers that run, by endpoint."""
        pids = {name: client.server_pid for name, client in self._clients.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def close(self) -> None:
        """Stores what is in flight, stops servers, closes connections, joins the threads; may be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._commits.close()
            for client in self._clients.values():
                client.stop_server()

    def _hash(self, role: Role, requests: Sequence[ChatRequest]) -> list[list[str]]:
        endpoint, seed = self._settings.endpoints[role.endpoint], self._settings.seed
        return [hash_requests(role, endpoint, r.messages, r.samples, seed, r.response_format) for r in requests]

    def _answer(
        self,
        role_name: RoleName,
        role: Role,
        stage: str,
        requests: Sequence[ChatRequest],
        wanted: list[list[str]],
        missing: Iterable[str],
    ) -> dict[str, ChatSample]:
        """Samples by hash: stored, made, or made by another batch; none for those that another batch gave up."""
        own, others = self._flights.claim(missing)
        jobs: list[Job] = []
        try:
            samples = {h: from_cache(call) for h, call in self._cache.get_many(list(own)).items()}
            self._flights.land(own, samples.values())
            self._report(stage, role_name, cached=len(samples))
            if rest := {h: flight for h, flight in own.items() if h not in samples}:
                client = self._client(role.endpoint)
                client.prepare()
                jobs = plan_jobs(role_name, role, stage, client, requests, wanted, rest)
                self._run_and_wait(jobs)
                samples |= {h: flight.result() for h, flight in rest.items()}
        except BaseException:
            sent = {h for job in jobs if job.ticket.in_flight for h in job.flights}
            self._flights.release({h: flight for h, flight in own.items() if h not in sent})
            raise
        for hash_, flight in others.items():
            with contextlib.suppress(concurrent.futures.CancelledError):
                samples[hash_] = _made_elsewhere(flight.result())
                self._report(stage, role_name, cached=1)
        return samples

    def _client(self, name: str) -> EndpointClient:
        with self._lock:
            if self._closed:
                raise closed_error()
            if name not in self._clients:
                here = str(machine_dir(self._settings.data))
                self._clients[name] = EndpointClient(name, self._settings.share(name), here)
            return self._clients[name]

    def _run_and_wait(self, jobs: list[Job]) -> None:
        with self._lock:
            # under the lock: once closed, the loop would never run it
            if self._closed:
                raise closed_error()
            running = asyncio.run_coroutine_threadsafe(self._run(jobs), self._loop)
        try:
            running.result()
        except concurrent.futures.CancelledError:
            raise closed_error() from None
        except BaseException:
            # Ctrl-C in this thread: send nothing more
            running.cancel()
            raise

    async def _run(self, jobs: list[Job]) -> None:
        tasks = {asyncio.create_task(self._run_job(job)): job for job in jobs}
        self._tasks.update(tasks)
        for task in tasks:
            task.add_done_callback(self._finish)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            _abandon(tasks)

    async def _run_job(self, job: Job) -> None:
        async with job.client.turns:
            samples, payment = await self._ask(job)
        if not samples[0].error:
            stored = self._commits.submit([to_cache(sample) for sample in samples], payment)
            earlier = await asyncio.wrap_future(stored)
            samples = give_way(samples, earlier)
            self._report(job.stage, job.role, made=len(samples))
        self._flights.land(job.flights, samples)

    async def _ask(self, job: Job) -> tuple[list[ChatSample], Payment | None]:
        """The samples of a job, answered or failed for good, and what was paid for them."""
        most, payment = highest_price(job.client.endpoint, job.body), None
        await self._budget.reserve(most)
        try:
            answer = await job.client.ask(self._settings.stand_in(job.role), job.body, job.ticket)
            samples = read_answer(job, answer)
            payment = pay_for(self._settings.run, job.client.endpoint, samples, most)
        except GaveUpError as failure:
            if job.ticket.abandoned:
                raise asyncio.CancelledError from None
            samples = failed_samples(job, failure)
            self._report(job.stage, job.role, failed=len(samples))
        finally:
            self._budget.settle(most, payment.cost if payment else 0.0)
        return samples, payment

    def _finish(self, task: asyncio.Task[None]) -> None:
        # a callback rather than finally: a task that is cancelled before its first step runs no line of its body
        self._flights.release(self._tasks.pop(task).flights)
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not log what the batch has reported or left behind

    def _report(self, stage: str, role: RoleName, *, made: int = 0, cached: int = 0, failed: int = 0) -> None:
        if self.on_progress is not None and made + cached + failed:
            self.on_progress(Progress(stage, role, made, cached, failed))

    async def _shut_down(self) -> None:
        _abandon(self._tasks)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=CLOSE_GRACE_S)
        # also the coroutines of batches, or their threads would wait for ever
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for client in self._clients.values():
            await client.close()
        await self._loop.shutdown_default_executor()


def _made_elsewhere(sample: ChatSample) -> ChatSample:
    """A sample as it is for those who did not make it: nothing was paid, and its failures are counted once."""
    return dataclasses.replace(sample, cached=True, failures=())


def _abandon(tasks: dict[asyncio.Task[None], Job]) -> None:
    """Sends nothing more; what is in flight is paid for, so it may land and be stored."""
    for task, job in tasks.items():
        job.ticket.abandoned = True
        if not task.done() and not job.ticket.in_flight:
            task.cancel()


def closed_error() -> FactoryError:
    """What a batch is told that waits for a gateway which is gone."""
    return FactoryError(
        "The gateway to the models was closed while a batch waited.", safe="Every completed answer is stored."
    )


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
