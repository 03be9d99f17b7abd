"""Prometheus: where the numbers of a process are asked for, and those of the whole tracker.

Loaded only where METRICS_PORT is set, and by the REST service.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as TooSlow
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from crawling.exceptions import ConfigError, Unavailable
from crawling.tracker.tracker import FAILED_REASONS, DomainCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AsyncExitStack

    from prometheus_client.metrics_core import Metric

    from crawling.service.node import Node
    from crawling.tracker.tracker import CrawlStatus, Tracker

#: Where requests are, over all crawls that the tracker knows.
STATES = ("queued", "delayed", "leased", "done", "failed", "dropped")
CRAWL_STATES = ("running", "paused", "stopped", "expired", "finished")
#: Seconds for which an answer of the tracker is good, whoever asks.
FRESH = 5.0
#: Seconds after which a tracker that does not answer counts as away: Prometheus gives up
#: after ten, and would then miss everything else too.
PATIENCE = 8.0
#: Statuses with a label of their class; Scrapy takes any three digits.
_STATUS = re.compile("[2-5][0-9]{2}")
#: Upper bounds, in seconds, of what a network and a tracker take.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def new_registry() -> CollectorRegistry:
    """Return a registry of this process alone, with its memory and CPU time."""
    # A series more for each, which nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # its own
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def serve(host: str, port: int, registry: CollectorRegistry) -> Callable[[], None]:
    """Answer on *port* in a thread; return what ends it."""
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(
            "METRICS_PORT",
            f"cannot listen on {host}:{port} ({error.strerror}); each process of a host "
            "needs a port of its own",
        ) from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def serve_monitor(
    settings: Mapping[str, Any], stack: AsyncExitStack, collectors: Sequence[Collector]
) -> None:
    """Answer with what *collectors* know until *stack* ends it."""
    registry = new_registry()
    for collector in collectors:
        registry.register(collector)
    serve_registry(settings, stack, registry)


def serve_registry(
    settings: Mapping[str, Any], stack: AsyncExitStack, registry: CollectorRegistry
) -> None:
    """Answer with what *registry* has until *stack* ends it."""
    stack.callback(serve(settings["METRICS_HOST"], settings["METRICS_PORT"], registry))


def status_label(status: str) -> str:
    """Return *status* as one of a few: its class, or `other` for what sites make up."""
    return f"{status[0]}xx" if _STATUS.fullmatch(status) else "other"


def reason_label(reason: str) -> str:
    """Return *reason* as one of a few: statuses by their class, a plugin's own as `other`."""
    if reason.startswith("http_"):
        return f"http_{status_label(reason[5:])}"
    return reason if reason in FAILED_REASONS else "other"


class NodeCollector(Collector):
    """What one monitor has done."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def describe(self) -> Iterable[Metric]:
        return [_requests_family()]

    def collect(self) -> Iterable[Metric]:
        family = _requests_family()
        for result, count in self._node.requests.items():
            family.add_metric([self._node.name, result], count)
        return [family]


def _requests_family() -> CounterMetricFamily:
    text = "Requests that a monitor has served, or could not serve"
    return CounterMetricFamily("fleet_monitor_requests", text, labels=["monitor", "result"])


class TrackerCollector(Collector):
    """How the whole fleet is, asked of the tracker when Prometheus asks.

    *tracker* returns it, or raises `Unavailable`.  *loop* is the one that it lives in;
    `collect` waits for that and so must be called in another thread.  Several processes may
    tell the same numbers: take the maximum.
    """

    def __init__(self, tracker: Callable[[], Tracker], loop: asyncio.AbstractEventLoop) -> None:
        self._tracker = tracker
        self._loop = loop
        self._asked = 0.0
        self._answer: list[Metric] = []

    def describe(self) -> Iterable[Metric]:
        return [_up(1), _oldest_family(None), *_families([], DomainCounts(), 0, 0)]

    def collect(self) -> Iterable[Metric]:
        if time.monotonic() < self._asked + FRESH and self._answer:
            return self._answer
        asking = asyncio.run_coroutine_threadsafe(self.read(), self._loop)
        try:
            self._answer = asking.result(PATIENCE)
        except (Unavailable, TooSlow, CancelledError):
            asking.cancel()
            self._answer = [_up(0)]
        self._asked = time.monotonic()
        return self._answer

    async def read(self) -> list[Metric]:
        """Return the numbers of this moment; raise `Unavailable`."""
        tracker = self._tracker()
        crawls = await tracker.statuses(await tracker.crawls())
        now = time.time()
        alive = [worker for worker in await tracker.workers() if worker.deadline > now]
        # Those of workers too: a crawl may hand requests to other kinds of spider.
        spiders = {worker.spiderid for worker in alive if worker.spiderid} | {
            crawl.crawl.spiderid
            for crawl in crawls
            if crawl.queued and crawl.state == "running"
        }
        domains = [await tracker.count_domains(spiderid) for spiderid in sorted(spiders)]
        since = [await tracker.oldest_queued(spiderid) for spiderid in sorted(spiders)]
        troubled = sum(bool(worker.trouble) for worker in alive)
        return [
            _up(1),
            _oldest_family(min(filter(None, since), default=None)),
            *_families(crawls, DomainCounts.sum(domains), len(alive), troubled),
        ]


def _families(
    crawls: Sequence[CrawlStatus], domains: DomainCounts, workers: int, troubled: int
) -> list[Metric]:
    requests = GaugeMetricFamily(
        "fleet_requests", "Requests of all crawls that the tracker knows", labels=["state"]
    )
    for state in STATES:
        requests.add_metric([state], sum(getattr(crawl, state) for crawl in crawls))
    by_why = GaugeMetricFamily(
        "fleet_domains",
        "Domains with something queued, by what keeps it",
        labels=["state"],
    )
    for why, count in domains._asdict().items():
        by_why.add_metric([why], count)
    by_state = GaugeMetricFamily(
        "fleet_crawls", "Crawls that the tracker knows", labels=["state"]
    )
    states: Counter[str] = Counter(crawl.state for crawl in crawls)
    for state in CRAWL_STATES:
        by_state.add_metric([state], states[state])
    running = [crawl for crawl in crawls if crawl.state == "running" and crawl.outstanding]
    oldest = min((crawl.started for crawl in running), default=None)
    return [
        requests,
        by_why,
        by_state,
        GaugeMetricFamily(
            "fleet_crawls_running", "Crawls with work that are not paused", len(running)
        ),
        GaugeMetricFamily(
            "fleet_oldest_crawl_seconds",
            "Since the oldest of the running crawls began",
            0 if oldest is None else max(0.0, time.time() - oldest),
        ),
        GaugeMetricFamily("fleet_workers", "Workers that were heard of lately", workers),
        GaugeMetricFamily(
            "fleet_workers_troubled", "Workers that say why they lease nothing", troubled
        ),
    ]


def _oldest_family(since: float | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "fleet_oldest_queued_seconds",
        "Since the oldest queued request came that is the next of its domain",
        0 if since is None else max(0.0, time.time() - since),
    )


def _up(value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily("fleet_tracker_up", "1 if the tracker answers, else 0", value)
