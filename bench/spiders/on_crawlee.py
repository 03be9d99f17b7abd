"""The same on crawlee, with its parser of lxml; runs in an environment of its own."""

from __future__ import annotations

import asyncio
import sys

from crawlee import ConcurrencySettings
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext
from crawlee.storage_clients import MemoryStorageClient


async def main(first: str, concurrency: int) -> None:
    crawler = ParselCrawler(
        storage_client=MemoryStorageClient(),
        concurrency_settings=ConcurrencySettings(
            min_concurrency=concurrency,
            desired_concurrency=concurrency,
            max_concurrency=concurrency,
        ),
        configure_logging=False,
    )

    @crawler.router.default_handler  # type: ignore[untyped-decorator]  # not installed here
    async def parse(context: ParselCrawlingContext) -> None:
        await context.push_data({"url": context.request.url, "body": context.selector.get()})
        await context.enqueue_links(strategy="all")

    await crawler.run([first])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
