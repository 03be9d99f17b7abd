"""Whatever is killed, stopped, cut off or refused: nothing is lost, and little comes twice.

A short set of faults in a fixed order; `make soak` goes on with random ones.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.chaos.arena import arena
from tests.chaos.faults import COMMON, OF_ONE_REDIS
from tests.chaos.rounds import Ears, run_round

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.arena import Arena

FAULTS = 8
ORDER = [*COMMON, *OF_ONE_REDIS]
Random(5).shuffle(ORDER)
ROUNDS = [ORDER[first : first + FAULTS] for first in range(0, len(ORDER), FAULTS)]


@pytest.fixture(scope="module")
def plain(
    tmp_path_factory: pytest.TempPathFactory, arena_servers: None
) -> Iterator[tuple[Arena, Ears]]:
    with arena(tmp_path_factory.mktemp("chaos"), "chaos") as running:
        yield running, Ears(running)


@pytest.mark.parametrize("number", range(len(ROUNDS)))
def test_nothing_is_lost(plain: tuple[Arena, Ears], number: int) -> None:
    running, ears = plain

    result = run_round(running, ears, Random(number), number, ROUNDS[number])

    print(result)  # noqa: T201 - what happened before an error
    assert not result.errors
