"""One crawl in a process of its own, for the tests of the middlewares.

    python -m tests.integration.middleware_crawl '{"seeds": [...], ...}'

prints the summary, the failures and Scrapy's statistics as one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy.utils.reactor import install_reactor

from crawling.manager import CrawlManager
from crawling.settings import ASYNCIO_EVENT_LOOP, TWISTED_REACTOR
from crawling.tracker.tracker import CrawlOptions
from tests.integration import middleware_spiders
from tests.integration.middleware_spiders import WatchedSpider
from tests.servers.small_site import Answer
from tests.servers.static_names import install_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
PAGE = Answer(body=b"<html>page</html>")
LOCAL: dict[str, Any] = {"ALLOW_PRIVATE_ADDRESSES": True}


@dataclass(frozen=True)
class Crawled:
    """What came of a crawl: *failed* is URL -> reason, *stats* Scrapy's statistics."""

    done: int
    reasons: dict[str, int]
    failed: dict[str, str]
    stats: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)


def crawl(
    seeds: Sequence[str],
    *,
    spider: str = "WatchedSpider",
    names: Mapping[str, Sequence[str]] | None = None,
    shared: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    tracker: str = "sqlite://",
    **settings: Any,
) -> Crawled:
    """Crawl *seeds*; *names* are what the resolver knows, all others do not exist."""
    task = {
        "seeds": list(seeds),
        "spider": spider,
        "names": names or {},
        "shared": shared or {},
        "tracker": tracker,
        "settings": settings,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.middleware_crawl", json.dumps(task)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'crawler'}:{ROOT}", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return Crawled(**json.loads(done.stdout), log=log)


def main(task: dict[str, Any]) -> None:
    install_reactor(TWISTED_REACTOR, ASYNCIO_EVENT_LOOP)
    install_names(task["names"])
    manager = CrawlManager(
        spider=getattr(middleware_spiders, task["spider"]),
        tracker=task["tracker"],
        settings={
            "SC_LOG_JSON": True,
            "QUEUE_HITS": 0,
            "RETRY_DELAY": 0.05,
            **task["settings"],
        },
        options=CrawlOptions(maxdepth=3, shared=task["shared"]),
    )
    summary = manager.run(seeds=task["seeds"])
    json.dump(
        {
            "done": summary.status.done,
            "reasons": dict(summary.status.reasons),
            "failed": {failure.url: failure.reason for failure in summary.failures},
            "stats": {name: str(value) for name, value in WatchedSpider.stats.items()},
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
