"""What only the SQLite tracker can get wrong: its processes, its sweeping."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crawling.tracker import sqlite_store, sqlite_submit
from crawling.tracker.sqlite_books import Step
from crawling.tracker.sqlite_lease import Lending
from crawling.tracker.sqlite_tracker import SqliteTracker
from crawling.tracker.tracker import TrackerConfig
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    balanced,
    books,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
    sweep,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONFIG = TrackerConfig(hits=0, concurrency=1000, retry_delay=0.0, lease_timeout=60.0)

#: A worker that leases what it can and settles every second page until it is killed.
VICTIM = """
import asyncio, sys
from crawling.tracker.tracker import Outcome
from crawling.tracker.sqlite_tracker import SqliteTracker
from tests.integration.test_sqlite_tracker import CONFIG
from tests.integration.tracking import offers

async def main():
    tracker = SqliteTracker(sys.argv[1], CONFIG)
    await tracker.open()
    while True:
        leases, _ = await tracker.lease("victim", 4, "link")
        for lease in leases[::2]:
            links = offers(30, f"{lease.url[-1]}.example", depth=1, priority=60)
            await tracker.settle("victim", [Outcome(lease, "done", status=200, links=links)])
        print(len(leases), flush=True)
        if not leases:
            await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crawl.db"


@pytest.fixture
async def tracker(path: Path) -> AsyncIterator[SqliteTracker]:
    tracker = await opened(f"sqlite:///{path}")
    yield tracker
    await tracker.close()


async def opened(url: str, config: TrackerConfig = CONFIG) -> SqliteTracker:
    tracker = SqliteTracker(url, config)
    await tracker.open()
    return tracker


def victim(url: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'crawler'}"}
    return subprocess.Popen(
        [sys.executable, "-c", VICTIM, url],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


async def test_a_crawl_goes_on_where_it_was_closed(path: Path) -> None:
    url = f"sqlite:///{path}"
    first = await opened(url)
    await submit(first, *offers(3))
    [page, _] = await lease(first, 2)
    await settle(first, page, links=[offer("link")])
    await first.leave("worker-1")
    await first.close()

    second = await opened(url)

    assert paths(await lease(second)) == ["1", "2", "link"]
    await second.close()


async def test_what_one_process_does_another_sees(tracker: SqliteTracker, path: Path) -> None:
    other = await opened(f"sqlite:///{path}")
    await submit(tracker, *offers(2))
    leases = await lease(other, 1, worker="other")

    assert (await books(tracker)).leased == 1
    assert await other.stop(CRAWL) == 1
    assert await settle(other, leases[0], worker="other")

    assert (await books(tracker)).state == "stopped"
    await other.close()


async def test_an_idle_worker_hears_of_what_another_process_queued(
    tracker: SqliteTracker, path: Path
) -> None:
    other = await opened(f"sqlite:///{path}")
    assert await lease(tracker) == []
    await submit(other, offer("page"))

    await asyncio.wait_for(tracker.idle(60.0), 2)

    assert len(await lease(tracker)) == 1
    await other.close()


async def test_what_a_cancelled_call_leases_all_the_same_is_lent_again(
    tracker: SqliteTracker, path: Path
) -> None:
    await submit(tracker, *offers(5))
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        call = asyncio.create_task(tracker.lease("worker-1", 3, "link"))
        # Until its thread has begun and waits for the lock.
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert (await books(tracker)).leased == 3

    assert paths(await lease(tracker)) == ["0", "1", "2", "3", "4"]


async def test_a_killed_process_loses_nothing_and_its_leases_are_back_at_once(
    tracker: SqliteTracker, path: Path
) -> None:
    await submit(tracker, *offers(50))
    process = victim(f"sqlite:///{path}")
    try:
        for _ in range(3):
            assert await asyncio.to_thread(process.stdout.readline)  # type: ignore[union-attr]  # a pipe
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]  # a pipe
    await balanced(tracker)
    before = await books(tracker)
    assert before.leased >= 6

    assert await tracker.reclaim() == before.leased

    await balanced(tracker)
    after = await books(tracker)
    assert after.leased == 0
    assert after.queued == before.queued + before.leased
    assert await tracker.workers() == []


async def test_a_running_process_keeps_its_leases(tracker: SqliteTracker, path: Path) -> None:
    await submit(tracker, *offers(50))
    process = victim(f"sqlite:///{path}")
    try:
        assert await asyncio.to_thread(process.stdout.readline)  # type: ignore[union-attr]  # a pipe

        assert await tracker.reclaim() == 0
        assert len(await tracker.workers()) == 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]  # a pipe


