from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
import scrapy.exceptions
from OpenSSL.SSL import Error as OpenSSLError
from scrapy import Request
from scrapy.exceptions import CloseSpider, IgnoreRequest, NotSupported, StopDownload
from scrapy.http import Response
from scrapy.spidermiddlewares.httperror import HttpError
from twisted.internet import defer, error
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http import _DataLoss

from crawling.exceptions import OutputError, RequestError
from crawling.outcomes import (
    DETAIL_LENGTH,
    Dropped,
    Released,
    RetryAsked,
    classify,
    describe,
    failure_of,
    retry_asked,
    retry_request,
)
from crawling.redis_retry_middleware import GaveUp, Trouble


def wrapped(kind: type[Exception], *causes: Exception) -> Exception:
    return kind([failure_of(cause) for cause in causes])


def caused(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


def made(kind: Any, *arguments: Any) -> Exception:
    """Return an exception of Twisted's, most of which have no types."""
    cause: Exception = kind(*arguments)
    return cause


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (made(error.TimeoutError), "timeout"),
        (made(error.TCPTimedOutError), "timeout"),
        (TimeoutError(), "timeout"),
        (asyncio.TimeoutError(), "timeout"),
        (error.DNSLookupError(), "dns"),
        (socket.gaierror(), "dns"),
        (made(error.ConnectionRefusedError), "refused"),
        (made(error.NoRouteError), "refused"),
        (ConnectionRefusedError(), "refused"),
        (error.ConnectionLost(), "reset"),
        (error.ConnectionDone(), "reset"),
        (ConnectionResetError(), "reset"),
        (wrapped(ResponseNeverReceived, error.ConnectionDone()), "reset"),
        (wrapped(ResponseNeverReceived, OpenSSLError()), "tls"),
        (ssl.SSLCertVerificationError(), "tls"),
        (wrapped(ResponseFailed, error.ConnectionDone(), _DataLoss()), "truncated"),
        (wrapped(ResponseFailed, made(ParseError, "x", b"")), "bad_response"),
        (defer.CancelledError(), "too_large"),
        (StopDownload(), "bad_response"),
        (OutputError("too long"), "output_error"),
        (RequestError("spider_error", "no callback"), "spider_error"),
        (ValueError("bug"), "spider_error"),
        (CloseSpider("timeout_of_mine"), "spider_error"),
    ],
    ids=repr,
)
def test_each_error_has_its_reason(cause: Exception, reason: str) -> None:
    verdict = classify(cause)

    assert (verdict.kind, verdict.reason) == ("failed", reason)
    assert str(cause) in verdict.detail
    assert classify(failure_of(cause)) == verdict


def test_a_detail_names_the_class_of_an_error_unless_it_is_our_own() -> None:
    assert describe(ValueError("bad")) == "ValueError: bad"
    assert describe(GaveUp(Trouble("http_500", "500 Internal Server Error"))) == (
        "500 Internal Server Error"
    )
    assert (
        describe(GaveUp(Trouble("timeout", describe(TimeoutError("30 s")))))
        == "TimeoutError: 30 s"
    )


#: Errors that the oldest Scrapy does not have.
NEWER = {
    "DownloadTimeoutError": "timeout",
    "CannotResolveHostError": "dns",
    "DownloadConnectionRefusedError": "refused",
    "DownloadFailedError": "reset",
    "ResponseDataLossError": "truncated",
    "DownloadCancelledError": "too_large",
}


def test_scrapys_newer_errors_have_the_same_reasons() -> None:
    for name, reason in NEWER.items():
        kind = getattr(scrapy.exceptions, name, None)
        assert kind is None or classify(kind("x"))[:2] == ("failed", reason)


def test_a_wrapped_error_counts_for_what_it_was() -> None:
    outer = caused(wrapped(ResponseFailed, error.ConnectionDone()), OpenSSLError())

    assert classify(outer).reason == "tls"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (Dropped("private_address"), "private_address"),
        (Dropped("x_mine", "too boring"), "x_mine"),
        (IgnoreRequest("Forbidden by robots.txt"), "robots"),
        (IgnoreRequest("max redirections reached"), "redirect_limit"),
        (IgnoreRequest("Filtered offsite request to 'x'"), "offsite"),
        (IgnoreRequest(), "offsite"),
        (IgnoreRequest("not today"), "x_ignored"),
        (NotSupported("Unsupported URL scheme 'foo'"), "scheme"),
    ],
    ids=repr,
)
def test_what_is_not_fetched_on_purpose_is_dropped(cause: Exception, reason: str) -> None:
    assert classify(cause)[:2] == ("dropped", reason)


def test_a_page_that_scrapy_withholds_from_the_spider_fails_with_its_status() -> None:
    verdict = classify(HttpError(Response("http://example.com/", status=404), "ignored"))

    assert verdict[:2] == ("failed", "http_404")


def test_an_own_error_brings_its_reason() -> None:
    class Own(Exception):
        reason = "http_503"

    assert classify(Own())[:2] == ("failed", "http_503")


@pytest.mark.parametrize("reason", ["no such reason", None, 7, Failure])
def test_a_foreign_reason_says_nothing(reason: Any) -> None:
    class Foreign(Exception):
        def __init__(self) -> None:
            self.reason = reason

    assert classify(Foreign())[:2] == ("failed", "spider_error")


def test_a_body_that_decompresses_to_too_much_is_too_large() -> None:
    class _DecompressionMaxSizeExceeded(Exception):
        pass

    cause = caused(IgnoreRequest("ignored"), _DecompressionMaxSizeExceeded())

    assert classify(cause)[:2] == ("failed", "too_large")


def test_what_was_not_sent_is_released() -> None:
    assert classify(Released("late"))[:2] == ("released", "")


def test_a_chain_of_causes_that_bites_its_tail_ends() -> None:
    cause = ValueError()
    cause.__cause__ = KeyError()
    cause.__cause__.__cause__ = cause

    assert classify(cause).reason == "spider_error"


def test_details_are_short_and_can_be_stored() -> None:
    detail = describe(ValueError("\udcff" + "x" * 1000))

    assert len(detail) == DETAIL_LENGTH
    detail.encode("utf-8")


def test_the_very_request_that_was_returned_tells_what_was_asked() -> None:
    request = Request("http://example.com/")
    again = retry_request(request, reason="http_503", busy=True, retry_after=7.0)

    assert retry_asked(again) == RetryAsked("http_503", busy=True, retry_after=7.0)
    assert retry_asked(request) is None
    assert retry_asked(again.replace()) is None
    assert again.dont_filter
