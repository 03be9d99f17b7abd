"""A worker that gets SIGTERM finishes or gives back what it holds, and exits 0."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.settings import default_settings

from crawling.tracker.sqlite_tracker import SqliteTracker
from crawling.tracker.tracker import CrawlId, CrawlStatus, Offer
from crawling.tracker.urls import domain_of, fingerprint
from tests.integration.scheduler_cases.case import FAST
from tests.servers.nasty_site import NastySite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "integration" / "scheduler_cases"
CRAWL = CrawlId("case", "tests", "stopping")
#: Seconds; what hangs would hang for ever.
LIMIT = 20.0

RUN = [sys.executable, "-m", "tests.integration.scheduler_cases.stopping"]
without_reactor = pytest.mark.skipif(
    not hasattr(default_settings, "TWISTED_REACTOR_ENABLED")
    or importlib.util.find_spec("aiohttp") is None,
    reason="this Scrapy needs a reactor, or has no handler without one",
)
STARTED_BY = [
    pytest.param([*RUN, "CrawlerProcess"], id="CrawlerProcess"),
    pytest.param([*RUN, "AsyncCrawlerProcess"], id="AsyncCrawlerProcess"),
    pytest.param(
        [*RUN, "AsyncCrawlerProcess", "-s", "TWISTED_REACTOR_ENABLED=0"],
        id="AsyncCrawlerProcess without reactor",
        marks=without_reactor,
    ),
    pytest.param(
        [sys.executable, "-m", "scrapy", "runspider", str(CASES / "stopping.py")],
        id="scrapy runspider",
    ),
]
HANGING = ["/hang/1", "/hang/2"]
SLOW = ["/slow/1"]
PAGES = [f"/page/{n}" for n in range(20)]


@dataclass
class Worker:
    """A crawl in a file, and the process that works on it."""

    process: subprocess.Popen[bytes]
    site: NastySite
    folder: Path

    def stop(self, times: int = 1) -> float:
        """Send SIGTERM and return the seconds until the process has ended."""
        begun = time.monotonic()
        for sent in range(times):
            until(partial(self.has_noticed, sent))
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(LIMIT)
        return time.monotonic() - begun

    def has_noticed(self, signals: int) -> bool:
        return self.log().count("Received SIGTERM") >= signals

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def notes(self, what: str) -> list[dict[str, Any]]:
        notes = json.loads((self.folder / "notes").read_text("utf-8"))
        return [note for note in notes if note["what"] == what]

    def outcomes(self) -> dict[str, list[str]]:
        """Return how each lease was settled: by the path of its URL, in order."""
        settled = self.notes("settle")
        return {
            lease["url"].removeprefix(self.site.url): [
                note["kind"]
                for note in settled
                if note["lease"] == lease["lease"] and note["accepted"]
            ]
            for lease in self.notes("lease")
        }

    async def books(self) -> CrawlStatus:
        tracker = SqliteTracker(_url(self.folder), FAST)
        await tracker.open()
        status = await tracker.crawl(CRAWL)
        await tracker.close()
        assert status is not None
        return status


@pytest.fixture
def site() -> Iterator[NastySite]:
    with NastySite() as site:
        yield site


async def submit(site: NastySite, folder: Path, paths: list[str]) -> None:
    tracker = SqliteTracker(_url(folder), FAST)
    await tracker.open()
    urls = [site.url + path for path in paths]
    await tracker.submit(CRAWL, [Offer(u, domain_of(u), fingerprint(u), 50, 0) for u in urls])
    await tracker.close()


@contextmanager
def run_worker(
    command: list[str], site: NastySite, folder: Path, *settings: str
) -> Iterator[Worker]:
    own = [f"TRACKER={_url(folder)}", f"NOTES={folder / 'notes'}", *settings]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *(part for setting in own for part in ("-s", setting))],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'crawler'}{os.pathsep}{ROOT}",
                "SCRAPY_SETTINGS_MODULE": "crawling.settings",
            },
            stdout=log,
            stderr=log,
        )
        try:
            yield Worker(process, site, folder)
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("command", STARTED_BY)
async def test_a_stopped_worker_finishes_its_pages_and_gives_back_what_hangs(
    command: list[str], site: NastySite, tmp_path: Path
) -> None:
    await submit(site, tmp_path, [*HANGING, *SLOW, *PAGES])
    with run_worker(command, site, tmp_path) as worker:
        until(lambda: {*HANGING, *SLOW, PAGES[0]} <= set(site.paths()))

        seconds = worker.stop()

    assert worker.process.returncode == 0, worker.log()
    assert seconds < 5
    outcomes = worker.outcomes()
    assert all(len(kinds) == 1 for kinds in outcomes.values()), outcomes
    assert [outcomes[path] for path in HANGING] == [["released"]] * 2
    assert outcomes[PAGES[0]] == ["done"]
    _check_items_came_first(worker)
    books = await worker.books()
    assert (books.balanced, books.leased, books.failed, books.dropped) == (True, 0, 0, 0)


@pytest.mark.parametrize("command", STARTED_BY)
async def test_a_second_sigterm_gives_back_what_a_hanging_callback_holds(
    command: list[str], site: NastySite, tmp_path: Path
) -> None:
    await submit(site, tmp_path, [*HANGING, *SLOW, "/page/stuck", *PAGES])
    with run_worker(command, site, tmp_path) as worker:
        until(lambda: {*HANGING, "/page/stuck", PAGES[0]} <= set(site.paths()))

        seconds = worker.stop(times=2)

    assert worker.process.returncode == 0, worker.log()
    assert seconds < 8
    assert worker.outcomes().get("/page/stuck") in ([], ["released"])
    books = await worker.books()
    assert (books.balanced, books.leased, books.failed, books.dropped) == (True, 0, 0, 0)


@pytest.mark.parametrize("command", STARTED_BY)
async def test_requests_that_wait_for_a_download_delay_are_given_back_at_once(
    command: list[str], site: NastySite, tmp_path: Path
) -> None:
    await submit(site, tmp_path, PAGES)
    with run_worker(command, site, tmp_path, "DOWNLOAD_DELAY=5") as worker:
        until(lambda: bool(site.hits))

        seconds = worker.stop()

    assert worker.process.returncode == 0, worker.log()
    assert seconds < 4
    outcomes = worker.outcomes()
    assert all(len(kinds) == 1 for kinds in outcomes.values()), outcomes
    assert Counter(kind for (kind,) in outcomes.values())["released"] >= 1
    books = await worker.books()
    assert (books.balanced, books.leased, books.failed, books.dropped) == (True, 0, 0, 0)


def _check_items_came_first(worker: Worker) -> None:
    ended = {note["url"]: note["at"] for note in worker.notes("item end")}
    for note in worker.notes("settle"):
        if note["kind"] == "done":
            assert ended[note["url"]] <= note["at"]


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'crawl.db'}"


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)
