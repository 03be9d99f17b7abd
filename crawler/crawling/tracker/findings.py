"""What an audit finds: places where the books and what there is differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from crawling.tracker.tracker import CrawlId

#: accepted, queued, delayed, leased: a column of a crawl's ledger.  end: a crawl that should
#: have ended.  lane, domain, due: requests that wait where no lease comes.  flight: how many
#: requests of a domain are in flight.  worker, bundle: leases that nobody would give back.
#: key: what is left of a crawl that is gone.  unsteady: a crawl that moved while it was
#: counted.  unchecked: more leases or delayed requests than one step may count.
Kind = Literal[
    "accepted",
    "queued",
    "delayed",
    "leased",
    "end",
    "lane",
    "domain",
    "due",
    "flight",
    "worker",
    "bundle",
    "key",
    "unsteady",
    "unchecked",
]
#: Findings that say what was not looked at; a repair has nothing to mend.
NOT_CHECKED = frozenset({"unsteady", "unchecked"})


@dataclass(frozen=True)
class Finding:
    """One difference: *booked* is what the books say, *found* what there is.

    *where* is a queue (`spider:domain`), a lane, a worker or a key.
    """

    kind: Kind
    crawl: CrawlId | None = None
    where: str = ""
    booked: int = 0
    found: int = 0
