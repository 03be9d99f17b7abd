from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import OutputError, Unavailable
from crawling.savers.grouping import GROUP_BYTES, GROUP_ENTRIES, Grouping

if TYPE_CHECKING:
    from collections.abc import Sequence


class Written:
    """Notes the groups it is given; fails those that hold something it cannot write."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.failing: dict[str, Exception] = {}

    async def __call__(self, entries: Sequence[str]) -> None:
        await asyncio.sleep(0)
        self.groups.append(list(entries))
        for entry in entries:
            if entry in self.failing:
                raise self.failing[entry]


async def test_entries_that_come_together_are_written_together_in_order() -> None:
    written = Written()
    grouping = Grouping(written)

    await asyncio.gather(*(grouping.add(name, 1) for name in "abc"))
    await grouping.add("d", 1)

    assert written.groups == [["a", "b", "c"], ["d"]]


async def test_a_group_has_bounds_in_entries_and_in_bytes() -> None:
    written = Written()
    grouping = Grouping(written)

    await asyncio.gather(*(grouping.add("x", 0) for _ in range(GROUP_ENTRIES + 1)))
    await asyncio.gather(*(grouping.add("x", GROUP_BYTES // 2) for _ in range(3)))
    await asyncio.gather(*(grouping.add("x", 2 * GROUP_BYTES) for _ in range(2)))

    assert [len(group) for group in written.groups] == [GROUP_ENTRIES, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("error", [OutputError("no"), ZeroDivisionError("a bug")])
async def test_an_entry_that_cannot_be_written_does_not_fail_the_others(
    error: Exception,
) -> None:
    written = Written()
    written.failing["b"] = error
    grouping = Grouping(written)

    results = await asyncio.gather(
        *(grouping.add(name, 1) for name in "abc"), return_exceptions=True
    )

    assert results == [None, error, None]


async def test_an_output_that_is_away_fails_its_whole_group_at_once() -> None:
    written = Written()
    written.failing["b"] = Unavailable("disk full")
    grouping = Grouping(written)

    results = await asyncio.gather(
        *(grouping.add(name, 1) for name in "abc"), return_exceptions=True
    )

    assert [type(result) for result in results] == [Unavailable] * 3
    assert len(written.groups) == 1


async def test_an_entry_whose_caller_gave_up_is_not_written() -> None:
    written = Written()
    grouping = Grouping(written)
    kept = asyncio.ensure_future(grouping.add("kept", 1))
    given_up = asyncio.ensure_future(grouping.add("given up", 1))
    await asyncio.sleep(0)

    given_up.cancel()
    await kept

    assert written.groups == [["kept"]]


async def test_close_waits_for_what_was_added() -> None:
    written = Written()
    grouping = Grouping(written)
    adding = asyncio.ensure_future(grouping.add("a", 1))
    await asyncio.sleep(0)

    await grouping.close()

    assert written.groups == [["a"]]
    await adding
