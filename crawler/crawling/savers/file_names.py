"""Names of saved pages: made from a scheme, and safe whatever the URL."""

from __future__ import annotations

import re
from hashlib import sha1
from mimetypes import MimeTypes
from string import Formatter
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from crawling.exceptions import ConfigError, OutputError, RequestError
from crawling.tracker.urls import domain_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawling.messages.page import Page

DEFAULT_SCHEME = "{host}/{path}"

#: Bytes of one component and of a whole name.  File systems stop at 255 and programs at
#: about 1000 (4096 with the folders above); the rest is room for suffixes.
_COMPONENT = 200
_NAME = 900
#: What Windows or a shell trips over; `isprintable` refuses control characters and NUL.
_FORBIDDEN = frozenset('\\/:*?"<>|')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,9}$")
_TYPES = MimeTypes()
#: Types for which Python's table has several extensions, or none.
_EXTENSIONS = {
    "text/html": ".html",
    "text/plain": ".txt",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/xhtml+xml": ".html",
    "application/octet-stream": ".bin",
}


class FileName:
    """Gives each page a relative name: never outside the folder, never too long.

    The *scheme* is a text with `{fields}`, or a function of the page; None is the default.
    """

    def __init__(self, scheme: str | Callable[[Page], str] | None = None) -> None:
        scheme = DEFAULT_SCHEME if scheme is None else scheme
        if isinstance(scheme, str):
            check_scheme("FILE_NAME", scheme)
        self._scheme = scheme

    def __call__(self, page: Page) -> str:
        if isinstance(self._scheme, str):
            return safe_name(fill_in(self._scheme, page))
        name = self._scheme(page)
        if not isinstance(name, str):
            raise OutputError(f"FILE_NAME returned {name!r}, not text")
        return safe_name(name)


def check_scheme(setting: str, scheme: str) -> None:
    """Raise `ConfigError` unless *scheme* is a text with fields of ours only."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(scheme) if field is not None]
        unknown = [field for field in fields if field not in FIELDS]
        if not unknown:
            scheme.format_map(dict.fromkeys(FIELDS, ""))
    except ValueError as error:
        raise ConfigError(setting, f"{scheme!r}: {error}") from error
    if unknown:
        known = " ".join(f"{{{name}}}" for name in FIELDS)
        raise ConfigError(
            setting, f"{scheme!r} has no field {{{unknown[0]}}}; there are {known}"
        )
    if not scheme.strip():
        raise ConfigError(setting, "must not be empty")


def fill_in(scheme: str, page: Page) -> str:
    """Return *scheme* with the fields of *page*; only `{path}` may bring in a slash."""
    return scheme.format_map(_Fields(page))


def safe_name(name: str) -> str:
    """Return *name* as a relative path that is harmless on every file system."""
    parts = [_safe_component(part) for part in name.split("/") if part] or ["_"]
    if _size("/".join(parts)) > _NAME:
        parts = _shortened(parts)
    return "/".join(parts)


def with_suffix(name: str, suffix: str) -> str:
    """Return *name* with *suffix* before its extension."""
    stem, extension = _split_extension(name)
    return f"{stem}-{suffix}{extension}"


def owner_of(page: Page) -> str:
    """Return what tells the page's request from any other, safe in a file name."""
    return page.requestid if page.requestid.isalnum() else digest(page.url)


def digest(text: str) -> str:
    """Return the SHA-1 of *text*, whatever is in it."""
    return sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


class _Fields(dict[str, str]):
    """Computes only the fields that a scheme asks for."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    def __missing__(self, field: str) -> str:
        value = FIELDS[field](self._page)
        return value if field == "path" else value.replace("/", "_")


def _safe_component(text: str) -> str:
    name = "".join(
        char if char.isprintable() and char not in _FORBIDDEN else "_" for char in text
    )
    # Leading dots hide a file, or are `..`; Windows drops dots and spaces at the end.
    name = re.sub(r"^[. ]+|[. ]+$", lambda m: "_" * len(m[0]), name)
    if _RESERVED.match(name):
        name = f"_{name}"
    return name if _size(name) <= _COMPONENT else _cut(name)


def _cut(name: str) -> str:
    """Cut a long component; what tells it from its like is kept as a digest."""
    stem, extension = _split_extension(name)
    room = _COMPONENT - len(extension) - 9
    stem = stem.encode()[:room].decode(errors="ignore")
    return f"{stem}-{digest(name)[:8]}{extension}"


def _shortened(parts: list[str]) -> list[str]:
    """Leave out the innermost folders of a long name, and say so by a digest."""
    *folders, leaf = parts
    leaf = with_suffix(leaf, digest("/".join(parts))[:8])
    while folders and _size("/".join([*folders, leaf])) > _NAME:
        folders.pop()
    return [*folders, leaf]


def _size(text: str) -> int:
    return len(text.encode())


def _split_extension(name: str) -> tuple[str, str]:
    found = _EXTENSION.search(name)
    # A name that begins with its dot has no stem before it.
    if found is None or found.start() == 0 or name[found.start() - 1] == "/":
        return name, ""
    return name[: found.start()], found[0]


def _host(page: Page) -> str:
    host, _, port = _split(page.url).netloc.rpartition("@")[2].partition(":")
    return f"{host.lower()}_{port}" if port else host.lower() or "_"


def _domain(page: Page) -> str:
    try:
        return domain_of(page.url)
    except RequestError:
        return _host(page)


def _path(page: Page) -> str:
    """Return the path of the URL as a browser's "save page" would name it.

    `index` for a folder, the extension of the content type where the URL has none, and
    a digest in place of the query.
    """
    parts = _split(page.url)
    *folders, leaf = [_decoded(part) for part in parts.path.split("/")] or [""]
    stem, extension = _split_extension(leaf)
    stem = stem or "index"
    if parts.query:
        stem = f"{stem}-{digest(parts.query)[:8]}"
    return "/".join([*filter(None, folders), stem + (extension or _extension(page))])


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", url, "", "")


def _decoded(part: str) -> str:
    """Return a part of a path as people read it; an escaped slash is no separator."""
    try:
        return unquote(part, errors="strict").replace("/", "_")
    except UnicodeDecodeError:
        return part


def _extension(page: Page) -> str:
    """Return the extension of the page's content type, with its dot, or nothing."""
    for name, values in page.response_headers.items():
        if name.lower() == "content-type" and values:
            content_type = values[0].partition(";")[0].strip().lower()
            known = _EXTENSIONS.get(content_type)
            return known or _TYPES.guess_extension(content_type) or ""
    return ""


#: The fields of a scheme; `{sha1}` is that of the URL.
FIELDS: dict[str, Callable[[Page], str]] = {
    "domain": _domain,
    "host": _host,
    "path": _path,
    "ext": lambda page: (_split_extension(_path(page))[1] or ".bin")[1:],
    "sha1": lambda page: digest(page.url),
    "url": lambda page: page.url,
    "spiderid": lambda page: page.spiderid,
    "appid": lambda page: page.appid,
    "crawlid": lambda page: page.crawlid,
    "requestid": owner_of,
    "status": lambda page: str(page.status_code),
    "depth": lambda page: str(page.depth),
    "timestamp": lambda page: page.timestamp.replace(":", "-"),
}
