"""What a failed attempt means: ask again, ask in another format, or tell the user which setting to look at."""

from __future__ import annotations

import contextlib
import json
import re

import aiohttp

from models.endpoints import Endpoint
from models.errors import EndpointError
from tasks.llm.calls import Failure, FailureKind, MalformedAnswerError
from tasks.llm.limits import retry_after
from tasks.llm.transport import StatusError

ATTEMPT_ERRORS = (
    MalformedAnswerError,
    StatusError,
    aiohttp.ClientError,
    OSError,  # TimeoutError is one
    ValueError,  # an answer that is not JSON
)
"""What an attempt may raise; each has a meaning here."""

_RETRIED = (408, 409, 429)
_QUOTED = 300
_UNKNOWN_FORMAT = re.compile(
    r"response_?format|json[_ ]?schema|json[_ ]object|structured[_ ]output|guided|grammar", re.IGNORECASE
)

# as OpenAI, vLLM and llama.cpp say it
_TOO_LONG = re.compile(r"context[_ ](?:length|size|window)|exceed_context", re.IGNORECASE)


class TransientError(Exception):
    """Worth asking again.

    Args:
        kind: What kind of failure it is.
        why: What went wrong, without the key.
        wait_s: The server asked to be left alone so long; None: it did not.
        excused: It does not count as a try: the server asked for a pause, or was restarted.
    """

    def __init__(self, kind: FailureKind, why: str, *, wait_s: float | None = None, excused: bool = False) -> None:
        super().__init__(why)
        self.kind, self.wait_s, self.excused = kind, wait_s, excused or wait_s is not None


class TooLongError(Exception):
    """The prompt does not fit into the model's context: this request fails for good, and says nothing of others."""


class FormatRefusedError(EndpointError):
    """The server does not know a response format, or not all of a schema; worth asking in another format."""


class GaveUpError(Exception):
    """All tries are used up, or there is no use in another; the request is recorded as failed and its batch goes on.

    Args:
        failures: Every attempt, in order.
    """

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        plural = "" if len(failures) == 1 else "s"
        super().__init__(f"{failures[-1].why} (after {len(failures)} attempt{plural})")
        self.failures = failures

    @property
    def tries(self) -> int:
        """Attempts that were made."""
        return len(self.failures)


class FailureReader:
    """Reads the failures of one endpoint.

    Attributes:
        key: The endpoint's key, which no message shows.
    """

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self._name, self._endpoint = name, endpoint
        self.key = ""

    def read(self, error: Exception, role: str, url: str) -> TransientError | TooLongError | EndpointError:
        """The meaning of what an attempt at ``url`` raised (one of ``ATTEMPT_ERRORS``)."""
        if isinstance(error, MalformedAnswerError):
            return TransientError("malformed", self._redact(f"malformed answer: {error}"))
        if isinstance(error, StatusError):
            return self._read_status(error, role, url)
        if isinstance(error, ValueError):
            why = self._redact(f"malformed answer: {type(error).__name__}: {error}"[:_QUOTED])
            return TransientError("malformed", why)
        return self._read_silence(error, url)

    def _read_silence(self, error: BaseException, url: str) -> TransientError:
        if isinstance(error, TimeoutError):
            why = f"no answer within endpoints.{self._name}.timeout_s = {self._endpoint.timeout_s:g}"
            return TransientError("timeout", why)
        where = ".serve" if self._endpoint.serve is not None else f".base_url = {url}"
        why = f"no connection to endpoints.{self._name}{where}: {str(error) or type(error).__name__}"
        return TransientError("connection", self._redact(why))

    def _read_status(self, error: StatusError, role: str, url: str) -> TransientError | TooLongError | EndpointError:
        status, (said, code) = error.status, _read_body(error.body)
        said = self._redact(said)
        out_of_quota = status == 402 or code == "insufficient_quota"
        if not out_of_quota and (status in _RETRIED or status >= 500):
            wait_s = retry_after(error.retry_after) if status in (429, 503) else None
            kind: FailureKind = "rate_limit" if status == 429 else "server_error"
            return TransientError(kind, f"the server says {status}: {said}", wait_s=wait_s)
        context = f"endpoints.{self._name}.serve.context" if self._endpoint.serve else "the server's context length"
        if status in (400, 413, 422) and _TOO_LONG.search(error.body):
            return TooLongError(
                f"the prompt is too long for {context} with roles.{role}.max_tokens: the server says {status}: {said}"
            )
        unknown_format = status in (400, 422) and _UNKNOWN_FORMAT.search(error.body)
        refusal = FormatRefusedError if unknown_format else EndpointError
        return refusal(
            f"Endpoint {self._name!r} refuses a request of role {role!r} with {status}: {said}.",
            safe="Every completed answer is stored; the next run asks only for the others.",
            next_step=self._advice(status, role, url, out_of_quota),
        )

    def _advice(self, status: int, role: str, url: str, out_of_quota: bool) -> str:
        here, variable = f"endpoints.{self._name}", self._endpoint.api_key_env
        if out_of_quota:
            return f"Check the balance of the account whose key is in {variable}."
        if status in (401, 403) and variable is None:
            return f"Set {here}.api_key_env to the NAME of the environment variable that holds the key."
        if status in (401, 403):
            return f"Check the key in the environment variable {variable} ({here}.api_key_env)."
        if status == 404:
            return f"Check {here}.model = {self._endpoint.model!r} and {here}.base_url = {url}."
        return (
            f"The server does not know a parameter or its value: check roles.{role}.temperature, .top_p, .max_tokens "
            f"and {here}.samples_in_one_request."
        )

    def _redact(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text


def _read_body(body: str) -> tuple[str, object]:
    """What the body of a refusal says, on one line, and its code."""
    said: object = body
    code = None
    with contextlib.suppress(ValueError):
        said = json.loads(body)
    if isinstance(said, dict):
        said = said.get("error") or said
    if isinstance(said, dict):
        code, said = said.get("code"), said.get("message") or said
    return " ".join(str(said).split())[:_QUOTED].rstrip(".") or "nothing", code
