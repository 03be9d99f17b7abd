"""What is counted in windows of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def most_in_a_window(times: Sequence[float], window: float) -> int:
    """Return the most of *times* that lie in any *window* seconds."""
    return max(sum(time <= other < time + window for other in times) for time in times)
