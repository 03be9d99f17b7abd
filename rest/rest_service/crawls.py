"""`/api/v1/crawls`: submitted, looked at and changed, as the tracker does it."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from crawling.exceptions import MessageError, Problem
from crawling.messages.control import check_reason
from crawling.messages.crawl import page_ids, submission
from crawling.messages.reading import read_message
from crawling.tracker.tracker import CrawlId, CrawlStatus, Tracker
from crawling.tracker.urls import fingerprint, with_scheme
from rest_service import examples
from rest_service.answers import NotFound, NotNow
from rest_service.models import (
    Changed,
    Crawl,
    CrawlPage,
    FailedPage,
    Pages,
    Priority,
    Retried,
    Retry,
    Stopped,
    Trace,
    WaitingPage,
    crawl_json,
)
from rest_service.parts import (
    After,
    Limit,
    PartsOf,
    crawl_named,
    needs,
    page_of,
    problems,
)

logger = logging.getLogger(__name__)

ONE = "/crawls/{spiderid}/{appid}/{crawlid}"
Named = Annotated[CrawlId, Depends(crawl_named)]
State = Literal["running", "paused", "stopped", "expired", "finished"]

router = APIRouter(tags=["crawls"], responses=problems(401, 403, 429, 503))
reading = APIRouter(dependencies=[needs("read")])
submitting = APIRouter(dependencies=[needs("submit")])
operating = APIRouter(dependencies=[needs("operate")])


@submitting.post(
    "/crawls",
    status_code=201,
    response_model=Crawl,
    responses=problems(400, 413),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/CrawlRequest"},
                    "example": examples.CRAWL_REQUEST,
                }
            },
        }
    },
)
async def submit(request: Request, response: Response, parts: PartsOf) -> dict[str, Any]:
    """Submit a crawl, or one more URL of it: the JSON of a crawl request on Kafka.

    When the answer comes the tracker has it; no Kafka is needed.
    """
    since = time.time()
    message = parts.crawl_schema.validate(read_message(await request.body()))
    allowed = parts.settings["ALLOW_PRIVATE_ADDRESSES"]
    asked = submission(message, None, private_allowed=allowed)
    await parts.tracker.submit(asked.crawl, asked.offers, asked.options)
    parts.touch()
    if parts.traces is not None:
        parts.traces.fed(asked, since)
    for page in page_ids(asked):
        extra = {"action": "ingest", **asked.crawl._asdict(), "requestid": page}
        logger.info("Added crawl", extra=extra)
    response.headers["Location"] = str(request.url.path) + parts.place(asked.crawl)
    return _json(await _known(parts.tracker, asked.crawl), parts)


@reading.get("/crawls", response_model=CrawlPage)
async def crawls(
    parts: PartsOf,
    *,
    spiderid: Annotated[str, Query(examples=["link"])] = "",
    appid: Annotated[str, Query(examples=["demo"])] = "",
    state: Annotated[
        State | None, Query(description="Only crawls in this state.", examples=["running"])
    ] = None,
    limit: Limit = 50,
    after: After = 0,
) -> dict[str, Any]:
    """List crawls, those that began last first."""
    found = [
        status
        for status in (await parts.overview.fresh()).newest()
        if spiderid in {"", status.crawl.spiderid}
        and appid in {"", status.crawl.appid}
        and state in {None, status.state}
    ]
    page, following = page_of(found, after, limit)
    rows = [_json(status, parts) for status in page]
    return {"crawls": rows, "total": len(found), "next": following}


@reading.get(ONE, response_model=Crawl, responses=problems(404))
async def crawl(named: Named, parts: PartsOf) -> dict[str, Any]:
    """Return the books of a crawl as they are now."""
    return _json(await _known(parts.tracker, named), parts)


@reading.get(f"{ONE}/domains", response_model=WaitingPage, responses=problems(404))
async def waiting(
    named: Named, parts: PartsOf, limit: Limit = 50, after: After = 0
) -> dict[str, Any]:
    """List the domains in which the crawl waits, longest queues first, and why it does."""
    await _known(parts.tracker, named)
    found = await parts.domains.of_crawl(named)
    page, following = page_of(found, after, limit)
    return {
        "domains": [each.json() for each in page],
        "total": len(found),
        "next": following,
    }


@reading.get(f"{ONE}/failed", response_model=FailedPage, responses=problems(400, 404))
async def failed(
    named: Named,
    parts: PartsOf,
    *,
    reason: Annotated[
        str, Query(description="Only what failed for this.", examples=["http_503"])
    ] = "",
    domain: Annotated[
        str, Query(description="Only what failed of this domain.", examples=["example.com"])
    ] = "",
    limit: Limit = 50,
    after: Annotated[
        str, Query(description="`next` of the page before.", examples=["0.50"])
    ] = "",
) -> dict[str, Any]:
    """List requests that failed for good, a page at a time."""
    check_reason(reason)
    await _known(parts.tracker, named)
    page = await parts.tracker.failed(named, limit, reason=reason, domain=domain, after=after)
    rows = [dataclasses.asdict(each) for each in page.failures]
    return {"failed": rows, "next": page.after or None}


@reading.get(f"{ONE}/trace", response_model=Trace, responses=problems(400, 404))
async def trace(
    named: Named, parts: PartsOf, url: Annotated[str, Query(examples=["https://example.com/"])]
) -> dict[str, Any]:
    """Say where a URL of the crawl is, and why."""
    await _known(parts.tracker, named)
    try:
        seen_as = fingerprint(with_scheme(url))
    except ValueError as error:
        raise MessageError([Problem("url", f"is no URL: {error}", url)]) from error
    found = await parts.tracker.trace(named, seen_as)
    return {"url": url, **dataclasses.asdict(found)}


@reading.get(f"{ONE}/pages", response_model=Pages, responses=problems(404, 409))
async def pages(
    named: Named,
    parts: PartsOf,
    limit: Annotated[int, Query(ge=1, le=100, examples=[20])] = 20,
    *,
    body: Annotated[
        bool, Query(description="With the bodies of the pages.", examples=[False])
    ] = False,
) -> dict[str, Any]:
    """Return the newest pages of a crawl, as they stand on Kafka.

    The newest messages of the topic are looked through; without Kafka there are none to
    look at, and the answer is 409.
    """
    if parts.pages is None:
        raise NotNow("there is no Kafka here to read pages from: see KAFKA_HOSTS")
    found = await parts.pages.newest(named, limit, with_body=body)
    if not found.pages:
        await _known(parts.tracker, named)
    return found._asdict()


@operating.post(f"{ONE}/stop", response_model=Stopped, responses=problems(404))
async def stop(named: Named, parts: PartsOf) -> dict[str, int]:
    """End a crawl: what is queued is dropped, what is in flight comes to its end."""
    await _known(parts.tracker, named)
    dropped = await parts.tracker.stop(named)
    parts.touch()
    return {"dropped": dropped}


@operating.post(f"{ONE}/pause", response_model=Changed, responses=problems(404))
async def pause(named: Named, parts: PartsOf) -> dict[str, bool]:
    """Lease nothing more of a crawl until it is resumed."""
    await _known(parts.tracker, named)
    changed = await parts.tracker.pause(named)
    parts.touch()
    return {"changed": changed}


@operating.post(f"{ONE}/resume", response_model=Changed, responses=problems(404))
async def resume(named: Named, parts: PartsOf) -> dict[str, bool]:
    """Go on with a paused crawl."""
    await _known(parts.tracker, named)
    changed = await parts.tracker.resume(named)
    parts.touch()
    return {"changed": changed}


@operating.post(f"{ONE}/retry", response_model=Retried, responses=problems(400, 404))
async def retry(named: Named, parts: PartsOf, how: Retry | None = None) -> dict[str, int]:
    """Queue again what failed for good: all, or of one reason or domain."""
    how = how or Retry(reason="", domain="")
    check_reason(how.reason)
    await _known(parts.tracker, named)
    queued = await parts.tracker.retry(named, how.reason, how.domain)
    parts.touch()
    return {"queued": queued}


@operating.post(f"{ONE}/prioritize", response_model=Changed, responses=problems(400, 404))
async def prioritize(named: Named, parts: PartsOf, how: Priority) -> dict[str, bool]:
    """Let everything of a crawl count more, or less, than it was submitted with."""
    await _known(parts.tracker, named)
    return {"changed": await parts.tracker.prioritize(named, how.priority)}


@operating.delete(ONE, status_code=204, responses=problems(404, 409))
async def delete(named: Named, parts: PartsOf) -> None:
    """Forget a crawl that has ended: its books, and which URLs it has seen."""
    await _known(parts.tracker, named)
    if not await parts.tracker.forget(named):
        raise NotNow("the crawl goes on, or has requests in flight: stop it, and wait for them")
    parts.touch()


async def _known(tracker: Tracker, named: CrawlId) -> CrawlStatus:
    status = await tracker.crawl(named)
    if status is None:
        raise NotFound(f"there is no crawl {'/'.join(named)!r}")
    return status


def _json(status: CrawlStatus, parts: PartsOf) -> dict[str, Any]:
    return crawl_json(status, parts.overview.rate(status.crawl))


for each in (reading, submitting, operating):
    router.include_router(each)
