"""Reading archives with what their users have: json, tarfile, warcio, a file manager."""

from __future__ import annotations

import base64
import json
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from w3lib.url import canonicalize_url
from warcio.archiveiterator import ArchiveIterator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Saved(NamedTuple):
    """A page as a JSON line has it, its URLs in canonical form."""

    requested: str
    final: str
    status: int
    body: bytes


def read_jsonl(path: Path) -> Iterator[Saved]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            page = json.loads(line)
            body = page["body"]
            yield Saved(
                canonicalize_url(page["requested_url"]),
                canonicalize_url(page["response_url"]),
                page["status_code"],
                base64.b64decode(body)
                if page["body_encoding"] == "base64"
                else body.encode(page["encoding"]),
            )


def bodies(path: Path) -> list[bytes]:
    """Return the bodies of all pages in an archive of any kind."""
    if path.is_dir():
        with (path / "index.jsonl").open(encoding="utf-8") as index:
            names = {json.loads(line)["file"] for line in index}
        return [(path / name).read_bytes() for name in names]
    if ".tar" in path.name:
        with tarfile.open(path) as archive:
            return [_content(archive, member) for member in archive if member.isfile()]
    if ".warc" in path.name:
        with path.open("rb") as file:
            records = ArchiveIterator(file, check_digests="raise")
            return [r.content_stream().read() for r in records if r.rec_type == "response"]
    return [saved.body for saved in read_jsonl(path)]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()
