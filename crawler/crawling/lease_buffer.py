"""Leases that wait for their start, and the best of those that may start."""

from __future__ import annotations

import time
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawling.held_lease import HeldLease

#: After so many releases in a row because its place in the throttle was lost, a request
#: is sent anyway: a worker that is always late must not fetch nothing at all.
MAX_LATE = 10
#: Requests whose late releases are remembered; then all are forgotten.
MAX_REMEMBERED = 10_000


class LeaseBuffer:
    """Leases by priority, first in, first out; none before its start."""

    def __init__(self) -> None:
        self._order = count()
        self._ready: list[tuple[int, int, HeldLease]] = []
        self._waiting: list[tuple[float, int, HeldLease]] = []
        self._late: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._ready) + len(self._waiting)

    def __iter__(self) -> Iterator[HeldLease]:
        for _, _, held in (*self._ready, *self._waiting):
            yield held

    @property
    def startable(self) -> int:
        self._admit()
        return len(self._ready)

    @property
    def next_start(self) -> float | None:
        """The monotonic time at which one more may start."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, held: HeldLease) -> None:
        heappush(self._waiting, (held.lease.start, next(self._order), held))

    def pop(self) -> HeldLease | None:
        """Return the most urgent lease that may start now."""
        self._admit()
        return heappop(self._ready)[2] if self._ready else None

    def clear(self) -> list[HeldLease]:
        held = list(self)
        self._ready.clear()
        self._waiting.clear()
        return held

    def is_lost(self, held: HeldLease) -> bool:
        """Whether *held* is too late to be sent and must be released; counts how often."""
        key = held.lease.fingerprint
        if not held.late or self._late.get(key, 0) >= MAX_LATE:
            return False
        if len(self._late) >= MAX_REMEMBERED:
            self._late.clear()
        self._late[key] = self._late.get(key, 0) + 1
        return True

    def sent(self, held: HeldLease) -> None:
        self._late.pop(held.lease.fingerprint, None)

    def _admit(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, order, held = heappop(self._waiting)
            heappush(self._ready, (-held.lease.priority, order, held))
