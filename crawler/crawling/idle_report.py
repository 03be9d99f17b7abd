"""Why domains and workers have nothing in flight, as text and as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.report import size_text
from crawling.service.text import printable
from crawling.tracker.idleness import Idle, of_domain, of_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crawling.tracker.tracker import CrawlStatus, DomainStatus, Tracker, WorkerStatus

    #: Returns all domains with work of a kind of spider.
    AllDomains = Callable[[str], Awaitable[Sequence[DomainStatus]]]

#: Domains of a spider that are looked at where the best will do, and those that a text names.
MOST_DOMAINS, NAMED = 1000, 10
TEXTS = {
    "ready": "may be leased now",
    "busy": "at work",
    "empty": "nothing to lease",
    "elsewhere": "as many in flight as may be",
    "throttled": "throttled until {until}",
    "deferred": "pushed back until {until}",
    "paused": "paused",
    "blocked": "blocked",
    "trouble": "{detail}",
}


class Waiting(NamedTuple):
    """What a crawl has queued in a domain, and why nothing more of it is leased."""

    domain: str
    queued: int
    idle: Idle

    def text(self) -> str:
        return printable(f"{self.domain}  {self.queued} queued: {idle_text(self.idle)}")

    def json(self) -> dict[str, Any]:
        return {"domain": self.domain, "queued": self.queued, **_json(self.idle)}


async def waiting_of(
    tracker: Tracker,
    status: CrawlStatus,
    all_domains: AllDomains | None = None,
) -> list[Waiting]:
    """Return the domains of a crawl in which something waits, longest queues first.

    *all_domains* returns those of a kind of spider, where somebody has looked at them already.
    """
    if not status.queued:
        return []
    queued = await tracker.queued(status.crawl)
    if status.state == "paused":
        why = dict.fromkeys((each.domain for each in queued), Idle("paused"))
    else:
        spiderid, domains = status.crawl.spiderid, [each.domain for each in queued]
        why = await _why(tracker, spiderid, domains, all_domains or tracker.all_domains)
    found = [Waiting(each.domain, each.queued, why[each.domain]) for each in queued]
    return sorted(found, key=lambda waiting: -waiting.queued)


async def _why(
    tracker: Tracker, spiderid: str, domains: Sequence[str], all_domains: AllDomains
) -> dict[str, Idle]:
    """Return why nothing more of each of *domains* is leased."""
    known = {each.domain: each for each in await tracker.domains(spiderid, MOST_DOMAINS)}
    if any(domain not in known for domain in domains):
        known = {each.domain: each for each in await all_domains(spiderid)} | known
    return {
        domain: of_domain(known[domain]) if domain in known else Idle("ready")
        for domain in domains
    }


async def idle_workers(
    tracker: Tracker, most: int = MOST_DOMAINS
) -> list[tuple[WorkerStatus, Idle]]:
    """Return all workers, each with why it has nothing in flight.

    *most* domains of each spider are looked at: the best, or first to open, decide.
    """
    workers = await tracker.workers()
    domains = {
        spider: await tracker.domains(spider, most)
        for spider in {worker.spiderid for worker in workers}
    }
    return [(worker, of_worker(worker, domains[worker.spiderid])) for worker in workers]


def worker_text(worker: WorkerStatus, idle: Idle) -> str:
    left = worker.deadline - time.time()
    life = f"alive for {left:.0f} s more" if left > 0 else f"not heard of for {-left:.0f} s"
    place = f"{worker.host} {worker.pid}  {worker.spiderid}" if worker.host else worker.worker
    told = f"  {vitals_text(worker)}" if any(worker.vitals) else ""
    return printable(f"{place}  holds {worker.leased}{told}  {life}: {idle_text(idle)}")


def vitals_text(worker: WorkerStatus) -> str:
    pages, rate, memory = worker.vitals
    return f"{pages} pages, {rate:.1f}/s, {size_text(memory)}"


def worker_json(worker: WorkerStatus, idle: Idle) -> dict[str, Any]:
    names = ("host", "pid", "spiderid")
    parts = {name: getattr(worker, name) for name in names}
    own = {name: value for name, value in vars(worker).items() if name != "vitals"}
    return {**own, **worker.vitals._asdict(), **parts, **_json(idle)}


def idle_text(idle: Idle, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    until = time.strftime(form, time.gmtime(idle.until or 0.0))
    return TEXTS[idle.why].format(until=until, detail=idle.detail)


def _json(idle: Idle) -> dict[str, Any]:
    return {"why": idle.why, "until": idle.until}
