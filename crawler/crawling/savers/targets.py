"""From what the user writes, `pages.tar.gz` or `redis://…`, to a saver."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError
from crawling.savers.file_names import FileName
from crawling.savers.file_saver import FileSaver
from crawling.savers.jsonl_saver import JsonlSaver, StdoutSaver
from crawling.savers.redis_saver import RedisSaver
from crawling.savers.tar_saver import CompressedTarSaver, TarSaver
from crawling.savers.warc_saver import CompressedWarcSaver, WarcSaver
from crawling.tracker.redis_connect import is_redis, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crawling.messages.page import Page
    from crawling.savers.saver import Saver

KINDS = (
    "folder/, x.tar, x.tar.gz, x.tar.bz2, x.tar.xz, x.warc, x.warc.gz, x.jsonl, "
    "- (standard output) or redis://host/db?key=SCHEME"
)


def make_saver(target: str, file_name: str | Callable[[Page], str] | None = None) -> Saver:
    """Return the saver for *target*, not yet opened."""
    name = FileName(file_name)
    if target == "-":
        return StdoutSaver()
    if is_redis(target):
        return RedisSaver(target)
    if "://" in target:
        raise _unknown(target)
    if target.endswith("/"):
        return FileSaver(Path(target), name)
    return _archive(target, name)


async def open_savers(
    targets: Sequence[str], file_name: str | Callable[[Page], str] | None = None
) -> list[Saver]:
    """Open a saver for each of *targets*; when one cannot be opened, none stays open."""
    for target in targets:
        if targets.count(target) > 1:
            raise ConfigError("SAVERS", f"{shown(target)} is named twice")
    savers = [make_saver(target, file_name) for target in targets]
    async with AsyncExitStack() as opened:
        for saver in savers:
            await saver.open()
            opened.push_async_callback(saver.close)
        opened.pop_all()
    return savers


def _archive(target: str, name: FileName) -> Saver:
    path = Path(target)
    match "".join(path.suffixes[-2:]).lower(), path.suffix.lower():
        case ((".tar.gz" | ".tar.bz2" | ".tar.xz"), _):
            return CompressedTarSaver(path, name)
        case ".warc.gz", _:
            return CompressedWarcSaver(path)
        case _, ".tar":
            return TarSaver(path, name)
        case _, ".warc":
            return WarcSaver(path)
        case _, ".jsonl":
            return JsonlSaver(path)
    raise _unknown(target)


def _unknown(target: str) -> ConfigError:
    hint = f"for a folder write {target}/; " if not Path(target).suffix and target else ""
    return ConfigError("SAVERS", f"cannot save to {shown(target)!r}: {hint}choose {KINDS}")
