"""Where Scrapy's engine is listened to, to know when a leased request is truly over.

No signal tells it.  `downloader.fetch` and `scraper.enqueue_scrape` enclose the two halves
of a request's way; the other methods are wrapped to keep a `CancelledError` out of
Scrapy's tasks, which only catch `Exception`, and to stop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy import Request
from scrapy.utils.asyncgen import as_async_generator
from twisted.python.failure import Failure

from crawling.held_lease import belong_to, held_here, run_in
from crawling.links import LinkBatch
from crawling.outcomes import Cancelled, Released, cause_of, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy.core.engine import ExecutionEngine
    from scrapy.http import Response
    from twisted.internet.defer import Deferred

    from crawling.held_lease import HeldLease
    from crawling.in_flight import InFlight


class EngineHooks:
    """Wraps the parts of one engine, for as long as the engine lives."""

    def __init__(
        self,
        engine: ExecutionEngine,
        work: InFlight,
        *,
        grace: float,
        stop_leasing: Callable[[], None],
    ) -> None:
        self._work = work
        self._grace = grace
        self._stop_leasing = stop_leasing
        self._downloader = _part(engine, "downloader")
        self._downloads: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._cutting: asyncio.TimerHandle | None = None
        self._cut = False
        handlers = _part(self._downloader, "handlers")
        self._scraper = scraper = _part(engine, "scraper")
        self._process_output = _part(scraper, "_process_spidermw_output_async")
        self._fetch = _wrap(self._downloader, "fetch", self.fetch)
        self._download = _wrap(handlers, "download_request_async", self.download)
        self._scrape = _wrap(scraper, "enqueue_scrape", self.scrape)
        self._call_spider = _wrap(scraper, "call_spider_async", self.call_spider)
        _wrap(scraper, "handle_spider_output_async", self.handle_output)
        self._process_item = _wrap(scraper, "start_itemproc_async", self.process_item)
        self._close_spider = _wrap(engine, "close_spider_async", self.close_spider)

    def fetch(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        held = self._work.held(request)
        # Not ours: robots.txt, media, inline requests; or the callback downloads its own
        # request a second time.
        if held is None or held.phase != "handed":
            return self._fetch(request, *args, **kwargs)
        held.enter("downloading")
        # The engine's own step goes on in it: "Crawled", and handlers of response_received.
        belong_to(held)
        fetching: Deferred[Any] = self._fetch(request, *args, **kwargs)
        return fetching.addBoth(self._fetched, held)

    def _fetched(self, result: Any, held: HeldLease) -> Any:
        if isinstance(result, Failure) and not isinstance(result.value, Exception):
            result = failure_of(Cancelled(repr(result.value)))
        self._work.fetched(held, result)
        return result

    async def download(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if self._cut:
            raise Released("the worker stops")
        # Scrapy starts it in the context of the download that ended before.
        belong_to(self._work.held(request))
        self._work.sending(request)
        task = asyncio.current_task()
        assert task is not None
        self._downloads.add(task)
        try:
            response: Response = await self._download(request, *args, **kwargs)
        except asyncio.CancelledError as error:
            if self._cut:
                _uncancel(task)
                raise Released("the worker stops") from error
            if not is_stray():
                raise
            raise Cancelled("the download was cancelled") from error
        except Exception as error:
            self._work.download_failed(request, error)
            raise
        finally:
            self._downloads.discard(task)
        self._work.downloaded(request, response)
        return response

    def scrape(
        self, result: Response | Failure, request: Request, *args: Any, **kwargs: Any
    ) -> Any:
        held = self._work.held(request)
        if held is None:
            return self._scrape(result, request, *args, **kwargs)
        held.enter("parsing")
        held.result = result
        scraping: Deferred[Any] = run_in(held, self._scrape, result, request, *args, **kwargs)
        return scraping.addBoth(self._scraped, held)

    def _scraped(self, result: Any, held: HeldLease) -> Any:
        self._work.finished(held)
        return result

    async def call_spider(
        self, result: Response | Failure, request: Request, *args: Any, **kwargs: Any
    ) -> Any:
        if isinstance(result, Failure):
            if isinstance(result.value, Released):
                # The request will be sent another time: no error for the spider to see.
                return ()
            held = held_here()
            if held is not None:
                held.refusal = cause_of(result)
        try:
            return await self._call_spider(result, request, *args, **kwargs)
        except asyncio.CancelledError as error:
            raise _not_stray(error) from error

    async def handle_output(
        self, output: Iterable[Any] | AsyncIterator[Any], request: Request, response: Any
    ) -> None:
        """Do with a callback's output what Scrapy does, which makes five tasks a page for it."""
        # What an errback yields comes as a plain iterable.
        found = output if isinstance(output, AsyncIterator) else as_async_generator(output)
        items: set[asyncio.Task[None]] = set()
        while True:
            try:
                each = await anext(found)
            except StopAsyncIteration:
                break
            except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - the spider's
                failure = failure_of(_not_stray(error))
                self._scraper.handle_spider_error(failure, request, response)
                continue
            if isinstance(each, LinkBatch):
                self._work.batch(each)
            elif isinstance(each, Request):
                await self._process_output(each, response)
            else:
                if len(items) >= self._scraper.concurrent_items:
                    _, items = await asyncio.wait(items, return_when=asyncio.FIRST_COMPLETED)
                items.add(asyncio.create_task(self._process_output(each, response)))
        if items:
            await asyncio.wait(items)

    async def process_item(self, item: Any, *args: Any, **kwargs: Any) -> None:
        held = held_here()
        if held is None or not held.open:
            await self._process_item(item, *args, **kwargs)
            return
        try:
            await self._process_item(item, *args, **kwargs)
        except asyncio.CancelledError as error:
            if not is_stray():
                raise
            self._work.item_lost(held, error)
        except Exception as error:  # noqa: BLE001 - it would end one of the page's item workers
            self._work.item_lost(held, error)

    async def close_spider(self, *args: Any, **kwargs: Any) -> None:
        if not self._closing:
            self._closing = True
            self._stop_leasing()
            self._return_queued()
            loop = asyncio.get_running_loop()
            self._cutting = loop.call_later(self._grace, self._cut_downloads)
        await self._close_spider(*args, **kwargs)

    def closed(self) -> None:
        if self._cutting is not None:
            self._cutting.cancel()

    def _return_queued(self) -> None:
        """Take back what waits in the downloader for a delay or a free connection."""
        for slot in list(_part(self._downloader, "slots").values()):
            queued, slot.queue = slot.queue, deque()
            for request, answer in queued:
                if self._work.held(request) is None:
                    slot.queue.append((request, answer))
                else:
                    answer.errback(failure_of(Released("the worker stops")))

    def _cut_downloads(self) -> None:
        self._cut = True
        for task in list(self._downloads):
            task.cancel()


def is_stray() -> bool:
    """Whether a `CancelledError` came from something awaited, not from cancelling this task.

    Python 3.10 cannot tell; there it counts as stray, which at worst makes an error of it.
    """
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or not cancelling()


def _not_stray(error: BaseException) -> Exception:
    """Return the error of a callback; a cancellation that is meant goes on."""
    if isinstance(error, Exception):
        return error
    if not is_stray():
        raise error
    stray = Cancelled("a callback awaited something that was cancelled")
    stray.__cause__ = error
    return stray


def _uncancel(task: asyncio.Task[Any]) -> None:
    # Python 3.10 does not count cancellations.
    if hasattr(task, "uncancel"):
        task.uncancel()


def _part(owner: Any, name: str) -> Any:
    part = getattr(owner, name, None)
    if part is None:
        raise RuntimeError(
            f"Scrapy {scrapy.__version__} has no {type(owner).__name__}.{name}: "
            "its leases cannot be settled"
        )
    return part


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """Put *wrapper* in the place of a method and return the method."""
    original: Callable[..., Any] = _part(owner, name)
    setattr(owner, name, wrapper)
    return original
