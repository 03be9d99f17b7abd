"""What became of a request: how middlewares say it, and what exceptions mean."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import socket
import ssl
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import scrapy.exceptions
from OpenSSL.SSL import Error as OpenSSLError
from scrapy.core.downloader.handlers.http11 import TunnelError
from scrapy.exceptions import IgnoreRequest, NotSupported, StopDownload
from scrapy.spidermiddlewares.httperror import HttpError
from service_identity import VerificationError
from twisted.internet import defer, error
from twisted.python.failure import Failure
from twisted.web._newclient import BadResponseVersion, ParseError
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss, _DataLoss

from crawling.exceptions import OutputError, TooLarge
from crawling.tracker.tracker import DROPPED_REASONS, FAILED_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy import Request

    from crawling.tracker.tracker import Kind

#: Longest detail that is kept of an error, in characters.
DETAIL_LENGTH = 500


class Dropped(IgnoreRequest):
    """The request is not to be fetched; *reason* is of the closed list or begins with `x_`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class Released(IgnoreRequest):
    """The request was not sent, and goes back to the tracker as if never leased."""


class Cancelled(Exception):
    """A `CancelledError` that nobody asked for.

    Scrapy catches `Exception` only: as it came, it would leave the request in flight for
    ever.
    """


@dataclass(frozen=True)
class RetryAsked:
    """What a middleware wants with the Request that it returned from `retry_request`."""

    reason: str
    detail: str = ""
    busy: bool = False
    retry_after: float = 0.0


class Verdict(NamedTuple):
    """How a lease ends."""

    kind: Kind
    reason: str = ""
    detail: str = ""
    #: As of `Outcome`: whether, and how long, the whole domain is to rest.
    busy: bool = False
    retry_after: float = 0.0


_asked: WeakKeyDictionary[Request, RetryAsked] = WeakKeyDictionary()


def retry_request(
    request: Request,
    *,
    reason: str,
    detail: str = "",
    busy: bool = False,
    retry_after: float = 0.0,
) -> Request:
    """Return the Request by which a middleware asks the tracker for a retry.

    *busy* (429, 503) pushes the whole domain back, by *retry_after* seconds if given.
    """
    again = request.replace(dont_filter=True)
    _asked[again] = RetryAsked(reason, detail, busy, retry_after)
    return again


def retry_asked(request: Request) -> RetryAsked | None:
    return _asked.get(request)


def classify(failure: Failure | BaseException) -> Verdict:
    """Return how a request ends that failed with *failure*."""
    cause = cause_of(failure) if isinstance(failure, Failure) else failure
    detail = describe(cause)
    if isinstance(cause, Released):
        return Verdict("released", "", detail)
    own = _own_reason(cause)
    if own:
        dropped = own in DROPPED_REASONS or own.startswith("x_")
        busy, retry_after = getattr(cause, "busy", False), getattr(cause, "retry_after", 0.0)
        return Verdict("dropped" if dropped else "failed", own, detail, busy, retry_after)
    # HttpError is an IgnoreRequest; but the page was there, and no callback has seen it.
    if isinstance(cause, IgnoreRequest) and not isinstance(cause, HttpError):
        return _ignored(cause, detail)
    if isinstance(cause, _UNSUPPORTED):
        return Verdict("dropped", "scheme", detail)
    return Verdict("failed", _failed_reason(cause), detail)


def cause_of(failure: Failure) -> BaseException:
    assert failure.value is not None
    return failure.value


def failure_of(error: Exception) -> Failure:
    return Failure(error)  # type: ignore[no-untyped-call] # Twisted's


def describe(cause: BaseException) -> str:
    """Return type and message of *cause*, cut, and safe to store as UTF-8.

    The names of our own classes say nothing that the message and the reason do not.
    """
    name = "" if type(cause).__module__.startswith("crawling.") else type(cause).__name__
    text = f"{name}: {cause}" if name else str(cause)
    return text[:DETAIL_LENGTH].encode("utf-8", "replace").decode("utf-8")


def _own_reason(cause: BaseException) -> str:
    """Return the reason that one of our own exceptions carries.

    Twisted's and Scrapy's have attributes of that name with other things in them.
    """
    reason = getattr(cause, "reason", None)
    if not isinstance(reason, str):
        return ""
    known = reason in FAILED_REASONS or reason in DROPPED_REASONS
    return reason if known or reason.startswith(("x_", "http_")) else ""


