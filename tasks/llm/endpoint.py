"""One endpoint: its client, its limiter, and what is asked again and what is not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx2
import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from models.errors import EndpointError, SettingsError
from models.settings import Endpoint
from tasks.llm.calls import Choice, Failure, FailureKind, MalformedAnswerError, read_choices
from tasks.llm.limits import Limiter, retry_after
from tasks.llm.servers import ManagedServer

log = logging.getLogger(__name__)

BACKOFF = wait_exponential_jitter(multiplier=0.5, max=30, jitter=1)
# A pause that the server asked for is not the request's fault and uses up no try; but it must end some time.
PAUSES_A_TRY = 10
_RETRIED = (408, 409, 429)
_QUOTED = 300
_UNKNOWN_FORMAT = re.compile(
    r"response_?format|json[_ ]?schema|json[_ ]object|structured[_ ]output|guided|grammar", re.IGNORECASE
)
_DEATH_S = 0.1


class TransientError(Exception):
    """Worth asking again.

    Args:
        kind: What kind of failure it is.
        why: What went wrong, without the key.
        excused: The server asked for a pause, or was restarted: this attempt does not count.
    """

    def __init__(self, kind: FailureKind, why: str, *, excused: bool = False) -> None:
        super().__init__(why)
        self.kind, self.excused = kind, excused


class FormatRefusedError(EndpointError):
    """The server does not know a response format, or not all of a schema; worth asking in another format."""


class GaveUpError(Exception):
    """All tries are used up; the request is recorded as failed and its batch goes on.

    Args:
        failures: Every attempt, in order.
    """

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        super().__init__(f"{failures[-1].why} (after {len(failures)} attempts)")
        self.failures = failures

    @property
    def tries(self) -> int:
        """Attempts that were made."""
        return len(self.failures)


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
        self._limiter = Limiter(endpoint.max_concurrency)
        self._server = ManagedServer(name, endpoint, data) if endpoint.serve is not None else None
        self._address = endpoint.base_url or ""
        self._key = ""
        self._client: openai.AsyncOpenAI | None = None
        self._client_address = ""

    @property
    def most_samples(self) -> int:
        """Samples that one request may ask for."""
        if not self.endpoint.samples_in_one_request:
            return 1
        # llama.cpp refuses n > slots; 128 is the API's own bound
        return self.endpoint.serve.slots if self.endpoint.serve else 128

    def prepare(self) -> None:
        """Checks key and address and starts a managed server, before the first call.

        Raises:
            SettingsError: The key's variable is not set, or the address is none.
            ModelServerError: The server does not start.
        """
        variable = self.endpoint.api_key_env
        if variable is not None:
            self._key = os.environ.get(variable, "").strip()
            if not self._key:
                raise SettingsError(
                    f"endpoints.{self.name}.api_key_env names the environment variable {variable}, which is not set.",
                    next_step=f"Type: export {variable}=... (the key itself belongs in no file of settings).",
                )
        if self._server is not None:
            self._address = self._server.ensure_running()
        elif not self._address.startswith(("http://", "https://")):
            raise SettingsError(
                f"endpoints.{self.name}.base_url = {self._address!r} does not start with http:// or https://.",
                next_step="Write it like http://127.0.0.1:8000/v1",
            )

    async def ask(self, role: str, body: dict[str, Any], ticket: Ticket) -> Answer:
        """Sends one request until it is answered.

        Raises:
            EndpointError: The server refuses in a way that asking again will not mend (``FormatRefusedError``: the
                response format).
            ModelServerError: The managed server died once too often.
            GaveUpError: ``max_tries`` attempts failed.
        """
        excused = 0
        failures: list[Failure] = []

        def used_up(state: RetryCallState) -> bool:
            nonlocal excused
            error = state.outcome.exception() if state.outcome else None
            excused += isinstance(error, TransientError) and error.excused
            counted = state.attempt_number - excused
            tries = self.endpoint.max_tries
            return ticket.abandoned or counted >= tries or excused >= PAUSES_A_TRY * tries

        try:
            async for attempt in AsyncRetrying(
                stop=used_up, wait=_wait, retry=retry_if_exception_type(TransientError), reraise=True
            ):
                with attempt:
                    return await self._attempt(role, body, ticket, failures)
        except TransientError:
            raise GaveUpError(tuple(failures)) from None
        raise AssertionError("unreachable: the loop returns or raises")

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def stop_server(self) -> None:
        """Stops the managed server, if there is one."""
        if self._server is not None:
            self._server.stop()

    @property
    def server_pid(self) -> int | None:
        """Process id of the managed server, while it runs."""
        return self._server.pid if self._server is not None else None

    async def _attempt(self, role: str, body: dict[str, Any], ticket: Ticket, failures: list[Failure]) -> Answer:
        async with self._limiter.slot():
            if ticket.abandoned:
                raise asyncio.CancelledError
            ticket.in_flight = True
            starts = self._server.starts if self._server is not None else 0
            started = time.perf_counter()
            try:
                with self._translated_errors(role):
                    async with asyncio.timeout(self.endpoint.timeout_s):
                        # the generic call: building and validating the typed answer costs as much as all the rest
                        client = await self._open_client()
                        answer = await client.post("/chat/completions", body=body, cast_to=object)
                    choices = read_choices(answer, body["n"], body["max_tokens"])
            except (TransientError, EndpointError) as error:
                ticket.in_flight = False
                failure = error
            else:
                return Answer(choices, time.perf_counter() - started, tuple(failures))
        # raised here, outside its except clause, so that no library exception hangs on it
        if isinstance(failure, TransientError):
            failures.append(Failure(failure.kind, str(failure)))
            log.info("endpoint %s, attempt %d: %s", self.name, len(failures), failure)
            failure = await self._look_after_server(failure, starts)
        raise failure.with_traceback(None) from None

    @contextmanager
    def _translated_errors(self, role: str) -> Iterator[None]:
        try:
            yield
        except MalformedAnswerError as error:
            raise TransientError("malformed", f"malformed answer: {error}") from None
        except openai.APIStatusError as error:
            raise self._read_status(error, role) from None
        except (TimeoutError, openai.OpenAIError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise self._read_failure(error) from None
        except ValueError as error:
            why = self._redact(f"malformed answer: {type(error).__name__}: {error}"[:_QUOTED])
            raise TransientError("malformed", why) from None

    def _read_failure(self, error: BaseException) -> TransientError:
        # the transport reports a refused or dropped connection as a time-out as well: the innermost error is right
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, TimeoutError | asyncio.CancelledError):  # a time-out cancels what it ends
            why = f"no answer within endpoints.{self.name}.timeout_s = {self.endpoint.timeout_s:g}"
            return TransientError("timeout", why)
        where = ".serve" if self._server is not None else f".base_url = {self._address}"
        why = f"no connection to endpoints.{self.name}{where}: {str(cause) or type(cause).__name__}"
        return TransientError("connection", self._redact(why))

    def _read_status(self, error: openai.APIStatusError, role: str) -> TransientError | EndpointError:
        status, said = error.status_code, self._redact(_said(error))
        out_of_quota = status == 402 or getattr(error, "code", None) == "insufficient_quota"
        if not out_of_quota and (status in _RETRIED or status >= 500):
            seconds = retry_after(error.response.headers.get("retry-after")) if status in (429, 503) else None
            if seconds is not None:
                self._limiter.pause(seconds)
                log.warning("endpoint %s says %d: nothing is sent for %.1f s", self.name, status, seconds)
            kind: FailureKind = "rate_limit" if status == 429 else "server_error"
            return TransientError(kind, f"the server says {status}: {said}", excused=seconds is not None)
        unknown_format = status in (400, 422) and _UNKNOWN_FORMAT.search(f"{error.body} {error.message}")
        refusal = FormatRefusedError if unknown_format else EndpointError
        return refusal(
            f"Endpoint {self.name!r} refuses a request of role {role!r} with {status}: {said}.",
            safe="Every completed answer is stored; the next run asks only for the others.",
            next_step=self._advice(status, role, out_of_quota),
        )

    def _advice(self, status: int, role: str, out_of_quota: bool) -> str:
        here, variable = f"endpoints.{self.name}", self.endpoint.api_key_env
        if out_of_quota:
            return f"Check the balance of the account whose key is in {variable}."
        if status in (401, 403) and variable is None:
            return f"Set {here}.api_key_env to the NAME of the environment variable that holds the key."
        if status in (401, 403):
            return f"Check the key in the environment variable {variable} ({here}.api_key_env)."
        if status == 404:
            return f"Check {here}.model = {self.endpoint.model!r} and {here}.base_url = {self._address}."
        context = f"{here}.serve.context" if self.endpoint.serve else "the server's context length"
        return (
            f"Either the prompt is too long for {context} (with roles.{role}.max_tokens), or the server does not know "
            f"a parameter: check roles.{role}.temperature, .top_p and {here}.samples_in_one_request."
        )

    async def _look_after_server(self, failure: TransientError, starts: int) -> TransientError:
        if self._server is None:
            return failure
        # a connection breaks a moment before its process can be seen to be dead
        await asyncio.sleep(_DEATH_S)
        # waits while another request restarts it: until then every attempt would be refused and counted
        self._address = await asyncio.to_thread(self._server.ensure_running)
        restarted = self._server.starts != starts
        return TransientError(failure.kind, str(failure), excused=failure.excused or restarted)

    async def _open_client(self) -> openai.AsyncOpenAI:
        if self._client_address != self._address:
            # a restarted server has another port
            await self.close()
        if self._client is None:
            self._client_address = self._address
            bound, timeout = self.endpoint.max_concurrency, self.endpoint.timeout_s
            self._client = openai.AsyncOpenAI(
                base_url=self._address,
                # never empty: the library would look for OPENAI_API_KEY and send it to this server
                api_key=self._key or "none",
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultAioHttpClient(
                    timeout=timeout,
                    limits=httpx2.Limits(max_connections=bound, max_keepalive_connections=bound),
                    trust_env=self._server is None,  # no proxy between us and our own child
                ),
            )
        return self._client

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    # the limiter holds back what the server asked to wait for
    return 0.0 if isinstance(error, TransientError) and error.excused else BACKOFF(state)


def _said(error: openai.APIStatusError) -> str:
    said: object = error.body
    with contextlib.suppress(AttributeError):
        said = said.get("message", said)  # type: ignore[attr-defined]
    return " ".join(str(said or error.message).split())[:_QUOTED].rstrip(".")
