"""How many hits a domain admits, as arithmetic: no clock, no store.

A history is the recent starts of a domain as ``[time, count, time, count, …]``, oldest
first.  All times are seconds on one clock, whichever the caller uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crawling.exceptions import ConfigError

#: A window is counted 2 % longer than it is, against jitter on the way to the server.
STRETCH = 1.02
#: Up to so many hits a window each start is remembered by itself; above, starts are
#: counted in so many slots, each as if at its end: an upper bound that costs 1.6 % of
#: the rate, and not one number for each of 10,000 hits.
MAX_SLOTS = 64
#: What a worker may be late in moderated mode, on top of 2 % of the gap: the rest of the
#: 5 ms that two hits may come too close is for the way to the server.
MODERATED_SLACK = 0.002
#: A throttled request starts no earlier than so many seconds from now: granted for this
#: moment it would always be late by the way to the worker, and the next one would not.
LEAD = 0.025


@dataclass(frozen=True)
class Throttle:
    """*hits* in any *window* seconds, one at a time at even distances when *moderated*."""

    hits: int
    window: float
    moderated: bool

    @property
    def span(self) -> float:
        """How long a start matters to the next one."""
        return self.window * STRETCH / (self.hits if self.moderated else 1)

    @property
    def slack(self) -> float:
        """How much later than granted a worker may start without breaking the limit."""
        if self.moderated:
            return (STRETCH - 1) * self.window / self.hits + MODERATED_SLACK
        return (STRETCH - 1) * self.window

    def opens(self, history: list[float]) -> float:
        """Return when the next hit may start; 0 if nothing in *history* is in its way."""
        if not history:
            return 0.0
        if self.moderated:
            return history[-2] + self.span
        excess = sum(history[1::2]) - self.hits + 1
        if excess <= 0:
            return 0.0
        for time, count in zip(history[::2], history[1::2], strict=True):
            excess -= count
            if excess <= 0:
                return time + self.span
        return 0.0

    def charge(self, history: list[float], start: float, now: float) -> list[float]:
        """Return the history with one more hit at *start*, without what is over *now*.

        Not without what will be over at *start*: a later call must not start earlier.
        """
        if self.moderated:
            return [start, 1.0]
        first = 0
        while first < len(history) and history[first] + self.span <= now:
            first += 2
        recent = history[first:]
        time = self._slot_end(start)
        if recent and recent[-2] >= time:
            recent[-1] += 1
        else:
            recent += [time, 1.0]
        return recent

    def _slot_end(self, start: float) -> float:
        if self.hits <= MAX_SLOTS:
            return start
        slot = self.span / MAX_SLOTS
        return math.ceil(start / slot) * slot


def scaled(hits: int, window: float, scale: float) -> tuple[int, float]:
    """Return hits and window of a limit times *scale*, with at least one whole hit.

    0 hits stand for no limit, whatever the rest.
    """
    if hits == 0:
        return 0, 0.0
    for name, value in (("hits", hits), ("window", window), ("scale", scale)):
        if value <= 0:
            raise ConfigError(f"limit {name}", f"must be more than 0, not {value}")
    share = hits * scale
    if share < 1:
        return 1, window / share
    return int(share), window
