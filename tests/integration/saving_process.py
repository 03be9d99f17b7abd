"""Saves pages for ever and tells which are safe: to be killed.

`python -m tests.integration.saving_process TARGET FIRST` prints the number of each page
when it is safe.
"""

from __future__ import annotations

import asyncio
import os
import sys

from crawling.savers.targets import make_saver
from tests.pages import make_page

#: Pages under way at a time, as in a busy crawl.
CONCURRENCY = 8


async def main(target: str, first: int) -> None:
    saver = make_saver(target)
    await saver.open()
    numbers = iter(range(first, sys.maxsize))

    async def save_pages() -> None:
        for number in numbers:
            await saver.save(make_page(number))
            os.write(1, b"%d\n" % number)

    await asyncio.gather(*(save_pages() for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
