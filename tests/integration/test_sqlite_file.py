"""The file of the SQLite tracker: named, refused, locked, full."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import ConfigError, Unavailable
from crawling.tracker.sqlite_store import SqliteStore
from crawling.tracker.sqlite_tracker import SqliteTracker
from crawling.tracker.tracker import Outcome, TrackerConfig
from tests.integration.tracking import (
    CRAWL,
    WORKER,
    books,
    lease,
    offer,
    offers,
    settle,
    submit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = TrackerConfig(hits=0)
#: Columns that a file of version 4 has not.
NEW = [
    ("crawls", "depths"),
    ("workers", "pages"),
    ("workers", "rate"),
    ("workers", "memory"),
    ("sequence", "deferrals"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crawl.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(f"sqlite:///{path}")
    store.open()
    yield store
    store.close()


async def opened(url: str) -> SqliteTracker:
    tracker = SqliteTracker(url, CONFIG)
    await tracker.open()
    return tracker


async def test_an_absolute_and_a_relative_url_name_the_same_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    first = await opened("sqlite:///crawl.db")
    await submit(first, offer("page"))
    await first.close()

    second = await opened(f"sqlite:////{str(path).lstrip('/')}")

    assert await second.crawls() == [CRAWL]
    await second.close()


@pytest.mark.parametrize(
    "url", ["sqlite:", "sqlite:/crawl.db", "sqlite://crawl.db", "sqlite:///", "sqlite3:///x"]
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="must be sqlite://"):
        SqliteTracker(url, CONFIG)


async def refusal(tracker: SqliteTracker) -> str:
    with pytest.raises(ConfigError) as refused:
        await tracker.open()
    await tracker.close()
    return str(refused.value)


def test_a_file_that_is_no_database_is_refused_and_untouched(path: Path) -> None:
    path.write_text("my precious notes\n" * 100)
    store = SqliteStore(f"sqlite:///{path}")

    with pytest.raises(ConfigError, match="not a database"):
        store.open()

    assert path.read_text() == "my precious notes\n" * 100


async def test_another_programs_database_is_refused_and_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (note TEXT)")

    assert "another program" in await refusal(SqliteTracker(f"sqlite:///{path}", CONFIG))

    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


async def test_a_file_of_another_version_is_refused(path: Path) -> None:
    await (await opened(f"sqlite:///{path}")).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")

    assert "version 99" in await refusal(SqliteTracker(f"sqlite:///{path}", CONFIG))


async def test_a_file_of_the_version_before_goes_on(path: Path) -> None:
    old = await opened(f"sqlite:///{path}")
    await submit(old, *offers(3))
    done, failed, _ = await lease(old)
    await settle(old, done)
    await settle(old, failed, "failed", reason="http_500")
    await old.close()
    with closing(sqlite3.connect(path)) as db:
        for table, column in NEW:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 4")

    tracker, beside = await opened(f"sqlite:///{path}"), await opened(f"sqlite:///{path}")

    status = await books(tracker)
    assert (status.done, status.failed, status.leased) == (1, 1, 1)
    assert (status.by_depth, status.by_status) == ({}, {200: 1, 500: 1})
    await tracker.leave(WORKER)
    assert await tracker.retry(CRAWL) == 1
    granted = await tracker.lease(WORKER, 9, "link")
    accepted = await tracker.settle(WORKER, [Outcome(each, "done") for each in granted.leases])
    assert accepted == [True, True]
    # What was not counted before its retry is not counted after it.
    assert (await books(beside)).by_depth == {0: 1}
    assert [worker.worker for worker in await beside.workers()] == [WORKER]
    await tracker.defer("a.example", 1.0)
    assert (await beside.treatment()).deferrals == 1
    await tracker.close()
    await beside.close()


async def test_a_folder_that_does_not_exist_is_refused(path: Path) -> None:
    message = await refusal(SqliteTracker(f"sqlite:///{path}/missing/crawl.db", CONFIG))

    assert "cannot open" in message


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user whom file permissions apply to."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_cannot_be_written_is_refused() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "crawl.db")
        store = SqliteStore(f"sqlite:///{path}")
        store.open()
        store.close()
        path.chmod(0o444)
        path.parent.chmod(0o555)

        with nobody(), pytest.raises(ConfigError, match="readonly"):
            store.open()

        path.parent.chmod(0o755)


async def test_a_tracker_that_is_not_open_is_unavailable() -> None:
    tracker = SqliteTracker("sqlite://", CONFIG)

    with pytest.raises(Unavailable):
        await tracker.crawls()

    await tracker.close()


def test_a_file_that_another_process_locks_is_unavailable(
    store: SqliteStore, path: Path
) -> None:
    with store.transaction() as db:
        db.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"), store.transaction():
            pass

    with store.transaction() as db:
        assert db.in_transaction


def write_too_much(store: SqliteStore) -> None:
    with store.transaction() as db:
        db.execute("UPDATE sequence SET next = 5")
        db.execute("INSERT INTO outbox (body) VALUES (?)", ("x" * 100_000,))


def test_a_full_disk_is_unavailable_and_takes_the_whole_step_back(store: SqliteStore) -> None:
    """SQLite itself ends the transaction then: there is nothing left to roll back."""
    with store.transaction() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(Unavailable, match="full"):
        write_too_much(store)

    with store.transaction() as db:
        assert db.execute("SELECT next FROM sequence").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
