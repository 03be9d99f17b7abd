"""What a case came to, asked for by the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.scheduler_cases.recording import is_child_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.integration.scheduler_cases.recording import Note

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Lease:
    """A lease as the tracker saw it; *settled* are all attempts to settle it."""

    url: str
    start: float
    settled: list[Note]

    @property
    def kind(self) -> str:
        return str(self.settled[0]["kind"])


@dataclass(frozen=True)
class Books:
    """What the tracker says of the crawl at the end."""

    state: str
    balanced: bool
    outstanding: int
    leased: int
    done: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Report:
    name: str
    scrapy: str
    closed: bool
    error: str
    finish_reason: str
    notes: list[Note]
    #: When the site saw which path.
    hits: list[tuple[float, str]]
    books: Books

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Report:
        assert facts["books"] is not None, f"{facts['name']}: no such crawl"
        return cls(**{**facts, "books": Books(**facts["books"])})

    def noted(self, what: str) -> list[Note]:
        return [note for note in self.notes if note["what"] == what]

    def when(self, what: str) -> float:
        """Return the time of the only note of this kind."""
        (note,) = self.noted(what)
        return float(note["at"])

    def leases(self) -> list[Lease]:
        return [
            Lease(
                lease["url"],
                lease["start"],
                [note for note in self.noted("settle") if note["lease"] == lease["lease"]],
            )
            for lease in self.noted("lease")
        ]

    def children(self, url: str) -> set[str]:
        return {note["child"] for note in self.noted("child") if note["url"] == url}

    def strangers(self) -> list[str]:
        """Return links that were settled with another page than the one they were on."""
        return [
            link
            for lease in self.leases()
            for link in lease.settled[0]["links"]
            if not is_child_of(link, lease.url)
        ]


def run_cases(names: Iterable[str]) -> dict[str, Report]:
    """Run the cases in one process, since a process has one reactor."""
    try:
        process = subprocess.run(
            [sys.executable, "-m", "tests.integration.scheduler_cases.run", *names],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'crawler'}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        # It comes as bytes, whatever was asked for.
        sys.stderr.write((error.stderr or b"").decode("utf-8", "replace")[:20_000])
        raise
    # pytest shows it beside what failed.
    sys.stderr.write(process.stderr[-20_000:])
    found = [Report.of(json.loads(line)) for line in process.stdout.splitlines()]
    reports = {report.name: report for report in found}
    missing = set(names) - set(reports)
    assert not missing, f"no report of {sorted(missing)}"
    return reports
