from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawling.exceptions import ConfigError
from crawling.tracker.throttle import MAX_SLOTS, Throttle, scaled

#: Seconds that pass between two calls: mostly none, sometimes more than a window.
pauses = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 1.0, 2.5]), max_size=200)


def starts_after(throttle: Throttle, pauses: list[float], ahead: float) -> list[float]:
    """Return the starts that a tracker grants which is asked after each of *pauses*."""
    now, history, starts = 1000.0, list[float](), list[float]()
    for pause in pauses:
        now += pause
        start = max(now, throttle.opens(history))
        if start <= now + ahead:
            history = throttle.charge(history, start, now)
            starts.append(start)
    return starts


def most_in_a_window(starts: list[float], window: float) -> int:
    """Return the most of *starts* that lie in any *window* seconds."""
    return max((sum(a <= b <= a + window for b in starts) for a in starts), default=0)


@given(
    pauses=pauses, hits=st.integers(1, 100), moderated=st.booleans(), ahead=st.floats(0.0, 3.0)
)
def test_no_window_has_more_starts_than_hits_however_late_they_are(
    pauses: list[float], hits: int, *, moderated: bool, ahead: float
) -> None:
    throttle = Throttle(hits, 1.0, moderated)

    starts = starts_after(throttle, pauses, ahead)

    assert starts == sorted(starts)
    assert most_in_a_window(starts, 1.0) <= hits


@given(pauses=pauses, ahead=st.floats(0.0, 3.0))
def test_moderated_starts_keep_their_distance(pauses: list[float], ahead: float) -> None:
    starts = starts_after(Throttle(10, 1.0, moderated=True), pauses, ahead)

    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(gap >= 0.1019 for gap in gaps)


@pytest.mark.parametrize("hits", [1, 10, MAX_SLOTS, 1000])
def test_a_window_gives_at_least_95_percent_of_its_hits(hits: int) -> None:
    throttle = Throttle(hits, 1.0, moderated=False)

    starts = starts_after(throttle, [0.0005] * 20_000, ahead=0.0)

    assert len(starts) >= 0.95 * hits * 10


def test_many_hits_need_no_more_memory_than_few() -> None:
    throttle = Throttle(10_000, 1.0, moderated=False)
    history: list[float] = []
    for number in range(5000):
        now = number / 5000
        history = throttle.charge(history, max(now, throttle.opens(history)), now)

    assert len(history) <= 2 * (MAX_SLOTS + 2)


def test_a_mode_can_change_at_any_time() -> None:
    window, moderated = Throttle(5, 1.0, moderated=False), Throttle(5, 1.0, moderated=True)
    history: list[float] = []
    for throttle in (window, window, moderated, window, moderated):
        history = throttle.charge(history, max(10.0, throttle.opens(history)), 10.0)

    assert moderated.opens(history) > 10.0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ((10, 60.0, 1.0), (10, 60.0)),
        ((10, 60.0, 0.5), (5, 60.0)),
        ((10, 60.0, 0.25), (2, 60.0)),
        ((1, 60.0, 0.5), (1, 120.0)),
        ((0, 0.0, 1.0), (0, 0.0)),
    ],
)
def test_a_scale_never_leaves_less_than_one_hit(
    limit: tuple[int, float, float], expected: tuple[int, float]
) -> None:
    assert scaled(*limit) == expected


@pytest.mark.parametrize("limit", [(-1, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, -1.0)])
def test_a_limit_that_makes_no_sense_is_refused(limit: tuple[int, float, float]) -> None:
    with pytest.raises(ConfigError, match="must be more than 0"):
        scaled(*limit)
