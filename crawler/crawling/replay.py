"""Requests that failed for good, from Kafka back to the tracker.

It serves crawls that the tracker has forgotten: what it still knows, `Tracker.retry` queues
again.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.exceptions import RequestError
from crawling.service.kafka import KafkaReader, kafka_config, topic_of
from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer
from crawling.tracker.urls import domain_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from crawling.tracker.tracker import Tracker

#: Messages that are read at once, and seconds to wait for the first.
BATCH, WAIT = 500, 1.0


class Wanted(NamedTuple):
    """What is to be replayed; what is empty is not asked for."""

    crawlid: str
    spiderid: str = ""
    appid: str = ""
    reason: str = ""
    domain: str = ""

    def fits(self, crawl: CrawlId, offer: Offer, reason: str) -> bool:
        given = (crawl.crawlid, crawl.spiderid, crawl.appid, reason, offer.domain)
        return all(want in {"", is_} for want, is_ in zip(self, given, strict=True))


class Failed(NamedTuple):
    crawl: CrawlId
    options: CrawlOptions
    offer: Offer


async def replay(tracker: Tracker, settings: Mapping[str, Any], wanted: Wanted) -> int:
    """Queue what `<prefix>.failed_firehose` has and the tracker knows nothing of; how many."""
    config = kafka_config(settings)
    reader = KafkaReader(config, [topic_of(config.prefix, "failed")], None)
    await reader.open()
    try:
        failed = [each async for each in _failures(reader, wanted)]
    finally:
        await reader.close()
    return sum(
        [
            (await tracker.submit(crawl, offers, options, entry="known")).queued
            for crawl, (options, offers) in (await _forgotten(tracker, failed)).items()
        ]
    )


async def _failures(reader: KafkaReader, wanted: Wanted) -> AsyncIterator[Failed]:
    """Yield what is wanted of the messages that are there now."""
    left = {place: end for place, end in (await reader.ends()).items() if end > 0}
    while left:
        records = await reader.poll(BATCH, WAIT)
        for record in records:
            place = (record.topic, record.partition)
            if record.offset + 1 >= left.get(place, 0):
                left.pop(place, None)
            failed = _read(record.value, wanted)
            if failed is not None:
                yield failed
        if not records:
            # All that is older may have been deleted since.
            return


def _read(value: bytes | None, wanted: Wanted) -> Failed | None:
    """Return the request of a message; None when it is not wanted, or none of ours."""
    try:
        message = json.loads(value or b"null")
        crawl = CrawlId(message["spiderid"], message["appid"], message["crawlid"])
        kept = message["replay"]
        offer = Offer(
            url=message["url"],
            domain=domain_of(message["url"]),
            fingerprint=bytes.fromhex(kept["fingerprint"]),
            priority=message["priority"] + 10 * (message["attempts"] - 1),
            depth=message["depth"],
            extras=b64decode(kept["extras"]),
            spiderid=kept["spiderid"],
        )
        options = CrawlOptions(**kept["options"])
        return Failed(crawl, options, offer) if _fits(wanted, crawl, offer, message) else None
    except (ValueError, TypeError, LookupError, RequestError):
        return None


def _fits(wanted: Wanted, crawl: CrawlId, offer: Offer, message: Mapping[str, Any]) -> bool:
    return wanted.fits(crawl, offer, message["reason"])


async def _forgotten(
    tracker: Tracker, failed: Iterable[Failed]
) -> dict[CrawlId, tuple[CrawlOptions, list[Offer]]]:
    """Return by crawl what the tracker has never seen; the newest message of each counts."""
    newest = {(each.crawl, each.offer.fingerprint): each for each in failed}
    found: dict[CrawlId, tuple[CrawlOptions, list[Offer]]] = {}
    offers = defaultdict[CrawlId, list[Offer]](list)
    for crawl, options, offer in newest.values():
        if (await tracker.trace(crawl, offer.fingerprint)).state == "unseen":
            offers[crawl].append(offer)
            found[crawl] = (options, offers[crawl])
    return found
