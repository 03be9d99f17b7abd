"""Looking at a SQLite tracker: domains, workers, failures, single URLs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crawling.tracker.sqlite_intake import followed, given_up, number_of, text_of
from crawling.tracker.sqlite_queues import NEVER, view_of
from crawling.tracker.tracker import (
    CrawlId,
    DomainCounts,
    DomainSetting,
    DomainStatus,
    Event,
    FailedPage,
    Failure,
    Held,
    QueuedIn,
    Trace,
    Treatment,
    Vitals,
    WorkerStatus,
    longest_first,
)

if TYPE_CHECKING:
    from crawling.tracker.sqlite_books import Books, Step

_LANES = """
    SELECT coalesce(sum(length), 0) FROM lanes JOIN crawls ON crawls.id = lanes.crawl
    WHERE lanes.queue = queues.id AND lanes.run = crawls.run
"""
_DOMAINS = f"""
SELECT queues.domain, leased, opens, coalesce(blocked, 0), coalesce(deferred, 0),
    ({_LANES}), ({_LANES} AND state = 'paused')
FROM queues JOIN places ON places.queue = queues.id
LEFT JOIN domains ON domains.domain = queues.domain
"""  # noqa: S608 - our own text
_OLDEST = """
SELECT since FROM requests JOIN queues ON queues.id = queue JOIN crawls ON crawls.id = crawl
WHERE queues.spiderid = ? AND requests.due IS NULL AND requests.worker IS NULL
    AND crawls.run = requests.run AND crawls.state = 'running'
ORDER BY requests.id LIMIT 1
"""
# What is ready is counted in an index alone; that of the others has no *best*.
_COUNT = """
SELECT
    (SELECT count(*) FROM places WHERE view = ?1 AND best IS NOT NULL AND opens IS NULL),
    count(CASE WHEN opens <= ?2 THEN 1 END),
    count(CASE WHEN opens > ?2 AND opens < ?3 THEN 1 END),
    (SELECT count(*) FROM places JOIN queues ON queues.id = queue
        JOIN domains ON domains.domain = queues.domain
        WHERE view = ?1 AND opens = ?3 AND best IS NOT NULL AND blocked),
    count(CASE WHEN opens = ?3 THEN 1 END)
