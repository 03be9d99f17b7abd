"""What every request goes through: size, origin, path, count, log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from rest_service.access import is_loopback
from rest_service.legacy import refusal_for

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from rest_service.metrics import Metrics

logger = logging.getLogger(__name__)

API = "/api/"
CONTENT = (
    b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    b"frame-ancestors 'none'"
)
#: Methods that metrics tell apart.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Nothing of what is served here may be framed, sniffed, or load anything from elsewhere.
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", CONTENT),
]


class TooMuch(HTTPException):
    """A body that is longer than REST_MAX_BODY: FastAPI passes on its own errors alone."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"The body is too large: at most {most} bytes (REST_MAX_BODY).")


class Guard:
    """The outermost layer of the service."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, *, max_body: int, local_only: bool
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body = max_body
        #: Nobody has to show a token: then no site in the user's browser may ask either.
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, method = time.monotonic(), 500, scope["method"]
        if method == "HEAD":
            # Answered as GET is; the server, by its own scope, sends no body.
            scope = {**scope, "method": "GET"}

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
                self._count(scope, method, status, time.monotonic() - began)
            await send(message)

        await self._answer(scope, receive, sent)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if self._local_only and (refused := _foreign(headers)):
            await refusal_for(scope["path"], 403, refused)(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_body:
            answer = refusal_for(scope["path"], 413, TooMuch(self._max_body).detail)
            # What is left of the body is not read.
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        if scope["path"].startswith(API):
            # Names of crawls may hold a slash: it counts only where it is not escaped.
            scope["path"] = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
        left = self._max_body

        async def received() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooMuch(self._max_body)
            return message

        await self._app(scope, received, send)

    def _count(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        labels = (_template(scope), method if method in METHODS else "other")
        self._metrics.requests.labels(*labels, str(status)).inc()
        self._metrics.seconds.labels(*labels).observe(seconds)
        fields: dict[str, Any] = {
            "action": "request",
            "method": method,
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "client": (scope.get("client") or ("",))[0],
        }
        logger.debug("Request answered", extra=fields)


def _template(scope: Scope) -> str:
    """Return the path as its route has it: names of crawls would make endless metrics."""
    route = scope.get("route")
    if route is None:
        # The folder of static files, or nothing that is there.
        return scope.get("root_path") or "none"
    # FastAPI's newer versions leave out what the router is included under.
    asked, own = scope["path"].split("/"), route.path.split("/")
    return "/".join(asked[: len(asked) - len(own) + 1] + own[1:])


def _foreign(headers: dict[bytes, bytes]) -> str:
    """Return why a request does not come from this host's own user, "" if it does.

    A name that a site points to 127.0.0.1 is not loopback's; a browser names the site from
    which a request is sent.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(_host_of(f"//{host}")):
        return f"without tokens only localhost is served, not {host[:100]!r}"
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and origin.partition("://")[2] != host:
        return f"without tokens no requests of other sites are served: {origin[:100]!r}"
    return ""


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
