"""Lending requests in SQLite: the best first, each domain within its throttle."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.tracker.sqlite_intake import text_of
from crawling.tracker.sqlite_queues import NEVER, boosted, refresh, view_of
from crawling.tracker.sqlite_settle import queue_due
from crawling.tracker.throttle import LEAD, Throttle
from crawling.tracker.tracker import Lease, Leased

if TYPE_CHECKING:
    from crawling.tracker.sqlite_books import Step

_BEST = """
SELECT places.queue, queues.domain, leased, coalesce(hits, 0), coalesce(window, 0),
       coalesce(blocked, 0), coalesce(deferred, 0)
FROM places CROSS JOIN queues ON queues.id = places.queue
LEFT JOIN domains ON domains.domain = queues.domain
WHERE view = ? AND best IS NOT NULL AND opens IS NULL ORDER BY best LIMIT 1
"""
_LANE = """
SELECT run, priority, crawl FROM lanes WHERE queue = ? AND parked = 0 ORDER BY head LIMIT 1
"""
# The request to take, and the one behind it: the lane's next head.
_HEAD = """
SELECT id, rank, fingerprint, depth, url, extras, attempts, home FROM requests
WHERE queue = ? AND run = ? AND priority = ? AND due IS NULL AND worker IS NULL
ORDER BY rank LIMIT 2
"""
_WAKE = """
UPDATE places SET opens = NULL WHERE view = ?1 AND queue IN (
    SELECT queue FROM places WHERE view = ?1 AND opens <= ?2 ORDER BY opens LIMIT ?3)
