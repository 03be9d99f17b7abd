"""`/api/v1/domains`: how much waits where, and how a domain is treated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query

from crawling.exceptions import ConfigError, MessageError, Problem
from crawling.service.patterns import registered_domain
from rest_service import models
from rest_service.domain_board import Order, Wanted
from rest_service.parts import After, Limit, PartsOf, needs, page_of, problems, unescaped

Why = Literal["ready", "elsewhere", "throttled", "deferred", "paused", "blocked"]

#: Rows of a page of settings at most: they are small.
MOST_SETTINGS = 1000


def domain_named(domain: Annotated[str, Path(examples=["example.com"])]) -> str:
    """Return the domain of a path as the tracker names it; raise `MessageError`."""
    return _registered(unescaped("domain", domain))


def _registered(name: str) -> str:
    try:
        return registered_domain(name)
    except ConfigError as error:
        raise MessageError([Problem("domain", error.problem, name)]) from error


Named = Annotated[str, Depends(domain_named)]

router = APIRouter(tags=["domains"], responses=problems(400, 401, 403, 429, 503))
reading = APIRouter(dependencies=[needs("read")])
operating = APIRouter(dependencies=[needs("operate")])


@reading.get("/domains", response_model=models.DomainPage)
async def domains(
    parts: PartsOf,
    *,
    sort: Annotated[
        Order,
        Query(
            description="next: as they will be asked; backlog and rate: most first.",
            examples=["backlog"],
        ),
    ] = "next",
    state: Annotated[
        Why | None, Query(description="Only domains that are so.", examples=["throttled"])
    ] = None,
    spiderid: Annotated[str, Query(examples=["link"])] = "",
    name: Annotated[
        str, Query(description="Only domains with this in their name.", examples=["example"])
    ] = "",
    limit: Limit = 50,
    after: After = 0,
) -> dict[str, Any]:
    """List the domains that have something queued or in flight.

    All are looked at together, less often where there are very many; `as_of` says when.
    """
    board = await parts.domains.fresh()
    found = parts.domains.listed(board, Wanted(sort, state, spiderid, name))
    page, following = page_of(found, after, limit)
    return {
        "domains": [parts.domains.row(board, status) for status in page],
        "total": len(found),
        "as_of": board.time,
        "next": following,
    }


@reading.get("/domain-settings", response_model=models.DomainSettings)
async def settings(
    parts: PartsOf,
    *,
    domain: Annotated[
        str, Query(description="Only what was set for this one.", examples=["example.com"])
    ] = "",
    limit: Annotated[
        int, Query(ge=1, le=MOST_SETTINGS, description="Rows of the page.", examples=[100])
    ] = 100,
    after: After = 0,
) -> dict[str, Any]:
    """List all that was set for single domains, by name, whether or not they have work."""
    found = await parts.tracker.domain_settings()
    if domain:
        name = _registered(domain)
        found = [each for each in found if each.domain == name]
    page, following = page_of(found, after, limit)
    return {
        "settings": [each._asdict() for each in page],
        "total": len(found),
        "next": following,
    }


@operating.put("/domains/{domain}/limit", status_code=204)
async def limit(domain: Named, how: models.Limit, parts: PartsOf) -> None:
    """Let at most `hits` requests go to a domain in any `window`, over all workers."""
    await parts.tracker.limit(domain, how.hits, how.window, how.scale)
    parts.touch()


@operating.delete("/domains/{domain}/limit", status_code=204)
async def unlimit(domain: Named, parts: PartsOf) -> None:
    """Let the throttle of a domain be that of all others again."""
    await parts.tracker.limit(domain, 0, 0.0)
    parts.touch()


@operating.put("/domains/{domain}/block", status_code=204)
async def block(domain: Named, parts: PartsOf) -> None:
    """Lease nothing of a domain until it is unblocked; what is queued stays queued."""
    await parts.tracker.block(domain)
    parts.touch()


@operating.delete("/domains/{domain}/block", status_code=204)
async def unblock(domain: Named, parts: PartsOf) -> None:
    """Lease of a blocked domain again."""
    await parts.tracker.block(domain, blocked=False)
    parts.touch()


@operating.post("/domains/{domain}/defer", status_code=204)
async def defer(domain: Named, how: models.Defer, parts: PartsOf) -> None:
    """Lease nothing of a domain for some seconds."""
    await parts.tracker.defer(domain, how.seconds)
    parts.touch()


router.include_router(reading)
router.include_router(operating)
