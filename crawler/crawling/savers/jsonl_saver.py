"""Pages as JSON lines: into a file, or onto standard output."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import ujson

from crawling.exceptions import OutputClosed, OutputError
from crawling.savers.archive_saver import ArchiveSaver
from crawling.savers.grouping import Grouping
from crawling.savers.growing_file import DiskThread
from crawling.savers.saver import Saver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from crawling.messages.page import Page

_CHUNK = 65536


class JsonlSaver(ArchiveSaver):
    """One page a line, in the form of the page message."""

    magic = b"{"

    def encode(self, page: Page) -> bytes:
        return to_line(page.to_json())

    def sound_end(self, file: BinaryIO) -> int:
        return last_line_end(file)


class StdoutSaver(Saver):
    """One page a line on standard output; a page is safe when it is handed over."""

    def __init__(self) -> None:
        self._disk = DiskThread("standard output")
        self._pages: Grouping[Page] = Grouping(self._write)
        self._fd = -1

    async def open(self) -> None:
        # A copy: pages still go there when sys.stdout is replaced or closed.
        self._fd = os.dup(1)

    async def save(self, page: Page) -> None:
        await self._pages.add(page, len(page.body))

    async def close(self) -> None:
        await self._pages.close()
        self._disk.close()
        os.close(self._fd)

    async def _write(self, pages: Sequence[Page]) -> None:
        await self._disk.run(partial(self._print, pages))

    def _print(self, pages: Sequence[Page]) -> None:
        lines = b"".join(to_line(page.to_json()) for page in pages)
        try:
            _write_stream(self._fd, lines)
        except BrokenPipeError as error:
            raise OutputClosed("standard output: nobody reads it any more") from error


def to_line(message: Mapping[str, Any]) -> bytes:
    """Return *message* as one line of ASCII, strictly JSON: no NaN, no bytes.

    ASCII, because some readers split lines at U+2028 too.
    """
    try:
        text: str = ujson.dumps(
            message, escape_forward_slashes=False, allow_nan=False, reject_bytes=True
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise OutputError(f"the page has no form in JSON: {error}") from error
    return text.encode("ascii") + b"\n"


def last_line_end(file: BinaryIO) -> int:
    """Return where the last whole line ends, reading backwards."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _write_stream(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.fsync(fd)
