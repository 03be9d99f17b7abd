"""What comes into a SQLite tracker from outside: submissions, and failures tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.tracker.sqlite_intake import Failed, Intake, text_of
from crawling.tracker.sqlite_settle import RETRY_PENALTY
from crawling.tracker.tracker import Offer, Submitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.sqlite_books import Step
    from crawling.tracker.tracker import CrawlId, CrawlOptions, Entry, Source

#: Failures that one transaction queues again.
RETRY_STEP = 1_000

_FAILURES = """
SELECT id, reason, home, fingerprint, url, domain, priority, depth, extras, spiderid,
       attempts
FROM failures
WHERE crawl = ?1 AND (?2 = '' OR reason = ?2) AND (?3 = '' OR domain = ?3) AND id > ?4
ORDER BY id LIMIT ?5
"""


def submit(
    step: Step,
    crawl: CrawlId,
    offers: Sequence[Offer],
    options: CrawlOptions | None,
    *,
    entry: Entry,
    source: Source | None,
    hold: float,
) -> Submitted:
    if source is not None and not _is_new(step, source):
        return Submitted(0, repeated=True)
    books = step.find(crawl) or step.create(crawl)
    if options is not None:
        step.set_options(books, options)
    if not books.seen:
        books.seen = step.numbers(1)
    intake = Intake(step, books, reopens=True)
    take = {"seed": intake.seeds, "known": intake.links, "explored": intake.explored}[entry]
    queued = take(offers)
    books.hold = step.now + hold if hold > 0 else None
    # After the offers: a crawl whose time is over books them as expired before it ends.
    if books.expires is not None and books.expires <= step.now:
        step.end(books, "expired")
    return Submitted(queued, repeated=False)


def retry(step: Step, crawl: CrawlId, reason: str, domain: str, after: int) -> tuple[int, int]:
    """Queue a bounded number of failures again; how many, and where the rest begins."""
    books = step.find(crawl)
    if books is None:
        return 0, 0
    if not books.seen:
        books.seen = step.numbers(1)
    rows = step.db.execute(_FAILURES, (books.id, reason, domain, after, RETRY_STEP)).fetchall()
    queued = Intake(step, books, reopens=True).again([_failed(row) for row in rows])
    return queued, rows[-1][0] if len(rows) == RETRY_STEP else 0


def _failed(row: tuple[Any, ...]) -> Failed:
    number, reason, home, fingerprint, *offer, attempts = row
    url, domain, priority, depth, extras, spiderid = offer
    priority += RETRY_PENALTY * attempts
    fingerprint = fingerprint.to_bytes(8, "big", signed=True)
    return Failed(
        number,
        Offer(text_of(url), domain, fingerprint, priority, depth, extras, spiderid=spiderid),
        reason,
        home,
    )


def _is_new(step: Step, source: Source) -> bool:
    """Remember where a submission came from; the last digest of an offset counts.

    An offset with another digest is a topic that was made anew, not a repetition.
    """
    where = (source.topic, source.partition, source.offset)
    row = step.db.execute(
        "SELECT digest FROM sources WHERE topic = ? AND partition = ? AND offset = ?", where
    ).fetchone()
    if row and row[0] == source.digest:
        return False
    step.db.execute(
        "INSERT OR REPLACE INTO sources (topic, partition, offset, digest) VALUES (?, ?, ?, ?)",
        (*where, source.digest),
    )
    return True
