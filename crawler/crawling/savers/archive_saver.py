"""What the savers that append to one file share."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from crawling.exceptions import ConfigError
from crawling.savers.grouping import Grouping
from crawling.savers.growing_file import DiskThread, GrowingFile
from crawling.savers.saver import Saver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crawling.messages.page import Page


class ArchiveSaver(Saver):
    """Appends pages to one file, a group at a time."""

    #: How each of our files begins; what begins otherwise is not ours to cut.
    magic = b""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = GrowingFile(path, self._sound_end)
        self._disk = DiskThread(str(path))
        self._pages: Grouping[Page] = Grouping(self._write)

    @abstractmethod
    def encode(self, page: Page) -> bytes:
        """Return the entry of *page*; raise `OutputError` when it can have none."""

    @abstractmethod
    def sound_end(self, file: BinaryIO) -> int:
        """Return where the last whole entry of *file* ends, and what follows is cut."""

    def pack(self, entries: bytes) -> bytes:
        """Return the entries of one group as they go into the file."""
        return entries

    def head(self) -> bytes:
        """Return what goes before the first page of this process."""
        return b""

    def tail(self) -> bytes:
        """Return what ends a finished archive."""
        return b""

    def not_ours(self) -> ConfigError:
        problem = "exists and is not an archive of scrapy-fleet: choose another name"
        return ConfigError("SAVERS", f"{self.path} {problem}")

    async def open(self) -> None:
        await self._disk.run(self._open)

    async def save(self, page: Page) -> None:
        await self._pages.add(page, len(page.body))

    async def close(self) -> None:
        await self._pages.close()
        try:
            await self._disk.run(self._close)
        finally:
            self._disk.close()

    def _sound_end(self, file: BinaryIO) -> int:
        start = file.read(len(self.magic))
        # Zeros: a tar without entries, or a first group that a power failure took.
        if start.strip(b"\0") and not self.magic.startswith(start):
            raise self.not_ours()
        return self.sound_end(file)

    def _open(self) -> None:
        self._file.open()
        if head := self.head():
            self._file.append(head)

    def _close(self) -> None:
        try:
            if tail := self.tail():
                self._file.append(tail)
        finally:
            self._file.close()

    async def _write(self, pages: Sequence[Page]) -> None:
        await self._disk.run(partial(self._append, pages))

    def _append(self, pages: Sequence[Page]) -> None:
        self._file.append(self.pack(b"".join(map(self.encode, pages))))
