"""One POST to an OpenAI-compatible server.

With aiohttp alone: the leanest call of the OpenAI library (aiohttp transport, generic ``post``) takes three times the
CPU, most of it for building a request and a response of its own around aiohttp's, and 20 MB; what it adds, typed
answers and retries, is not used here.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import aiohttp

# uvicorn, and with it vLLM, closes an idle connection after 5 s: a request must not be sent into that moment
_KEEPALIVE_S = 4.0


class StatusError(Exception):
    """The server answered with a status of 400 or more."""

    def __init__(self, status: int, body: str, retry_after: str | None) -> None:
        super().__init__(f"status {status}")
        self.status, self.body, self.retry_after = status, body, retry_after


def open_session(key: str, bound: int, *, local: bool) -> aiohttp.ClientSession:
    """The connections to one address; to be made and closed in the event loop that uses it.

    Args:
        key: Sent as bearer token.
        bound: Connections at most.
        local: A child of ours: no proxy between us and it.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=bound, keepalive_timeout=_KEEPALIVE_S),
        headers={"Authorization": f"Bearer {key or 'none'}", "Content-Type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=None),  # the caller's
        cookie_jar=aiohttp.DummyCookieJar(),
        # to look for a proxy costs as much as the rest of a call, at every call
        trust_env=not local and bool(urllib.request.getproxies()),
    )


async def post_json(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Any:
    """The answer, parsed.

    Raises:
        StatusError: The server refuses.
        ValueError: The answer is not JSON.
        aiohttp.ClientError: There is no answer, or only a piece of one.
    """
    async with session.post(url, data=json.dumps(body).encode()) as response:
        text = await response.text("utf-8", "replace")
        if response.status >= 400:
            raise StatusError(response.status, text, response.headers.get("retry-after"))
        return json.loads(text)
