"""`fleet doctor`: one crawl through the whole cluster, hop by hop.

The page of the crawl is served by the doctor itself.  The first hop that does not answer
is named, with what would mend it; those behind it cannot be judged.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from crawling.exceptions import ConfigError, FleetError, Unavailable
from crawling.service.config import own_address, read, tracker_config
from crawling.service.kafka import KafkaReader, kafka_config, topic_of
from crawling.service.kafka_sender import KafkaSender
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import CrawlId
from crawling.tracker.urls import fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from crawling.tracker.tracker import Trace, Tracker

APPID = "fleet-doctor"
SPIDER = "link"
#: Seconds between two looks at what came of the request.
LOOK = 0.05
BODY = b"<html><title>fleet doctor</title></html>"


class Hop(NamedTuple):
    """A part of the way that works: *what* it did, after how many seconds."""

    name: str
    what: str
    elapsed: float


class BrokenHop(FleetError):
    """A part of the way that does not work, and what would mend it."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"{name}: {problem}; {remedy}")
        self.name = name
        self.problem = problem
        self.remedy = remedy


class Page(NamedTuple):
    url: str
    fetched: Event


class Doctor:
    """Sends one crawl around; *patience* is seconds for each hop."""

    def __init__(self, settings: Mapping[str, Any], *, patience: float) -> None:
        self._settings = settings
        self._patience = patience
        self._kafka = kafka_config(settings)
        self._incoming: str = read(settings, "KAFKA_INCOMING_TOPIC")
        self._crawled = topic_of(self._kafka.prefix, "crawled")
        self._outbound = topic_of(self._kafka.prefix, "outbound")
        self._crawl = CrawlId(SPIDER, APPID, f"doctor-{uuid4().hex[:12]}")
        self._since = time.monotonic()
        #: Topic -> what came on it about this crawl.
        self._heard: dict[str, dict[str, Any]] = {}

    async def examine(self) -> AsyncIterator[Hop]:
        """Yield each hop that works; raise `BrokenHop` at the first that does not."""
        async with AsyncExitStack() as stack:
            tracker = await self._open_tracker(stack)
            yield self._passed("Redis", "answers")
            sender, reader = await self._open_kafka(stack)
            yield self._passed("Kafka", f"answers at {', '.join(self._kafka.hosts)}")
            page = stack.enter_context(served_page(self._address()))
            await self._send(sender, page)
            stack.push_async_callback(tracker.stop, self._crawl)
            yield self._passed("Kafka", f"took the request on {self._incoming}")
            listening = asyncio.create_task(self._listen(reader))
            stack.callback(listening.cancel)
            await self._until_queued(tracker)
            yield self._passed("Kafka monitor", "queued the request in Redis")
            await self._until_fetched(tracker, page)
            yield self._passed("worker", f"leased the request and fetched {page.url}")
            await self._until_heard(self._crawled, tracker, page)
            yield self._passed("worker", f"sent the page to {self._crawled}")
            await self._until_heard(self._outbound, tracker, page)
            yield self._passed("Redis monitor", f"sent the end to {self._outbound}")

    def _passed(self, name: str, what: str) -> Hop:
        before, self._since = self._since, time.monotonic()
        return Hop(name, what, self._since - before)

    async def _open_tracker(self, stack: AsyncExitStack) -> Tracker:
        url: str = self._settings["TRACKER"]
        if url.startswith("sqlite"):
            raise ConfigError(
                "TRACKER", f"must be a Redis that the cluster shares, not {url!r}"
            )
        try:
            tracker = await open_tracker(url, tracker_config(self._settings))
        except Unavailable as error:
            raise BrokenHop(
                "Redis", str(error), "start Redis, or set TRACKER or REDIS_HOST and REDIS_PORT"
            ) from error
        stack.push_async_callback(close_tracker, url)
        return tracker

    async def _open_kafka(self, stack: AsyncExitStack) -> tuple[KafkaSender, KafkaReader]:
        sender = KafkaSender(self._kafka)
        reader = KafkaReader(
            self._kafka, [self._crawled, self._outbound], None, from_beginning=False
        )
        try:
            stack.push_async_callback(sender.close)
            await sender.open()
            # Those who listen before the first page is sent miss nothing of it.
            for topic in (self._incoming, self._crawled, self._outbound):
                await sender.ensure_topic(topic)
            stack.push_async_callback(reader.close)
            await reader.open()
        except Unavailable as error:
            raise BrokenHop("Kafka", str(error), "start Kafka, or set KAFKA_HOSTS") from error
        return sender, reader

    def _address(self) -> str:
        return self._settings.get("PUBLIC_IP") or own_address()

    async def _send(self, sender: KafkaSender, page: Page) -> None:
        request = {
            "url": page.url,
            "appid": APPID,
            "crawlid": self._crawl.crawlid,
            "spiderid": SPIDER,
            "priority": 100,
        }
        try:
            await sender.send(self._incoming, json.dumps(request).encode())
        except Unavailable as error:
            raise BrokenHop(
                "Kafka", str(error), f"see the broker's log for {self._incoming}"
            ) from error

    async def _listen(self, reader: KafkaReader) -> None:
        while True:
            for record in await reader.poll(100, LOOK):
                message = json.loads(record.value or b"{}")
                if message.get("crawlid") == self._crawl.crawlid:
                    self._heard[record.topic] = message

    async def _until_queued(self, tracker: Tracker) -> None:
        async def queued() -> bool:
            self._check_refusal()
            return await tracker.crawl(self._crawl) is not None

        if not await self._until(queued):
            raise BrokenHop(
                "Kafka monitor",
                f"nobody took the request from {self._incoming} to this Redis",
                "start `fleet kafka-monitor` with the same TRACKER, KAFKA_HOSTS and "
                "KAFKA_INCOMING_TOPIC",
            )

    def _check_refusal(self) -> None:
        """Raise when the Kafka monitor has answered that it does not take the request."""
        answer = self._heard.get(self._outbound, {})
        if answer.get("action") == "rejected":
            problems = "; ".join(f"{e['path']}: {e['message']}" for e in answer["errors"])
            raise BrokenHop("Kafka monitor", f"refused the request ({problems})", PRIVATE)

    async def _until_fetched(self, tracker: Tracker, page: Page) -> None:
        async def fetched() -> bool:
            trace = await self._trace(tracker, page)
            return page.fetched.is_set() or trace.state in {"done", "failed", "dropped"}

        came = await self._until(fetched)
        trace = await self._trace(tracker, page)
        if page.fetched.is_set():
            return
        if trace.state == "dropped":
            raise BrokenHop("worker", f"refused {page.url} ({trace.reason})", PRIVATE)
        if came or trace.state != "queued":
            raise BrokenHop(
                "worker",
                f"could not fetch {page.url} ({trace.reason or trace.state})",
                "let the workers reach this host, or set PUBLIC_IP to an address they reach",
            )
        raise await self._idle_worker(tracker)

    async def _idle_worker(self, tracker: Tracker) -> BrokenHop:
        serving = [w for w in await tracker.workers() if w.spiderid == SPIDER]
        if not serving:
            return BrokenHop(
                "worker",
                f"no worker serves spiders of type {SPIDER!r}",
                "start `fleet worker` with the same TRACKER",
            )
        return BrokenHop(
            "worker",
            f"{len(serving)} workers run and none leased the request",
            "see their logs: an output that is down, or a domain that is blocked or throttled",
        )

    async def _until_heard(self, topic: str, tracker: Tracker, page: Page) -> None:
        async def heard() -> bool:
            return topic in self._heard

        if await self._until(heard):
            return
        if topic == self._outbound:
            raise BrokenHop(
                "Redis monitor",
                f"the crawl's end did not come on {topic}",
                "start `fleet redis-monitor` with the same TRACKER, KAFKA_HOSTS and "
                "KAFKA_TOPIC_PREFIX",
            )
        trace = await self._trace(tracker, page)
        raise BrokenHop(
            "worker",
            f"fetched the page, which did not come on {topic} (the request is {trace.state})",
            "give the workers the same KAFKA_HOSTS and KAFKA_TOPIC_PREFIX, and see their logs",
        )

    async def _trace(self, tracker: Tracker, page: Page) -> Trace:
        return await tracker.trace(self._crawl, fingerprint(page.url))

    async def _until(self, condition: Callable[[], Any]) -> bool:
        """Return whether *condition* came true in time."""
        deadline = time.monotonic() + self._patience
        while not await condition():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(LOOK)
        return True


#: What mends a refusal of the doctor's page, which is on a private address as a rule.
PRIVATE = (
    "set ALLOW_PRIVATE_ADDRESSES=1 for Kafka monitors and workers, or PUBLIC_IP to a public "
    "address of this host"
)


@contextmanager
def served_page(address: str) -> Iterator[Page]:
    """Serve one page on a free port of all addresses, as `http://address:port/`."""
    fetched = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_page = self.path != "/robots.txt"
            self.send_response(200 if is_page else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            if is_page:
                self.wfile.write(BODY)
                fetched.set()

        def log_message(self, *_args: object) -> None:
            """Write nothing: standard error is for the diagnosis."""

    server = ThreadingHTTPServer(("", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(LOOK,), daemon=True)
    thread.start()
    try:
        yield Page(f"http://{address}:{server.server_port}/", fetched)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
