from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import ConfigError
from crawling.savers.file_saver import FileSaver
from crawling.savers.jsonl_saver import JsonlSaver, StdoutSaver
from crawling.savers.redis_saver import RedisSaver
from crawling.savers.tar_saver import CompressedTarSaver, TarSaver
from crawling.savers.targets import make_saver, open_savers
from crawling.savers.warc_saver import CompressedWarcSaver, WarcSaver

if TYPE_CHECKING:
    from pathlib import Path

    from crawling.savers.saver import Saver


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("pages/", FileSaver),
        ("a.b/pages.tar/", FileSaver),
        ("pages.tar", TarSaver),
        ("some.pages.tar.gz", CompressedTarSaver),
        ("pages.TAR.GZ", CompressedTarSaver),
        ("pages.tar.bz2", CompressedTarSaver),
        ("pages.tar.xz", CompressedTarSaver),
        ("pages.warc", WarcSaver),
        ("pages.warc.gz", CompressedWarcSaver),
        ("pages.jsonl", JsonlSaver),
        ("-", StdoutSaver),
        ("redis://localhost/1?key=x:{sha1}", RedisSaver),
        ("rediss://localhost", RedisSaver),
        ("redis+sentinel://one,two:26380/pages/1?key=x", RedisSaver),
    ],
)
def test_a_target_names_its_saver(target: str, kind: type[Saver]) -> None:
    assert type(make_saver(target)) is kind


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("pages", "for a folder write pages/; choose folder/, x.tar"),
        ("pages.zip", "cannot save to 'pages.zip': choose folder/, x.tar"),
        ("pages.tgz", "x.tar.gz"),
        ("pages.json", "x.jsonl"),
        ("", "cannot save to '': choose"),
        ("s3://bucket/x", "cannot save to 's3://bucket/x'"),
        ("redis://localhost/0?key={nobody}", "has no field {nobody}; there are {domain}"),
        ("redis://localhost:port/0", "redis://localhost:port/0 is no URL of a Redis: "),
        ("redis+sentinel://localhost", "name the service"),
        ("redis+cluster://u:p@localhost?key=x", "SAVERS: redis+cluster://localhost: pages are"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused_with_what_would(
    target: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(hint)):
        make_saver(target)


async def test_a_target_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        await open_savers([f"{tmp_path}/a.tar", f"{tmp_path}/a.tar"])


async def test_when_one_of_several_cannot_be_opened_none_stays_open(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(b"something else")
    targets = [f"{tmp_path}/a.tar", f"{tmp_path}/b.tar"]

    with pytest.raises(ConfigError, match="not an archive of scrapy-fleet"):
        await open_savers(targets)

    [saver] = await open_savers(targets[:1])
    await saver.close()


async def test_a_password_is_not_in_the_message() -> None:
    with pytest.raises(ConfigError) as refused:
        make_saver("redis://user:secret@localhost:6379/0?nonsense=1&socket_timeout=x")

    assert "secret" not in str(refused.value)
