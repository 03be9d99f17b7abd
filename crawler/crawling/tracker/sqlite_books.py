"""The books of a crawl in SQLite, and the one transaction that changes them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from crawling.tracker.sqlite_queues import Arrivals
from crawling.tracker.tracker import (
    DEEPEST,
    CrawlId,
    CrawlOptions,
    CrawlStatus,
    State,
    by_depth,
)

if TYPE_CHECKING:
    import sqlite3

    from crawling.tracker.tracker import TrackerConfig

#: How many finished events the outbox keeps.
OUTBOX_LENGTH = 10_000
_OPTIONS_CACHED = 1_000


@dataclass
class Books:
    """One row of `crawls`: the fields are its columns, in their order."""

    id: int
    spiderid: str
    appid: str
    crawlid: str
    state: State
    epoch: int
    reported: int
    run: int
    void: int
    seen: int
    options: int
    boost: int
    accepted: int
    queued: int
    delayed: int
    leased: int
    done: int
    failed: int
    dropped: int
    duplicates: int
    size: int
    started: float
    ended: float | None
    hold: float | None
    expires: float | None
    reasons: dict[str, int]
    statuses: dict[str, int]
    depths: dict[str, int]

    @property
    def name(self) -> CrawlId:
        return CrawlId(self.spiderid, self.appid, self.crawlid)

    @property
    def outstanding(self) -> int:
        return self.queued + self.delayed + self.leased

    @property
    def closed(self) -> bool:
        """Whether nothing more is queued, whatever pages in flight discover."""
        return self.state in {"stopped", "expired"}

    def is_over(self, now: float) -> bool:
        held = self.hold is not None and self.hold > now
        return not self.outstanding and not held and self.reported < self.epoch

    def drop(self, reason: str, count: int = 1) -> None:
        self.dropped += count
        self.give_reason(reason, count)

    def give_reason(self, reason: str, count: int = 1) -> None:
        left = self.reasons.get(reason, 0) + count
        if left:
            self.reasons[reason] = left
        else:
            self.reasons.pop(reason, None)

    def count_depth(self, depth: int, count: int = 1) -> None:
        """Count what is done or has failed, or (-1) does so no longer."""
        key = str(min(depth, DEEPEST))
        self.depths[key] = self.depths.get(key, 0) + count


#: Seconds within which two clocks are read together; a start is off by no more.
SAME_MOMENT = 0.0002
_CHANGING = [column.name for column in fields(Books)[4:-3]]
_changing = attrgetter(*_CHANGING)
_SAVE = (
    f"UPDATE crawls SET {', '.join(f'{name} = ?' for name in _CHANGING)}, "  # noqa: S608 - our own column names
    "reasons = ?, statuses = ?, depths = ? WHERE id = ?"
)


def clocks() -> tuple[float, float]:
    """Read the wall clock and the monotonic one at one moment, not around a pause."""
    while True:
        monotonic = time.monotonic()
        now = time.time()
        if time.monotonic() - monotonic < SAME_MOMENT:
            return now, monotonic


class Step:
    """One transaction: the crawls it touches are read once, and written at its end.

    *now* is read after the lock was taken: waiting for another process must not make a
    throttle believe that it is still earlier.
    """

    def __init__(
        self, db: sqlite3.Connection, config: TrackerConfig, cache: dict[int, CrawlOptions]
    ) -> None:
        self.db = db
        self.config = config
        self.now, self.monotonic = clocks()
        self.arrivals = Arrivals(db)
        self._crawls: dict[int, Books] = {}
        self._before: dict[int, tuple[Any, ...]] = {}
        self._cache = cache

    def books(self, number: int) -> Books:
        if number not in self._crawls:
            row = self.db.execute("SELECT * FROM crawls WHERE id = ?", (number,)).fetchone()
            self._crawls[number] = Books(
                *row[:-3],
                *map(json.loads, row[-3:]),
            )
            self._before[number] = row[4:]
        return self._crawls[number]

    def find(self, crawl: CrawlId) -> Books | None:
        row = self.db.execute(
            "SELECT id FROM crawls WHERE spiderid = ? AND appid = ? AND crawlid = ?", crawl
        ).fetchone()
        return self.books(row[0]) if row else None

    def create(self, crawl: CrawlId) -> Books:
        number = self.numbers(1)
        self.db.execute(
            "INSERT INTO crawls VALUES "
            "(?,?,?,?,'running',1,0,?,0,?,0,0, 0,0,0,0,0,0,0,0,0, ?,NULL,NULL,NULL,'{}','{}','{}')",
            (number, *crawl, self.new_run(), number, self.now),
        )
        return self.books(number)

    def new_run(self) -> int:
        run = self.db.execute("INSERT INTO runs (ended) VALUES (NULL)").lastrowid
        assert run is not None
        return run

    def numbers(self, count: int) -> int:
        """Take *count* numbers of the one sequence of this tracker; return the first."""
        first: int = self.db.execute("SELECT next FROM sequence").fetchone()[0]
        self.db.execute("UPDATE sequence SET next = ?", (first + count,))
        return first

    def options(self, books: Books) -> CrawlOptions:
        number = books.options
        if number not in self._cache:
            if len(self._cache) >= _OPTIONS_CACHED:
                self._cache.clear()
            self._cache[number] = self._read_options(number)
        return self._cache[number]

    def set_options(self, books: Books, options: CrawlOptions) -> None:
        if options == self.options(books):
            return
        body = json.dumps(asdict(options))
        self.db.execute("DELETE FROM options WHERE id = ?", (books.options,))
        number = self.db.execute("INSERT INTO options (body) VALUES (?)", (body,)).lastrowid
        assert number is not None
        books.options = number
        books.expires = options.expires or None

    def reopen(self, books: Books) -> None:
        """Begin a new epoch; what an earlier stop left in the queues stays dead."""
        if books.run == 0:
            books.run = self.new_run()
        books.state = "running"
        books.ended = None
        books.expires = self.options(books).expires or None
        books.epoch += 1
        books.started = self.now

    def end(self, books: Books, state: State) -> int:
        """Stop or expire a crawl: a change of its books only, whatever its backlog."""
        if books.state not in {"running", "paused"}:
            return 0
        given_up = books.queued + books.delayed
        books.queued = books.delayed = 0
        books.drop(state, given_up)
        books.state = state
        books.hold = books.expires = None
        self.db.execute("UPDATE runs SET ended = ? WHERE id = ?", (state, books.run))
        books.void = self.numbers(1)
        books.run = 0
        if state == "expired":
            self._tell(
                {
                    "action": state,
                    **books.name._asdict(),
                    "total_expired": given_up,
                    "server_time": self.now,
                }
            )
        return given_up

    def expire_due(self) -> None:
        for (number,) in self.db.execute(
            "SELECT id FROM crawls WHERE expires <= ?", (self.now,)
        ).fetchall():
            self.end(self.books(number), "expired")

    def save(self) -> None:
        """Write the books back; a crawl with nothing left to do is finished by that."""
        self.arrivals.save()
        for books in self._crawls.values():
            if books.is_over(self.now):
                self._finish(books)
            counts = map(json.dumps, (books.reasons, books.statuses, books.depths))
            after = (*_changing(books), *counts)
            if after != self._before[books.id]:
                self.db.execute(_SAVE, (*after, books.id))

    def status(self, books: Books) -> CrawlStatus:
        return CrawlStatus(
            crawl=books.name,
            state=books.state,
            options=self.options(books),
            epoch=books.epoch,
            accepted=books.accepted,
            queued=books.queued,
            delayed=books.delayed,
            leased=books.leased,
            done=books.done,
            failed=books.failed,
            dropped=books.dropped,
            duplicates=books.duplicates,
            size=books.size,
            started=books.started,
            ended=books.ended,
            reasons=dict(books.reasons),
            statuses={int(status): count for status, count in books.statuses.items()},
            by_depth=by_depth(books.depths),
            boost=books.boost,
        )

    def _finish(self, books: Books) -> None:
        if not books.closed:
            books.state = "finished"
        books.ended = self.now
        books.expires = None
        books.reported = books.epoch
        self._tell(self._event(books))

    def _tell(self, event: dict[str, Any]) -> None:
        self.db.execute("INSERT INTO outbox (body) VALUES (?)", (json.dumps(event),))

    def _event(self, books: Books) -> dict[str, Any]:
        return {
            "action": "finished",
            "spiderid": books.spiderid,
            "appid": books.appid,
            "crawlid": books.crawlid,
            "state": books.state,
            "accepted": books.accepted,
            "done": books.done,
            "failed": books.failed,
            "dropped": books.dropped,
            "duplicates": books.duplicates,
            "reasons": books.reasons,
            "statuses": books.statuses,
            "bytes": books.size,
            "elapsed": round(self.now - books.started, 3),
            "server_time": self.now,
            "epoch": books.epoch,
        }

    def _read_options(self, number: int) -> CrawlOptions:
        row = self.db.execute("SELECT body FROM options WHERE id = ?", (number,)).fetchone()
        return CrawlOptions(**json.loads(row[0])) if row else CrawlOptions()
