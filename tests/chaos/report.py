"""What the faults did, as a table and as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from bench.processes import machine
from bench.report import Table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import Any

    from tests.chaos.rounds import Injection, Round


def table(rounds: Sequence[Round]) -> str:
    """Return Markdown: a row for each kind of fault."""
    by_name: dict[str, list[Injection]] = defaultdict(list)
    lost_with: dict[str, int] = defaultdict(int)
    for each in rounds:
        for injection in each.injections:
            by_name[injection.name].append(injection)
        for name in {injection.name for injection in each.injections}:
            lost_with[name] += each.lost
    rows = [
        [
            name,
            str(len(some)),
            str(lost_with[name]),
            str(sum(injection.in_flight for injection in some)),
            str(sum(injection.repeats for injection in some)),
        ]
        for name, some in sorted(by_name.items())
    ]
    pages, lost = (sum(getattr(each, name) for each in rounds) for name in ("pages", "lost"))
    faults = sum(len(each.injections) for each in rounds)
    wrong = sum(bool(each.errors) for each in rounds)
    title = (
        f"{faults} faults in {len(rounds)} rounds: of {pages:,} pages {lost} were lost; "
        f"in {wrong} rounds something else was wrong"
    )
    head = [
        "fault",
        "injected",
        "pages lost in its rounds",
        "requests in flight",
        "pages that came once more",
    ]
    return Table(title, head, rows).markdown()


def save(rounds: Sequence[Round], options: argparse.Namespace) -> None:
    about = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "machine": machine(),
        "minutes": options.minutes,
        "seed": options.seed,
    }
    result = {**about, "rounds": [asdict(each) for each in rounds]}
    options.report.with_suffix(".json").write_text(json.dumps(result) + "\n")
    options.report.with_suffix(".md").write_text(page(rounds, about))


def page(rounds: Sequence[Round], about: Mapping[str, Any]) -> str:
    head = "# Soak\n\nMade by `make soak` with `--report`; not written by hand."
    end = (
        f"{about['minutes']:g} minutes with seed {about['seed']}; "
        f"{about['date']}, {about['machine']}."
    )
    return f"{head}\n\n{table(rounds)}\n\n{end}\n"
