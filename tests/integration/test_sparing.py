"""What a worker is spared changes nothing of what comes out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydispatch import dispatcher
from scrapy import Request, Spider
from scrapy.core.downloader.middleware import DownloaderMiddlewareManager
from scrapy.core.spidermw import SpiderMiddlewareManager
from scrapy.http import HtmlResponse, Response
from scrapy.signalmanager import SignalManager
from scrapy.spidermiddlewares.base import BaseSpiderMiddleware
from scrapy.utils.test import get_crawler
from twisted.internet import _idna, endpoints

from crawling.sparing import (
    _join_downloader_middlewares,
    _join_spider_middlewares,
    _keep_host_names,
    _skip_unheard_signals,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler

URL = "http://example.com/page"


class Counting(SignalManager):
    """Scrapy's, with the number of signals that it was given."""

    sent = 0

    def send_catch_log(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        self.sent += 1
        return super().send_catch_log(signal, **kwargs)

    async def send_catch_log_async(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        self.sent += 1
        return await super().send_catch_log_async(signal, **kwargs)


@pytest.fixture
def signals() -> Counting:
    # The dispatcher takes senders by their id, which another may have had.
    dispatcher.connections.clear()
    signals = Counting(sender=object())
    _skip_unheard_signals(signals)
    return signals


def send(signals: SignalManager, signal: object, number: int) -> list[Any]:
    """Send the signal in both ways, and return what was answered."""
    at_once = signals.send_catch_log(signal=signal, number=number)
    later = asyncio.run(signals.send_catch_log_async(signal, number=number))
    return [answer for _, answer in at_once + later]


def test_a_signal_reaches_who_listens_while_it_is_sent(signals: Counting) -> None:
    signal, other = object(), object()

    def double(number: int) -> int:
        return 2 * number

    assert send(signals, signal, 1) == []
    signals.connect(double, signal)
    assert send(signals, signal, 2) == [4, 4]
    assert send(signals, other, 3) == []
    signals.disconnect(double, signal)
    assert send(signals, signal, 4) == []
    assert signals.sent == 2


@pytest.mark.parametrize("which", ["any signal", "any sender", "any of both"])
def test_a_signal_reaches_who_listens_to_more(signals: Counting, which: str) -> None:
    signal = object()

    def double(number: int) -> int:
        return 2 * number

    dispatcher.connect(
        double,
        signal if which == "any sender" else dispatcher.Any,
        signals.sender if which == "any signal" else dispatcher.Any,
    )

    assert send(signals, signal, 2) == [4, 4]


def test_who_is_gone_does_not_listen(signals: Counting) -> None:
    signal = object()

    def listen() -> None: ...

    signals.connect(listen, signal)
    del listen

    assert send(signals, signal, 1) == []
    assert signals.sent == 0


def test_a_host_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def encode(name: str) -> bytes:
        asked.append(name)
        return name.encode("idna")

    monkeypatch.setattr(endpoints, "_idnaBytes", _idna._idnaBytes)
    _keep_host_names()
    # As Scrapy does it, when its handler is made.
    monkeypatch.setattr(_idna, "_idnaBytes", encode)

    for _ in range(3):
        found = endpoints.HostnameEndpoint._hostAsBytesAndText("bücher.example")
        assert found == (False, b"xn--bcher-kva.example", "bücher.example")
    assert asked == ["bücher.example"]


class Tagging:
    """A project's own, between two of Scrapy's; it notes what it sees."""

    seen: list[bytes | None]

    def __init__(self) -> None:
        self.seen = []

    async def process_request(self, request: Request) -> None:
        self.seen += [request.headers.get("Accept"), request.headers.get("User-Agent")]

    def process_response(self, request: Request, response: Response) -> Response:
        self.seen.append(response.headers.get("Location"))
        return response


@pytest.fixture
def crawler() -> Crawler:
    crawler = get_crawler(
        Spider,
        {
            "DOWNLOADER_MIDDLEWARES": {f"{__name__}.Tagging": 450},
            "SPIDER_MIDDLEWARES": {
                "crawling.meta_passthrough_middleware.MetaPassthroughMiddleware": 100,
                f"{__name__}.Shouting": 750,
                f"{__name__}.Asking": 740,
            },
            "USER_AGENT": "sparing",
        },
    )
    crawler.spider = crawler._create_spider("any")
    return crawler


@pytest.fixture
def downloading(crawler: Crawler) -> DownloaderMiddlewareManager:
    manager = DownloaderMiddlewareManager.from_crawler(crawler)
    _join_downloader_middlewares(manager)
    return manager


def download(
    manager: DownloaderMiddlewareManager, answer: Response
) -> tuple[Request, Request | Response]:
    """Return the request as it was sent, and what came of it."""
    sent: list[Request] = []

    async def fetch(request: Request) -> Response:
        sent.append(request)
        return answer

    result = asyncio.run(manager.download_async(fetch, Request(URL)))
    return sent[0], result


def test_a_projects_middleware_keeps_its_place(
    downloading: DownloaderMiddlewareManager,
) -> None:
    tagging = next(each for each in downloading.middlewares if isinstance(each, Tagging))

    sent, result = download(downloading, HtmlResponse(URL, body=b"<p>", encoding="utf-8"))

    assert sent.headers["User-Agent"] == b"sparing"
    assert isinstance(result, HtmlResponse)
    # DefaultHeaders comes before it, UserAgent after it.
    assert tagging.seen == [
        b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        None,
        None,
    ]
    # Its own, what comes before it, and what comes after it.
    assert len(downloading.methods["process_request"]) == 3


def test_a_redirect_ends_the_way_of_the_response(
    downloading: DownloaderMiddlewareManager,
) -> None:
    tagging = next(each for each in downloading.middlewares if isinstance(each, Tagging))

    _, result = download(downloading, Response(URL, 302, {"Location": "/elsewhere"}))

    assert isinstance(result, Request)
    assert result.url == "http://example.com/elsewhere"
    # The response did not come to it.
    assert len(tagging.seen) == 2
    # Those before it, and itself.
    assert len(downloading.methods["process_response"]) == 2


class Shouting(BaseSpiderMiddleware):
    def get_processed_item(self, item: Any, response: Response | None) -> Any:
        return None if item == {"say": "nothing"} else {"say": item["say"].upper()}


class Asking(BaseSpiderMiddleware):
    def get_processed_item(self, item: Any, response: Response | None) -> Any:
        return {"say": item["say"] + "?"}


def results(manager: SpiderMiddlewareManager) -> list[Any]:
    """Return what comes of a callback's output, which ends with an error."""

    async def callback(response: Any, _request: Request) -> AsyncIterator[Any]:
        return _output(response)

    async def collect() -> list[Any]:
        request = Request(URL, meta={"crawlid": "mine"})
        page = Response(URL, request=request)
        output = await manager.scrape_response_async(callback, page, request)
        found: list[Any] = []
        try:
            async for each in output:
                found.append(  # noqa: PERF401 - what came before the error counts
                    (each.url, each.headers.get("Referer"), each.meta.get("crawlid"))
                    if isinstance(each, Request)
                    else each
                )
        except ZeroDivisionError as error:
            found.append(str(error))
        return found

    return asyncio.run(collect())


async def _output(_response: Response) -> AsyncIterator[Any]:
    yield {"say": "hello"}
    yield {"say": "nothing"}
    yield Request("http://example.com/next")
    yield {"say": str(1 // 0)}


def test_joined_spider_middlewares_do_what_they_did(crawler: Crawler) -> None:
    apart = SpiderMiddlewareManager.from_crawler(crawler)
    joined = SpiderMiddlewareManager.from_crawler(crawler)
    _join_spider_middlewares(crawler, joined)

    assert results(joined) == results(apart)
    assert results(joined) == [
        {"say": "HELLO?"},
        ("http://example.com/next", URL.encode(), "mine"),
        "integer division or modulo by zero",
    ]
    places, before = (list(each.methods["process_spider_output"]) for each in (joined, apart))
    assert len(places) == len(before)
    assert len([each for each in places if each]) < len([each for each in before if each])


class Forgiving:
    """Handles the errors of what is nearer to the spider, and of nothing else."""

    def process_spider_exception(self, response: Response, exception: Exception) -> list[Any]:
        return [{"say": type(exception).__name__}]


class Failing(BaseSpiderMiddleware):
    def get_processed_item(self, item: Any, response: Response | None) -> Any:
        raise ValueError(item)


@pytest.mark.parametrize(("failing", "handled"), [(700, True), (200, False)])
def test_errors_are_handled_by_who_is_behind(failing: int, handled: bool) -> None:
    crawler = get_crawler(
        Spider,
        {
            "SPIDER_MIDDLEWARES": {
                f"{__name__}.Shouting": 100,
                f"{__name__}.Failing": failing,
                f"{__name__}.Forgiving": 500,
            }
        },
    )
    crawler.spider = crawler._create_spider("any")
    manager = SpiderMiddlewareManager.from_crawler(crawler)
    _join_spider_middlewares(crawler, manager)

    if handled:
        assert results(manager) == [{"say": "VALUEERROR"}]
    else:
        with pytest.raises(ValueError, match="hello"):
            results(manager)
