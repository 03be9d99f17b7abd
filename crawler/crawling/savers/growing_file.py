"""A file that grows by whole groups, whatever kills its writer."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from crawling.exceptions import ConfigError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

#: Bytes at the end of a file that are cut although they are damaged, not merely torn: a
#: power failure can leave anything in place of the last group.  More than that was once
#: safe, and cutting it would destroy good pages.
LARGEST_DAMAGE = 64 * 1024 * 1024


class DiskThread:
    """Runs disk work in one thread, in order; an OSError comes out as `Unavailable`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saver")

    async def run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work)
        except OSError as error:
            raise Unavailable(f"{self._name}: {error.strerror or error}") from error

    def close(self) -> None:
        self._thread.shutdown(wait=False)


class GrowingFile:
    """Appends to a file so that each `append` survives whole or not at all.

    *sound_end* gets the file when it is opened again and returns where its last whole
    entry ends; what follows is cut.  Only one process at a time may write the file.
    """

    def __init__(self, path: Path, sound_end: Callable[[BinaryIO], int]) -> None:
        self.path = path
        self.end = 0
        self._sound_end = sound_end
        self._fd = -1

    def open(self) -> None:
        make_folder(self.path.parent)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock()
            with self.path.open("rb") as file:
                self.end = self._sound_end(file)
            self._cut()
            sync_folder(self.path.parent)
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, data: bytes) -> None:
        """Write *data* at the end and return when it is on the disk."""
        self._cut()
        write_all(self._fd, data, self.end)
        os.fsync(self._fd)
        self.end += len(data)

    def close(self) -> None:
        try:
            self._cut()
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
            # The number may soon be another file's.
            self._fd = -1

    def _cut(self) -> None:
        """Cut what a failed append, or a killed process, left behind the end."""
        os.ftruncate(self._fd, self.end)

    def _lock(self) -> None:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise ConfigError("SAVERS", f"{self.path} is not a regular file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                "SAVERS",
                f"another process writes {self.path}: give each process a file of its own, "
                "or save to a folder",
            ) from error


def refuse_damage(file: BinaryIO, end: int) -> None:
    """Raise unless what follows *end* is short enough to be a damaged last group."""
    size = file.seek(0, os.SEEK_END)
    if size - end > LARGEST_DAMAGE:
        raise ConfigError(
            "SAVERS",
            f"{file.name} is damaged at byte {end}, {size - end} bytes before its end: "
            "move it away, or choose another name",
        )


def write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def make_folder(folder: Path) -> None:
    """Create *folder* and its parents so that they survive a power failure."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* survive a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
