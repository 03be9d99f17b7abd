"""The database behind `SqliteTracker`: opened, checked, one transaction at a time."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Raised whenever `schema.sql` changes: a file of a version that is not among `_UPGRADES`
#: is refused, never misread.
SCHEMA_VERSION = 6
#: Marks a file as ours ("flee"), so that no other program's database is taken for one.
APPLICATION_ID = 0x666C6565
#: Seconds to wait for another process's transaction; ours take milliseconds.
BUSY_TIMEOUT = 10.0

#: What makes a file of an older version one of the next: new columns with defaults, for
#: which no row is written anew.
_UPGRADES = {
    4: (
        "ALTER TABLE crawls ADD COLUMN depths TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE workers ADD COLUMN pages INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE workers ADD COLUMN rate REAL NOT NULL DEFAULT 0",
        "ALTER TABLE workers ADD COLUMN memory INTEGER NOT NULL DEFAULT 0",
    ),
    5: ("ALTER TABLE sequence ADD COLUMN deferrals INTEGER NOT NULL DEFAULT 0",),
}
_SCHEMA = Path(__file__).with_name("schema.sql")


class SqliteStore:
    """One connection; it must be opened, used and closed by one and the same thread."""

    def __init__(self, url: str) -> None:
        self.path = _path_of(url)
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        try:
            db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise ConfigError("TRACKER", f"cannot open {self.path!r}: {error}") from error
        try:
            self._prepare(db)
        except sqlite3.DatabaseError as error:
            db.close()
            if "locked" in str(error):
                raise Unavailable(f"{self.path}: {error}") from error
            raise ConfigError("TRACKER", f"cannot use {self.path!r}: {error}") from error
        except ConfigError:
            db.close()
            raise
        self._db = db

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock: what is done inside happens as a whole or not at all."""
        if self._db is None:
            raise Unavailable(f"{self.path} is not open")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                # A full disk has ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            # Locked, disk full, I/O error: nothing was written, all may be asked again.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", 0) == 1:  # a mistake in our own SQL
                raise
            raise Unavailable(f"{self.path}: {error}") from error

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        if version == 0 and owner == 0:
            _create(db, self.path)
        elif owner != APPLICATION_ID:
            raise ConfigError("TRACKER", f"{self.path!r} is another program's database")
        else:
            _upgrade(db, self.path)
        # A process that dies loses nothing with NORMAL; only a power cut may take back
        # the last moments, and never half a transaction.
        db.execute("PRAGMA synchronous = NORMAL")
        # 32 MB: with a million domains the 2 MB of the default hold no index.
        db.execute("PRAGMA cache_size = -32768")
        # 40 MB of log between two checkpoints: the same few pages change all the time.
        db.execute("PRAGMA wal_autocheckpoint = 10000")
        # Fails here, and not at the first request, when the file cannot be written.
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE sequence SET next = next")
        db.execute("COMMIT")


def _create(db: sqlite3.Connection, path: str) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    if db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        # Another process was faster between our look and our lock.
        db.execute("ROLLBACK")
        return
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        db.execute("ROLLBACK")
        raise ConfigError("TRACKER", f"{path!r} is another program's database")
    for statement in _SCHEMA.read_text(encoding="utf-8").split(";\n"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def _upgrade(db: sqlite3.Connection, path: str) -> None:
    """Bring the file to our version in one step, whoever else opens it; refuse what we cannot."""
    while (version := db.execute("PRAGMA user_version").fetchone()[0]) != SCHEMA_VERSION:
        if version not in _UPGRADES:
            raise ConfigError(
                "TRACKER",
                f"{path!r} has schema version {version}, this scrapy-fleet reads "
                f"{SCHEMA_VERSION}: finish it with the version that began it",
            )
        db.execute("BEGIN IMMEDIATE")
        if db.execute("PRAGMA user_version").fetchone()[0] == version:
            for statement in _UPGRADES[version]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version + 1}")
        db.execute("COMMIT")


def _path_of(url: str) -> str:
    prefix, rest = url[:9], url[9:]
    if prefix != "sqlite://" or (rest and (rest[0] != "/" or rest == "/")):
        raise ConfigError(
            "TRACKER",
            "must be sqlite:// (in memory), sqlite:///FILE or sqlite:////absolute/FILE, "
            f"not {url!r}",
        )
    return rest[1:] or ":memory:"
