"""Background work of SQLite: what is cleared in bounded steps, and what time ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.tracker.sqlite_books import OUTBOX_LENGTH
from crawling.tracker.sqlite_queues import refresh
from crawling.tracker.sqlite_settle import discard, queue_due

if TYPE_CHECKING:
    from crawling.tracker.sqlite_books import Step
    from crawling.tracker.tracker import CrawlId

#: Rows that one step deletes or moves: some 20 ms.
SWEEP_STEP = 1_000
#: Sources that are remembered: what a consumer group's failover may deliver again.
SOURCES_KEPT = 100_000

_GARBAGE = """
SELECT requests.id, crawls.seen, fingerprint
FROM requests JOIN crawls ON crawls.id = requests.crawl
WHERE queue = ? AND requests.run = ? AND priority = ? AND due IS NULL AND worker IS NULL
LIMIT ?
"""


def sweep(step: Step) -> bool:
    step.expire_due()
    _end_holds(step)
    tasks = (_sweep_run, _unpark, _forget, _sweep_seen, _sweep_small)
    more = [task(step) for task in tasks]
    return queue_due(step, SWEEP_STEP) == SWEEP_STEP or any(more)


def unpark(step: Step, run: int) -> int:
    """Bring lanes of a resumed crawl back; how many."""
    lanes = step.db.execute(
        "SELECT queue, run, priority FROM lanes WHERE run = ? AND parked = 1 LIMIT ?",
        (run, SWEEP_STEP),
    ).fetchall()
    step.db.executemany(
        "UPDATE lanes SET parked = 0 WHERE queue = ? AND run = ? AND priority = ?", lanes
    )
    refresh(step.db, {lane[0] for lane in lanes})
    return len(lanes)


def _end_holds(step: Step) -> None:
    """Close the crawls whose submitter died before its last batch."""
    rows = step.db.execute("SELECT id FROM crawls WHERE hold <= ?", (step.now,)).fetchall()
    for (number,) in rows:
        step.books(number).hold = None


def _sweep_run(step: Step) -> bool:
    """Delete a part of what one stopped crawl left in its lanes."""
    row = step.db.execute(
        "SELECT id FROM runs WHERE ended IS NOT NULL AND swept = 0 LIMIT 1"
    ).fetchone()
    if row is None:
        return False
    left = SWEEP_STEP
    lanes = step.db.execute(
        "SELECT queue, run, priority FROM lanes WHERE run = ? LIMIT ?", (row[0], SWEEP_STEP)
    ).fetchall()
    for lane in lanes:
        left -= _sweep_lane(step, lane, left)
        if left <= 0:
            return True
    if not lanes:
        step.db.execute("UPDATE runs SET swept = 1 WHERE id = ?", row)
    return True


def _sweep_lane(step: Step, lane: tuple[int, int, int], limit: int) -> int:
    rows = step.db.execute(_GARBAGE, (*lane, limit)).fetchall()
    for request, seen, fingerprint in rows:
        discard(step, request, seen, fingerprint)
    if len(rows) < limit:
        step.db.execute("DELETE FROM lanes WHERE queue = ? AND run = ? AND priority = ?", lane)
        refresh(step.db, [lane[0]])
    return len(rows) + 1


def _unpark(step: Step) -> bool:
    row = step.db.execute(
        "SELECT run FROM crawls WHERE state = 'running' AND EXISTS "
        "(SELECT 1 FROM lanes WHERE lanes.run = crawls.run AND parked = 1) LIMIT 1"
    ).fetchone()
    return bool(row and unpark(step, row[0]))


def _forget(step: Step) -> bool:
    """Give up the seen-set of one crawl that ended long ago; its books are kept."""
    row = step.db.execute(
        "SELECT id FROM crawls WHERE ended < ? AND seen > 0 AND hold IS NULL LIMIT 1",
        (step.now - step.config.dupefilter_timeout,),
    ).fetchone()
    if row is None:
        return False
    books = step.books(row[0])
    step.db.execute("INSERT INTO forgotten VALUES (?)", (books.seen,))
    books.seen = 0
    return True


def forget(step: Step, crawl: CrawlId) -> bool:
    """Delete a crawl that has ended, when nothing of it is left in the queues."""
    books = step.find(crawl)
    if books is None or books.ended is None or books.hold is not None:
        return False
    left = step.db.execute("SELECT 1 FROM lanes WHERE run = ? LIMIT 1", (books.run,)).fetchone()
    if left or books.queued or books.delayed or books.leased:
        return False
    if books.seen:
        step.db.execute("INSERT INTO forgotten VALUES (?)", (books.seen,))
    step.db.execute("DELETE FROM failures WHERE crawl = ?", (books.id,))
    step.db.execute("DELETE FROM crawls WHERE id = ?", (books.id,))
    return True


def _sweep_seen(step: Step) -> bool:
    row = step.db.execute("SELECT seen FROM forgotten LIMIT 1").fetchone()
    if row is None:
        return False
    deleted = step.db.execute(
        "DELETE FROM seen WHERE crawl = ?1 AND fingerprint IN "
        "(SELECT fingerprint FROM seen WHERE crawl = ?1 LIMIT ?2)",
        (row[0], SWEEP_STEP),
    ).rowcount
    if deleted < SWEEP_STEP:
        step.db.execute("DELETE FROM forgotten WHERE seen = ?", row)
    return True


def _sweep_small(step: Step) -> bool:
    deleted = step.db.execute(
        "DELETE FROM throttles WHERE (spiderid, ip, domain) IN "
        "(SELECT spiderid, ip, domain FROM throttles WHERE until < ? LIMIT ?)",
        (step.now, SWEEP_STEP),
    ).rowcount
    step.db.execute(
        "DELETE FROM outbox WHERE id <= (SELECT max(id) FROM outbox) - ?", (OUTBOX_LENGTH,)
    )
    step.db.execute(
        "DELETE FROM sources WHERE id <= (SELECT max(id) FROM sources) - ?", (SOURCES_KEPT,)
    )
    return deleted == SWEEP_STEP
