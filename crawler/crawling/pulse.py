"""How a worker is, told to the tracker with each sign of its life."""

from __future__ import annotations

import os
import time
from pathlib import Path

from crawling.tracker.tracker import Vitals

#: Seconds over which the rate is measured at least: two renewals may follow at once.
SPAN = 5.0


class Pulse:
    """Counts the pages of this process; the rate is that since it was last taken."""

    def __init__(self) -> None:
        self.pages = 0
        self._rate = 0.0
        self._since, self._before = time.monotonic(), 0

    def take(self) -> Vitals:
        now = time.monotonic()
        if now - self._since >= SPAN:
            self._rate = (self.pages - self._before) / (now - self._since)
            self._since, self._before = now, self.pages
        return Vitals(self.pages, round(self._rate, 3), _memory())


def _memory() -> int:
    """Return the bytes that this process has in memory; 0 where nothing tells."""
    try:
        resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(resident) * os.sysconf("SC_PAGE_SIZE")
