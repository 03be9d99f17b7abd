"""`/api/v1/workers`, `/stats` and `/events`: the fleet as a whole."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse

from crawling.exceptions import Unavailable
from crawling.idle_report import worker_json
from rest_service import models
from rest_service.access import Denied
from rest_service.answers import NotFound
from rest_service.events import MOST_OF_TOKEN
from rest_service.parts import (
    After,
    Limit,
    PartsOf,
    TokenOf,
    needs,
    page_of,
    problems,
    unescaped,
)

#: Seconds after which who has too many streams may try again.
PAUSE = 10.0
#: Services of a cluster that count what they do.
SERVICES = ("kafka-monitor", "redis-monitor", "rest")

router = APIRouter(
    tags=["fleet"],
    dependencies=[needs("read")],
    responses=problems(401, 403, 429, 503),
)


@router.get("/workers", response_model=models.WorkerPage)
async def workers(parts: PartsOf, limit: Limit = 50, after: After = 0) -> dict[str, Any]:
    """List workers, what each holds, and why it is idle; those in trouble come first."""
    now = time.time()
    found = sorted(
        await parts.workers.fresh(),
        key=lambda pair: (not pair[0].trouble, pair[0].deadline > now, pair[0].worker),
    )
    page, following = page_of(found, after, limit)
    rows = [{**worker_json(*pair), "alive": pair[0].deadline > now} for pair in page]
    return {"workers": rows, "total": len(found), "next": following}


@router.get(
    "/workers/{name}/requests",
    response_model=models.HeldRequests,
    responses=problems(400, 404),
)
async def held(
    name: Annotated[str, Path(examples=["crawler-1:4711:link:5f3a"])],
    parts: PartsOf,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List what a worker holds at this moment, longest held first.

    Of a worker that holds more than `limit`, any so many are listed.
    """
    worker = unescaped("name", name)
    found = await parts.tracker.held(worker, limit)
    if found is None:
        raise NotFound(f"there is no worker {worker!r}")
    return {"requests": [models.held_json(each) for each in found]}


@router.get("/stats", response_model=models.Stats)
async def stats(parts: PartsOf) -> dict[str, Any]:
    """Return the sums over all crawls, the last hour, and what each service has counted."""
    await parts.overview.fresh()
    services: dict[str, Any] = {}
    statistics = parts.backends.statistics
    for service in SERVICES if statistics is not None else ():
        counts = await statistics.counts(f"stats:{service}")  # type: ignore[union-attr]  # it is there
        services[service] = {"nodes": await statistics.nodes(service), "counts": counts}  # type: ignore[union-attr]  # the same
    return {
        "overview": parts.overview.totals(),
        "history": list(parts.overview.history),
        "services": services,
    }


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "text/event-stream": {
                    "example": 'id: 1\nevent: snapshot\ndata: {"overview": {}, "crawls": []}\n\n'
                }
            },
            "description": "`snapshot` at first, and whenever the listener was too slow: the "
            "`overview` (as in `/stats`), the newest 100 `crawls`, the `history`. Then "
            "`update`, at most once a second and only when something has changed: the "
            "`overview`, the `crawls` that have changed, those that are `gone`; `more` says "
            "that there are others, `changed` which of the lists `crawls`, "
            "`domain-settings`, `domains` and `workers` are to be asked for again.",
        },
        **problems(429, 503),
    },
)
async def events(parts: PartsOf, token: TokenOf) -> StreamingResponse:
    """Tell what changes, as server-sent events.

    `Last-Event-ID` may be sent; it has no effect, since each stream begins with all there is.
    """
    if parts.events.is_full:
        raise Unavailable("too many listen already, or the service is about to end")
    if parts.events.is_full_for(token):
        raise Denied(429, f"{token} has {MOST_OF_TOKEN} streams open already", PAUSE)
    # Who listens is told that the tracker is away, and when it is back.
    with suppress(Unavailable):
        await parts.overview.fresh()
    return StreamingResponse(
        parts.events.listen(token),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
