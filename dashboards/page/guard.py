"""Who may see a page that answers beyond this machine: whoever has its token."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "dynamics_token"


class TokenGuard:
    """Lets a request through that brings the token, in its address the first time and in a cookie afterwards."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the application, or pass the request on to it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        if self._right(request.cookies.get(COOKIE)):
            await self.app(scope, receive, send)
            return
        given = parse_qs(request.url.query).get("token", [None])[0]
        if not self._right(given):
            refusal = PlainTextResponse("this page needs the token that 'dynamics serve' printed", status_code=401)
            await refusal(scope, receive, send)
            return
        # The token leaves the address at once, so that it is not in a bookmark or a shared link.
        entry = RedirectResponse(request.url.path)
        entry.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
        await entry(scope, receive, send)

    def _right(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())
