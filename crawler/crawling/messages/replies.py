"""The answers of the Redis monitor, in the shapes of Scrapy Cluster.

Keys come in the order in which its clients have always seen them; `server_time` is whole
Unix seconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.tracker.tracker import CrawlId, CrawlStatus, QueuedIn, Trace

    Request = Mapping[str, Any]


class Pending(NamedTuple):
    """What one crawl has still to fetch."""

    crawl: CrawlId
    total: int
    domains: Sequence[QueuedIn]
    #: Unix seconds, 0: never.
    expires: int


def pending(status: CrawlStatus, domains: Sequence[QueuedIn]) -> Pending:
    """Return what the books and the queues say; what waits for a retry counts too."""
    total = sum(each.queued for each in domains) + status.delayed
    return Pending(status.crawl, total, domains, int(status.options.expires))


def crawl_info(request: Request, found: Pending | None) -> dict[str, Any]:
    """Return the answer to `info` of one crawl; `expires` is text, and only there if set."""
    reply = {
        "uuid": request["uuid"],
        "total_pending": found.total if found else 0,
        "server_time": _now(),
        "total_domains": len(found.domains) if found else 0,
        "appid": request["appid"],
        "crawlid": request["crawlid"],
        "spiderid": request["spiderid"],
        "domains": _domains(found.domains) if found else {},
    }
    if found and found.expires:
        reply["expires"] = str(found.expires)
    return reply


def application_info(request: Request, found: Sequence[Pending]) -> dict[str, Any]:
    """Return the answer to `info` of an application: its crawls that have work left."""
    busy = [each for each in found if each.total]
    domains = {domain.domain for each in busy for domain in each.domains}
    return {
        "uuid": request["uuid"],
        "total_pending": sum(each.total for each in busy),
        "server_time": _now(),
        "total_crawlids": len(busy),
        "total_domains": len(domains),
        "crawlids": {each.crawl.crawlid: _crawl(each) for each in busy},
        "appid": request["appid"],
        "spiderid": request["spiderid"],
    }


def _crawl(found: Pending) -> dict[str, Any]:
    """Return one crawl of an application, whose `expires` is a number."""
    crawl = {
        "total": found.total,
        "domains": _domains(found.domains),
        "distinct_domains": len(found.domains),
    }
    return {**crawl, "expires": found.expires} if found.expires else crawl


def _domains(domains: Sequence[QueuedIn]) -> dict[str, dict[str, int]]:
    return {
        each.domain: {
            "total": each.queued,
            "high_priority": each.highest,
            "low_priority": each.lowest,
        }
        for each in domains
    }


def stopped(request: Request, purged: int) -> dict[str, Any]:
    return {
        **_action(request),
        "total_purged": purged,
        "uuid": request["uuid"],
        "server_time": _now(),
    }


def acted(request: Request, **result: Any) -> dict[str, Any]:
    """Return the answer to the actions that Scrapy Cluster did not have."""
    return {**_action(request), **result, "uuid": request["uuid"], "server_time": _now()}


def traced(request: Request, trace: Trace) -> dict[str, Any]:
    return acted(request, url=request["url"], **vars(trace))


def domain_changed(request: Request, error: str = "") -> dict[str, Any]:
    reply = {
        "uuid": request["uuid"],
        "server_time": _now(),
        "action": request["action"],
        "domain": request["domain"],
        "appid": request["appid"],
    }
    return {**reply, "error": error} if error else reply


def expired(event: Request) -> dict[str, Any]:
    names = {name: event[name] for name in ("crawlid", "spiderid", "appid")}
    return {
        "server_time": int(event["server_time"]),
        **names,
        "total_expired": event["total_expired"],
        "action": "expired",
    }


def statistics(request: Request, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "stats": request["stats"],
        "appid": request["appid"],
        "uuid": request["uuid"],
        "server_time": _now(),
    }


def failed(request: Request, error: str) -> dict[str, Any]:
    """Return the answer to a request that could not be carried out."""
    names = ("action", "stats", "spiderid", "appid", "crawlid", "domain", "uuid")
    given = {name: request[name] for name in names if name in request}
    return {**given, "error": error, "server_time": _now()}


def _action(request: Request) -> dict[str, Any]:
    return {name: request[name] for name in ("action", "spiderid", "appid", "crawlid")}


def _now() -> int:
    return int(time.time())
