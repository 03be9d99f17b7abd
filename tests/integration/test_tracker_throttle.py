"""Rule 3: how often a domain is asked."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import ConfigError
from crawling.tracker.throttle import MODERATED_SLACK
from tests.integration.tracking import (
    OTHER,
    WORKER,
    balanced,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
    until,
)
from tests.windows import most_in_a_window

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker
    from tests.integration.tracking import MakeTracker

#: What clocks may disagree by, in seconds.
EPSILON = 0.003


async def granted(tracker: Tracker, count: int) -> list[float]:
    """Lease *count* requests as a worker does, sleeping as told; return their starts."""
    starts: list[float] = []
    deadline = time.monotonic() + 30
    while len(starts) < count:
        assert time.monotonic() < deadline, f"only {len(starts)} of {count} in time"
        leases, wait = await tracker.lease(WORKER, 8, "link")
        starts += [each.start for each in leases]
        await asyncio.sleep(0.1 if wait is None else wait)
    await balanced(tracker)
    return starts


@pytest.mark.parametrize("hits", [1, 3, 20])
async def test_no_window_has_more_hits_than_allowed(
    make_tracker: MakeTracker, hits: int
) -> None:
    tracker = await make_tracker(hits=hits, window=0.3, moderated=False, ahead=0.05)
    await submit(tracker, *offers(200))

    starts = await granted(tracker, 5 * hits)

    assert starts == sorted(starts)
    assert most_in_a_window(starts, 0.3 - EPSILON) == hits


async def test_a_window_of_many_hits_is_kept_as_well(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=300, window=0.5, moderated=False, ahead=0.05)
    await submit(tracker, *offers(900))

    starts = await granted(tracker, 800)

    assert most_in_a_window(starts, 0.5 - EPSILON) <= 300


async def test_moderated_hits_keep_their_distance(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=10, window=0.5, moderated=True)
    await submit(tracker, *offers(100))

    starts = await granted(tracker, 20)

    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert min(gaps) >= 0.05
    assert median(gaps) <= 0.05 * 1.02 + EPSILON


async def test_idling_saves_no_hits_up(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=2, window=0.2, moderated=False, ahead=0.0)
    await submit(tracker, *offers(2))
    last = max(await granted(tracker, 2))

    async def two_windows_have_passed() -> bool:
        return time.monotonic() > last + 2 * 0.2

    await until(two_windows_have_passed)
    await submit(tracker, *offers(20))

    assert most_in_a_window(await granted(tracker, 8), 0.2 - EPSILON) == 2


async def test_asking_an_empty_queue_uses_no_hit(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    for _ in range(5):
        assert await lease(tracker) == []

    await submit(tracker, offer("page"))

    assert paths(await lease(tracker)) == ["page"]


async def test_a_request_of_an_ended_crawl_uses_no_hit(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    await submit(tracker, *offers(3), crawl=OTHER)
    await tracker.stop(OTHER)
    await submit(tracker, offer("page"))

    assert paths(await lease(tracker)) == ["page"]


async def test_a_lease_tells_when_it_may_start_and_until_when(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(hits=10, window=1.0, moderated=True, ahead=0.25)
    await submit(tracker, *offers(9))
    began = time.monotonic()

    leases = await lease(tracker)

    starts = [each.start for each in leases]
    assert len(leases) == 3
    assert began - 0.05 < starts[0] < time.monotonic() + 0.05
    assert [round(start - starts[0], 2) for start in starts] == [0.0, 0.1, 0.2]
    for each in leases:
        assert each.latest - each.start == pytest.approx(
            0.02 * 0.1 + MODERATED_SLACK, abs=0.0005
        )


async def test_in_a_window_a_lease_may_start_as_late_as_the_window_was_stretched(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(hits=3, window=10.0, moderated=False)
    await submit(tracker, *offers(9))

    leases = await lease(tracker)

    assert len(leases) == 3
    for each in leases:
        assert each.latest - each.start == pytest.approx(0.2, abs=0.0005)


async def test_nothing_is_leased_further_ahead_than_allowed(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=1.0, ahead=0.2)
    await submit(tracker, *offers(3))

    leases, wait = await tracker.lease(WORKER, 8, "link")

    assert len(leases) == 1
    assert wait == pytest.approx(1.02 - 0.2, abs=0.05)


@pytest.mark.one_shard("order holds within a shard")
async def test_a_resting_domain_stands_in_nobodys_way(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    await submit(tracker, *offers(5, priority=90), offer("b", "b.example"))

    assert paths(await lease(tracker)) == ["0", "b"]


async def test_retries_and_redirects_take_hits_too(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=0.3)
    await submit(tracker, offer("page"))
    [first] = await lease(tracker)
    await settle(tracker, first, "retry")
    [second] = await until(lambda: lease(tracker))
    await settle(tracker, second, "redirect", next=offer("other"))
    [third] = await until(lambda: lease(tracker))

    assert second.start - first.start >= 0.3
    assert third.start - second.start >= 0.3


async def test_with_by_type_each_spider_type_has_a_throttle(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0, by_type=True)
    await submit(tracker, *offers(2), offer("id", spiderid="id"))

    assert paths(await lease(tracker)) == ["0"]
    assert paths(await lease(tracker, spiderid="id")) == ["id"]


async def test_without_by_type_all_spider_types_share_one(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=0.3, by_type=False)
    await submit(tracker, *offers(2), offer("id", spiderid="id"))
    [first] = await lease(tracker)

    assert await lease(tracker, spiderid="id") == []
    [second] = await until(lambda: lease(tracker, spiderid="id"))

    assert second.start - first.start >= 0.3


@pytest.mark.parametrize("tracker_kind", ["file", "redis"], indirect=True)
async def test_each_address_has_a_throttle_of_its_own(make_tracker: MakeTracker) -> None:
    one = await make_tracker(hits=1, window=100.0, ip="10.0.0.1")
    two = await make_tracker(hits=1, window=100.0, ip="10.0.0.2")
    await submit(one, *offers(5))

    assert paths(await lease(one, worker="one")) == ["0"]
    assert paths(await lease(two, worker="two")) == ["1"]
    assert await lease(one, worker="one") == await lease(two, worker="two") == []


async def test_a_limit_is_in_force_with_the_next_lease(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    await submit(tracker, *offers(9), *offers(9, "b.example"))
    assert paths(await lease(tracker)) == ["0", "0"]

    await tracker.limit("a.example", 1000, 1.0)

    leases = await lease(tracker, 5)
    assert {each.domain for each in leases} == {"a.example"}
    assert len(leases) == 5


async def test_a_limit_holds_where_there_is_no_throttle(tracker: Tracker) -> None:
    await tracker.limit("a.example", 1, 100.0)
    await submit(tracker, *offers(5), *offers(2, "b.example"))

    leases = await lease(tracker)

    assert [each.domain for each in leases].count("a.example") == 1
    assert len(leases) == 3


async def test_a_limit_of_0_hits_is_none(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    await tracker.limit("a.example", 1000, 1.0)
    await tracker.limit("a.example", 0, 0.0)
    await submit(tracker, *offers(5))

    assert len(await lease(tracker)) == 1


@pytest.mark.parametrize(
    ("hits", "scale", "gap"), [(10, 0.5, 0.2), (4, 2.0, 0.125), (1, 0.5, 2.0)]
)
async def test_a_limit_can_be_scaled(
    make_tracker: MakeTracker, hits: int, scale: float, gap: float
) -> None:
    tracker = await make_tracker(ahead=10.0)
    await tracker.limit("a.example", hits, 1.0, scale)
    await submit(tracker, *offers(2))

    first, second = await lease(tracker)

    assert second.start - first.start == pytest.approx(1.02 * gap, abs=0.002)


@pytest.mark.parametrize(
    ("hits", "window", "scale"), [(-1, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, 0.0)]
)
async def test_a_limit_that_makes_no_sense_is_refused(
    tracker: Tracker, hits: int, window: float, scale: float
) -> None:
    with pytest.raises(ConfigError):
        await tracker.limit("a.example", hits, window, scale)


async def test_a_blocked_domain_keeps_what_it_has_queued(tracker: Tracker) -> None:
    await submit(tracker, *offers(2), offer("b", "b.example"))
    await tracker.block("a.example")

    assert paths(await lease(tracker)) == ["b"]
    assert await lease(tracker) == []
    [blocked, _] = sorted(await tracker.domains("link"), key=lambda each: each.domain)
    assert (blocked.domain, blocked.queued, blocked.blocked) == ("a.example", 2, True)

    await tracker.block("a.example", blocked=False)

    assert paths(await lease(tracker)) == ["0", "1"]


async def test_what_comes_to_a_blocked_domain_waits_too(tracker: Tracker) -> None:
    await tracker.block("a.example")
    await submit(tracker, *offers(2))
    assert await lease(tracker) == []
    await submit(tracker, offer("urgent", priority=99))

    assert await lease(tracker) == []
