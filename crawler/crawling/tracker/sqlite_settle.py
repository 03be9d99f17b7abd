"""The end of a lease in SQLite, and everything that goes with it in one step."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crawling.tracker.sqlite_intake import (
    Intake,
    blob_of,
    followed,
    number_of,
    passing_reason,
)
from crawling.tracker.sqlite_queues import Lane, open_again, queue_of, rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.sqlite_books import Books, Step
    from crawling.tracker.tracker import Offer, Outcome

#: A request that so many workers died with is what kills them.
MAX_DEATHS = 10
#: Characters of a failure's detail that are kept: an exception may quote a whole page.
MAX_DETAIL = 1_000
#: A day of 503s doubles more often than a float can hold.
MAX_DOUBLINGS = 64
#: Retries come after what was not tried yet.
RETRY_PENALTY = 10

_REQUEST = """
SELECT requests.id, crawl, run, queue, priority, rank, fingerprint, depth, url, extras,
       attempts, deaths, home, due, spiderid, domain
FROM requests JOIN queues ON queues.id = queue
"""
_LEASED = _REQUEST + "WHERE requests.id = ? AND worker = ? AND token = ?"
_OF_WORKER = _REQUEST + "WHERE worker = ? ORDER BY rank LIMIT ?"
_DUE = _REQUEST + "WHERE due <= ? ORDER BY due LIMIT ?"
_AGAIN = """
UPDATE requests SET run = :run, queue = :queue, priority = :priority, rank = :rank,
    fingerprint = :fingerprint, depth = :depth, since = :now, url = :url, extras = :extras,
    attempts = :attempts, deaths = :deaths, home = :home, due = :due,
    worker = NULL, token = NULL
WHERE id = :id
"""
_FAILURE = """
INSERT INTO failures (crawl, spiderid, domain, fingerprint, priority, depth, url, extras,
    home, attempts, reason, detail)
VALUES (:crawl, :spiderid, :domain, :fingerprint, :priority, :depth, :url, :extras,
    :home, :attempts, :reason, :detail)
