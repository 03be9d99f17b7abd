"""Rows that are sorted, scrolled and chosen from, and the columns that show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """*value* is what is sorted by, and shown as *text* says.

    It is left out of a terminal with fewer columns than *wide*; *style* is of one cell.
    """

    title: str
    value: Callable[[Row], Any]
    text: Callable[[Any], str] = str
    wide: int = 0
    style: Callable[[Any], str] = lambda _: ""
    is_text: bool = False


class Listing(Generic[Row]):
    """The rows of one view.

    With *key* the cursor stays with its row wherever that goes, else at its place.
    """

    def __init__(
        self, columns: Sequence[Column[Row]], key: Callable[[Row], Hashable] | None = None
    ) -> None:
        self.columns = columns
        self.rows: list[Row] = []
        self.cursor = self.first = 0
        #: None: as the tracker has them.
        self.sorted_by: Column[Row] | None = None
        self.is_reversed = False
        self._key = key

    @property
    def chosen(self) -> Row | None:
        return self.rows[self.cursor] if self.rows else None

    def fill(self, rows: Sequence[Row]) -> None:
        key, chosen = self._key, self.chosen
        self.rows = self._arranged(rows)
        if key is not None and chosen is not None:
            places = {key(row): place for place, row in enumerate(self.rows)}
            self.cursor = places.get(key(chosen), self.cursor)
        self.move(0)

    def move(self, by: int) -> None:
        self.cursor = max(0, min(self.cursor + by, len(self.rows) - 1))

    def window(self, height: int) -> list[Row]:
        """Return the rows on the screen, which has the cursor in it."""
        self.first = max(min(self.first, self.cursor), self.cursor - height + 1, 0)
        return self.rows[self.first : self.first + height]

    def sort_by_next(self, width: int) -> None:
        """Sort by the next column that is shown; after the last, as the tracker has them."""
        columns = [None, *(column for column in self.columns if column.wide <= width)]
        place = columns.index(self.sorted_by) if self.sorted_by in columns else 0
        self.sorted_by = columns[(place + 1) % len(columns)]
        self.is_reversed = False
        self.fill(self.rows)

    def reverse(self) -> None:
        self.is_reversed = not self.is_reversed
        self.fill(self.rows)

    def _arranged(self, rows: Sequence[Row]) -> list[Row]:
        column = self.sorted_by
        if column is None:
            return list(rows)
        # Of numbers the largest are of interest, of names the first.
        descending = self.is_reversed if column.is_text else not self.is_reversed
        return sorted(rows, key=column.value, reverse=descending)
