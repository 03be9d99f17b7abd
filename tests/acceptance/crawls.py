"""Crawls as users run them: the `fleet` command and workers, as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import CrawlId, Offer, TrackerConfig
from crawling.tracker.urls import domain_of, fingerprint
from tests.servers.site_graph import DENIED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from crawling.tracker.tracker import CrawlStatus, Tracker

ROOT = Path(__file__).parents[2]
CRAWLER = ROOT / "crawler"
#: Where a checkout has its packages.
PACKAGES = os.pathsep.join(
    str(ROOT / folder) for folder in ("crawler", "kafka-monitor", "redis-monitor", "rest")
)
#: Seconds that any crawl of the tests may take.
PATIENCE = 120.0
#: A crawl of loopback that nothing slows down.
UNTHROTTLED = ("--depth", "1000", "--hits", "0", "--allow-private", "--deny", DENIED)
SETTINGS = {"RETRY_TIMES": "3", "RETRY_DELAY": "0.2", "RETRY_DELAY_MAX": "1"}
Result = TypeVar("Result")


def crawl_id(crawlid: str) -> CrawlId:
    return CrawlId("link", "fleet", crawlid)


def environment(**settings: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PACKAGES, **SETTINGS, **settings}


def fleet_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "crawling.cli", *arguments]


def fleet(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `fleet` to its end, which must come with the exit *code*."""
    done = subprocess.run(
        fleet_command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def fleet_json(*arguments: str, cwd: Path) -> Any:
    """Return the object that `fleet … --json` ends with."""
    output = fleet(*arguments, "--json", cwd=cwd).stdout
    return json.loads(output.splitlines()[-1])


@contextmanager
def running_fleet(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `fleet` beside the test; what is left of it in the end is killed."""
    with background(fleet_command(*arguments), cwd, environment(), cwd) as process:
        yield process


@contextmanager
def worker(folder: Path, tracker: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run a worker that serves all crawls of the tracker; its log goes to *folder*."""
    command = [sys.executable, "-m", "scrapy", "runspider", "crawling/spiders/link_spider.py"]
    settings = {
        "ALLOW_PRIVATE_ADDRESSES": "1",
        "QUEUE_HITS": "0",
        "KAFKA_HOSTS": "none",
        **settings,
    }
    with background(
        command, CRAWLER, environment(TRACKER=tracker, **settings), folder
    ) as process:
        yield process


@contextmanager
def background(
    command: list[str], cwd: Path, env: dict[str, str], folder: Path
) -> Iterator[subprocess.Popen[str]]:
    with (
        (folder / f"stderr-{time.monotonic_ns()}.txt").open("w") as log,
        subprocess.Popen(
            command, cwd=cwd, env=env, stdout=log, stderr=log, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def stop(running: subprocess.Popen[str]) -> int:
    """Ask a worker to stop as systemd does; return its exit code."""
    running.send_signal(signal.SIGTERM)
    return running.wait(PATIENCE)


def ask(url: str, question: Callable[[Tracker], Awaitable[Result]], shards: int = 1) -> Result:
    """Return what the tracker at *url* answers."""

    async def with_tracker() -> Result:
        tracker = await open_tracker(url, TrackerConfig(shards=shards))
        try:
            return await question(tracker)
        finally:
            await close_tracker(url)

    return asyncio.run(with_tracker())


def status_of(url: str, crawlid: str) -> CrawlStatus:
    status = ask(url, lambda tracker: tracker.crawl(crawl_id(crawlid)))
    assert status is not None, f"no crawl {crawlid}"
    return status


def submit(url: str, crawlid: str, *seeds: str, priority: int = 50) -> None:
    """Queue seeds of a crawl that workers serve."""
    offers = [Offer(seed, domain_of(seed), fingerprint(seed), priority, 0) for seed in seeds]
    ask(url, lambda tracker: tracker.submit(crawl_id(crawlid), offers))


def until(condition: Callable[[], Result], what: str, patience: float = PATIENCE) -> Result:
    """Return the first true answer of *condition*, asked again and again."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {patience:g} s"
        time.sleep(0.1)
    return answer
