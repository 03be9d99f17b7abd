"""HTTP: whatever bytes a site answers with, each request ends in time for a reason that is told."""

from __future__ import annotations

import gzip
import os
import zlib
from random import Random
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped]  # has no types
import pytest

from crawling.tracker.tracker import DROPPED_REASONS, is_failure
from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import ask
from tests.doors.cases import CASES
from tests.integration.middleware_crawl import LOCAL, crawl
from tests.servers.raw_site import RawSite

if TYPE_CHECKING:
    from pathlib import Path

    from crawling.tracker.tracker import Trace, Tracker

#: Answers in one crawl.
BATCH = 100
#: A Retry-After must not hold up all that follows: it is the same host.
SETTINGS: dict[str, Any] = {
    "DEFER_MAX": 0.1,
    "DOWNLOAD_TIMEOUT": 3,
    "RETRY_TIMES": 0,
    "ROBOTSTXT_OBEY": False,
}

STATUS_LINES = [
    *[b"HTTP/1.1 200 OK"] * 8, b"HTTP/1.0 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 204 No",
    b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 500 Oh", b"HTTP/1.1 503 Busy", b"HTTP/1.1 429 Slow",
    b"HTTP/1.1 301 Moved", b"HTTP/1.1 302 Found", b"HTTP/1.1 308 Gone", b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 999 Odd", b"HTTP/1.1 099 Odd", b"HTTP/1.1 1e2 Odd", b"HTTP/1.1 200", b"HTTP/9.9 200",
    b"HTTP/1.1  200 OK", b"ICY 200 OK", b"", b"\0", b"HTTP/1.1 200 " + b"x" * 70_000,
]  # fmt: skip
HEADERS = [
    b"Content-Type: text/html", b"Content-Type: text/html; charset=nonsense", b"Content-Type:",
    b"Content-Type: \xff/\xff", b"Content-Type: image/png", b"Content-Encoding: gzip",
    b"Content-Encoding: br", b"Content-Encoding: deflate", b"Content-Encoding: gzip, br, gzip",
    b"Content-Encoding: x", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, chunked", b"Location: /elsewhere", b"Location: http://[::1",
    b"Location: file:///etc/passwd", b"Location: http://10.0.0.1/", b"Location: \xe9\0\r",
    b"Location: //", b"Set-Cookie: a=b; Domain=com", b"Set-Cookie: =; Max-Age=nan",
    b"Retry-After: 1", b"Retry-After: -1", b"Retry-After: soon", b"Retry-After: 9" + b"9" * 30,
    b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 0x5",
    b"Content-Length: 99999999999999999999", b"Connection: close", b"Refresh: 0; url=/x",
    b"no colon", b": no name", b" folded: x", b"\tfolded", b"X: " + b"y" * 20_000, b"\0: \0",
]  # fmt: skip
PAGE = b"<html><head><title>t</title></head><body><a href='/x'>x</a></body></html>"


def answer(random: Random) -> list[bytes]:
    """Return what is sent: mostly a page, with something that may be wrong in it."""
    body = random.choice([PAGE, b"", bytes(random.choices(range(256), k=200)), PAGE * 200])
    packed = random.choice(
        [body, gzip.compress(body), zlib.compress(body), brotli.compress(body)]
    )
    headers = random.choices(HEADERS, k=random.randint(0, 5))
    if random.random() < 0.6:
        length = random.choice([len(packed)] * 4 + [len(packed) + 9, max(0, len(packed) - 9)])
        headers.append(b"Content-Length: %d" % length)
    if random.random() < 0.2:
        size = random.choice([len(packed)] * 3 + [len(packed) + 3, 0])
        packed = b"%x%s\r\n%s\r\n0\r\n" % (size, random.choice([b"", b";ext", b"g"]), packed)
    line = random.choice(STATUS_LINES)
    ending = random.choice([b"\r\n"] * 9 + [b"\n", b"\r"])
    sent = ending.join([line, *headers, b"", b""]) + packed
    if random.random() < 0.1:
        sent = sent[: random.randrange(len(sent) + 1)]
    if random.random() < 0.1 and sent:
        place = random.randrange(len(sent))
        sent = sent[:place] + bytes([random.randrange(256)]) + sent[place + 1 :]
    cut = random.randrange(len(sent) + 1)
    return [sent[:cut], sent[cut:]]


@pytest.mark.parametrize("batch", range(max(1, CASES // BATCH)))
def test_each_answer_ends_its_request_for_a_reason(tmp_path: Path, batch: int) -> None:
    seed = batch if os.environ.get("CI") else Random().randrange(10**9)
    random = Random(seed)
    answers = {f"/{number}": answer(random) for number in range(BATCH)}
    tracker = f"sqlite:///{tmp_path}/tracker.db"
    with RawSite(answers) as site:
        urls = [site.url + path for path in answers]
        crawled = crawl(urls, tracker=tracker, **LOCAL, **SETTINGS)

    async def traces(opened: Tracker) -> list[Trace]:
        [crawlid] = await opened.crawls()
        assert await opened.audit() == []
        return [await opened.trace(crawlid, fingerprint(url)) for url in urls]

    for url, trace in zip(urls, ask(tracker, traces), strict=True):
        about = f"seed {seed}: {answers[url.removeprefix(site.url)]}: {trace}"
        assert trace.state in {"done", "failed", "dropped"}, about
        assert trace.state != "failed" or is_failure(trace.reason or ""), about
        assert trace.state != "dropped" or trace.reason in DROPPED_REASONS, about
        assert trace.reason != "spider_error", about
    assert crawled.stats["finish_reason"] == "finished"