"""


@dataclass
class Request:
    """A row of `requests`, with the names of its queue."""

    id: int
    crawl: int
    run: int
    queue: int
    priority: int
    rank: int
    fingerprint: int
    depth: int
    url: bytes
    extras: bytes
    attempts: int
    deaths: int
    home: str | None
    due: float | None
    spiderid: str
    domain: str

    @property
    def charged(self) -> str:
        return self.home or self.domain


def settle(step: Step, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
    """Links first: a crawl never looks finished between a page and what it discovered."""
    step.expire_due()
    held = [_take(step, worker, outcome) for outcome in outcomes]
    links: dict[tuple[int, str], list[Offer]] = defaultdict(list)
    for request, outcome in zip(held, outcomes, strict=True):
        if not request:
            continue
        step.books(request.crawl).duplicates += outcome.known
        if outcome.links:
            links[request.crawl, request.spiderid] += outcome.links
    for (crawl, spiderid), offers in links.items():
        Intake(step, step.books(crawl), reopens=False, spiderid=spiderid).links(offers)
    for request, outcome in zip(held, outcomes, strict=True):
        if request:
            _settle(step, request, outcome)
    return [request is not None for request in held]


def release(step: Step, request: Request) -> None:
    """Put a request that was not fetched back where it was."""
    books = step.books(request.crawl)
    if books.closed:
        drop(step, request, books.state)
    else:
        again(step, request)


def bury(step: Step, request: Request) -> None:
    """Take a request from a dead worker, and fail it if it was the death of too many."""
    unlease(step, request)
    request.deaths += 1
    if request.deaths > MAX_DEATHS:
        fail(step, request, "spider_error", f"worker died {request.deaths} times")
    else:
        release(step, request)


def leased_by(step: Step, worker: str, limit: int) -> list[Request]:
    return [Request(*row) for row in step.db.execute(_OF_WORKER, (worker, limit))]


def queue_due(step: Step, limit: int) -> int:
    """Move delayed requests whose time has come to the tail of their lanes."""
    rows = step.db.execute(_DUE, (step.now, limit)).fetchall()
    for row in rows:
        request = Request(*row)
        books = step.books(request.crawl)
        if request.run != books.run:
            discard(step, request.id, books.seen, request.fingerprint)
            continue
        books.delayed -= 1
        _give_back(step, request, "waiting")
        again(step, request, tail=True)
    return len(rows)


def discard(step: Step, request: int, seen: int, fingerprint: int) -> None:
    """Delete a request that was given up with its run, and say so in the dupefilter."""
    reason = step.db.execute(
        "SELECT ended FROM requests JOIN runs ON runs.id = run WHERE requests.id = ?",
        (request,),
    ).fetchone()[0]
    step.db.execute("DELETE FROM requests WHERE id = ?", (request,))
    _mark(step, seen, request, fingerprint, f"dropped {reason}")


def unlease(step: Step, request: Request) -> None:
    step.books(request.crawl).leased -= 1
    step.db.execute("UPDATE queues SET leased = leased - 1 WHERE id = ?", (request.queue,))
    open_again(step.db, request.queue)
    _give_back(step, request, "used")


def again(step: Step, request: Request, *, tail: bool = False, delay: float = 0.0) -> None:
    """Let a request wait (again): at its old place, at the tail, or for *delay* seconds."""
    books = step.books(request.crawl)
    request.run = books.run
    if tail:
        request.rank = rank(request.priority, step.numbers(1))
    request.due = step.now + delay if delay else None
    step.db.execute(_AGAIN, {**vars(request), "now": step.now})
    step.arrivals.charge(books, request.charged)
    if request.due:
        books.delayed += 1
    else:
        books.queued += 1
        lane = Lane(request.queue, books.run, request.priority)
        step.arrivals.enter(lane, books, request.rank)


def drop(step: Step, request: Request, reason: str) -> None:
    step.books(request.crawl).drop(reason)
    _end(step, request, f"dropped {reason}")


def fail(step: Step, request: Request, reason: str, detail: str) -> None:
    books = step.books(request.crawl)
    books.failed += 1
    books.give_reason(reason)
    books.count_depth(request.depth)
    story = {"reason": reason, "detail": blob_of(detail[:MAX_DETAIL])}
    step.db.execute(_FAILURE, {**vars(request), **story})
    _end(step, request, f"failed {reason}")


def _take(step: Step, worker: str, outcome: Outcome) -> Request | None:
    """Take the request out of the worker's hands, if it still is in them."""
    lease = outcome.lease
    number = int.from_bytes(lease.rid, "big")
    row = step.db.execute(_LEASED, (number, worker, lease.token)).fetchone()
    if row is None:
        return None
    step.db.execute("UPDATE requests SET token = NULL WHERE id = ?", (number,))
    return Request(*row)


def _settle(step: Step, request: Request, outcome: Outcome) -> None:
    unlease(step, request)
    books = step.books(request.crawl)
    if outcome.busy:
        push_back(step, request.domain, outcome.retry_after)
    if outcome.kind == "done":
        _done(step, books, request, outcome)
    elif outcome.kind == "failed":
        fail(step, request, outcome.reason, outcome.detail)
    elif outcome.kind == "dropped":
        drop(step, request, outcome.reason)
    elif books.closed:
        drop(step, request, books.state)
    elif outcome.kind == "retry":
        _retry(step, request, outcome)
    elif outcome.kind == "redirect":
        _redirect(step, books, request, outcome)
    else:
        again(step, request)


