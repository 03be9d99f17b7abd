"""Pages in a WARC 1.1 file."""

from __future__ import annotations

import os
from importlib.metadata import version
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawling.savers.archive_saver import ArchiveSaver
from crawling.savers.compression import CODECS, gzip_member, last_member
from crawling.savers.growing_file import refuse_damage
from crawling.savers.jsonl_saver import to_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from crawling.messages.page import Page

_VERSION = "WARC/1.1"
_END = b"\r\n\r\n"
#: Longest header of a record that is looked for; ours are below 4 KB.
_HEADER = 65536
#: True of the transfer, not of the body as Scrapy hands it out.
_TRANSFER = frozenset({"content-encoding", "transfer-encoding", "content-length"})


class WarcSaver(ArchiveSaver):
    """A request, a response and a metadata record for each page.

    The metadata record is the page message without the body, as JSON.
    """

    magic = _VERSION.encode()

    def encode(self, page: Page) -> bytes:
        return b"".join(self.pack_record(record) for record in _records(page))

    def pack_record(self, record: bytes) -> bytes:
        return record

    def head(self) -> bytes:
        """Begin each session with a warcinfo record, as crawlers do."""
        info = {
            "software": f"scrapy-fleet/{version('scrapy-fleet')}",
            "format": "WARC File Format 1.1",
            "conformsTo": "https://iipc.github.io/warc-specifications/"
            "specifications/warc-format/warc-1.1/",
        }
        writer = _writer()
        return self.pack_record(
            _written(writer, writer.create_warcinfo_record(self.path.name, info))
        )

    def sound_end(self, file: BinaryIO) -> int:
        """Hop from record to record: only headers are read."""
        size = file.seek(0, os.SEEK_END)
        end = 0
        while end < size:
            length = _record_length(file, end)
            if length is None:
                refuse_damage(file, end)
                return end
            if end + length > size:
                return end
            end += length
        return end


class CompressedWarcSaver(WarcSaver):
    """A WARC file in which each record is a gzip member, so that it can be indexed."""

    #: What all our gzip members begin with.
    magic = CODECS[".gz"].compress(b"")[:16]

    def pack_record(self, record: bytes) -> bytes:
        return gzip_member(record)

    def sound_end(self, file: BinaryIO) -> int:
        return last_member(file, CODECS[".gz"]).end


def _records(page: Page) -> Iterator[bytes]:
    writer = _writer()
    headers = {"WARC-Date": f"{page.timestamp}Z"} if page.timestamp else {}
    response = writer.create_warc_record(
        page.response_url,
        "response",
        payload=BytesIO(page.body),
        length=len(page.body),
        warc_headers_dict=headers,
        http_headers=_response_head(page),
    )
    headers = {
        "WARC-Date": response.rec_headers.get_header("WARC-Date"),
        "WARC-Concurrent-To": response.rec_headers.get_header("WARC-Record-ID"),
    }
    request = writer.create_warc_record(
        page.response_url,
        "request",
        payload=BytesIO(),
        length=0,
        warc_headers_dict=headers,
        http_headers=_request_head(page),
    )
    metadata = to_line(page.metadata())
    about = writer.create_warc_record(
        page.response_url,
        "metadata",
        payload=BytesIO(metadata),
        length=len(metadata),
        warc_content_type="application/json",
        warc_headers_dict=headers,
    )
    for record in (request, response, about):
        yield _written(writer, record)


def _response_head(page: Page) -> StatusAndHeaders:
    """Return status and headers as they fit the decoded body.

    What described the transfer keeps its value under the name that other archivers
    give it; replay would otherwise decode the body a second time.
    """
    fields = [
        (f"X-Archive-Orig-{name}" if name.lower() in _TRANSFER else name, value)
        for name, value in _fields(page.response_headers)
    ]
    fields.append(("Content-Length", str(len(page.body))))
    status = f"{page.status_code} {_one_line(page.status_msg)}".rstrip()
    return StatusAndHeaders(status, fields, protocol="HTTP/1.1")


def _request_head(page: Page) -> StatusAndHeaders:
    parts = urlsplit(page.response_url)
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    fields = list(_fields(page.request_headers))
    if not any(name.lower() == "host" for name, _ in fields):
        fields.insert(0, ("Host", parts.netloc.rpartition("@")[2]))
    return StatusAndHeaders(
        f"GET {target} HTTP/1.1", fields, is_http_request=True, protocol="HTTP/1.1"
    )


def _fields(headers: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    for name, values in headers.items():
        for value in values:
            yield _one_line(name), _one_line(value)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _writer() -> WARCWriter:
    return WARCWriter(BytesIO(), gzip=False, warc_version=_VERSION)


def _written(writer: WARCWriter, record: Any) -> bytes:
    writer.out = BytesIO()
    writer.write_record(record)
    data: bytes = writer.out.getvalue()
    return data


def _record_length(file: BinaryIO, start: int) -> int | None:
    """Return how long the record at *start* says it is, or None when it has no header."""
    file.seek(start)
    head, found, _ = file.read(_HEADER).partition(_END)
    if not (found and head.startswith(b"WARC/1.")):
        return None
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            return len(head) + len(_END) + int(value) + len(_END)
    return None
