"""What savers left, read back by other programs' code."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from warcio.archiveiterator import ArchiveIterator

if TYPE_CHECKING:
    from redis import Redis

#: Every kind of file that pages are saved to; Redis has tests of its own.
TARGETS = (
    "pages/",
    "pages.tar",
    "pages.tar.gz",
    "pages.tar.bz2",
    "pages.tar.xz",
    "pages.warc",
    "pages.warc.gz",
    "pages.jsonl",
)
#: Those of them that are one file, which can be torn.
ARCHIVES = TARGETS[1:]


def bodies(target: Path) -> dict[str, bytes]:
    """Return requestid -> body of every page that *target* holds; later ones win."""
    return dict(saved(target))


def saved(target: Path) -> list[tuple[str, bytes]]:
    """Return requestid and body of every page, in order, repeated ones too."""
    if target.is_dir():
        return _from_folder(target)
    if target.suffix == ".jsonl":
        return _from_jsonl(target)
    if ".warc" in target.suffixes:
        return _from_warc(target)
    return _from_tar(target)


def complaints(archive: Path) -> str:
    """Return what the standard tool for such an archive has to say against it."""
    if archive.is_dir() or archive.suffix == ".jsonl":
        return ""
    tool = ["tar", "tf"]
    if ".warc" in archive.suffixes:
        tool = [str(Path(sys.executable).with_name("warcio")), "check"]
    answer = subprocess.run([*tool, str(archive)], capture_output=True, text=True, check=False)
    failed = [f"exit {answer.returncode}"] if answer.returncode else []
    # `warcio check` prints only what is wrong; `tar tf` says that on standard error.
    said = answer.stdout if ".warc" in archive.suffixes else answer.stderr
    return " ".join([*failed, said.strip()]).strip()


def _from_folder(folder: Path) -> list[tuple[str, bytes]]:
    lines = (folder / "index.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [(entry["requestid"], (folder / entry["file"]).read_bytes()) for entry in entries]


def _from_jsonl(path: Path) -> list[tuple[str, bytes]]:
    pages = [json.loads(line) for line in path.read_text().splitlines()]
    return [(page["requestid"], page["body"].encode(page["encoding"])) for page in pages]


def _from_tar(path: Path) -> list[tuple[str, bytes]]:
    found = []
    with tarfile.open(path) as archive:
        for entry in archive:
            about = json.loads(entry.pax_headers["comment"])
            file = archive.extractfile(entry)
            assert file is not None
            found.append((about["requestid"], file.read()))
    return found


def _from_warc(path: Path) -> list[tuple[str, bytes]]:
    found, responses = [], {}
    with path.open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                recordid = record.rec_headers.get_header("WARC-Record-ID")
                responses[recordid] = record.content_stream().read()
            elif record.rec_type == "metadata":
                about = json.loads(record.content_stream().read())
                response = record.rec_headers.get_header("WARC-Concurrent-To")
                found.append((about["requestid"], responses.pop(response)))
    return found


def from_redis(redis: Redis) -> dict[str, bytes]:
    found = {}
    for key in redis.scan_iter("page:*"):
        value = redis.get(key)
        assert isinstance(value, bytes)
        page = json.loads(value)
        found[page["requestid"]] = page["body"].encode(page["encoding"])
    return found
