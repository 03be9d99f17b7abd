"""A whole cluster that faults are injected into: servers, programs, and what may ail them."""

from __future__ import annotations

import re
import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from crawling.exceptions import Unavailable
from tests.acceptance.cluster import SPIDER, Cluster
from tests.acceptance.crawls import PACKAGES, PATIENCE, ask, fleet_command, until
from tests.servers.kafka_server import KafkaServer, kafka_server
from tests.servers.proxy import Proxy
from tests.servers.redis_fleets import Server, redis_alone, redis_cluster, redis_sentinel
from tests.servers.site_sections import SectionSite
from tests.servers.website import Website, website

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from subprocess import Popen

    from crawling.tracker.tracker import Tracker
    from tests.servers.redis_fleets import Cluster as RedisCluster
    from tests.servers.redis_fleets import Watched

HOSTS, SECTIONS = 20, 100
#: Seconds that a page takes: so that some dozen requests are always in flight.
DELAY = 1.0
SITE = (
    *("--site", "sections", "--hosts", str(HOSTS), "--sections", str(SECTIONS)),
    *("--delay", str(DELAY)),
)
LEASE_TIMEOUT = 3.0
#: Seconds after which a program has started, and ends in order when it is asked to.
GROWN_UP = 6.0
#: What programs log when they have found their servers.
STARTED = ("Kafka Monitor runs", "Redis Monitor runs", "Crawled 0 pages")
#: Hits that a host allows, and in how many seconds.
HITS, WINDOW = 30, 5.0
SETTINGS = {
    "DOWNLOAD_TIMEOUT": "4",
    "DUPEFILTER_TIMEOUT": "600",
    "KAFKA_APPID_TOPICS": "1",
    "LEASE_TIMEOUT": str(LEASE_TIMEOUT),
    "QUEUE_HITS": str(HITS),
    "QUEUE_WINDOW": str(WINDOW),
    "QUEUE_MODERATED": "0",
    # A page must survive a site that is ill for some seconds.
    "RETRY_TIMES": "7",
    "RETRY_DELAY": "0.3",
    "RETRY_DELAY_MAX": "2",
}
#: How many of each program run, by the word that starts it.
PROGRAMS = {"kafka-monitor": 2, "redis-monitor": 2, "worker": 3}
Answer = TypeVar("Answer")