@pytest.mark.skipif(sys.platform != "linux", reason="tells processes apart by /proc")
async def test_a_process_id_that_was_given_out_again_is_another_process(
    tracker: SqliteTracker, path: Path
) -> None:
    await submit(tracker, offer("page"))
    await lease(tracker)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE workers SET process = '1'")

    assert await tracker.reclaim() == 1


async def test_deadlines_that_passed_while_the_host_slept_are_no_deaths(
    tracker: SqliteTracker, path: Path
) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE workers SET deadline = deadline - 3600")

    assert await tracker.reclaim() == 0

    assert await settle(tracker, page)


async def test_a_copy_taken_at_any_moment_balances(tracker: SqliteTracker, path: Path) -> None:
    """What a power cut leaves behind is what the files held at some moment."""
    await submit(tracker, *offers(50))
    process = victim(f"sqlite:///{path}")
    try:
        for number in range(5):
            assert await asyncio.to_thread(process.stdout.readline)  # type: ignore[union-attr]  # a pipe
            process.send_signal(signal.SIGSTOP)
            copy = path.with_name(f"copy-{number}.db")
            shutil.copy(path, copy)
            shutil.copy(f"{path}-wal", f"{copy}-wal")
            process.send_signal(signal.SIGCONT)
            restored = await opened(f"sqlite:///{copy}")
            await balanced(restored)
            assert (await books(restored)).accepted >= 50
            await restored.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]  # a pipe


async def rows(tracker: SqliteTracker, path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        tables = ("requests", "lanes", "seen", "forgotten")
        return {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
        }


async def test_sweeping_leaves_nothing_of_a_stopped_crawl_in_the_queues(
    tracker: SqliteTracker, path: Path
) -> None:
    for number in range(30):
        await submit(tracker, *offers(100, f"{number}.example", priority=number))
    await submit(tracker, *offers(5, priority=1), crawl=OTHER)
    [page] = await lease(tracker, 1)
    await settle(tracker, page, "retry")
    await tracker.stop(CRAWL)

    await sweep(tracker)

    left = await rows(tracker, path)
    assert (left["requests"], left["lanes"]) == (5, 1)


async def test_each_step_of_sweeping_is_bounded(tracker: SqliteTracker) -> None:
    await submit(tracker, *offers(5000))
    await tracker.stop(CRAWL)
    steps = 0
    while await tracker.sweep():
        steps += 1

    assert steps >= 5


async def test_the_seen_set_is_deleted_when_it_is_forgotten(path: Path) -> None:
    tracker = await opened(f"sqlite:///{path}", TrackerConfig(hits=0, dupefilter_timeout=0.0))
    await submit(tracker, *(offer(str(n), rule="deny") for n in range(2500)))

    async def forgotten() -> bool:
        await sweep(tracker)
        return (await rows(tracker, path))["seen"] == 0

    await until(forgotten)

    assert (await rows(tracker, path))["forgotten"] == 0
    assert (await books(tracker)).dropped == 2500
    await tracker.close()


def steps_of_a_lease(domains: int) -> int:
    """Return how many instructions of SQLite's machine, in tens, one lease needs."""
    store = sqlite_store.SqliteStore("sqlite://")
    store.open()
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    batch = [offer("page", f"{number}.example") for number in range(domains)]
    with store.transaction() as db:
        step = Step(db, CONFIG, {})
        how = {"entry": "seed", "source": None, "hold": 0.0}
        sqlite_submit.submit(step, CRAWL, batch, None, **how)  # type: ignore[arg-type]  # by name
        step.save()
    with store.transaction() as db:
        step = Step(db, CONFIG, {})
        lending = Lending(step, "worker-1", "link", "token")
        db.set_progress_handler(tick, 10)
        assert len(lending.lend(1).leases) == 1
        db.set_progress_handler(None, 0)
        step.save()
    store.close()
    return count


def test_a_lease_costs_the_same_whatever_the_number_of_domains() -> None:
    assert steps_of_a_lease(20_000) <= 1.2 * steps_of_a_lease(10)


async def test_times_are_unix_times(tracker: SqliteTracker) -> None:
    await submit(tracker, offer("page"))

    assert abs((await books(tracker)).started - time.time()) < 5
