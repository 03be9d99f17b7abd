"""Whatever a site answers, the request ends, within its limits, for a reason that is told."""

from __future__ import annotations

import gzip
import sys
import zlib
from itertools import repeat
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped]  # has no types

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd
import pytest

from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import ask
from tests.integration.middleware_crawl import LOCAL, crawl
from tests.servers.raw_site import RawSite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawling.tracker.tracker import Tracker

OK = b"HTTP/1.1 200 OK\r\n"
ZEROS = bytes(200_000_000)
SETTINGS: dict[str, Any] = {"DOWNLOAD_TIMEOUT": 10, "RETRY_TIMES": 0, "ROBOTSTXT_OBEY": False}


def body(data: bytes, *headers: str) -> list[bytes]:
    lines = "".join(f"{header}\r\n" for header in (*headers, f"Content-Length: {len(data)}"))
    return [OK, lines.encode(), b"\r\n", data]


def redirect(location: bytes) -> list[bytes]:
    return [b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ", location, b"\r\n\r\n"]


#: What is answered, and how the request ends: a reason, or "" for done.
ANSWERS: dict[str, tuple[Iterable[bytes], str]] = {
    "gzip bomb": (body(gzip.compress(ZEROS, 1), "Content-Encoding: gzip"), "too_large"),
    "deflate bomb": (body(zlib.compress(ZEROS, 1), "Content-Encoding: deflate"), "too_large"),
    "brotli bomb": (
        body(brotli.compress(ZEROS, quality=1), "Content-Encoding: br"),
        "too_large",
    ),
    "zstd bomb": (body(zstd.compress(ZEROS, 1), "Content-Encoding: zstd"), "too_large"),
    "zstd of nothing sensible": (
        body(b"<html>plain</html>", "Content-Encoding: zstd"),
        "bad_response",
    ),
    "gzip bomb in gzip": (
        body(gzip.compress(gzip.compress(ZEROS, 1)), "Content-Encoding: gzip, gzip"),
        "too_large",
    ),
    "brotli of nothing sensible": (
        body(b"<html>plain</html>", "Content-Encoding: br"),
        "bad_response",
    ),
    "no deflate at all": (
        body(b"<html>plain</html>", "Content-Encoding: deflate"),
        "bad_response",
    ),
    "no gzip at all": (body(b"<html>plain</html>", "Content-Encoding: gzip"), "bad_response"),
    "gzip cut in its head": (
        body(gzip.compress(b"x" * 99)[:5], "Content-Encoding: gzip"),
        "bad_response",
    ),
    "gzip cut short": (body(gzip.compress(b"x" * 99)[:-9], "Content-Encoding: gzip"), ""),
    "unknown encoding": (body(b"<html>page</html>", "Content-Encoding: rot13"), ""),
    "endless body": ([OK, b"\r\n", *repeat(b"x" * 1_000_000, 200)], "too_large"),
    "endless chunks": (
        [
            OK,
            b"Transfer-Encoding: chunked\r\n\r\n",
            *repeat(b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n", 200),
        ],
        "too_large",
    ),
    "a petabyte announced": ([OK, b"Content-Length: 1000000000000000\r\n\r\nx"], "too_large"),
    "shorter than announced": ([OK, b"Content-Length: 100\r\n\r\nx"], "truncated"),
    "longer than announced": ([OK, b"Content-Length: 1\r\n\r\nxyz"], ""),
    "negative length": ([OK, b"Content-Length: -5\r\n\r\nx"], "reset"),
    "length in words": ([OK, b"Content-Length: many\r\n\r\nx"], "reset"),
    "two lengths": ([OK, b"Content-Length: 1\r\nContent-Length: 3\r\n\r\nxyz"], "reset"),
    "chunk of no size": (
        [OK, b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n"],
        "truncated",
    ),
    "chunk of negative size": (
        [OK, b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n"],
        "truncated",
    ),
    "chunks cut short": ([OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"], "truncated"),
    "endless chunk size": (
        [OK, b"Transfer-Encoding: chunked\r\n\r\n", *repeat(b"0" * 100_000, 2000)],
        "truncated",
    ),
    "unknown transfer": ([OK, b"Transfer-Encoding: pigeon\r\n\r\nxyz"], "reset"),
    "nothing": ([b""], "reset"),
    "no head": ([b"<html>as in 1991</html>"], "reset"),
    "status line of one word": ([b"HTTP/1.1\r\n\r\n"], "bad_response"),
    "status in words": ([b"HTTP/1.1 fine OK\r\n\r\nx"], "bad_response"),
    "status of six digits": ([b"HTTP/1.1 200200 OK\r\n\r\nx"], "bad_response"),
    "status below zero": ([b"HTTP/1.1 -200 OK\r\n\r\nx"], "bad_response"),
    "protocol in bytes": (
        [b"HT\xddP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"],
        "bad_response",
    ),
    "another protocol": ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], "bad_response"),
    "100 continued for ever": (repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 2_000_000), "timeout"),
    "endless head line": ([OK, b"X: ", *repeat(b"x" * 100_000, 2000)], "reset"),
    "endless head": ([OK, *repeat(b"X: y\r\n" * 10_000, 2000)], "timeout"),
    "10,000 cookies": (
        [OK, *repeat(b"Set-Cookie: a=b\r\n", 10_000), b"Content-Length: 1\r\n\r\nx"],
        "",
    ),
    "head without colon": ([OK, b"nonsense\r\nContent-Length: 1\r\n\r\nx"], ""),
    "NUL in the head": ([OK, b"X: a\0b\r\nContent-Length: 1\r\n\r\nx"], ""),
    "bytes in the head": (
        [OK, b"X: \xff\xfe\r\nContent-Type: \xff\r\nContent-Length: 1\r\n\r\nx"],
        "",
    ),
    "lines end in CR": ([OK.replace(b"\r\n", b"\r"), b"Content-Length: 1\r\rx"], "reset"),
    "redirect to a file": (redirect(b"file:///etc/passwd"), "scheme"),
    "redirect to a script": (redirect(b"javascript:alert(1)"), "scheme"),
    "redirect to ftp": (redirect(b"ftp://127.0.0.1/"), "scheme"),
    "redirect nowhere": (redirect(b""), "redirect_limit"),
    "redirect to no URL": (redirect(b"http://[::1"), "bad_response"),
    "redirect to a host of bytes": (redirect(b"http://\xff.com/"), "dns"),
    "redirect to bad port": (redirect(b"http://127.0.0.1:99999/"), "bad_response"),
    "redirect to bytes": (redirect(b"/\xff\xfe\0"), ""),
    "redirect to 100 kB": (redirect(b"/" + b"x" * 100_000), "reset"),
    "redirect into a new head": (redirect(b"/x%0d%0aX-Evil:%20yes"), ""),
}


#: They end by whichever limit is reached first.
LIMITS = {"too_large", "timeout"}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return why each request ended, "" where it is done."""
    answers = {f"/{number}": chunks for number, (chunks, _) in enumerate(ANSWERS.values())}
    tracker = f"sqlite:///{tmp_path_factory.mktemp('answers')}/tracker.db"
    with RawSite(answers) as site:
        urls = [site.url + path for path in answers]
        crawl(urls, tracker=tracker, **LOCAL, **SETTINGS)

    async def reasons(opened: Tracker) -> list[str]:
        [crawlid] = await opened.crawls()
        traces = [await opened.trace(crawlid, fingerprint(url)) for url in urls]
        assert {trace.state for trace in traces} <= {"done", "failed", "dropped"}
        return [trace.reason or "" for trace in traces]

    return dict(zip(ANSWERS, ask(tracker, reasons), strict=True))


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_ends_its_request_for_a_reason(ends: dict[str, str], name: str) -> None:
    expected = ANSWERS[name][1]
    assert ends[name] in (LIMITS if expected in LIMITS else {expected})
