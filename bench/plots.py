"""The figures as pictures beside docs/reference/benchmarks.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.frontier import DOMAINS
from bench.report import median

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

# The same picture for the same figures.
mpl.rcParams["svg.hashsalt"] = "scrapy-fleet"
STORES = {"redis": "Redis", "sqlite": "SQLite"}


def draw(results: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Write a picture of each result there is; yield the Markdown that shows it."""
    for name, (needs, title, plot) in PLOTS.items():
        if needs not in results:
            continue
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, fontsize=10)
        plot(axes, results[needs])
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        yield f"![{title}]({name}.svg)\n"


def _peers(axes: Axes, result: Mapping[str, Any]) -> None:
    names = sorted(result["runs"], key=lambda name: _pages(result, name))
    bars = axes.barh(names, [_pages(result, name) for name in names])
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xlabel("pages/s")


def _pages(result: Mapping[str, Any], name: str) -> float:
    return median([run["pages"] for run in result["runs"][name]])


def _by_domains(column: str, unit: str) -> Callable[[Axes, Mapping[str, Any]], None]:
    def plot(axes: Axes, result: Mapping[str, Any]) -> None:
        for store, label in STORES.items():
            runs = [result["costs"][f"{store} {domains}"] for domains in DOMAINS]
            costs = [median([run[column] for run in some]) for some in runs]
            axes.plot(DOMAINS, costs, marker="o", label=label)
        axes.set(xscale="log", xlabel="domains", ylabel=unit, ylim=(0, None))
        axes.legend()

    return plot


#: File -> the result it needs, title, and what draws it.
PLOTS: dict[str, tuple[str, str, Callable[[Axes, Mapping[str, Any]], None]]] = {
    "pages_by_peer": ("crawl", "Pages a second on one core", _peers),
    "lease_by_domains": (
        "frontier",
        "Leasing a request, by domains",
        _by_domains("lease", "µs"),
    ),
    "bytes_by_domains": (
        "frontier",
        "A queued URL, dupefilter included, by domains",
        _by_domains("bytes", "bytes"),
    ),
}
