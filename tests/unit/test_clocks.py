"""The wall clock and the monotonic one are read together, whatever else the process does."""

from __future__ import annotations

import threading
import time

from crawling.tracker.sqlite_books import SAME_MOMENT, clocks


def test_no_pause_between_two_readings_counts_as_time() -> None:
    """Other threads take the interpreter away, between two readings too."""
    over = threading.Event()
    others = [threading.Thread(target=lambda: burn(over)) for _ in range(4)]
    for thread in others:
        thread.start()
    end = time.monotonic() + 1.0
    distances = []
    while time.monotonic() < end:
        now, monotonic = clocks()
        distances.append(now - monotonic)
    over.set()
    for thread in others:
        thread.join()

    # A pause costs 40 ms; 10 are for a wall clock that is being set.
    assert max(distances) - min(distances) < SAME_MOMENT + 0.01


def burn(over: threading.Event) -> None:
    while not over.is_set():
        sum(range(200))
