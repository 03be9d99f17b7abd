"""Server-sent events: what has changed, made once and sent to everybody who listens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rest_service.answers import to_json
from rest_service.models import crawl_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crawling.tracker.tracker import CrawlStatus
    from rest_service.overview import Overview, Snapshot

#: Listeners of one process, messages that wait for one, and crawls in a message.
MOST_LISTENERS, MOST_WAITING, MOST_CRAWLS = 1000, 8, 100
#: Listeners with one token: who loses its streams must not shut out the others.
MOST_OF_TOKEN = 250
#: Seconds of silence after which a comment shows that the connection lives.
HEARTBEAT = 15.0

#: What a listener gets after it was too slow: all that there is, in place of what it missed.
_ALL = b""
_END = b"end"


class Events:
    """The listeners of this process, and the last thing that they were told."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        #: With the name of the token that each has shown.
        self._listeners: dict[asyncio.Queue[bytes], str] = {}
        self._number = 0
        self._told: dict[str, Any] = {}
        self._told_of = overview.snapshot
        self._is_closed = False
        #: Set while somebody listens.
        self.watched = asyncio.Event()

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def is_full(self) -> bool:
        return self._is_closed or len(self._listeners) >= MOST_LISTENERS

    def is_full_for(self, token: str) -> bool:
        """Whether the token of this name, "" for none, has all the streams that it may have."""
        same = sum(name == token for name in self._listeners.values())
        return bool(token) and same >= MOST_OF_TOKEN

    def publish(self) -> None:
        """Tell all listeners what is new since the last time, if anything is."""
        if not self._listeners:
            # Who comes next begins with everything.
            self._remember()
            return
        snapshot, totals, known = (
            self._overview.snapshot,
            self._overview.totals(),
            self._told_of,
        )
        crawls = [
            status for status in snapshot.newest() if known.crawls.get(status.crawl) != status
        ]
        gone = [crawl._asdict() for crawl in known.crawls.keys() - snapshot.crawls.keys()]
        changed = _changed(known, snapshot)
        if not changed and _same(self._told, totals):
            return
        self._remember()
        update = {
            "overview": totals,
            "crawls": [self._row(status) for status in crawls[:MOST_CRAWLS]],
            "gone": gone[:MOST_CRAWLS],
            # Then a list of crawls is out of date beyond what stands here.
            "more": len(crawls) > MOST_CRAWLS or len(gone) > MOST_CRAWLS,
            "changed": changed,
        }
        self._send(self._message("update", update))

    async def listen(self, token: str = "") -> AsyncIterator[bytes]:
        """Yield messages for one listener: first all there is, then what changes."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._listeners[queue] = token
        self.watched.set()
        try:
            yield b"retry: 2000\n\n"
            queue.put_nowait(_ALL)
            while True:
                try:
                    message = await asyncio.wait_for(queue.get(), HEARTBEAT)
                except asyncio.TimeoutError:
                    yield b": still here\n\n"
                    continue
                if message is _END:
                    return
                yield message or self._everything()
        finally:
            del self._listeners[queue]
            if not self._listeners:
                self.watched.clear()

    def close(self) -> None:
        """End all streams: browsers come again by themselves."""
        self._is_closed = True
        self._send(_END)

    def _send(self, message: bytes) -> None:
        for queue in self._listeners:
            if queue.full():
                # Too slow: what it missed is in the next snapshot.
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(message if message is _END else _ALL)
            else:
                queue.put_nowait(message)

    def _everything(self) -> bytes:
        newest = self._overview.snapshot.newest()
        return self._message(
            "snapshot",
            {
                "overview": self._overview.totals(),
                "crawls": [self._row(status) for status in newest[:MOST_CRAWLS]],
                "more": len(newest) > MOST_CRAWLS,
                "history": list(self._overview.history),
            },
        )

    def _row(self, status: CrawlStatus) -> dict[str, Any]:
        return crawl_json(status, self._overview.rate(status.crawl))

    def _message(self, event: str, data: dict[str, Any]) -> bytes:
        self._number += 1
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (
            self._number,
            event.encode(),
            to_json(data),
        )

    def _remember(self) -> None:
        self._told = self._overview.totals()
        self._told_of = self._overview.snapshot


def _changed(one: Snapshot, other: Snapshot) -> list[str]:
    """Return which lists of the API are others than they were."""
    crawls, settings = one.crawls != other.crawls, one.settings != other.settings
    deferred = one.deferrals != other.deferrals
    are_others = {
        "crawls": crawls,
        "domain-settings": settings,
        "domains": crawls or settings or deferred,
        "workers": one.workers != other.workers,
    }
    return [name for name, is_other in are_others.items() if is_other]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two overviews differ in nothing but their time."""
    return {**one, "time": 0} == {**other, "time": 0}
