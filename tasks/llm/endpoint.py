"""One endpoint: its addresses, its clients, and how a request is sent until it is answered."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from models.endpoints import Endpoint
from models.errors import SettingsError
from tasks.llm.addresses import Address
from tasks.llm.calls import Choice, Failure, read_choices
from tasks.llm.failures import ATTEMPT_ERRORS, FailureReader, GaveUpError, TooLongError, TransientError
from tasks.llm.limits import Limiter
from tasks.llm.servers import ManagedServer
from tasks.llm.transport import open_session, post_json

log = logging.getLogger(__name__)

# 0.2, 0.6, 1.8, ... s and up to half a second more: the first retry is soon, as most failures pass; six tries outlast
# a server that is started again
BACKOFF = wait_exponential_jitter(multiplier=0.2, exp_base=3, max=30, jitter=0.5)
# A pause that the server asked for is not the request's fault and uses up no try; but it must end some time.
PAUSES_A_TRY = 10
_DEATH_S = 0.1


@dataclass(slots=True)
class Ticket:
    """What a job and its batch tell each other: an abandoned job sends nothing more."""

    in_flight: bool = False
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The choices of one request, and what they took.

    Attributes:
        choices: One a sample.
        seconds: From request to answer of the attempt that succeeded.
        failures: The attempts before it.
    """

    choices: list[Choice]
    seconds: float
    failures: tuple[Failure, ...] = ()

    @property
    def tries(self) -> int:
        """Attempts that it took."""
        return len(self.failures) + 1


