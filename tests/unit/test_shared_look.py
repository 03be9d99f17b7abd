from __future__ import annotations

import asyncio
import gc
import time
from itertools import pairwise

import pytest

from crawling.exceptions import Unavailable
from rest_service.shared_look import SharedLook


async def test_what_changes_while_it_looks_is_looked_for_again() -> None:
    changes, going_on = [1], asyncio.Event()

    async def look() -> int:
        found = changes[-1]
        going_on.set()
        await asyncio.sleep(0.01)
        return found

    shared = SharedLook(look)
    first = asyncio.ensure_future(shared.fresh())
    await going_on.wait()
    changes.append(2)
    shared.touch()

    assert await first == 1
    assert await shared.fresh() == 2


async def test_all_who_ask_meanwhile_share_a_look() -> None:
    looks = []

    async def look() -> int:
        looks.append(1)
        await asyncio.sleep(0.01)
        return len(looks)

    shared = SharedLook(look)

    assert await asyncio.gather(*(shared.fresh() for _ in range(5))) == [1] * 5


async def test_nobody_waits_for_a_long_look_while_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rest_service.shared_look.QUICK", -1.0)
    monkeypatch.setattr("rest_service.shared_look.OLDEST", 0.0)
    looks, begun, goes_on = [], asyncio.Event(), asyncio.Event()

    async def look() -> int:
        looks.append(1)
        if len(looks) > 1:
            begun.set()
            await goes_on.wait()
        return len(looks)

    shared = SharedLook(look)
    assert await shared.fresh() == 1
    asked = asyncio.gather(*(shared.fresh() for _ in range(5)))
    assert await asyncio.wait_for(asked, 30) == [1] * 5
    await begun.wait()
    assert await asyncio.wait_for(shared.fresh(), 30) == 1

    monkeypatch.setattr("rest_service.shared_look.LATEST", 0.0)
    waiting = asyncio.ensure_future(shared.fresh())
    goes_on.set()

    assert await waiting >= 2


async def test_who_asks_after_a_change_waits_for_a_look_that_has_seen_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rest_service.shared_look.QUICK", -1.0)
    changes, goes_on = [1], asyncio.Event()

    async def look() -> int:
        found = changes[-1]
        if found > 1:
            await goes_on.wait()
        return found

    shared = SharedLook(look)
    assert await shared.fresh() == 1
    changes.append(2)
    shared.touch()
    waiting = [asyncio.ensure_future(shared.fresh()) for _ in range(3)]
    await asyncio.sleep(0)
    goes_on.set()

    assert await asyncio.gather(*waiting) == [2] * 3


async def test_however_much_is_changed_half_of_the_time_is_for_other_work() -> None:
    spans: list[tuple[float, float]] = []

    async def look() -> int:
        began = time.monotonic()
        await asyncio.sleep(0.02)
        spans.append((began, time.monotonic()))
        return len(spans)

    shared = SharedLook(look)
    for number in range(4):
        assert await shared.fresh() == number + 1
        shared.touch()

    for (began, ended), (next_began, _) in pairwise(spans):
        assert next_began - ended >= 0.95 * (ended - began)


async def test_a_long_look_that_fails_harms_nobody_who_knows_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rest_service.shared_look.QUICK", -1.0)
    monkeypatch.setattr("rest_service.shared_look.OLDEST", 0.0)
    looks, third, problems = [], asyncio.Event(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, told: problems.append(told))

    async def look() -> int:
        looks.append(1)
        if len(looks) == 2:
            raise Unavailable("away")
        if len(looks) == 3:
            third.set()
        return len(looks)

    shared = SharedLook(look)
    found = []
    while not third.is_set():
        found.append(await shared.fresh())
        await asyncio.sleep(0)

    gc.collect()
    assert problems == []
    assert set(found) <= {1, 3}
    assert found[0] == 1


@pytest.mark.parametrize(("share", "looked"), [(1e-9, 1), (1e9, 100)])
async def test_a_look_is_good_until_it_has_cost_its_share(
    monkeypatch: pytest.MonkeyPatch, share: float, looked: int
) -> None:
    monkeypatch.setattr("rest_service.shared_look.SHARE", share)
    looks = []

    async def look() -> int:
        looks.append(1)
        await asyncio.sleep(0)
        return len(looks)

    shared = SharedLook(look)
    for _ in range(100):
        await shared.fresh()

    assert len(looks) == looked