@dataclass
class Arena:
    """A cluster under faults; *redis* is what *proxy* leads to, or a fleet of them."""

    fleet: Cluster
    kafka: KafkaServer
    web: Website
    site: SectionSite
    redis: Server | Watched | RedisCluster
    proxy: Proxy | None
    #: Where the tests themselves ask, past the proxy.
    tracker: str
    shards: int
    running: dict[str, list[Popen[str]]] = field(default_factory=dict)
    born: dict[int, float] = field(default_factory=dict)
    logs: dict[int, Path] = field(default_factory=dict)
    #: Spans of `time.monotonic` in which arrivals at the site say nothing about the throttle.
    blind: list[tuple[float, float]] = field(default_factory=list)

    def start_all(self) -> None:
        for word, count in PROGRAMS.items():
            self.running[word] = [self.launch(word) for _ in range(count)]
        time.sleep(GROWN_UP)
        self.supervise()

    def launch(self, word: str, **settings: str) -> Popen[str]:
        command = SPIDER if word == "worker" else fleet_command(word)
        process = self.fleet.start(*command, **settings)
        self.born[process.pid] = time.monotonic()
        self.logs[process.pid] = max(self.fleet.folder.glob("stderr-*.txt"))
        return process

    def replace(
        self, word: str, number: int, ending: signal.Signals, **settings: str
    ) -> tuple[int, int]:
        """End a program, start another in its place; return the exit code, and its leases.

        The leases are those that it still had when it was gone.
        """
        process = self.running[word][number]
        if ending == signal.SIGTERM:
            time.sleep(max(0.0, self.born[process.pid] + GROWN_UP - time.monotonic()))
            until(lambda: listens_to_sigterm(process), f"the {word} listens to SIGTERM")
        process.send_signal(ending)
        code = process.wait(PATIENCE)
        in_flight = self.leased(process.pid)
        self.running[word][number] = self.launch(word, **settings)
        return code, in_flight

    def restart_site(self) -> None:
        port = ("--port", str(self.web.port))
        self.web = self.fleet.stack.enter_context(website(self.fleet.folder, *SITE, *port))

    def ask(self, question: Callable[[Tracker], Awaitable[Answer]]) -> Answer:
        """Return what the tracker answers, past the proxy; it may be slow on this machine."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return ask(self.tracker, question, self.shards)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise

    @property
    def server(self) -> Server:
        """The one Redis, where there is one."""
        assert isinstance(self.redis, Server)
        return self.redis

    def leased(self, pid: int | None = None) -> int:
        """Return how many requests are in flight: all, or those of one process."""
        workers = self.ask(lambda tracker: tracker.workers())
        return sum(some.leased for some in workers if pid is None or f":{pid}:" in some.worker)

    def supervise(self) -> None:
        """Start again what found a server away at its start; nothing else may have ended."""
        for word, processes in self.running.items():
            for number, process in enumerate(processes):
                if (code := process.poll()) is not None:
                    processes[number] = self.launch(word)
                    log = self.logs[process.pid].read_text()
                    was_starting = not any(line in log for line in STARTED)
                    last = log.rpartition("\n")[0][-500:]
                    assert (code, was_starting) == (1, True), f"a {word} ended, {code}: {last}"

    @contextmanager
    def not_judged(self) -> Iterator[None]:
        """Do not judge the throttle by what arrives at the site meanwhile."""
        since = time.monotonic()
        yield
        self.blind.append((since - 1.0, time.monotonic() + 1.0))


@contextmanager
def arena(folder: Path, prefix: str, kind: str = "redis") -> Iterator[Arena]:
    """Start it all; *kind* is "redis", "sentinel" or "cluster", this one with shards."""
    with ExitStack() as stack:
        web = stack.enter_context(website(folder, *SITE))
        kafka_folder = folder / "kafka"
        kafka_folder.mkdir()
        kafka = stack.enter_context(kafka_server(kafka_folder))
        redis: Server | Watched | RedisCluster
        proxy, shards = None, 1
        if kind == "sentinel":
            redis = stack.enter_context(redis_sentinel(folder / "redis"))
            inside = outside = redis.url
        elif kind == "cluster":
            redis = stack.enter_context(redis_cluster(folder / "redis", replicas=True))
            inside = outside = redis.url
            shards = 4
        else:
            redis = stack.enter_context(durable_redis(folder / "redis"))
            proxy = stack.enter_context(Proxy(redis.port))
            inside, outside = (
                f"redis://127.0.0.1:{port}/0" for port in (proxy.port, redis.port)
            )
        settings = {**SETTINGS, "TRACKER_SHARDS": str(shards)}
        fleet = Cluster(kafka.hosts, prefix, inside, folder, stack, settings)
        fleet.make_topics(partitions=4)
        site = SectionSite(web.port, HOSTS, SECTIONS)
        running = Arena(fleet, kafka, web, site, redis, proxy, outside, shards)
        running.start_all()
        yield running


@contextmanager
def durable_redis(folder: Path) -> Iterator[Server]:
    """Run a Redis that keeps an append-only file, and calls a script slow after 0.5 s."""
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--lua-time-limit", "500")
    with redis_alone(folder, *options) as server:
        yield server


def listens_to_sigterm(process: Popen[str]) -> bool:
    """Whether it would notice; before it has imported all, it would just end."""
    if process.poll() is not None:
        return True
    [caught] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def an_hour_ahead(folder: Path) -> dict[str, str]:
    """Return settings of a process whose wall clock is an hour ahead."""
    place = folder / "ahead"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(
        "import time\n"
        "_true = time.time\n"
        "time.time = lambda: _true() + 3600\n"
        "time.time_ns = lambda: int(time.time() * 1e9)\n"
    )
    return {"PYTHONPATH": f"{place}:{PACKAGES}"}
