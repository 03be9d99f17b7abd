"""The name of every Redis key; docs/reference/redis_keys.md tells what is in them.

The scripts build the names that they cannot be given from the same tag; a test holds
every key that a full run leaves behind against `PATTERNS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from crawling.tracker.tracker import CrawlId

if TYPE_CHECKING:
    from crawling.tracker.tracker import TrackerConfig

#: Every key, without its tag.  In a name `{spider}` and `{crawlid}` are escaped.
PATTERNS = (
    "{spider}:{domain}:queue",
    "{spider}:{domain}:queue:{cno}.{run}:{priority}",
    "{spider}:dupefilter:{crawlid}",
    "{spider}:dupefilter:{crawlid}@{appid}",
    "{spider}:dupefilter:{crawlid}:{cno}.{bucket}",
    "{throttle}{domain}:throttle_window",
    "fleet:meta",
    "fleet:crawls",
    "fleet:dupefilters",
    "fleet:crawl:{cno}",
    "fleet:lanes:{cno}.{run}",
    "fleet:parked:{cno}.{run}",
    "fleet:pages:{cno}",
    "fleet:pages:{cno}.{run}",
    "fleet:failed:{cno}",
    "fleet:ready:{view}",
    "fleet:resting:{view}",
    "fleet:active:{spider}",
    "fleet:flight:{spider}",
    "fleet:capped:{spider}",
    "fleet:idle:{spider}",
    "fleet:delayed",
    "fleet:delayed:{spider}",
    "fleet:views",
    "fleet:workers",
    "fleet:troubles",
    "fleet:vitals",
    "fleet:leases:{worker}",
    "fleet:dead",
    "fleet:dead:{grave}",
    "fleet:limits",
    "fleet:blocked",
    "fleet:deferred",
    "fleet:busy",
    "fleet:expires",
    "fleet:holds",
    "fleet:over",
    "fleet:quiet",
    "fleet:sweep",
    "fleet:ended",
    "fleet:rubbish",
    "fleet:times",
    "fleet:outbox",
    "fleet:control",
    "fleet:failures",
    "fleet:ingest:{partition}",
)

_UNSAFE = re.compile("[%:@]")


@lru_cache(maxsize=10_000)
def escape(name: str) -> str:
    """Escape what separates the parts of a key, in the name of a spider, app or crawl."""
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)


@dataclass(frozen=True)
class Keys:
    """The keys of one tracker, all beginning with *tag*.

    The tag is empty on a single Redis; with braces it keeps all keys of a shard in one
    slot of Redis Cluster, which the scripts need.
    """

    tag: str = ""

    @property
    def meta(self) -> str:
        return f"{self.tag}fleet:meta"

    @property
    def crawls(self) -> str:
        return f"{self.tag}fleet:crawls"

    @property
    def workers(self) -> str:
        return f"{self.tag}fleet:workers"

    @property
    def troubles(self) -> str:
        return f"{self.tag}fleet:troubles"

    @property
    def vitals(self) -> str:
        return f"{self.tag}fleet:vitals"

    @property
    def outbox(self) -> str:
        return f"{self.tag}fleet:outbox"

    @property
    def control(self) -> str:
        return f"{self.tag}fleet:control"

    @property
    def failures(self) -> str:
        return f"{self.tag}fleet:failures"

    @property
    def limits(self) -> str:
        return f"{self.tag}fleet:limits"

    @property
    def blocked(self) -> str:
        return f"{self.tag}fleet:blocked"

    def ingest(self, partition: str) -> str:
        return f"{self.tag}fleet:ingest:{partition}"

    def crawl(self, cno: int) -> str:
        return f"{self.tag}fleet:crawl:{cno}"

    def failed(self, cno: int) -> str:
        return f"{self.tag}fleet:failed:{cno}"

    def leases(self, worker: str) -> str:
        return f"{self.tag}fleet:leases:{worker}"

    def wake(self, listener: str) -> str:
        """Return the channel on which one process is told that there is work."""
        return f"{self.tag}fleet:wake:{listener}"


def crawl_name(crawl: CrawlId) -> str:
    """Return the field of a crawl in `Keys.crawls`."""
    return ":".join(map(escape, crawl))


def parse_crawl_name(name: str) -> CrawlId:
    return CrawlId(*map(unquote, name.split(":")))


def dupefilter(crawl: CrawlId) -> tuple[str, str]:
    """Return the name of a crawl's dupefilter, and that to use when it is taken.

    Another app may use the same crawlid.  The name of a queue is never returned, though
    a host may be called "dupefilter" and a crawl "queue".
    """
    crawlid = "%71ueue" if crawl.crawlid == "queue" else escape(crawl.crawlid)
    name = f"{escape(crawl.spiderid)}:dupefilter:{crawlid}"
    return name, f"{name}@{escape(crawl.appid)}"


def throttle_prefix(spiderid: str, config: TrackerConfig) -> str:
    """Return what the names of the throttles of this worker begin with."""
    parts = (escape(spiderid) if config.by_type else "", config.ip)
    return "".join(f"{part}:" for part in parts if part)


def view(spiderid: str, config: TrackerConfig) -> str:
    """Return whose ready and resting domains this worker sees."""
    spider = escape(spiderid)
    return f"{spider}@{config.ip}" if config.ip else spider
