"""Compressed files made of members: each is whole by itself, and is written whole.

A gzip member of ours says in its header how long it is, as BGZF does, so that the end
of an archive is found by hopping from header to header, at any size of the archive.
bz2 and xz have no room for that: there the whole file is decompressed once.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from zlib_ng import zlib_ng

from crawling.savers.grouping import GROUP_BYTES
from crawling.savers.growing_file import refuse_damage

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of zlib-ng: half of the time of zlib's own default, 6, for files that are 1 % larger.
LEVEL = 5
_CHUNK = 65536
#: Bytes at the end of a file whose members are decompressed, not only hopped over: a power
#: failure can leave blocks of the last group unwritten.
_READ_IN_FULL = 2 * GROUP_BYTES
#: magic, deflate, FEXTRA; time, flags and system unset; 12 bytes extra: "SF", 8 bytes
_HEADER = struct.Struct("<4sIBBH2sHQ")
_MAGIC = b"\x1f\x8b\x08\x04"
_TRAILER = struct.Struct("<II")


class Codec(NamedTuple):
    """How one kind of compression makes a member, and reads one back."""

    compress: Callable[[bytes], bytes]
    decompressor: Callable[[], Any]
    damaged: type[Exception]


def gzip_member(data: bytes) -> bytes:
    """Return *data* as one gzip member that knows its own length."""
    deflate = zlib_ng.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    size = _HEADER.size + len(body) + _TRAILER.size
    header = _HEADER.pack(_MAGIC, 0, 0, 255, 12, b"SF", 8, size)
    trailer = _TRAILER.pack(zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return header + body + trailer


CODECS = {
    ".gz": Codec(gzip_member, lambda: zlib.decompressobj(zlib.MAX_WBITS + 16), zlib.error),
    ".bz2": Codec(bz2.compress, bz2.BZ2Decompressor, OSError),
    # On one group's worth of pages preset 2 takes 2.5 times as long, and saves 4 %.
    ".xz": Codec(
        lambda data: lzma.compress(data, preset=0), lzma.LZMADecompressor, lzma.LZMAError
    ),
}


class Member(NamedTuple):
    """Where a member lies in its file."""

    start: int
    end: int


def last_member(file: BinaryIO, codec: Codec) -> Member:
    """Return the last whole member; what follows it is torn.

    An empty file has an empty member at 0.
    """
    size = file.seek(0, os.SEEK_END)
    last = Member(0, 0)
    while last.end < size:
        end = _declared_end(file, last.end)
        if end is None or end > size - _READ_IN_FULL:
            end = _decompressed_end(file, last.end, codec)
        if end is None:
            break
        last = Member(last.end, end)
    return last


def _declared_end(file: BinaryIO, start: int) -> int | None:
    """Return where the gzip member at *start* ends by its own header, if it says so."""
    file.seek(start)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, _, _, _, extra, name, length, size = _HEADER.unpack(header)
    if (magic, extra, name, length) != (_MAGIC, 12, b"SF", 8) or size <= _HEADER.size:
        return None
    return start + int(size)


def _decompressed_end(file: BinaryIO, start: int, codec: Codec) -> int | None:
    """Return where the member at *start* ends, or None when it is torn."""
    file.seek(start)
    member = codec.decompressor()
    while chunk := file.read(_CHUNK):
        try:
            member.decompress(chunk)
        except codec.damaged:
            refuse_damage(file, start)
            return None
        if member.eof:
            return file.tell() - len(member.unused_data)
    return None
