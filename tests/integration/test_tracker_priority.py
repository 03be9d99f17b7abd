"""A crawl that is raised above others, or put behind them, while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.tracking import (
    CRAWL,
    OTHER,
    books,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
    sweep,
)

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker


@pytest.mark.one_shard("order holds within a shard")
async def test_a_raised_crawl_overtakes_in_every_domain(tracker: Tracker) -> None:
    await submit(tracker, offer("a", "a.example"), offer("b", "b.example"))
    await submit(tracker, offer("c", "a.example", 60), offer("d", "c.example", 60), crawl=OTHER)

    assert await tracker.prioritize(OTHER, 20)

    assert paths(await lease(tracker)) == ["c", "d", "a", "b"]


async def test_a_boost_replaces_the_one_before(tracker: Tracker) -> None:
    await submit(tracker, offer("a"))
    await submit(tracker, offer("b", priority=60), crawl=OTHER)

    assert await tracker.prioritize(OTHER, 20)
    assert await tracker.prioritize(OTHER, 5)

    assert [(await books(tracker, each)).boost for each in (CRAWL, OTHER)] == [0, 5]
    assert paths(await lease(tracker)) == ["a", "b"]


@pytest.mark.one_shard("order holds within a shard")
async def test_what_a_raised_crawl_finds_later_is_raised_once(tracker: Tracker) -> None:
    await submit(tracker, offer("a", priority=65))
    await submit(tracker, offer("b", priority=50), crawl=OTHER)
    await tracker.prioritize(OTHER, 30)
    [first] = await lease(tracker, 1)
    assert (first.url[-1], first.priority) == ("b", 50)

    await settle(tracker, first, links=[offer("child", "b.example", 40)])

    assert paths(await lease(tracker)) == ["child", "a"]


async def test_what_is_retried_and_given_back_keeps_the_boost(tracker: Tracker) -> None:
    await submit(tracker, offer("a", priority=55))
    await submit(tracker, offer("b", priority=50), offer("c", priority=50), crawl=OTHER)
    await tracker.prioritize(OTHER, 30)
    released, retried = await lease(tracker, 2)

    await settle(tracker, released, "released")
    await settle(tracker, retried, "retry")

    assert paths(await lease(tracker)) == ["b", "c", "a"]


async def test_a_paused_crawl_comes_back_where_its_boost_wants_it(tracker: Tracker) -> None:
    await submit(tracker, offer("a"))
    await submit(tracker, offer("b", priority=60), crawl=OTHER)
    await tracker.pause(OTHER)
    assert paths(await lease(tracker, 1)) == ["a"]
    await submit(tracker, offer("later"))

    await tracker.prioritize(OTHER, 20)
    await tracker.resume(OTHER)

    assert paths(await lease(tracker)) == ["b", "later"]


@pytest.mark.one_shard("order holds within a shard")
async def test_many_lanes_are_put_in_order_in_steps(tracker: Tracker) -> None:
    seeds = [offer("late", f"{number}.example", priority=20) for number in range(2000)]
    await submit(tracker, *seeds)
    await submit(tracker, *(offer("other", f"{n}.example") for n in range(100)), crawl=OTHER)

    await tracker.prioritize(CRAWL, 60)
    await sweep(tracker)

    leased = await lease(tracker, 2100)
    assert paths(leased) == ["late"] * 2000 + ["other"] * 100


async def test_priorities_are_told_with_the_boost(tracker: Tracker) -> None:
    await submit(tracker, *offers(3, priority=10), offer("x", priority=30))

    await tracker.prioritize(CRAWL, 5)

    [queued] = await tracker.queued(CRAWL)
    assert queued == ("a.example", 4, 35, 15)


async def test_only_a_crawl_that_runs_can_be_raised(tracker: Tracker) -> None:
    assert not await tracker.prioritize(CRAWL, 5)
    await submit(tracker, offer("a"))
    await tracker.stop(CRAWL)

    assert not await tracker.prioritize(CRAWL, 5)
    assert (await books(tracker)).state == "stopped"
