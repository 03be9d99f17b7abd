"""How a crawl over shards ends: see docs/explanation/shards.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.tracker.sharded_views import ShardedViews, epoch_of, of_all

if TYPE_CHECKING:
    from crawling.tracker.shard import Book, Shard
    from crawling.tracker.sharded_views import Books
    from crawling.tracker.tracker import CrawlId, State

#: Readings after which the rest is left to the next sweep.
TRIES = 3


class ShardedEndings(ShardedViews):
    """Finds the crawls that are over in all shards, and closes them."""

    async def _end_all(self) -> None:
        await of_all(map(self._end_quiet, self.shards))

    async def _end_quiet(self, shard: Shard) -> None:
        """End what has nothing outstanding in *shard*, where that is so everywhere."""
        for crawl in await shard.quiet():
            await self._end(crawl)

    async def _end(self, crawl: CrawlId) -> None:
        for _ in range(TRIES):
            first = await self._books(crawl)
            second = await self._books(crawl)
            if not any(second.values()):
                return
            if not _all_quiet(second):
                await self._put_off(crawl, first, second)
                return
            if _all_quiet(first) and _acts(first) == _acts(second):
                await self._close(crawl, second)
                return

    async def _forget_old(self) -> None:
        """Forget what ended long ago, the home last: until then all can be found again."""
        for home in self.shards:
            for crawl in await home.over():
                books = await self._books(crawl)
                own = books.pop(home)
                if own is None or own.held:
                    continue
                await of_all(
                    shard.forget_here(crawl, book.acts) for shard, book in books.items() if book
                )
                await home.forget_here(crawl, own.acts)

    async def _put_off(self, crawl: CrawlId, first: Books, second: Books) -> None:
        """Take marks away: who was busy after they were seen will make one later."""
        for shard, book in first.items():
            if book and book.mark:
                await shard.unmark(crawl, book.mark)
        await self._complete_stop(crawl, second)

    async def _complete_stop(self, crawl: CrawlId, books: Books) -> None:
        """Tell shards that do not know it of a stop whose caller died in the middle."""
        home, epoch = books[self._home(crawl)], epoch_of(books)
        if home is None or home.status.state not in {"stopped", "expired"}:
            return
        if home.status.epoch == epoch:
            for shard, book in books.items():
                if book and book.flags < home.flags and not book.is_quiet:
                    await shard.flag_here(crawl, home.status.state, epoch, home.flags)

    async def _close(self, crawl: CrawlId, books: Books) -> None:
        """Close the epoch at the counts that were read: the home first, with the event."""
        home, epoch = self._home(crawl), epoch_of(books)
        book = books[home]
        if book is None or book.status.epoch < epoch:
            # Its submitter has died before the home was told; the next sweep comes again.
            await home.enter(crawl, (), _newest(books, epoch).status.options, epoch=epoch)
            return
        status = self._merged(crawl, books)
        assert status is not None  # there are books
        state: State = "finished"
        if status.state in {"stopped", "expired"}:
            state = status.state
        if book.fin < epoch:
            if not await home.close_epoch(crawl, epoch, book.acts, state, status):
                return
        else:
            state = book.status.state
        await of_all(
            shard.close_epoch(crawl, epoch, book.acts, state)
            for shard, book in books.items()
            if book and shard is not home
        )


def _all_quiet(books: Books) -> bool:
    return all(book.is_quiet for book in books.values() if book)


def _acts(books: Books) -> list[int | None]:
    return [book and book.acts for book in books.values()]


def _newest(books: Books, epoch: int) -> Book:
    return next(book for book in books.values() if book and book.status.epoch == epoch)
