"""What `fleet top` shows, as wide and as high as the terminal is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from crawling.service.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import ConsoleDimensions

    from crawling.top.listing import Column, Listing
    from crawling.top.looks import CrawlRow

#: Lines that are not rows: title, totals, views, the heads of columns, message, keys.
OTHER_LINES = 6
KEYS = "q quit c/d/w view s/o sort"
ACTION_KEYS = " p pause r resume x stop t retry"


def rows_of(size: ConsoleDimensions) -> int:
    return max(1, size.height - OTHER_LINES)


def screen(
    size: ConsoleDimensions,
    *,
    place: str,
    crawls: Sequence[CrawlRow],
    views: Mapping[str, str],
    view: str,
    listing: Listing[Any],
    message: Text,
) -> Group:
    """Return all lines; *views* are the names of the views and how they are called now."""
    clock = time.strftime("%H:%M:%SZ", time.gmtime())
    names = Text()
    for name, text in views.items():
        names.append(f" {printable(text)} ", "bold reverse" if name == view else "")
    keys = KEYS + (ACTION_KEYS if view == "crawls" else "")
    lines: list[Text | Table] = [
        Text(f"fleet top  {clock}  {printable(place)}", "bold"),
        Text(_totals(crawls)),
        names,
        _table(listing, size),
        message,
        Text(keys, "dim"),
    ]
    for line in lines:
        if isinstance(line, Text):
            line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def _totals(crawls: Sequence[CrawlRow]) -> str:
    states = [row.status for row in crawls]
    running = sum(status.state == "running" for status in states)
    rate = sum(row.rate for row in crawls)
    queued = sum(status.queued + status.delayed for status in states)
    leased = sum(status.leased for status in states)
    return (
        f"{running} of {len(states)} crawls run  {rate:.1f} pages/s  "
        f"{queued} to do  {leased} in flight"
    )


def _table(listing: Listing[Any], size: ConsoleDimensions) -> Table:
    height = rows_of(size)
    columns = [column for column in listing.columns if column.wide <= size.width]
    table = Table(box=None, expand=True, pad_edge=False, header_style="underline")
    for index, column in enumerate(columns):
        table.add_column(
            Text(_head(column, listing), no_wrap=True),
            justify="left" if column.is_text else "right",
            ratio=1 if index == 0 else None,
            # A number that was cut would be another number.
            no_wrap=not column.is_text or column.title == "state",
            overflow="ellipsis",
        )
    rows = listing.window(height)
    for place, row in enumerate(rows, listing.first):
        cells = [_cell(column, row) for column in columns]
        table.add_row(*cells, style="reverse" if place == listing.cursor else "")
    # The lines below the table stay where they are.
    for _ in range(height - len(rows)):
        table.add_row()
    return table


def _head(column: Column[Any], listing: Listing[Any]) -> str:
    if column is not listing.sorted_by:
        return column.title
    is_rising = column.is_text != listing.is_reversed
    return column.title + ("↑" if is_rising else "↓")


def _cell(column: Column[Any], row: Any) -> Text:
    value = column.value(row)
    style = column.style(value)
    return Text(printable(column.text(value)), style, no_wrap=True, overflow="ellipsis")
