from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import json
import lzma
import random
import subprocess
import tarfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from warcio.archiveiterator import ArchiveIterator

from crawling.exceptions import ConfigError, OutputError
from crawling.savers import growing_file
from crawling.savers.targets import make_saver
from tests.pages import make_page
from tests.saved import ARCHIVES, bodies, complaints, saved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from crawling.messages.page import Page

TARS = [kind for kind in ARCHIVES if ".tar" in kind]
WARCS = [kind for kind in ARCHIVES if ".warc" in kind]
BODIES = [b"", b"x", b"\0" * 5000, bytes(range(256)) * 9, b"y" * 511, b"z" * 512, b"w" * 513]


async def save(target: Path, pages: Iterable[Page]) -> None:
    saver = make_saver(str(target))
    await saver.open()
    await asyncio.gather(*map(saver.save, pages))
    await saver.close()


@pytest.mark.parametrize("kind", [kind for kind in ARCHIVES if ".jsonl" not in kind])
async def test_every_body_comes_out_as_it_went_in(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "a/new/folder" / kind
    pages = [make_page(number, body=body) for number, body in enumerate(BODIES)]

    await save(target, pages)

    assert bodies(target) == {page.requestid: page.body for page in pages}
    assert complaints(target) == ""


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_a_finished_archive_is_appended_to(kind: str, tmp_path: Path) -> None:
    for numbers in (range(3), range(3, 4), range(0), range(4, 9)):
        await save(tmp_path / kind, map(make_page, numbers))

    assert [requestid for requestid, _ in saved(tmp_path / kind)] == [
        make_page(number).requestid for number in range(9)
    ]
    assert complaints(tmp_path / kind) == ""


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_an_archive_without_pages_is_in_order_too(kind: str, tmp_path: Path) -> None:
    await save(tmp_path / kind, [])

    assert saved(tmp_path / kind) == []
    assert complaints(tmp_path / kind) == ""


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_what_is_not_ours_is_refused_and_left_alone(kind: str, tmp_path: Path) -> None:
    notes = b"my notes, under an unlucky name"
    (tmp_path / kind).write_bytes(notes)

    with pytest.raises(ConfigError, match="choose another name"):
        await save(tmp_path / kind, [])

    assert (tmp_path / kind).read_bytes() == notes


@pytest.mark.parametrize("kind", TARS)
@pytest.mark.parametrize("form", ["gnu", "posix"])
async def test_a_tar_of_another_program_is_refused_and_left_alone(
    kind: str, form: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    run_tar(tmp_path / kind, f"--format={form}", "file")
    before = (tmp_path / kind).read_bytes()

    with pytest.raises(ConfigError, match="choose another name"):
        await save(tmp_path / kind, [])

    assert (tmp_path / kind).read_bytes() == before


def run_tar(archive: Path, *arguments: str) -> None:
    command = ["tar", "-C", str(archive.parent), "-caf", str(archive), *arguments]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_a_second_process_is_refused(kind: str, tmp_path: Path) -> None:
    first = make_saver(f"{tmp_path}/{kind}")
    await first.open()

    with pytest.raises(ConfigError, match="another process writes"):
        await save(tmp_path / kind, [])

    await first.close()


@pytest.mark.parametrize(
    ("kind", "intact"),
    [
        # Where nothing is compressed, nothing tells that a body is damaged.
        *((kind, 0) for kind in ARCHIVES if ".jsonl" not in kind),
        *((kind, 60) for kind in ARCHIVES if kind.endswith(("gz", "bz2", "xz"))),
    ],
)
async def test_a_damaged_last_group_is_cut(kind: str, intact: int, tmp_path: Path) -> None:
    """A power failure can leave zeros in place of the last blocks."""
    target = tmp_path / kind
    saver = make_saver(str(target))
    await saver.open()
    await saver.save(make_page(1))
    end = len(target.read_bytes())
    await saver.save(make_page(2))
    whole = target.read_bytes()
    await saver.close()
    good = end + intact
    target.write_bytes(whole[:good] + bytes(len(whole) - good))

    await save(target, [make_page(3)])

    assert bodies(target) == {page.requestid: page.body for page in map(make_page, (1, 3))}
    assert complaints(target) == ""


@pytest.mark.parametrize("kind", ["pages.tar", "pages.tar.bz2", "pages.warc"])
async def test_damage_before_good_pages_is_refused_not_cut(kind: str, tmp_path: Path) -> None:
    target = tmp_path / kind
    await save(target, [make_page(1)])
    damaged = target.read_bytes() + b"\xff" * (growing_file.LARGEST_DAMAGE + 1)
    target.write_bytes(damaged)

    with pytest.raises(ConfigError, match="is damaged at byte"):
        await save(target, [])

    assert len(target.read_bytes()) == len(damaged)


async def test_a_page_that_has_no_form_in_json_does_not_fail_the_others(
    tmp_path: Path,
) -> None:
    saver = make_saver(f"{tmp_path}/x.jsonl")
    await saver.open()
    bad = [{"x": float("nan")}, {"x": b"bytes"}, {"x": object()}]
    pages = [make_page(1), *(make_page(attrs=attrs) for attrs in bad), make_page(2)]
    results = await asyncio.gather(*map(saver.save, pages), return_exceptions=True)
    await saver.close()

    assert [type(result) for result in results] == [type(None), *[OutputError] * 3, type(None)]
    assert len(saved(tmp_path / "x.jsonl")) == 2


async def test_a_line_is_the_page_message_in_ascii(tmp_path: Path) -> None:
    page = make_page(body="naïve\u2028text".encode(), attrs={"a": [1, None, "é"]})

    await save(tmp_path / "x.jsonl", [page])

    [line] = (tmp_path / "x.jsonl").read_text("ascii").splitlines()
    assert json.loads(line) == page.to_json()


@pytest.mark.parametrize("kind", TARS)
async def test_each_entry_of_a_tar_says_all_about_its_page(kind: str, tmp_path: Path) -> None:
    page = make_page(url="http://example.com/a/é?x=1", attrs={"ключ": "значение"})

    await save(tmp_path / kind, [page])

    with tarfile.open(tmp_path / kind) as archive:
        [entry] = archive.getmembers()
    assert entry.name == "example.com/a/é-7caf6056.html"
    assert entry.mtime == 1795250503
    assert json.loads(entry.pax_headers["comment"]) == page.metadata()


@pytest.mark.parametrize(
    ("kind", "decompress"),
    [
        ("x.tar.gz", gzip.decompress),
        ("x.tar.bz2", bz2.decompress),
        ("x.tar.xz", lzma.decompress),
    ],
)
async def test_a_compressed_tar_decompresses_as_a_whole(
    kind: str, decompress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    await save(tmp_path / kind, [make_page(1)])
    await save(tmp_path / kind, [make_page(2)])

    data = decompress((tmp_path / kind).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert len(archive.getnames()) == 2


@pytest.mark.parametrize("kind", WARCS)
async def test_a_page_in_a_warc_replays(kind: str, tmp_path: Path) -> None:
    page = make_page(
        url="http://example.com/a?b=1",
        response_url="http://example.com/a?b=1",
        status_code=404,
        status_msg="Not Found",
        request_headers={"User-Agent": ["test"], "Accept": ["a", "b"]},
        response_headers={
            "Content-Type": ["text/html"],
            "Content-Encoding": ["gzip"],
            "transfer-encoding": ["chunked"],
            "Content-Length": ["7"],
            "Set-Cookie": ["a=1", "b=2"],
            "X-Evil": ["one\r\nX-Injected: 1", "naïve"],
        },
    )

    await save(tmp_path / kind, [page])

    records = read_records(tmp_path / kind)
    assert [record.rec_type for record, _ in records] == [
        "warcinfo", "request", "response", "metadata"
    ]  # fmt: skip
    assert {record.rec_headers.protocol for record, _ in records} == {"WARC/1.1"}
    (_, _), (request, _), (response, body), (about, message) = records
    assert body == page.body
    assert json.loads(message) == page.metadata()
    assert response.http_headers.statusline == "404 Not Found"
    assert response.http_headers.headers == [
        ("Content-Type", "text/html"),
        ("X-Archive-Orig-Content-Encoding", "gzip"),
        ("X-Archive-Orig-transfer-encoding", "chunked"),
        ("X-Archive-Orig-Content-Length", "7"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-Evil", "one X-Injected: 1"),
        ("X-Evil", "na%C3%AFve"),
        ("Content-Length", str(len(page.body))),
    ]
    assert request.http_headers.protocol == "GET"
    assert request.http_headers.statusline == "/a?b=1 HTTP/1.1"
    assert request.http_headers.get_header("Host") == "example.com"
    for record in (request, about):
        concurrent = record.rec_headers.get_header("WARC-Concurrent-To")
        assert concurrent == response.rec_headers.get_header("WARC-Record-ID")
        assert record.rec_headers.get_header("WARC-Date") == "2026-11-21T08:41:43.650984Z"


def read_records(path: Path) -> list[tuple[Any, bytes]]:
    with path.open("rb") as file:
        return [
            (record, record.content_stream().read())
            for record in ArchiveIterator(file, check_digests="raise")
        ]


async def test_a_compressed_warc_has_one_gzip_member_for_each_record(tmp_path: Path) -> None:
    await save(tmp_path / "x.warc.gz", [make_page(1)])

    data = (tmp_path / "x.warc.gz").read_bytes()
    beginnings = []
    while data:
        member = zlib.decompressobj(31)
        beginnings.append(member.decompress(data)[:8])
        data = member.unused_data
    assert beginnings == [b"WARC/1.1"] * 4


async def test_damage_far_from_the_end_does_not_cost_the_pages_behind_it(
    tmp_path: Path,
) -> None:
    """Opening hops over members; what is safe is never cut for what is not."""
    target = tmp_path / "x.tar.gz"
    bodies_of_noise = (random.Random(number).randbytes(600_000) for number in range(50))
    await save(target, (make_page(n, body=body) for n, body in enumerate(bodies_of_noise)))
    damaged = bytearray(target.read_bytes())
    damaged[1_000_000] ^= 0xFF
    target.write_bytes(damaged)

    await save(target, [])

    assert target.read_bytes() == damaged
