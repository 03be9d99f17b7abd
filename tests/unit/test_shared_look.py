from __future__ import annotations

import asyncio

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
