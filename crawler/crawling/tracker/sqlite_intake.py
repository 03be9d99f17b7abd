"""What is offered to a crawl in SQLite: seen before, over a limit, or queued."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.tracker.sqlite_queues import Lane, queue_of, rank
from crawling.tracker.tracker import PASSING_REASONS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from crawling.tracker.sqlite_books import Books, Step
    from crawling.tracker.tracker import Offer

_QUEUE = """
INSERT INTO requests
    (id, crawl, run, queue, priority, rank, fingerprint, depth, since, url, extras, home)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_KNOWN = """
SELECT fingerprint, state FROM json_each(?1) CROSS JOIN seen
WHERE seen.crawl = ?2 AND seen.fingerprint = json_each.value
"""


def number_of(fingerprint: bytes) -> int:
    """Return 8 bytes as the signed integer that SQLite stores in 8 bytes."""
    return int.from_bytes(fingerprint, "big", signed=True)


def blob_of(text: str) -> bytes:
    """Return a URL or an error as it is stored: either may hold what is no valid text."""
    return text.encode("utf-8", "surrogatepass")


def text_of(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")


def _storable(offer: Offer) -> Offer:
    if offer.domain.isascii():
        return offer
    domain = offer.domain.encode("ascii", "backslashreplace").decode()
    return offer._replace(domain=domain)


class Failed(NamedTuple):
    """A row of `failures`, as an offer."""

    id: int
    offer: Offer
    reason: str
    home: str | None


class Intake:
    """Takes one batch of offers into one crawl.

    With *reopens* what is queued begins a new epoch of a crawl that has ended; without,
    a crawl that was stopped or expired drops what pages in flight still discover.
    *spiderid* is the type of spider for offers that name none.
    """

    def __init__(self, step: Step, books: Books, *, reopens: bool, spiderid: str = "") -> None:
        self._step = step
        self._books = books
        self._reopens = reopens
        self._spiderid = spiderid or books.spiderid
        options = step.options(books)
        limits = [options.domain_max_pages, step.config.page_limit]
        self._domain_limit = min((n for n in limits if n is not None), default=None)
        self._options = options
        self._budget: dict[str, int] = {}
        self._queues: dict[tuple[str, str], int] = {}
        self._requests: list[tuple[Any, ...]] = []
        self._seen: dict[int, int | str] = {}
        self._refused: dict[int, str] = {}
        self._next = 0

    def seeds(self, offers: Sequence[Offer]) -> int:
        """Queue all that the limits allow, seen before or not."""
        offers = [_storable(offer) for offer in offers]
        self._next = self._step.numbers(len(offers))
        for offer in offers:
            reason = offer.rule or self._over_limit(offer.domain)
            self._accept(offer, number_of(offer.fingerprint), reason)
        return self._save()

    def links(self, offers: Sequence[Offer]) -> int:
        """Queue what is new, and what was dropped for a reason that has passed."""
        offers = [_storable(offer) for offer in offers]
        fingerprints = [number_of(offer.fingerprint) for offer in offers]
        known = self._known(fingerprints)
        self._next = self._step.numbers(len(offers))
        for offer, fingerprint in zip(offers, fingerprints, strict=True):
            state = self._seen_now(fingerprint) or known.get(fingerprint)
            if state is not None and not self._may_pass(state):
                self._books.duplicates += 1
                continue
            reason = offer.rule or self._refusal(offer)
            if state is None:
                self._accept(offer, fingerprint, reason)
            elif reason or not self._revive(fingerprint, known):
                self._books.duplicates += 1
            else:
                self._queue(offer, fingerprint)
        return self._save()

    def explored(self, offers: Sequence[Offer]) -> int:
        fingerprints = {number_of(offer.fingerprint) for offer in offers}
        known = self._known(fingerprints)
        self._seen = dict.fromkeys(fingerprints - known.keys(), "done")
        return self._save()

    def again(self, failed: Sequence[Failed]) -> int:
        """Queue what has failed as if it had never been tried, while the limits allow."""
        fingerprints = [number_of(request.offer.fingerprint) for request in failed]
        known = self._known(fingerprints)
        self._next = self._step.numbers(len(failed))
        handled = []
        for request, fingerprint in zip(failed, fingerprints, strict=True):
            state = self._seen_now(fingerprint) or known.get(fingerprint)
            # Queued again since, as a seed: what became of that counts.
            is_last = state in {None, f"failed {request.reason}"}
            if is_last and self._over_limit(request.home or request.offer.domain):
                continue
            handled.append((request.id,))
            if is_last:
                self._books.failed -= 1
                self._books.give_reason(request.reason, -1)
                self._books.count_depth(request.offer.depth, -1)
                self._queue(request.offer, fingerprint, request.home)
        self._step.db.executemany("DELETE FROM failures WHERE id = ?", handled)
        return self._save()

    def _known(self, fingerprints: Collection[int]) -> dict[int, int | str]:
        asked = json.dumps(list(fingerprints))
        return dict(self._step.db.execute(_KNOWN, (asked, self._books.seen)).fetchall())

    def _may_pass(self, state: int | str) -> bool:
        """Whether a look is worth it: most of what a page links to is known and stays so."""
        if isinstance(state, int):
            return state <= self._books.void
        return state.startswith(("dropped", "redirect"))

    def _accept(self, offer: Offer, fingerprint: int, reason: str) -> None:
        self._books.accepted += 1
        if not reason:
            self._queue(offer, fingerprint)
            return
        self._books.drop(reason)
        # A full crawl must not grow by what it refuses.
        if reason != "queue_full":
            self._refused[fingerprint] = f"dropped {reason}"

    def _refusal(self, offer: Offer) -> str:
        books, maximum = self._books, self._step.config.max_queued
        if self._options.maxdepth is not None and offer.depth > self._options.maxdepth:
            return "depth"
        if books.closed and not self._reopens:
            return books.state
        if maximum and books.queued + books.delayed >= maximum:
            return "queue_full"
        return self._over_limit(offer.domain)

    def _over_limit(self, domain: str) -> str:
        books, max_pages, expires = self._books, self._options.max_pages, self._options.expires
        if 0 < expires <= self._step.now:
            return "expired"
        if max_pages is not None and books.outstanding + books.done >= max_pages:
            return "page_limit"
        if self._domain_limit is None:
            return ""
        return "page_limit" if self._used(domain) >= self._domain_limit else ""

    def _used(self, domain: str) -> int:
        if domain not in self._budget:
            row = self._step.db.execute(
                "SELECT used + waiting * (run = ?) FROM pages WHERE crawl = ? AND domain = ?",
                (self._books.run, self._books.id, domain),
            ).fetchone()
            self._budget[domain] = row[0] if row else 0
        return self._budget[domain]

    def _revive(self, fingerprint: int, known: dict[int, int | str]) -> bool:
        """Take back that a URL was dropped, if the reason has passed.

        Where it redirected to, it is the target that was dropped: of the two only what
        is queued now stays seen, or the drop could be taken back twice.
        """
        last, state = followed(self._step, self._books, fingerprint)
        reason = passing_reason(self._step, self._books, self._seen_now(last) or state)
        if not reason:
            return False
        self._books.drop(reason, -1)
        if last != fingerprint:
            known.pop(last, None)
            self._step.db.execute(
                "DELETE FROM seen WHERE crawl = ? AND fingerprint = ?", (self._books.seen, last)
            )
        return True

    def _queue(self, offer: Offer, fingerprint: int, home: str | None = None) -> None:
        step, books = self._step, self._books
        if books.state in {"finished", "stopped", "expired"}:
            step.reopen(books)
        number = self._next
        self._next += 1
        spiderid = offer.spiderid or self._spiderid
        queue = self._queues.get((spiderid, offer.domain))
        if queue is None:
            queue = queue_of(step.db, spiderid, offer.domain)
            self._queues[spiderid, offer.domain] = queue
        place = rank(offer.priority, number)
        self._requests.append(
            (
                *(number, books.id, books.run, queue, offer.priority, place, fingerprint),
                *(offer.depth, step.now, blob_of(offer.url), offer.extras),
                home,
            )
        )
        self._seen[fingerprint] = number
        books.queued += 1
        step.arrivals.enter(Lane(queue, books.run, offer.priority), books, place)
        charged = home or offer.domain
        step.arrivals.charge(books, charged)
        if charged in self._budget:
            self._budget[charged] += 1

    def _seen_now(self, fingerprint: int) -> int | str | None:
        return self._seen.get(fingerprint) or self._refused.get(fingerprint)

    def _save(self) -> int:
        db, seen = self._step.db, self._books.seen
        db.executemany(_QUEUE, self._requests)
        # A refused seed leaves alone what became of the URL before.
        db.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)",
            [(seen, fingerprint, state) for fingerprint, state in self._refused.items()],
        )
        db.executemany(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
            [(seen, fingerprint, state) for fingerprint, state in self._seen.items()],
        )
        return len(self._requests)


def followed(step: Step, books: Books, fingerprint: int) -> tuple[int, int | str | None]:
    """Return where the redirects of a URL have led, and what became of that."""
    while True:
        row = step.db.execute(
            "SELECT state FROM seen WHERE crawl = ? AND fingerprint = ?",
            (books.seen, fingerprint),
        ).fetchone()
        state = row[0] if row else None
        if not isinstance(state, str) or not state.startswith("redirect "):
            return fingerprint, state
        fingerprint = int(state.removeprefix("redirect "))


def passing_reason(step: Step, books: Books, state: int | str | None) -> str:
    """Return the passing reason by which a URL that was seen is dropped now, or ""."""
    if isinstance(state, int):
        return given_up(step, books, state)
    kind, _, reason = (state or "").partition(" ")
    return reason if kind == "dropped" and reason in PASSING_REASONS else ""


def given_up(step: Step, books: Books, request: int) -> str:
    """Return the reason by which a request was given up with its run, or ""."""
    if request > books.void:
        return ""
    row = step.db.execute(
        "SELECT ended FROM requests JOIN runs ON runs.id = run "
        "WHERE requests.id = ? AND worker IS NULL",
        (request,),
    ).fetchone()
    return (row and row[0]) or ""
