"""A master dies behind Sentinels, and in a cluster over which the tracker has shards."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.chaos.arena import arena
from tests.chaos.rounds import Ears, run_round

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = [
    "Redis: failover",
    "Redis: stopped until another is the master, then continued",
    "worker: kill -9",
    "Redis: failover",
]


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_nothing_is_lost_in_a_failover(tmp_path: Path, arena_servers: None, kind: str) -> None:
    with arena(tmp_path, "chaos", kind) as running:
        result = run_round(running, Ears(running), Random(1), 0, FAULTS)

    print(result)  # noqa: T201 - what happened before an error
    assert not result.errors
