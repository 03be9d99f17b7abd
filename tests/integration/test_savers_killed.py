"""What a saver called safe is there after `kill -9`, and the archive is in order."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from crawling.savers.targets import make_saver
from tests.pages import make_page
from tests.saved import ARCHIVES, TARGETS, bodies, complaints, from_redis, saved

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from crawling.messages.page import Page

#: How often each target's writer is killed; each time the next one goes on with the same
#: target.  A long run found nothing that this one does not.
KILLS = 4


def save_until_killed(target: str, first: int, safe: int) -> list[int]:
    """Run a saving process, kill it soon after it told *safe* pages, return what it told."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.saving_process", target, str(first)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(safe)]
    process.kill()
    told += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    # The last line may be torn as well.
    return [int(line) for line in told if line.endswith(b"\n")]


async def repair(target: str) -> None:
    saver = make_saver(target)
    await saver.open()
    await saver.close()


@pytest.mark.parametrize("kind", TARGETS)
async def test_every_page_that_was_safe_survives_kill_9(kind: str, tmp_path: Path) -> None:
    target = f"{tmp_path}/{kind}"
    safe: list[int] = []
    for _ in range(KILLS):
        first = safe[-1] + 100 if safe else 0
        safe += save_until_killed(target, first, random.randrange(1, 80))

    await repair(target)

    found = bodies(tmp_path / kind)
    assert len(safe) >= KILLS
    assert all(found[make_page(number).requestid] == make_page(number).body for number in safe)
    assert complaints(tmp_path / kind) == ""


def test_every_page_that_was_safe_in_redis_survives_kill_9(
    redis: Redis, redis_url: str
) -> None:
    safe = save_until_killed(redis_url, 0, 50)

    found = from_redis(redis)
    assert all(found[make_page(number).requestid] == make_page(number).body for number in safe)


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_an_archive_that_was_cut_at_any_byte_is_repaired_and_goes_on(
    kind: str, tmp_path: Path
) -> None:
    ends = await save_in_two_groups(tmp_path / "whole" / kind)
    whole = (tmp_path / "whole" / kind).read_bytes()
    target = tmp_path / kind
    every = [(page.requestid, page.body) for page in [*six_pages(), make_page(99)]]

    for size in sizes_to_try(ends, len(whole)):
        target.write_bytes(whole[:size])
        saver = make_saver(str(target))
        await saver.open()
        await saver.save(make_page(99))
        await saver.close()

        # The first group was safe at any of these sizes; the second from its end on.
        numbers = [0, 1, 2, 99] if size < ends[1] else [0, 1, 2, 3, 4, 5, 99]
        found = saved(target)
        assert {make_page(number).requestid for number in numbers} <= dict(found).keys()
        assert len(found) == len(dict(found))
        assert set(found) <= set(every)
    assert complaints(target) == ""


@pytest.mark.parametrize("kind", [kind for kind in ARCHIVES if ".tar" in kind])
async def test_tarfile_reads_what_was_safe_from_a_torn_archive(
    kind: str, tmp_path: Path
) -> None:
    ends = await save_in_two_groups(tmp_path / kind)
    target = tmp_path / kind
    whole = target.read_bytes()

    for size in sizes_to_try(ends, ends[1]):
        target.write_bytes(whole[:size])
        with (
            contextlib.suppress(tarfile.ReadError, EOFError, OSError),
            tarfile.open(target) as archive,
        ):
            readable = 0
            for _ in archive:
                readable += 1
        assert readable >= 3


def sizes_to_try(ends: list[int], size: int) -> list[int]:
    """Return about fifty sizes of a torn file, and those around the ends of groups."""
    spread = range(ends[0], size, 1 + (size - ends[0]) // 50)
    edges = {end + offset for end in ends for offset in (-1, 0, 1, 511, 512, 513)}
    return sorted({*spread, *(edge for edge in edges if ends[0] <= edge < size)})


def six_pages() -> list[Page]:
    return [make_page(number, body=b"x" * number * 300) for number in range(6)]


def size_of(path: Path) -> int:
    return path.stat().st_size


async def save_in_two_groups(target: Path) -> list[int]:
    """Save six pages and close; return how long the file was after each three."""
    saver = make_saver(str(target))
    await saver.open()
    ends = []
    for group in (six_pages()[:3], six_pages()[3:]):
        for page in group:
            await saver.save(page)
        ends.append(size_of(target))
    await saver.close()
    return ends
