"""`python -m tests.chaos --minutes 60 --seed 7`: random faults, and a table of what they did.

The seed makes the choice of faults, their order and their lengths; what they meet is as
random as the machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import cycle
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from tests.chaos.arena import arena
from tests.chaos.faults import COMMON, OF_A_FAILOVER, OF_ONE_REDIS
from tests.chaos.report import save, table
from tests.chaos.rounds import Ears, run_round

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.rounds import Round

KINDS = {"redis": OF_ONE_REDIS, "sentinel": OF_A_FAILOVER, "cluster": OF_A_FAILOVER}
#: Rounds in one arena; the next ones are of another kind.
ROUNDS = 6
FAULTS = 8


def main() -> int:
    options = make_parser().parse_args()
    random, end = Random(options.seed), time.monotonic() + 60 * options.minutes
    rounds: list[Round] = []
    for kind in cycle(options.kinds):
        rounds += run_arena(kind, random, options.faults, end)
        if time.monotonic() >= end:
            break
    print(table(rounds))
    if options.report:
        save(rounds, options)
    return 1 if any(each.errors for each in rounds) else 0


def run_arena(kind: str, random: Random, names: Sequence[str], end: float) -> Iterator[Round]:
    """Run rounds in an arena of its own, until one goes wrong or the time is over."""
    folder = Path(mkdtemp(prefix="chaos-"))
    print(f"{kind}: {folder}", file=sys.stderr)
    with arena(folder, "chaos", kind) as running:
        ears = Ears(running)
        for number in range(ROUNDS):
            chosen = names or random.sample([*COMMON, *KINDS[kind]], FAULTS)
            result = run_round(running, ears, random, number, chosen)
            print(result, file=sys.stderr, flush=True)
            yield result
            if result.errors or time.monotonic() >= end:
                break


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--faults", nargs="*", default=[], help="only these, in this order")
    parser.add_argument("--report", type=Path, help="write FILE.md and FILE.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
