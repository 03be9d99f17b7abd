"""Pages in a tar archive, plain or compressed."""

from __future__ import annotations

import os
import tarfile
from datetime import datetime, timezone
from typing import TYPE_CHECKING, BinaryIO

from crawling.savers.archive_saver import ArchiveSaver
from crawling.savers.compression import CODECS, last_member
from crawling.savers.growing_file import refuse_damage
from crawling.savers.jsonl_saver import to_line

if TYPE_CHECKING:
    from pathlib import Path

    from crawling.messages.page import Page
    from crawling.savers.file_names import FileName

#: Two empty blocks end an archive.
_MARKER = bytes(2 * tarfile.BLOCKSIZE)


class TarSaver(ArchiveSaver):
    """One entry a page: the body under its name, all else as JSON in the pax comment.

    The comment, because other programs skip it silently; an unknown pax keyword makes
    GNU tar warn at each entry.
    """

    #: What tarfile calls the pax header that precedes each of our entries.
    magic = b"././@PaxHeader"

    def __init__(self, path: Path, name: FileName) -> None:
        super().__init__(path)
        self._name = name

    def encode(self, page: Page) -> bytes:
        entry = tarfile.TarInfo(self._name(page))
        entry.size = len(page.body)
        entry.mtime = _unix_time(page.timestamp)
        entry.pax_headers = {"comment": to_line(page.metadata()).decode("ascii").rstrip()}
        header = entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
        return header + page.body + bytes(-len(page.body) % tarfile.BLOCKSIZE)

    def tail(self) -> bytes:
        return _MARKER

    def sound_end(self, file: BinaryIO) -> int:
        """Hop from entry to entry: only headers are read."""
        size = file.seek(0, os.SEEK_END)
        end = 0
        while (entry := _entry_at(file, end)) is not None:
            if "comment" not in entry.pax_headers:
                raise self.not_ours()
            entry_end = entry.offset_data + entry.size + -entry.size % tarfile.BLOCKSIZE
            if entry_end > size:
                return end
            end = entry_end
        refuse_damage(file, end)
        return end


class CompressedTarSaver(TarSaver):
    """A tar archive in which each group of pages is a compressed member of its own.

    It begins with an empty member, by which we know our own archives: one that another
    program made ends inside its last member, and nothing can be appended to it.
    """

    def __init__(self, path: Path, name: FileName) -> None:
        super().__init__(path, name)
        self._codec = CODECS[path.suffix.lower()]
        self.magic = self._codec.compress(b"")

    def pack(self, entries: bytes) -> bytes:
        return self._codec.compress(entries)

    def head(self) -> bytes:
        return b"" if self._file.end else self.magic

    def tail(self) -> bytes:
        return self._codec.compress(_MARKER)

    def sound_end(self, file: BinaryIO) -> int:
        last = last_member(file, self._codec)
        if last.end - last.start > tarfile.BLOCKSIZE:
            return last.end
        file.seek(last.start)
        data = self._codec.decompressor().decompress(file.read(last.end - last.start))
        return last.start if data == _MARKER else last.end


def _entry_at(file: BinaryIO, offset: int) -> tarfile.TarInfo | None:
    """Return the entry at *offset*, or None when there is no whole header."""
    file.seek(offset)
    if not file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        # Python 3.10 trips over an archive that begins with its end.
        return None
    file.seek(offset)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            return archive.next()
    except tarfile.ReadError:
        return None


def _unix_time(timestamp: str) -> int:
    """Return what tar wants for the naive UTC *timestamp*; 0 where there is none."""
    if not timestamp:
        return 0
    return int(datetime.fromisoformat(timestamp).replace(tzinfo=timezone.utc).timestamp())