class EndpointClient:
    """Talks to one endpoint, from the gateway's loop; only ``prepare`` and ``stop_server`` are for other threads."""

    def __init__(self, name: str, endpoint: Endpoint, data: str) -> None:
        self.name, self.endpoint = name, endpoint
        self._addresses = [Address(url, endpoint.max_concurrency) for url in endpoint.base_urls or [""]]
        self._limiter = Limiter(self._addresses)
        self._server = ManagedServer(name, endpoint, data) if endpoint.serve is not None else None
        self._reader = FailureReader(name, endpoint)
        self.turns = asyncio.Semaphore(2 * sum(address.bound for address in self._addresses))
        """Requests that are prepared or under way: the others of a batch wait as next to nothing. Twice what is in
        flight, so that those that wait to be sent again leave no place empty."""

    @property
    def most_samples(self) -> int:
        """Samples that one request may ask for."""
        if not self.endpoint.samples_in_one_request:
            return 1
        # llama.cpp refuses n > slots; 128 is the API's own bound
        return self.endpoint.serve.slots if self.endpoint.serve else 128

    def prepare(self) -> None:
        """Checks key and addresses and starts a managed server, before the first call.

        Raises:
            SettingsError: The key's variable is not set, or an address is none.
            ModelServerError: The server does not start.
        """
        variable = self.endpoint.api_key_env
        if variable is not None:
            self._reader.key = os.environ.get(variable, "").strip()
            if not self._reader.key:
                raise SettingsError(
                    f"endpoints.{self.name}.api_key_env names the environment variable {variable}, which is not set.",
                    next_step=f"Type: export {variable}=... (the key itself belongs in no file of settings).",
                )
        if self._server is not None:
            self._addresses[0].url = self._server.ensure_running()
        for address in self._addresses:
            if not address.url.startswith(("http://", "https://")):
                raise SettingsError(
                    f"endpoints.{self.name}.base_url = {address.url!r} does not start with http:// or https://.",
                    next_step="Write it like http://127.0.0.1:8000/v1",
                )

    async def ask(self, role: str, body: dict[str, Any], ticket: Ticket) -> Answer:
        """Sends one request until it is answered.

        Raises:
            EndpointError: The server refuses in a way that asking again will not mend (``FormatRefusedError``: the
                response format).
            ModelServerError: The managed server died once too often.
            GaveUpError: ``max_tries`` attempts failed, or the prompt is too long for the model.
        """
        excused = 0
        sent = _Sent(role, body, ticket, [])

        def used_up(state: RetryCallState) -> bool:
            nonlocal excused
            error = state.outcome.exception() if state.outcome else None
            excused += isinstance(error, TransientError) and error.excused
            counted = state.attempt_number - excused
            tries = self.endpoint.max_tries
            return ticket.abandoned or counted >= tries or excused >= PAUSES_A_TRY * tries

        try:
            async for attempt in AsyncRetrying(
                stop=used_up, wait=self._wait, retry=retry_if_exception_type(TransientError), reraise=True
            ):
                with attempt:
                    return await self._attempt(sent)
        except (TransientError, TooLongError):
            raise GaveUpError(tuple(sent.failures)) from None
        raise AssertionError("unreachable: the loop returns or raises")

    async def close(self) -> None:
        """Closes the connections."""
        for address in self._addresses:
            await _hang_up(address)

    def stop_server(self) -> None:
        """Stops the managed server, if there is one."""
        if self._server is not None:
            self._server.stop()

    @property
    def server_pid(self) -> int | None:
        """Process id of the managed server, while it runs."""
        return self._server.pid if self._server is not None else None

    async def _attempt(self, sent: _Sent) -> Answer:
        async with self._limiter.place(after=sent.last) as place:
            if sent.ticket.abandoned:
                raise asyncio.CancelledError
            sent.ticket.in_flight = True
            sent.last = address = place.address
            starts = self._server.starts if self._server is not None else 0
            started = time.perf_counter()
            try:
                async with asyncio.timeout(self.endpoint.timeout_s):
                    session = await self._open_session(address)
                    answer = await post_json(session, f"{address.url.rstrip('/')}/chat/completions", sent.body)
                choices = read_choices(answer, sent.body["n"], sent.body["max_tokens"])
            except ATTEMPT_ERRORS as error:
                sent.ticket.in_flight = False
                failure = self._reader.read(error, sent.role, address.url)
            else:
                address.note_answer()
                return Answer(choices, time.perf_counter() - started, tuple(sent.failures))
            if isinstance(failure, TransientError):
                address.note_failure(failure.wait_s)
                # a limit on the rate fills all places with refused requests that wait, and so slows the endpoint down
                # as far as it wants; a single refusal costs one place. Cost: a server that refuses in turn with
                # answering gets other requests before its time is over.
                place.keep_s = failure.wait_s or 0.0
        # raised here, outside its except clause, so that no library exception hangs on it
        if isinstance(failure, TransientError):
            sent.failures.append(Failure(failure.kind, str(failure)))
            log.info("endpoint %s, attempt %d: %s", self.name, len(sent.failures), failure)
            failure = await self._look_after_server(failure, starts)
        elif isinstance(failure, TooLongError):
            sent.failures.append(Failure("too_long", str(failure)))
        raise failure.with_traceback(None) from None

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TransientError) and error.excused:
            # another address has not asked for anything
            return (error.wait_s or 0.0) if len(self._addresses) == 1 else 0.0
        return BACKOFF(state)

    async def _look_after_server(self, failure: TransientError, starts: int) -> TransientError:
        if self._server is None:
            return failure
        # a connection breaks a moment before its process can be seen to be dead
        await asyncio.sleep(_DEATH_S)
        # waits while another request restarts it: until then every attempt would be refused and counted
        self._addresses[0].url = await asyncio.to_thread(self._server.ensure_running)
        restarted = self._server.starts != starts
        return TransientError(failure.kind, str(failure), wait_s=failure.wait_s, excused=restarted)

    async def _open_session(self, address: Address) -> aiohttp.ClientSession:
        if address.session_url != address.url:
            # a restarted server has another port
            await _hang_up(address)
        if address.session is None:
            address.session_url = address.url
            address.session = open_session(self._reader.key, address.bound, local=self._server is not None)
        return address.session


@dataclass(slots=True)
class _Sent:
    """A request on its way: what is sent, what has failed, and where it was last."""

    role: str
    body: dict[str, Any]
    ticket: Ticket
    failures: list[Failure]
    last: Address | None = None


async def _hang_up(address: Address) -> None:
    session, address.session = address.session, None
    if session is not None:
        await session.close()
