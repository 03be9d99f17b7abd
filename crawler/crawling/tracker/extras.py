"""What a request has beside its URL, as the tracker keeps it: read and written anywhere.

A worker makes a Scrapy Request of it (`request_record`), the Kafka monitor makes it from a
message, and who reports a failure takes the request's id from it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgpack

from crawling.exceptions import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawling.tracker.tracker import CrawlId, Lease

#: Version of the records made here; a worker refuses newer ones.
VERSION = 1

#: Metadata of a page that its links have too, where the crawl has other.
INHERITED = ("attrs", "cookie", "cookie_domains")

#: Codes of msgpack extension types: what Python tells apart and msgpack does not.
_INT, _STR = 0, 1
_COLLECTIONS: dict[int, type[Any]] = {2: tuple, 3: set, 4: frozenset}


def pack_record(record: Mapping[str, Any]) -> bytes:
    """Return *record* as an offer's extras, b"" for an empty one."""
    return _pack({"v": VERSION, **record}) if record else b""


def record_of(extras: bytes) -> dict[str, Any]:
    """Return what `pack_record` packed."""
    if not extras:
        return {}
    try:
        record = _unpack(extras)
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise RequestError("spider_error", f"cannot read the request: {error}") from error
    if not isinstance(record, dict) or record.get("v") != VERSION:
        raise RequestError("spider_error", "the request was stored by another version")
    return record


def inherited(lease: Lease) -> bytes:
    """Return the extras of plain links on the leased page.

    Seeds of one crawl may come with attrs and a cookie of their own, and their pages'
    links go on with these.
    """
    if not lease.extras:
        return b""
    meta, shared = record_of(lease.extras).get("meta", {}), lease.options.shared
    own = {
        name: meta[name]
        for name in INHERITED
        if name in meta and meta[name] != shared.get(name)
    }
    return pack_record({"meta": own}) if own else b""


def requestid(crawl: CrawlId, fingerprint: bytes, record: Mapping[str, Any]) -> str:
    """Return the id that all deliveries of the same request have in common."""
    name = "\0".join(crawl).encode("utf-8", "surrogatepass")
    seen_as: bytes = record.get("fingerprint", fingerprint)
    source = str(record.get("source", "")).encode()
    return blake2b(name + b"\0" + seen_as + source, digest_size=16).hexdigest()


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(
        value, default=_to_extension, strict_types=True, unicode_errors="surrogatepass"
    )
    return packed


def _unpack(packed: bytes) -> Any:
    return msgpack.unpackb(
        packed, ext_hook=_from_extension, strict_map_key=False, unicode_errors="surrogatepass"
    )


def _to_extension(value: Any) -> msgpack.ExtType:
    if isinstance(value, int):
        return msgpack.ExtType(_INT, str(value).encode())
    if isinstance(value, str):
        return msgpack.ExtType(_STR, value.encode("utf-8", "surrogatepass"))
    for code, kind in _COLLECTIONS.items():
        if isinstance(value, kind):
            return msgpack.ExtType(code, _pack(list(value)))
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _from_extension(code: int, data: bytes) -> Any:
    if code == _INT:
        return int(data)
    if code == _STR:
        return data.decode("utf-8", "surrogatepass")
    return _COLLECTIONS[code](_unpack(data))
