"""Lanes, queues and places in SQLite: what waits where, and who may see it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from crawling.tracker.sqlite_books import Books

#: A queue that is at its cap or blocked: opened by an event, not by time.
NEVER = float("inf")
# Priorities beyond ±8 million are equal to each other; 40 bits number 10¹² requests.
_MAX_PRIORITY = 2**23 - 1
_NUMBER_BITS = 40

# Only written where it changes: a push behind others leaves the place alone.
_REFRESH = """
UPDATE places SET best = (SELECT min(head) FROM lanes WHERE queue = ?1 AND parked = 0)
WHERE queue = ?1
  AND best IS NOT (SELECT min(head) FROM lanes WHERE queue = ?1 AND parked = 0)
"""
_ENTER = """
INSERT INTO lanes (queue, run, priority, crawl, head, length) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET head = min(head, excluded.head), length = length + excluded.length
"""
_CHARGE = """
INSERT INTO pages (crawl, domain, run, used, waiting) VALUES (?, ?, ?, 0, ?)
ON CONFLICT DO UPDATE SET
    waiting = excluded.waiting + CASE run WHEN excluded.run THEN waiting ELSE 0 END,
    run = excluded.run
"""


class Lane(NamedTuple):
    queue: int
    run: int
    priority: int


def rank(priority: int, number: int) -> int:
    """Return the place of a request among all others: priority first, then age."""
    clipped = max(-_MAX_PRIORITY, min(_MAX_PRIORITY, priority))
    return (-clipped << _NUMBER_BITS) + number


def boosted(place: int, boost: int) -> int:
    """Return the rank *place* in a crawl whose requests count *boost* higher."""
    return place - (boost << _NUMBER_BITS)


def boost_lanes(db: sqlite3.Connection, run: int, by: int) -> None:
    """Let all that a run has queued count *by* more than until now."""
    db.execute("UPDATE lanes SET head = ? + head WHERE run = ?", (boosted(0, by), run))
    queues = db.execute("SELECT DISTINCT queue FROM lanes WHERE run = ?", (run,)).fetchall()
    refresh(db, [queue for (queue,) in queues])


def queue_of(db: sqlite3.Connection, spiderid: str, domain: str) -> int:
    row = db.execute(
        "SELECT id FROM queues WHERE spiderid = ? AND domain = ?", (spiderid, domain)
    ).fetchone()
    if row:
        return int(row[0])
    queue = db.execute(
        "INSERT INTO queues (spiderid, domain) VALUES (?, ?)", (spiderid, domain)
    ).lastrowid
    assert queue is not None
    db.execute(
        "INSERT INTO places (queue, view) SELECT ?, id FROM views WHERE spiderid = ?",
        (queue, spiderid),
    )
    return queue


def view_of(db: sqlite3.Connection, spiderid: str, ip: str) -> int:
    row = db.execute(
        "SELECT id FROM views WHERE spiderid = ? AND ip = ?", (spiderid, ip)
    ).fetchone()
    if row:
        return int(row[0])
    view = db.execute(
        "INSERT INTO views (spiderid, ip) VALUES (?, ?)", (spiderid, ip)
    ).lastrowid
    assert view is not None
    # The one time that all queues are looked at: an address that was never seen before.
    db.execute(
        "INSERT INTO places (queue, view, best) SELECT id, ?, "
        "(SELECT min(head) FROM lanes WHERE queue = queues.id AND parked = 0) "
        "FROM queues WHERE spiderid = ?",
        (view, spiderid),
    )
    return view


def refresh(db: sqlite3.Connection, queues: Iterable[int]) -> None:
    """Advertise the queues by the best that is in them now."""
    db.executemany(_REFRESH, [(queue,) for queue in queues])


def open_again(db: sqlite3.Connection, queue: int) -> None:
    """Let workers ask a queue that was at its cap; they find out whether it still is."""
    db.execute("UPDATE places SET opens = NULL WHERE queue = ? AND opens = ?", (queue, NEVER))


def open_domain(db: sqlite3.Connection, domain: str) -> None:
    """Let workers ask all queues of a domain again, after its rules were changed."""
    db.execute(
        "UPDATE places SET opens = NULL WHERE opens IS NOT NULL "
        "AND queue IN (SELECT id FROM queues WHERE domain = ?)",
        (domain,),
    )


class Arrivals:
    """What one step puts into lanes, gathered so that each lane is written once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._lanes: dict[Lane, tuple[int, int, int]] = {}
        self._pages: dict[tuple[int, str, int], int] = defaultdict(int)

    def charge(self, books: Books, domain: str) -> None:
        """Hold one unit of a page budget for a request that waits."""
        self._pages[books.id, domain, books.run] += 1

    def enter(self, lane: Lane, books: Books, place: int) -> None:
        place = boosted(place, books.boost)
        _, head, length = self._lanes.get(lane, (books.id, place, 0))
        self._lanes[lane] = (books.id, min(head, place), length + 1)

    def save(self) -> None:
        self._db.executemany(
            _ENTER, [(*lane, *arrived) for lane, arrived in self._lanes.items()]
        )
        refresh(self._db, {lane.queue for lane in self._lanes})
        self._db.executemany(_CHARGE, [(*key, count) for key, count in self._pages.items()])
        self._lanes.clear()
        self._pages.clear()
