"""Saves pages where the disk is full at first, and tells what happened.

`python -m tests.integration.saving_under_a_limit TARGET` prints how many pages were safe
before the disk was full, and how many in all after there was room again.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys

from crawling.exceptions import Unavailable
from crawling.savers.targets import make_saver
from tests.pages import make_page

#: Bytes that a file may have at first: a full disk, for one process.
LIMIT = 300_000
PAGES = 40


def limit_files(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


async def main(target: str) -> None:
    saver = make_saver(target)
    await saver.open()
    limit_files(LIMIT)
    safe, refused = [], []
    for number in range(PAGES):
        page = make_page(number, body=random_body(number), encoding="latin-1")
        try:
            await saver.save(page)
        except Unavailable as error:
            refused.append((page, str(error)))
        else:
            safe.append(page)
    limit_files(resource.RLIM_INFINITY)
    await asyncio.gather(*(saver.save(page) for page, _ in refused))
    await saver.close()
    told = {"safe": len(safe), "refused": [error for _, error in refused]}
    sys.stdout.write(json.dumps(told))


def random_body(seed: int) -> bytes:
    """Return bytes that do not compress; one page alone is more than fits."""
    size = 1_000_000 if seed == PAGES // 2 else 20_000
    return random.Random(seed).randbytes(size)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