"""


class _Place(NamedTuple):
    queue: int
    domain: str
    leased: int
    hits: int
    window: float
    blocked: int
    deferred: float


class Lending:
    """One call of `lease`."""

    def __init__(self, step: Step, worker: str, spiderid: str, token: str) -> None:
        self._step = step
        self._worker = worker
        self._spiderid = spiderid
        self._token = token
        self._view = view_of(step.db, spiderid, step.config.ip)
        self._leases: list[Lease] = []

    def lend(self, limit: int) -> Leased:
        step, bound = self._step, 4 * limit + 64
        step.expire_due()
        queue_due(step, limit + 16)
        step.arrivals.save()
        step.db.execute(_WAKE, (self._view, step.now, 2 * limit + 16))
        while len(self._leases) < limit and bound:
            row = step.db.execute(_BEST, (self._view,)).fetchone()
            if row is None:
                return Leased(self._leases, self._wait())
            self._visit(_Place(*row))
            bound -= 1
        return Leased(self._leases, 0.0)

    def _visit(self, place: _Place) -> None:
        step = self._step
        if place.blocked or place.leased >= step.config.concurrency:
            self._rest(place.queue, NEVER)
            return
        if place.deferred > step.now:
            self._rest(place.queue, place.deferred)
            return
        throttle = self._throttle(place)
        history = self._history(place.domain) if throttle else []
        soonest = step.now + min(LEAD, step.config.ahead)
        start = max(soonest, throttle.opens(history)) if throttle else 0.0
        if start > step.now + step.config.ahead:
            self._rest(place.queue, start - step.config.ahead)
            return
        if self._take(place, start, throttle) and throttle:
            self._charge(place, throttle, throttle.charge(history, start, step.now))

    def _take(self, place: _Place, start: float, throttle: Throttle | None) -> bool:
        """Lease the head of the queue; False when its lane had to be parked instead."""
        step, db = self._step, self._step.db
        run, priority, crawl = db.execute(_LANE, (place.queue,)).fetchone()
        books = step.books(crawl)
        lane = (place.queue, run, priority)
        if books.state == "paused" or books.run != run:
            db.execute(
                "UPDATE lanes SET parked = 1 WHERE queue = ? AND run = ? AND priority = ?", lane
            )
            refresh(db, [place.queue])
            return False
        head, *behind = db.execute(_HEAD, lane).fetchall()
        number, _, fingerprint, depth, url, extras, attempts, home = head
        self._advance(lane, behind, books.boost)
        db.execute(
            "UPDATE requests SET worker = ?, token = ?, since = ? WHERE id = ?",
            (self._worker, self._token, step.now, number),
        )
        db.execute("UPDATE queues SET leased = leased + 1 WHERE id = ?", (place.queue,))
        db.execute(
            "UPDATE pages SET waiting = waiting - 1, used = used + 1 "
            "WHERE crawl = ? AND domain = ?",
            (crawl, home or place.domain),
        )
        books.queued -= 1
        books.leased += 1
        self._leases.append(
            Lease(
                crawl=books.name,
                options=step.options(books),
                rid=number.to_bytes(8, "big"),
                token=self._token,
                url=text_of(url),
                domain=place.domain,
                fingerprint=fingerprint.to_bytes(8, "big", signed=True),
                priority=priority,
                depth=depth,
                attempts=attempts,
                extras=extras,
                era=f"{books.run}.{books.epoch}.{books.options}",
                **self._times(start, throttle),
            )
        )
        return True

    def _advance(
        self, lane: tuple[int, int, int], behind: list[tuple[Any, ...]], boost: int
    ) -> None:
        """Let the lane begin with what was behind its head."""
        if behind:
            self._step.db.execute(
                "UPDATE lanes SET head = ?, length = length - 1 "
                "WHERE queue = ? AND run = ? AND priority = ?",
                (boosted(behind[0][1], boost), *lane),
            )
        else:
            self._step.db.execute(
                "DELETE FROM lanes WHERE queue = ? AND run = ? AND priority = ?", lane
            )
        refresh(self._step.db, [lane[0]])

    def _times(self, start: float, throttle: Throttle | None) -> dict[str, Any]:
        """Return start and latest on the worker's clock: it runs on this host too."""
        if throttle is None:
            return {}
        monotonic = start - self._step.now + self._step.monotonic
        return {"start": monotonic, "latest": monotonic + throttle.slack}

    def _throttle(self, place: _Place) -> Throttle | None:
        config = self._step.config
        if place.hits:
            return Throttle(place.hits, place.window, config.moderated)
        if config.hits:
            return Throttle(config.hits, config.window, config.moderated)
        return None

    def _key(self, domain: str) -> tuple[str, str, str]:
        config = self._step.config
        return (self._spiderid if config.by_type else "", config.ip, domain)

    def _history(self, domain: str) -> list[float]:
        row = self._step.db.execute(
            "SELECT history FROM throttles WHERE spiderid = ? AND ip = ? AND domain = ?",
            self._key(domain),
        ).fetchone()
        return array("d", row[0]).tolist() if row else []

    def _charge(self, place: _Place, throttle: Throttle, history: list[float]) -> None:
        step = self._step
        step.db.execute(
            "INSERT OR REPLACE INTO throttles VALUES (?, ?, ?, ?, ?)",
            (
                *self._key(place.domain),
                array("d", history).tobytes(),
                history[-2] + throttle.span,
            ),
        )
        opens = throttle.opens(history) - step.config.ahead
        if opens > step.now:
            self._rest(place.queue, opens)

    def _rest(self, queue: int, opens: float) -> None:
        self._step.db.execute(
            "UPDATE places SET opens = ? WHERE queue = ? AND view = ?",
            (opens, queue, self._view),
        )

    def _wait(self) -> float | None:
        """Return seconds until the first domain opens or the first delay ends."""
        db = self._step.db
        times = [
            db.execute(
                "SELECT min(opens) FROM places WHERE view = ? AND opens < ?",
                (self._view, NEVER),
            ).fetchone()[0],
            db.execute("SELECT min(due) FROM requests WHERE due IS NOT NULL").fetchone()[0],
        ]
        known = [time for time in times if time is not None]
        return max(0.0, min(known) - self._step.now) if known else None
