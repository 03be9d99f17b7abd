"""Auditing a SQLite tracker: one transaction for each crawl, and one for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.tracker.findings import Finding
from crawling.tracker.sqlite_queues import NEVER, boosted, refresh
from crawling.tracker.sqlite_settle import bury, leased_by

if TYPE_CHECKING:
    from crawling.tracker.findings import Kind
    from crawling.tracker.sqlite_books import Books, Step

_COLUMNS = """
SELECT coalesce(sum(worker IS NULL AND due IS NULL AND run = ?2), 0),
       coalesce(sum(worker IS NULL AND due IS NOT NULL AND run = ?2), 0),
       coalesce(sum(worker IS NOT NULL), 0)
FROM requests WHERE crawl = ?1
"""
_WAITING = """
SELECT queue, run, priority, min(rank), count(*) FROM requests
WHERE crawl = ? AND run = ? AND worker IS NULL AND due IS NULL
GROUP BY queue, run, priority
"""
# Queues whose best lane the places do not show, or that rest until an event that nobody
# will bring about.
_HIDDEN = """
SELECT queues.id, spiderid, queues.domain FROM queues
JOIN places ON places.queue = queues.id
LEFT JOIN domains ON domains.domain = queues.domain
WHERE best IS NOT (SELECT min(head) FROM lanes WHERE queue = queues.id AND parked = 0)
   OR opens = ? AND leased = 0 AND NOT coalesce(blocked, 0)
"""
_FLIGHT = """
SELECT queues.id, spiderid, domain, leased,
       (SELECT count(*) FROM requests WHERE queue = queues.id AND worker IS NOT NULL) AS found
FROM queues WHERE leased <> found
"""
_UNWATCHED = """
SELECT worker, count(*) FROM requests
WHERE worker IS NOT NULL AND worker NOT IN (SELECT worker FROM workers) GROUP BY worker
"""


def audit_crawl(step: Step, books: Books, *, repair: bool) -> list[Finding]:
    found = [*_audit_lanes(step, books, repair=repair), *_audit_sum(books, repair=repair)]
    counts = step.db.execute(_COLUMNS, (books.id, books.run)).fetchone()
    columns: tuple[Kind, ...] = ("queued", "delayed", "leased")
    for column, count in zip(columns, counts, strict=True):
        booked = getattr(books, column)
        if count != booked:
            found.append(Finding(column, books.name, "", booked, count))
            if repair:
                _settle_column(books, column, count - booked)
    if books.is_over(step.now) and not repair and books.hold is None:
        found.append(Finding("end", books.name))
    return found


def audit_rest(step: Step, *, repair: bool) -> list[Finding]:
    """Find leases that nobody watches, and domains that nobody sees."""
    found = []
    for worker, count in step.db.execute(_UNWATCHED).fetchall():
        found.append(Finding("worker", None, worker, 0, count))
        if repair:
            for request in leased_by(step, worker, -1):
                bury(step, request)
    step.arrivals.save()
    for queue, spiderid, domain, booked, count in step.db.execute(_FLIGHT).fetchall():
        found.append(Finding("flight", None, f"{spiderid}:{domain}", booked, count))
        if repair:
            step.db.execute("UPDATE queues SET leased = ? WHERE id = ?", (count, queue))
    for queue, spiderid, domain in step.db.execute(_HIDDEN, (NEVER,)).fetchall():
        found.append(Finding("domain", None, f"{spiderid}:{domain}"))
        if repair:
            refresh(step.db, [queue])
            step.db.execute("UPDATE places SET opens = NULL WHERE queue = ?", (queue,))
    return found


def _audit_sum(books: Books, *, repair: bool) -> list[Finding]:
    total = books.outstanding + books.done + books.failed + books.dropped
    if total == books.accepted:
        return []
    found = Finding("accepted", books.name, "", books.accepted, total)
    if repair:
        books.accepted = total
    return [found]


def _settle_column(books: Books, column: str, more: int) -> None:
    """Write what there is; what is missing was lost, and the books say so."""
    setattr(books, column, getattr(books, column) + more)
    if more > 0:
        books.accepted += more
    else:
        books.drop("lost", -more)


def _audit_lanes(step: Step, books: Books, *, repair: bool) -> list[Finding]:
    """Hold the lanes of the crawl's run against the requests that wait."""
    waiting = {
        row[:3]: (boosted(row[3], books.boost), row[4])
        for row in step.db.execute(_WAITING, (books.id, books.run))
    }
    lanes = {
        row[:3]: row[3:]
        for row in step.db.execute(
            "SELECT queue, run, priority, head, length FROM lanes WHERE run = ?", (books.run,)
        )
    }
    wrong = [lane for lane in waiting.keys() | lanes if waiting.get(lane) != lanes.get(lane)]
    found = []
    for queue, run, priority in wrong:
        spiderid, domain = step.db.execute(
            "SELECT spiderid, domain FROM queues WHERE id = ?", (queue,)
        ).fetchone()
        lane = (queue, run, priority)
        _, booked = lanes.get(lane, (0, 0))
        head, count = waiting.get(lane, (0, 0))
        where = f"{spiderid}:{domain}:{priority}"
        found.append(Finding("lane", books.name, where, booked, count))
        if repair:
            step.db.execute(
                "DELETE FROM lanes WHERE queue = ? AND run = ? AND priority = ?", lane
            )
            if count:
                step.db.execute(
                    "INSERT INTO lanes (queue, run, priority, crawl, head, length) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (*lane, books.id, head, count),
                )
            refresh(step.db, [queue])
    return found
