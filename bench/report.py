"""Figures as Markdown, for a terminal and for docs/reference/benchmarks.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Table(NamedTuple):
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join(
            [f"### {self.title}", "", *("| " + " | ".join(r) + " |" for r in lines)]
        )


def spread(values: Sequence[float], form: str) -> str:
    """Return min / median / max."""
    ordered = sorted(values)
    shown = (ordered[0], median(values), ordered[-1])
    return " / ".join(format(value, f".{form}") for value in shown)


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
