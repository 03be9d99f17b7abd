"""A worker's metrics, as an extension of Scrapy; without METRICS_PORT there is none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import NotConfigured

from crawling import signals as ours
from crawling.service.config import read

if TYPE_CHECKING:
    from scrapy.core.engine import ExecutionEngine
    from scrapy.crawler import Crawler


class FleetMetrics:
    """Serves the metrics of this process on METRICS_PORT as long as its engine runs."""

    def __init__(self, crawler: Crawler, host: str, port: int) -> None:
        # Only here: a worker that nobody watches does without Prometheus' client.
        from crawling.service.metrics import new_registry, serve  # noqa: PLC0415
        from crawling.worker_metrics import WorkerMetrics  # noqa: PLC0415

        self._crawler = crawler
        self._engine: ExecutionEngine | None = None
        registry = new_registry()
        slots = crawler.settings.getint("CONCURRENT_REQUESTS")
        # Kept here: Scrapy holds on to receivers weakly.
        self._metrics = metrics = WorkerMetrics(registry, slots=slots, busy=self._busy)
        connect: Any = crawler.signals.connect
        connect(metrics.taken, ours.leases_taken)
        connect(metrics.settled, ours.leases_settled)
        connect(metrics.called, ours.tracker_called)
        connect(metrics.output_down, ours.output_down)
        connect(metrics.output_up, ours.output_up)
        connect(metrics.downloaded, signals.response_downloaded)
        connect(metrics.delivered, signals.item_scraped)
        connect(self._started, signals.engine_started)
        self._close = serve(host, port, registry)
        connect(self._stopped, signals.engine_stopped)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> FleetMetrics:
        port = read(crawler.settings, "METRICS_PORT")
        if port is None:
            raise NotConfigured
        return cls(crawler, read(crawler.settings, "METRICS_HOST"), port)

    def _started(self) -> None:
        # Only now: Scrapy 2.17 raises before.
        self._engine = self._crawler.engine

    def _busy(self) -> int:
        return 0 if self._engine is None else len(self._engine.downloader.active)

    def _stopped(self) -> None:
        self._close()
