"""Which messages need not be read again."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from crawling.service.kafka import Record

Place = tuple[str, int]

#: Seconds that Redis has held a message before its offset is committed: what a failover
#: or a power cut takes back of Redis is then delivered again.
DURABLE = 3.0
#: Messages of a partition that may wait for that.  The tracker remembers 10,000, and an
#: older one that was delivered again would be taken for a new one.
MOST_WAITING = 8000
#: Seconds in which also what was committed is read again when Redis may have lost it: a master
#: that has just taken over may be replaced before its replicas have come back to it.
AGAIN = 60.0


class Offsets:
    """Offsets of messages that Redis holds, until they are old enough to be committed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: For each batch: when Redis had it, and the next offset of each place.
        self._held: deque[tuple[float, dict[Place, int]]] = deque()
        self._due = 0
        self._committed: dict[Place, int] = {}
        #: For each commit of late: when it was, and from where places were committed then.
        self._earlier: deque[tuple[float, dict[Place, int]]] = deque()

    def hold(self, records: Iterable[Record]) -> None:
        """Take note that Redis holds *records*, from now on."""
        reached: dict[Place, int] = {}
        for record in records:
            place = (record.topic, record.partition)
            reached[place] = record.offset + 1
            self._committed.setdefault(place, record.offset)
        self._held.append((self._clock(), reached))

    def due(self) -> dict[Place, int]:
        """Return what may be committed now: the next offset of each place."""
        limit = self._clock() - DURABLE
        self._due = sum(held <= limit for held, _ in self._held)
        return self._sum(self._due)

    def committed(self) -> None:
        """Forget what `due` returned last, but for a while."""
        if self._due:
            reached = self._sum(self._due)
            before = {place: self._committed[place] for place in reached}
            self._earlier.append((self._clock(), before))
            self._committed |= reached
        for _ in range(self._due):
            self._held.popleft()
        self._due = 0

    def is_watched(self) -> bool:
        """Whether Redis may yet lose what it holds, or what was committed of late."""
        while self._earlier and self._earlier[0][0] < self._clock() - AGAIN:
            self._earlier.popleft()
        return bool(self._held or self._earlier)

    def of_late(self) -> dict[Place, int]:
        """Return the offset of the first message of each place that Redis may lose."""
        reached, first = self._sum(len(self._held)), dict(self._committed)
        for _, before in reversed(self._earlier):
            first |= before
        ends = self._committed | reached
        return {
            place: max(first[place], end - MOST_WAITING)
            for place, end in ends.items()
            if first[place] < end
        }

    def rewound(self, offsets: Mapping[Place, int]) -> None:
        """Forget that Redis holds what follows *offsets*."""
        self._committed |= offsets
        self._held.clear()
        self._earlier.clear()
        self._due = 0

    def keep(self, places: Collection[Place]) -> None:
        """Forget the places that another member of the group has now."""
        for _, offsets in (*self._held, *self._earlier):
            for place in offsets.keys() - places:
                del offsets[place]
        for place in self._committed.keys() - places:
            del self._committed[place]

    def wait(self) -> float | None:
        """Return seconds until something is due, None when nothing waits."""
        return max(0.0, self._held[0][0] + DURABLE - self._clock()) if self._held else None

    def is_full(self) -> bool:
        """Whether nothing more should be read before something was committed."""
        reached = self._sum(len(self._held))
        return any(
            offset - self._committed[place] > MOST_WAITING for place, offset in reached.items()
        )

    def _sum(self, batches: int) -> dict[Place, int]:
        reached: dict[Place, int] = {}
        for _, offsets in islice(self._held, batches):
            reached |= offsets
        return reached