def _ignored(cause: IgnoreRequest, detail: str) -> Verdict:
    # HttpCompressionMiddleware; the class is private to Scrapy.
    if type(cause.__cause__).__name__ == "_DecompressionMaxSizeExceeded":
        return Verdict("failed", "too_large", detail)
    message = str(cause)
    for words, reason in _IGNORED:
        if words in message:
            return Verdict("dropped", reason, detail)
    # Scrapy before 2.15 gives no message when OffsiteMiddleware refuses.
    return Verdict("dropped", "x_ignored" if message else "offsite", detail)


def _failed_reason(cause: BaseException) -> str:
    if isinstance(cause, HttpError):
        return f"http_{cause.response.status}"
    chain = list(_unfold(cause))
    for kinds, reason in _FAILED:
        if any(isinstance(each, kinds) for each in chain):
            return reason
    # Twisted's, of a host that it would not look up.
    if any(isinstance(each, ValueError) and _NO_HOST in str(each) for each in chain):
        return "dns"
    return "spider_error"


def _unfold(cause: BaseException | None) -> Iterator[BaseException]:
    """Yield *cause* and what it was made from: Scrapy and Twisted wrap the real error."""
    seen: set[int] = set()
    todo = [cause]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo.append(each.__cause__)
        if isinstance(each, ResponseFailed):
            todo.extend(failure.value for failure in each.reasons)


def _named(*names: str) -> tuple[type[BaseException], ...]:
    """Return those exceptions of Scrapy that this version has: 2.15 brought its own."""
    return tuple(
        getattr(scrapy.exceptions, name) for name in names if hasattr(scrapy.exceptions, name)
    )


def _undecodable() -> Iterator[type[BaseException]]:
    """Yield what the decoders raise that Scrapy may use for `br` and `zstd`."""
    for module, name in (
        ("brotli", "error"),
        ("brotlicffi", "error"),
        ("compression.zstd", "ZstdError"),
        ("backports.zstd", "ZstdError"),
        ("zstandard", "ZstdError"),
    ):
        with suppress(ImportError):
            yield getattr(import_module(module), name)


_NO_HOST = "invalid hostname"

_UNSUPPORTED: tuple[type[BaseException], ...] = (
    NotSupported,
    *_named("UnsupportedURLSchemeError"),
)

#: What Scrapy's own middlewares say when they ignore a request -> reason.
_IGNORED = (
    ("robots.txt", "robots"),
    ("max redirections", "redirect_limit"),
    ("offsite", "offsite"),
)

#: First match wins, over the whole chain of causes: a truncated body is also a lost
#: connection.
_FAILED: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((TooLarge,), "too_large"),
    ((OutputError,), "output_error"),
    # Twisted's, not asyncio's: how http11 ends a body that grows past DOWNLOAD_MAXSIZE.
    ((defer.CancelledError, *_named("DownloadCancelledError")), "too_large"),
    (
        (
            error.TimeoutError,
            error.TCPTimedOutError,
            defer.TimeoutError,
            TimeoutError,
            asyncio.TimeoutError,
            *_named("DownloadTimeoutError"),
        ),
        "timeout",
    ),
    (
        (
            error.DNSLookupError,
            error.UnknownHostError,
            socket.gaierror,
            *_named("CannotResolveHostError"),
        ),
        "dns",
    ),
    ((OpenSSLError, ssl.SSLError, VerificationError), "tls"),
    ((_DataLoss, PotentialDataLoss, *_named("ResponseDataLossError")), "truncated"),
    (
        (
            ParseError,
            BadResponseVersion,
            # Scrapy decodes the name of the protocol.
            UnicodeError,
            http.client.HTTPException,
            gzip.BadGzipFile,
            # A gzip that ends in its head.
            EOFError,
            struct.error,
            zlib.error,
            *_undecodable(),
            StopDownload,
        ),
        "bad_response",
    ),
    (
        (
            error.ConnectError,
            ConnectionRefusedError,
            TunnelError,
            *_named("DownloadConnectionRefusedError"),
        ),
        "refused",
    ),
    (
        (
            error.ConnectionLost,
            error.ConnectionDone,
            error.ConnectionAborted,
            error.ConnectionClosed,
            ConnectionError,
            ResponseNeverReceived,
            ResponseFailed,
            *_named("DownloadFailedError"),
        ),
        "reset",
    ),
)
