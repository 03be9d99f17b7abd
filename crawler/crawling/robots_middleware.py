"""robots.txt as RFC 9309 has it."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from scrapy import Request, signals
from scrapy.exceptions import IgnoreRequest, NotConfigured, StopDownload
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.httpobj import urlparse_cached
from scrapy.utils.misc import build_from_crawler, load_object

from crawling.outcomes import Dropped, Released, describe
from crawling.redis_retry_middleware import (
    GaveUp,
    Retries,
    Trouble,
    is_leased,
    status_trouble,
)
from crawling.service.config import read
from crawling.service.expiring import ExpiringCache
from crawling.signals import leases_taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.robotstxt import RobotParser

    from crawling.tracker.tracker import Lease

#: Bytes of a robots.txt that are read: what RFC 9309 (2.5) asks for at least.
MAX_SIZE = 500 * 1024
#: Bytes that a robots.txt may have at all, on the wire or decompressed, whatever pages may.
LARGEST = 32 * 1024 * 1024
#: Redirects that are followed to a robots.txt: as many as RFC 9309 (2.3.1.2) asks for.
MAX_REDIRECTS = 5

UNREACHABLE = "robots_unreachable"


class Rules:
    """What a host allows; without a *parser* everything."""

    __slots__ = ("_parser",)

    def __init__(self, parser: RobotParser | None = None) -> None:
        self._parser = parser

    def allow(self, url: str, agent: str) -> bool:
        return self._parser is None or self._parser.allowed(url, agent)


class RobotsMiddleware:
    """Drops what robots.txt forbids, and puts off a host that does not show its own.

    A host's robots.txt is fetched once at a time for all who wait; the fetch is no lease
    and takes no place in the throttle.
    """

    def __init__(self, crawler: Crawler) -> None:
        settings = crawler.settings
        assert crawler.stats is not None
        self._crawler = crawler
        self._stats = crawler.stats
        self._retries = Retries.from_crawler(crawler)
        self._agent: str = read(settings, "USER_AGENT")
        self._robots_agent: str | None = settings["ROBOTSTXT_USER_AGENT"]
        self._parser: Any = load_object(settings["ROBOTSTXT_PARSER"])
        self._fetching: dict[str, asyncio.Task[Rules | Trouble]] = {}
        #: Bytes of each fetch under way.
        self._received: dict[object, int] = {}
        self._known: ExpiringCache[Rules] = ExpiringCache(
            read(settings, "ROBOTSTXT_CACHE_SIZE"), read(settings, "ROBOTSTXT_CACHE_TTL")
        )

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RobotsMiddleware:
        if not read(crawler.settings, "ROBOTSTXT_OBEY"):
            raise NotConfigured
        middleware = cls(crawler)
        crawler.signals.connect(middleware.prefetch, leases_taken)
        return middleware

    def prefetch(self, leases: Sequence[Lease]) -> None:
        """Fetch now what a request would wait for past its place in the throttle."""
        for lease in leases:
            host = "/".join(lease.url.split("/", 3)[:3])
            throttled = lease.latest < float("inf")
            if throttled and host not in self._fetching and self._known.get(host) is None:
                self._start(host, lease.options.shared.get("useragent") or self._agent)

    async def process_request(self, request: Request) -> Request | None:
        url = urlparse_cached(request)
        if request.meta.get("dont_obey_robotstxt") or url.scheme not in {"http", "https"}:
            return None
        agent = self._agent_of(request)
        verdict = await self._ask(f"{url.scheme}://{url.netloc}", agent)
        if isinstance(verdict, Trouble):
            return self._put_off(request, verdict)
        if not verdict.allow(request.url, agent):
            self._stats.inc_value("robotstxt/forbidden")
            raise Dropped("robots", "forbidden by robots.txt")
        return None

    def _agent_of(self, request: Request) -> str:
        own = request.headers.get("User-Agent")
        return self._robots_agent or (own.decode("latin-1") if own else self._agent)

    def _put_off(self, request: Request, trouble: Trouble) -> Request:
        if not is_leased(request):
            raise GaveUp(trouble)
        return self._retries.again(request, trouble)

    async def _ask(self, host: str, agent: str) -> Rules | Trouble:
        known = self._known.get(host)
        if known is not None:
            return known
        task = self._fetching.get(host) or self._start(host, agent)
        # Unlike awaiting the task, this neither cancels it with one of those who wait
        # nor lets its own cancellation out: Scrapy would keep the request for ever.
        await asyncio.wait({task})
        return _verdict(task)

    def _start(self, host: str, agent: str) -> asyncio.Task[Rules | Trouble]:
        # In a context of its own: the fetch belongs to no lease.
        task = Context().run(asyncio.ensure_future, self._fetch(host, agent))
        self._fetching[host] = task
        task.add_done_callback(lambda _: self._fetched(host, task))
        return task

    def _fetched(self, host: str, task: asyncio.Task[Rules | Trouble]) -> None:
        del self._fetching[host]
        # What could not be read is asked for again, by the next try of a request.
        if not task.cancelled() and not isinstance(task.exception(), Released):
            verdict = _verdict(task)
            if isinstance(verdict, Rules):
                self._known.put(host, verdict)

    async def _fetch(self, host: str, agent: str) -> Rules | Trouble:
        request = _robots_request(host, agent)
        self._stats.inc_value("robotstxt/request_count")
        response = await self._download(request)
        self._stats.inc_value("robotstxt/response_count")
        self._stats.inc_value(f"robotstxt/response_status_count/{response.status}")
        if response.status >= 500:
            trouble = status_trouble(response)
            return _unreachable(trouble.detail, trouble.retry_after)
        if not 200 <= response.status < 300:
            return Rules()
        body = response.body[:MAX_SIZE]
        return Rules(build_from_crawler(self._parser, self._crawler, body))

    async def _download(self, request: Request) -> Response:
        mark, connections = request.meta["robots_fetch"], self._crawler.signals
        assert self._crawler.engine is not None
        # Not always connected: Scrapy would call it for each piece of each page.
        if not self._received:
            connections.connect(self._stop_when_large, signals.bytes_received)
        self._received[mark] = 0
        try:
            return await self._crawler.engine.download_async(request)
        finally:
            del self._received[mark]
            if not self._received:
                connections.disconnect(self._stop_when_large, signals.bytes_received)

    def _stop_when_large(self, data: bytes, request: Request) -> None:
        mark = request.meta.get("robots_fetch")
        if mark in self._received:
            self._received[mark] += len(data)
            if self._received[mark] > MAX_SIZE:
                raise StopDownload(fail=False)


def _robots_request(host: str, agent: str) -> Request:
    return Request(
        f"{host}/robots.txt",
        # Not compressed: it is cut where it gets too long.
        headers={"User-Agent": agent, "Accept-Encoding": "identity"},
        priority=1000,
        meta={
            "dont_obey_robotstxt": True,
            "dont_retry": True,
            "allow_offsite": True,
            "redirect_ttl": MAX_REDIRECTS,
            "download_maxsize": LARGEST,
            # The same object on every redirect.
            "robots_fetch": object(),
        },
        callback=NO_CALLBACK,
    )


def _verdict(task: asyncio.Task[Rules | Trouble]) -> Rules | Trouble:
    """Return what a finished fetch means."""
    if task.cancelled():
        return _unreachable("the fetch was cancelled")
    error = task.exception()
    if isinstance(error, Released):
        raise Released(str(error))
    # Too many redirects are "unavailable", as a 404 is.  An address that must not be
    # reached stops the page itself, if it is the page's own.
    if isinstance(error, IgnoreRequest):
        return Rules()
    if error is not None:
        return _unreachable(describe(error))
    return task.result()


def _unreachable(detail: str, retry_after: float = 0.0) -> Trouble:
    return Trouble(UNREACHABLE, f"robots.txt: {detail}", busy=True, retry_after=retry_after)