def _done(step: Step, books: Books, request: Request, outcome: Outcome) -> None:
    books.done += 1
    books.size += outcome.size
    books.count_depth(request.depth)
    if outcome.status:
        status = str(outcome.status)
        books.statuses[status] = books.statuses.get(status, 0) + 1
    step.db.execute(
        "UPDATE pages SET used = used + 1 WHERE crawl = ? AND domain = ?",
        (books.id, request.charged),
    )
    if not outcome.busy:
        step.db.execute(
            "UPDATE domains SET doublings = 0 WHERE domain = ? AND doublings > 0",
            (request.domain,),
        )
    _end(step, request, "done")


def _retry(step: Step, request: Request, outcome: Outcome) -> None:
    config = step.config
    delay = _doubled(config.retry_delay, request.attempts, config.retry_delay_max)
    request.attempts += 1
    request.priority -= RETRY_PENALTY
    if outcome.next is not None:
        request.url, request.extras = blob_of(outcome.next.url), outcome.next.extras
    again(step, request, tail=True, delay=delay)


def _redirect(step: Step, books: Books, request: Request, outcome: Outcome) -> None:
    target = outcome.next
    assert target is not None, "a redirect says where to"
    fingerprint = number_of(target.fingerprint)
    _, state = followed(step, books, fingerprint)
    is_own = state is None or state == request.id
    if not is_own and not passing_reason(step, books, state):
        drop(step, request, "duplicate")
        return
    if fingerprint != request.fingerprint:
        _mark(step, books.seen, request.id, request.fingerprint, f"redirect {fingerprint}")
        step.db.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
            (books.seen, fingerprint, request.id),
        )
    home = request.charged
    request.home = home if home != target.domain else None
    request.fingerprint, request.domain = fingerprint, target.domain
    request.url, request.extras = blob_of(target.url), target.extras
    request.spiderid = target.spiderid or request.spiderid
    request.queue = queue_of(step.db, request.spiderid, target.domain)
    again(step, request)


def push_back(step: Step, domain: str, retry_after: float) -> None:
    """Let a domain that is too busy rest: as long as it asked for, else ever longer.

    What comes back from before the rest began does not make it longer.
    """
    config = step.config
    row = step.db.execute(
        "SELECT deferred, doublings FROM domains WHERE domain = ?", (domain,)
    ).fetchone()
    deferred, doublings = row or (0.0, 0)
    delay = min(retry_after, config.defer_max)
    if retry_after <= 0:
        if deferred > step.now:
            return
        delay = _doubled(config.retry_delay, doublings, config.defer_max)
        doublings += 1
    _defer(step, domain, delay, doublings)


def _defer(step: Step, domain: str, delay: float, doublings: int = 0) -> None:
    step.db.execute(
        "INSERT INTO domains (domain, deferred, doublings) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET deferred = max(deferred, excluded.deferred), "
        "doublings = max(doublings, excluded.doublings)",
        (domain, step.now + delay, doublings),
    )


def _doubled(delay: float, times: int, maximum: float) -> float:
    longest = min(maximum, delay * 2.0 ** min(times, MAX_DOUBLINGS))
    return min(maximum, longest * random.uniform(0.75, 1.25))  # noqa: S311 - spreads, hides nothing


def _end(step: Step, request: Request, state: str) -> None:
    books = step.books(request.crawl)
    step.db.execute("DELETE FROM requests WHERE id = ?", (request.id,))
    _mark(step, books.seen, request.id, request.fingerprint, state)


def _mark(step: Step, seen: int, request: int, fingerprint: int, state: str) -> None:
    # A later seed of the same URL has taken the entry over: it is the one that counts.
    step.db.execute(
        "UPDATE seen SET state = ? WHERE crawl = ? AND fingerprint = ? AND state = ?",
        (state, seen, fingerprint, request),
    )


def _give_back(step: Step, request: Request, column: str) -> None:
    statement = {
        "used": "UPDATE pages SET used = used - 1 WHERE crawl = ? AND domain = ?",
        "waiting": "UPDATE pages SET waiting = waiting - 1 WHERE crawl = ? AND domain = ?",
    }[column]
    step.db.execute(statement, (request.crawl, request.charged))
