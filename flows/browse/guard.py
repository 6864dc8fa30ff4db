"""What stands between the page and everything else that is open in the browser.

The server listens on loopback only, which another web site can still reach through the person's own browser: by a name
that it makes resolve to 127.0.0.1 (DNS rebinding), or by sending requests across origins. So the Host header must be
this address, what changes anything must come from the page itself, and nobody else's page is told anything (no CORS).
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = "127.0.0.1"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No inline script or style, nothing from elsewhere, and no text that is ever parsed as markup."""

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses what does not come from the page, and puts the headers on every answer.

    Args:
        app: What answers the rest.
        port: The port that is listened on.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in (LOOPBACK, "localhost")}
        if port == 80:
            self._hosts |= {LOOPBACK, "localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refuse(scope["method"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refuse(self, method: str, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return PlainTextResponse("This server answers to its own address only.\n", 421)
        # browsers say where a request comes from; a link that a person follows from elsewhere is only a navigation
        foreign = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if foreign and not (method == "GET" and headers.get("sec-fetch-mode") == "navigate"):
            return PlainTextResponse("Requests of other pages are refused.\n", 403)
        if method not in ("GET", "HEAD") and headers.get("origin") != f"http://{hosts[0]}":
            return PlainTextResponse("Only the page itself may change anything.\n", 403)
        return None
