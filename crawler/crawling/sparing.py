"""Work that Scrapy, Twisted and Python do for every page, and that a worker is spared."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from inspect import iscoroutinefunction
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydispatch import dispatcher
from scrapy import Request
from scrapy.spidermiddlewares.base import BaseSpiderMiddleware
from scrapy.utils.reactor import is_reactor_installed

from crawling.service.garbage import collect_seldom

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from scrapy.core.engine import ExecutionEngine
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.middleware import MiddlewareManager
    from scrapy.signalmanager import SignalManager

#: Names of hosts that are kept in the form in which they are looked up.
HOSTS = 10_000


def spare(crawler: Crawler, engine: ExecutionEngine) -> None:
    """Spare *crawler* such work; garbage and names of hosts are all of its process's."""
    _skip_unheard_signals(crawler.signals)
    _join_downloader_middlewares(engine.downloader.middleware)
    _join_spider_middlewares(crawler, engine.scraper.spidermw)
    if is_reactor_installed():
        _keep_host_names()
    collect_seldom()


def _skip_unheard_signals(signals: SignalManager) -> None:
    """Let signals end here that nobody listens to: Scrapy sends some eight a page."""
    send, send_async = signals.send_catch_log, signals.send_catch_log_async

    def send_heard(signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        if _is_heard(signal, kwargs.get("sender", signals.sender)):
            return send(signal, **kwargs)
        return []

    async def send_heard_async(signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        if _is_heard(signal, kwargs.get("sender", signals.sender)):
            return await send_async(signal, **kwargs)
        return []

    signals.send_catch_log = send_heard  # type: ignore[method-assign]  # for this crawler
    signals.send_catch_log_async = send_heard_async  # type: ignore[method-assign]  # as above


def _is_heard(signal: Any, sender: Any) -> bool:
    """Whether anybody listens; what the dispatcher has of receivers goes when they do."""
    for place in (id(sender), id(dispatcher.Any)):
        receivers = dispatcher.connections.get(place)
        if receivers and (signal in receivers or dispatcher.Any in receivers):
            return True
    return False


def _join_downloader_middlewares(manager: MiddlewareManager) -> None:
    """Call those that follow each other in one go: Scrapy makes and awaits a coroutine for each.

    Only Scrapy's and the fleet's, which are known to return what they mean; a project's
    own may return anything, and Scrapy says what is wrong with it.
    """
    with_spider = manager._mw_methods_requiring_spider
    for name, join in (("process_request", _asked), ("process_response", _answered)):
        methods = manager.methods[name]
        manager.methods[name] = deque(_joined(methods, join, with_spider))


def _joined(
    methods: Iterable[Any],
    join: Callable[[Sequence[Any]], Any],
    with_spider: Collection[Any],
) -> Iterator[Any]:
    def is_plain(method: Any) -> bool:
        package = type(_owner(method)).__module__.partition(".")[0]
        own = package in {"scrapy", "crawling"}
        return own and method not in with_spider and not iscoroutinefunction(method)

    for plain, some in groupby(methods, is_plain):
        group = list(some)
        yield from [join(group)] if plain and len(group) > 1 else group


def _asked(methods: Sequence[Any]) -> Callable[[Request], Request | Response | None]:
    def process_request(request: Request) -> Request | Response | None:
        for method in methods:
            answer: Request | Response | None = method(request=request)
            if answer is not None:
                return answer
        return None

    return process_request


def _answered(methods: Sequence[Any]) -> Callable[[Request, Response], Request | Response]:
    def process_response(request: Request, response: Response) -> Request | Response:
        answer: Request | Response = response
        for method in methods:
            answer = method(request=request, response=answer)
            if isinstance(answer, Request):
                break
        return answer

    return process_response


class _Joined(BaseSpiderMiddleware):
    """Several that look at each request and item by itself: six generators a page for all."""

    def __init__(self, crawler: Crawler, parts: Sequence[BaseSpiderMiddleware]) -> None:
        super().__init__(crawler)
        self._parts = parts

    def _get_processed(self, o: Any, response: Response | None) -> Any:
        for part in self._parts:
            o = part._get_processed(o, response)
            if o is None:
                break
        return o


def _join_spider_middlewares(crawler: Crawler, manager: MiddlewareManager) -> None:
    """Put one in the place of those that follow each other without a handler of errors."""
    methods: list[Any] = list(manager.methods["process_spider_output"])
    handlers = list(manager.methods["process_spider_exception"])

    def may_join(place: int) -> bool:
        return handlers[place] is None and _looks_at_each(methods[place])

    # Scrapy counts the places in both lists: they stay, some without a method.
    for alike, places in groupby(range(len(methods)), may_join):
        run = [place for place in places if methods[place] is not None]
        if alike and len(run) > 1:
            joined = _Joined(crawler, [_owner(methods[place]) for place in run])
            method = joined.process_spider_output_async
            # Scrapy 2.14 keeps two methods in a place.
            both = isinstance(methods[run[0]], tuple)
            methods[run[0]] = (joined.process_spider_output, method) if both else method
            for place in run[1:]:
                methods[place] = None
    manager.methods["process_spider_output"] = deque(methods)


def _looks_at_each(method: Any) -> bool:
    if method is None:
        return True
    owner = _owner(method)
    return isinstance(owner, BaseSpiderMiddleware) and all(
        getattr(type(owner), name) is getattr(BaseSpiderMiddleware, name)
        for name in ("process_spider_output", "process_spider_output_async", "_get_processed")
    )


def _owner(method: Any) -> Any:
    """Return the middleware; None where its method is a function of no object."""
    return getattr(method[0] if isinstance(method, tuple) else method, "__self__", None)


def _keep_host_names() -> None:
    """Encode a host's name once, not for each request, also on a connection that is open."""
    from twisted.internet import _idna, endpoints  # noqa: PLC0415 - these install a reactor

    # Absent in a Twisted that does otherwise: then there is nothing to spare.
    names = vars(endpoints)
    if "_idnaBytes" not in names or hasattr(names["_idnaBytes"], "cache_info"):
        return

    @lru_cache(maxsize=HOSTS)
    def encoded(name: str) -> bytes:
        # Looked up each time: Scrapy puts one there that takes more names.
        in_bytes: bytes = _idna._idnaBytes(name)
        return in_bytes

    names["_idnaBytes"] = encoded
