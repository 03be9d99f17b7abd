"""One shard: a Redis tracker that has some of the domains of each crawl.

What is decided here is one script in this shard; `ShardedTracker` puts them together as
docs/explanation/shards.md says.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from crawling.exceptions import Unavailable
from crawling.tracker import keys as names
from crawling.tracker.redis_records import (
    MOST_OFFERS,
    pack,
    source_row,
    submission_row,
    text,
    unpack,
    unpack_status,
    unpack_trace,
)
from crawling.tracker.redis_tracker import RedisTracker
from crawling.tracker.replicas import CONFIRM_MS
from crawling.tracker.tracker import CrawlId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.tracker import (
        CrawlOptions,
        CrawlStatus,
        Entry,
        Lease,
        Offer,
        Source,
        Trace,
    )

#: Crawls that are looked at in one step.
MOST_LISTED = 64


class Book(NamedTuple):
    """A crawl in one shard.

    *acts* counts how often something of it became outstanding here, *fin* is the last epoch
    that was closed, *flags* counts changes of its state, *mark* tells that it was found
    quiet, *held* that a submitter is at it.
    """

    status: CrawlStatus
    acts: int
    fin: int
    revision: int
    flags: int
    mark: bytes
    held: bool

    @property
    def is_quiet(self) -> bool:
        return not self.status.outstanding and not self.held


class Entered(NamedTuple):
    """What `enter` did.

    *epoch* is that of what is queued next, *changed* tells that the crawl had other options.
    """

    queued: int
    repeated: bool
    epoch: int
    revision: int
    changed: bool


class Shard(RedisTracker):
    """A tracker whose crawls have other parts elsewhere."""

    async def enter(
        self,
        crawl: CrawlId,
        offers: Sequence[Offer] = (),
        options: CrawlOptions | None = None,
        *,
        entry: Entry | str = "seed",
        source: Source | None = None,
        hold: float | None = None,
        epoch: int = 0,
        revision: int = 0,
        spiderid: str = "",
        attempts: int = 0,
        must_exist: bool = False,
    ) -> Entered:
        """Take offers for a crawl whose home has said *epoch* and *revision*.

        *entry* may also be "link", or "redirect" for a request that comes from another
        shard; these have been confirmed by a replica, if there is one, when this returns.
        Without a *hold* the crawl stays held, or not, as it was.
        """
        found = entry in {"link", "redirect"}
        how = {
            **self._how(entry, hold or 0.0),  # type: ignore[arg-type]  # the script knows more
            "epoch": epoch,
            "revision": revision,
            "attempts": attempts,
        }
        if hold is None:
            how["hold"] = -1
        if must_exist:
            how["must_exist"] = 1
        whose = self._names(crawl)
        if spiderid:
            whose["spider"] = names.escape(spiderid)
        rows = [
            submission_row(whose, offers[begin : begin + MOST_OFFERS], options, source, part)
            for part, begin in enumerate(range(0, max(len(offers), 1), MOST_OFFERS))
        ]
        calls = [(pack(how), pack([row])) for row in rows]
        if found and await self.replicas.count():
            answered = await self._confirmed(calls)
        else:
            answered = [await self._scripts.run("submit", *call) for call in calls]
        answers = list(chain.from_iterable(answered))
        queued = sum(answer[0] for answer in answers)
        _, repeated, epoch, revision, _ = answers[-1]
        return Entered(queued, bool(repeated), epoch, revision, bool(answers[0][4]))

    async def has_taken(self, source: Source, offers: Sequence[Offer]) -> bool:
        """Whether all of these offers came from *source* before."""
        parts = (max(len(offers), 1) - 1) // MOST_OFFERS + 1
        row = source_row(source)
        assert row is not None  # there is a source
        taken = await self._ask("HGET", self.keys.ingest(row["partition"]), source.offset)
        digest, _, done = (taken or b"").decode().rpartition(":")
        return digest == source.digest and int(done) >= parts

    async def book(self, crawl: CrawlId) -> Book | None:
        found = await self._scripts.run("book", names.crawl_name(crawl))
        if not found:
            return None
        flat, mark, held = found
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Book(
            unpack_status(fields),
            int(fields[b"acts"]),
            int(fields[b"fin"]),
            int(fields[b"rev"]),
            int(fields[b"flags"]),
            mark,
            bool(held),
        )

    async def close_epoch(
        self,
        crawl: CrawlId,
        epoch: int,
        acts: int,
        state: str,
        sums: CrawlStatus | None = None,
    ) -> bool:
        """Close *epoch* unless the crawl became active since *acts*; its home tells *sums*."""
        packed = pack(sums and _sums(sums))
        return bool(
            await self._scripts.run(
                "close", names.crawl_name(crawl), epoch, acts, state, packed
            )
        )

    async def quiet(self) -> list[CrawlId]:
        """Return crawls with nothing outstanding here that were not closed yet."""
        return await self._listed("quiet", -1)

    async def over(self) -> list[CrawlId]:
        """Return crawls whose home is here and whose seen-set need be kept no longer."""
        return await self._listed("over", round(self.config.dupefilter_timeout * 1000))

    async def _listed(self, which: str, keep: int) -> list[CrawlId]:
        found = await self._scripts.run("listed", which, keep, MOST_LISTED)
        return [CrawlId(*map(text, parts)) for parts in found if None not in parts]

    async def forget_here(self, crawl: CrawlId, acts: int) -> bool:
        """Forget the crawl unless it became active since *acts*."""
        return bool(await self._scripts.run("forget", names.crawl_name(crawl), acts))

    async def unmark(self, crawl: CrawlId, mark: bytes) -> None:
        await self._scripts.run("unmark", names.crawl_name(crawl), mark)

    async def flag_here(
        self, crawl: CrawlId, state: str, epoch: int, number: int = 0
    ) -> tuple[int, int]:
        """Set a flag: at home the answer has the number of the change, elsewhere it is told."""
        count, number = await self._scripts.run(
            "flag", names.crawl_name(crawl), state, epoch, number
        )
        return count, number

    async def still_leased(self, worker: str, leases: Sequence[Lease]) -> list[bool]:
        """Whether the leases are this worker's at this moment."""
        records = await self._ask(
            "HMGET", self.keys.leases(worker), *(lease.rid for lease in leases)
        )
        return [
            record is not None and text(unpack(record)[0]) == lease.token
            for lease, record in zip(leases, records, strict=True)
        ]

    async def trace_here(self, crawl: CrawlId, fingerprint: bytes) -> Trace | bytes:
        """Return where a request is; the fingerprint under which another shard has it."""
        found = await self._scripts.run("trace", names.crawl_name(crawl), fingerprint)
        if found[0] == b"moved":
            return bytes(found[1])
        return unpack_trace(*found)

    def _names(self, crawl: CrawlId) -> dict[str, str | int]:
        return {**super()._names(crawl), "spread": 1}

    async def _confirmed(
        self, calls: Sequence[Sequence[str | bytes | float]]
    ) -> list[list[list[int]]]:
        """Return when a replica has what the calls wrote."""
        answers, replicas = await self._scripts.run_confirmed("submit", calls, CONFIRM_MS)
        if not replicas:
            self.replicas.doubt()
            if await self.replicas.count():
                raise Unavailable(f"{self._place}: no replica has confirmed new links in time")
        return answers


def _sums(status: CrawlStatus) -> dict[str, object]:
    return {
        "columns": {
            "accepted": status.accepted,
            "done": status.done,
            "failed": status.failed,
            "dropped": status.dropped,
            "duplicates": status.duplicates,
            "size": status.size,
            "started": round(status.started * 1000),
        },
        "reasons": dict(status.reasons),
        "statuses": {str(code): count for code, count in status.statuses.items()},
    }
