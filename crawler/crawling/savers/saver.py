"""Where pages go: one small interface that tells when a page is safe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawling.messages.page import Page


class Saver(ABC):
    """Writes pages somewhere.

    Many `save` may run at once; a saver writes what came together in one go.
    """

    @abstractmethod
    async def open(self) -> None:
        """Make ready to write, and first repair what a killed process left behind."""

    @abstractmethod
    async def save(self, page: Page) -> None:
        """Return when the page is safe: it survives the end of this process.

        Raise `Unavailable` when the output is down (the page is kept and tried again),
        `OutputError` when this page can never be written.
        """

    @abstractmethod
    async def close(self) -> None: ...