FROM places WHERE view = ?1 AND opens IS NOT NULL AND best IS NOT NULL
"""
_READY = (
    _DOMAINS + "WHERE view = ? AND best IS NOT NULL AND opens IS NULL ORDER BY best LIMIT ?"
)
_RESTING = _DOMAINS + "WHERE view = ? AND opens IS NOT NULL ORDER BY opens LIMIT ?"
_BUSY = _DOMAINS + (
    "WHERE queues.spiderid = ? AND leased > 0 AND view = ? AND opens IS NULL AND best IS NULL "
    "LIMIT ?"
)


def crawls(step: Step, spiderid: str, appid: str) -> list[CrawlId]:
    rows = step.db.execute(
        "SELECT spiderid, appid, crawlid FROM crawls "
        "WHERE (?1 = '' OR spiderid = ?1) AND (?2 = '' OR appid = ?2) ORDER BY id",
        (spiderid, appid),
    )
    return [CrawlId(*row) for row in rows]


def queued(step: Step, books: Books) -> list[QueuedIn]:
    rows = step.db.execute(
        "SELECT domain, sum(length), max(priority) + ?1, min(priority) + ?1 "
        "FROM lanes JOIN queues ON queues.id = lanes.queue WHERE run = ?2 GROUP BY domain",
        (books.boost, books.run),
    )
    return [QueuedIn(*row) for row in rows]


def treatment(step: Step) -> Treatment:
    rows = step.db.execute(
        "SELECT domain, given, blocked FROM domains WHERE hits > 0 OR blocked ORDER BY domain"
    )
    found = []
    for domain, given, blocked in rows:
        hits, window, scale = json.loads(given)
        found.append(DomainSetting(domain, hits, window, scale, bool(blocked)))
    [deferrals] = step.db.execute("SELECT deferrals FROM sequence").fetchone()
    return Treatment(found, deferrals)


def domains(step: Step, spiderid: str, limit: int) -> list[DomainStatus]:
    view = view_of(step.db, spiderid, step.config.ip)
    found: list[DomainStatus] = []
    queries = ((_READY, (view,)), (_RESTING, (view,)), (_BUSY, (spiderid, view)))
    for query, where in queries:
        rows = step.db.execute(query, (*where, limit - len(found))).fetchall()
        found += [
            DomainStatus(
                spiderid=spiderid,
                domain=domain,
                queued=queued,
                leased=leased,
                opens=None if opens in {None, NEVER} else opens,
                blocked=bool(blocked),
                paused=paused,
                deferred=opens is not None and opens == deferred,
                capped=opens == NEVER and not blocked,
            )
            for domain, leased, opens, blocked, deferred, queued, paused in rows
            if queued or leased
        ]
    return found


def count_domains(step: Step, spiderid: str) -> DomainCounts:
    view = view_of(step.db, spiderid, step.config.ip)
    open_, due, resting, blocked, never = step.db.execute(
        _COUNT, (view, step.now, NEVER)
    ).fetchone()
    return DomainCounts(open_ + due, resting, blocked, never - blocked)


def oldest_queued(step: Step, spiderid: str) -> float | None:
    row = step.db.execute(_OLDEST, (spiderid,)).fetchone()
    return row[0] if row else None


def workers(step: Step) -> list[WorkerStatus]:
    rows = step.db.execute(
        "SELECT worker, deadline, (SELECT count(*) FROM requests "
        "WHERE requests.worker = workers.worker), trouble, pages, rate, memory FROM workers"
    )
    return [
        WorkerStatus(worker, deadline, leased, trouble, Vitals(*told))
        for worker, deadline, leased, trouble, *told in rows
    ]


def held(step: Step, worker: str, limit: int) -> list[Held] | None:
    known = step.db.execute("SELECT 1 FROM workers WHERE worker = ?", (worker,)).fetchone()
    rows = step.db.execute(
        "SELECT crawls.spiderid, appid, crawlid, url, domain, priority, depth, attempts, since "
        "FROM requests JOIN queues ON queues.id = queue JOIN crawls ON crawls.id = crawl "
        "WHERE worker = ? LIMIT ?",
        (worker, limit),
    )
    found = (
        Held(CrawlId(spiderid, appid, crawlid), text_of(url), *rest)
        for spiderid, appid, crawlid, url, *rest in rows
    )
    return longest_first(found) if known else None


def failed(
    step: Step, books: Books, limit: int, *, reason: str, domain: str, after: int
) -> FailedPage:
    rows = step.db.execute(
        "SELECT id, url, reason, detail, attempts, domain FROM failures WHERE crawl = ?1 "
        "AND (?2 = '' OR reason = ?2) AND (?3 = '' OR domain = ?3) AND id > ?4 "
        "ORDER BY id LIMIT ?5",
        (books.id, reason, domain, after, limit + 1),
    ).fetchall()
    found = [
        Failure(text_of(url), why, text_of(detail), attempts, where)
        for _, url, why, detail, attempts, where in rows[:limit]
    ]
    return FailedPage(found, f"{rows[limit - 1][0]}.0" if len(rows) > limit else "")


def events(step: Step, after: str, limit: int) -> list[Event]:
    rows = step.db.execute(
        "SELECT id, body FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (int(after or 0), limit)
    )
    return [Event(f"{number:020}", json.loads(body)) for number, body in rows]


def trace(step: Step, crawl: CrawlId, fingerprint: bytes) -> Trace:
    books = step.find(crawl)
    if books is None:
        return Trace("unseen")
    _, state = followed(step, books, number_of(fingerprint))
    if state is None:
        return Trace("unseen")
    if isinstance(state, int):
        return _outstanding(step, books, state)
    kind, _, reason = state.partition(" ")
    return Trace(_ENDED[kind], reason or None)


_ENDED: dict[str, Any] = {state: state for state in ("done", "failed", "dropped")}


def _outstanding(step: Step, books: Books, request: int) -> Trace:
    reason = given_up(step, books, request)
    if reason:
        return Trace("dropped", reason)
    attempts, depth, priority, worker, since, due = step.db.execute(
        "SELECT attempts, depth, priority, worker, since, due FROM requests WHERE id = ?",
        (request,),
    ).fetchone()
    return Trace(
        state="leased" if worker else "delayed" if due else "queued",
        attempts=attempts,
        depth=depth,
        priority=priority,
        worker=worker,
        since=since,
        next_try=due,
    )
