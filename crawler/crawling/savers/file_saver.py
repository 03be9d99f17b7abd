"""Pages as files in a folder."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING

from crawling.exceptions import OutputError
from crawling.savers.claims import Claims
from crawling.savers.file_names import owner_of
from crawling.savers.grouping import Grouping
from crawling.savers.growing_file import DiskThread, make_folder, sync_folder, write_all
from crawling.savers.jsonl_saver import last_line_end, to_line
from crawling.savers.saver import Saver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crawling.messages.page import Page
    from crawling.savers.file_names import FileName

INDEX = "index.jsonl"
#: Where we keep what is not for people.  No page is named so: names begin with no dot.
OURS = ".fleet"
#: Files that are written at the same time.
_WRITERS = 8
#: A name that this file system will never take; the other errors of a disk may pass.
_NEVER = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})


class FileSaver(Saver):
    """One file a page, and an index of all pages as JSON lines.

    A page appears under its name whole or not at all, and never in place of another
    request's page; the same request again replaces its own.  Several processes of one
    host may save to the same folder.
    """

    def __init__(self, folder: Path, name: FileName) -> None:
        self._folder = folder
        self._name = name
        self._disk = DiskThread(str(folder))
        self._pages: Grouping[Page] = Grouping(self._write)
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="saver")
        # Random, not the process id: two containers may have the same.
        self._token = token_hex(8)
        self._count = itertools.count()

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
            self._writers.shutdown(wait=False)

    def _open(self) -> None:
        ours = self._folder / OURS
        make_folder(ours)
        self._index = os.open(
            self._folder / INDEX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        self._alive = os.open(ours / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._sweep()
        self._claims = Claims(self._folder, ours / "names.db")

    def _close(self) -> None:
        self._claims.close()
        os.close(self._index)
        os.close(self._alive)

    def _sweep(self) -> None:
        """Remove what killed processes were writing, if no other is alive to write it."""
        try:
            fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            for part in (self._folder / OURS).glob("*.part"):
                part.unlink()
        fcntl.flock(self._alive, fcntl.LOCK_SH)

    async def _write(self, pages: Sequence[Page]) -> None:
        await self._disk.run(partial(self._save, pages))

    def _save(self, pages: Sequence[Page]) -> None:
        names = self._claims.claim([(self._name(page), owner_of(page)) for page in pages])
        lines = [
            to_line({"file": name, **page.metadata()})
            for name, page in zip(names, pages, strict=True)
        ]
        try:
            bodies = (page.body for page in pages)
            # The file system makes files safe together that are synced at the same time.
            list(self._writers.map(self._put, names, bodies))
            for folder in {(self._folder / name).parent for name in names}:
                sync_folder(folder)
        except FileNotFoundError:
            self._claims.forget_folders()
            raise
        self._add_to_index(b"".join(lines))

    def _put(self, name: str, body: bytes) -> None:
        """Write a file beside, and move it to its place when it is whole."""
        part = self._folder / OURS / f"{self._token}-{next(self._count)}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(fd, body, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            part.replace(self._folder / name)
        except OSError as error:
            if error.errno in _NEVER:
                raise OutputError(f"{name}: {error.strerror}") from error
            raise

    def _add_to_index(self, lines: bytes) -> None:
        """Append whole lines; the lock keeps the lines of several processes apart."""
        fcntl.flock(self._index, fcntl.LOCK_EX)
        try:
            with os.fdopen(os.dup(self._index), "rb") as index:
                end = last_line_end(index)
            os.ftruncate(self._index, end)
            write_all(self._index, lines, end)
            os.fsync(self._index)
        finally:
            fcntl.flock(self._index, fcntl.LOCK_UN)
