"""The application: its routes, its layers, and what each error becomes."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.exceptions import HTTPException

from crawling.exceptions import ConfigError, MessageError, Problem, Unavailable
from crawling.idle_report import idle_workers
from crawling.messages.validation import load_schema
from rest_service import crawls, domains, fleet, legacy
from rest_service.access import Denied, make_access
from rest_service.answers import NotFound, NotNow, json_response, problem_response
from rest_service.dashboard import Dashboard
from rest_service.domain_board import DomainBoard
from rest_service.events import Events
from rest_service.guard import Guard
from rest_service.overview import Overview
from rest_service.pages import NewestPages
from rest_service.parts import Parts, PartsOf, needs
from rest_service.shared_look import SharedLook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp

    from crawling.service.tracing import Traces
    from rest_service.backends import Backends
    from rest_service.metrics import Metrics

logger = logging.getLogger(__name__)

VERSION = "1"
API = "/api/v1"

ABOUT = """\
Crawls, domains and workers of a scrapy-fleet.

Errors are `application/problem+json` (RFC 9457); `errors` names each field with what is
wrong with it. Lists are paged: `next` of a page is `after` of the next one. Names in paths
are percent-escaped, also a slash in them.

Scrapy Cluster's own endpoints (`/`, `/feed`, `/poll`) are served beside these.
"""


def make_parts(
    settings: Mapping[str, Any], backends: Backends, traces: Traces | None = None
) -> Parts:
    overview = Overview(backends)
    return Parts(
        settings=settings,
        backends=backends,
        access=make_access(settings),
        overview=overview,
        events=Events(overview),
        domains=DomainBoard(backends),
        workers=SharedLook(lambda: idle_workers(backends.tracker)),
        pages=None if backends.kafka is None else NewestPages(settings),
        crawl_schema=load_schema("crawl", settings),
        traces=traces,
    )


def make_app(parts: Parts, metrics: Metrics, node: str) -> ASGIApp:
    """Return the whole service for these parts; *node* is its name among its like."""
    # No pages of documentation: FastAPI's are loaded from somebody else's server.
    app = FastAPI(
        title="scrapy-fleet",
        version=VERSION,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
        # In Scrapy Cluster `/feed/` is not there.
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.include_router(legacy.make_router(legacy.Legacy(parts.backends, parts.access, node)))
    for module in (crawls, domains, fleet):
        app.include_router(module.router, prefix=API)
    app.include_router(_probes(metrics))
    app.mount("/ui", Dashboard())
    app.add_route("/ui", lambda _: RedirectResponse("ui/"))
    _describe(app, parts)
    _explain(app)
    return Guard(
        app,
        metrics,
        max_body=parts.settings["REST_MAX_BODY"],
        local_only=parts.access.is_open,
    )


def _probes(metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["probes"])

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        """Answer: the process lives, whatever is with its servers."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready(parts: PartsOf) -> Response:
        """Answer 200 when the tracker, and Kafka where there is one, can be worked with."""
        kafka = parts.backends.kafka
        found = {
            "tracker": "up" if await parts.backends.tracker_is_up() else "down",
            "kafka": "off" if kafka is None else "up" if kafka.is_up else "down",
        }
        return json_response(found, 503 if "down" in found.values() else 200)

    @router.get("/metrics", dependencies=[needs("read")], response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Answer what Prometheus asks for."""
        return Response(await metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def _explain(app: FastAPI) -> None:
    """Let no error of ours, of FastAPI or of a bug reach a client in another form."""

    @app.exception_handler(legacy.Refused)
    async def _refused(_: Request, error: legacy.Refused) -> Response:
        return legacy.refusal(error)

    @app.exception_handler(Denied)
    async def _denied(_: Request, error: Denied) -> Response:
        return problem_response(error.status, str(error), retry_after=error.retry_after)

    @app.exception_handler(MessageError)
    async def _unfit(_: Request, error: MessageError) -> Response:
        return problem_response(400, str(error), error.errors)

    @app.exception_handler(ConfigError)
    async def _nonsense(_: Request, error: ConfigError) -> Response:
        problem = Problem(error.setting, error.problem)
        return problem_response(400, str(error), [problem])

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        problems = [_problem(each) for each in error.errors()]
        return problem_response(400, str(MessageError(problems)), problems)

    @app.exception_handler(NotFound)
    async def _not_found(_: Request, error: NotFound) -> Response:
        return problem_response(404, str(error))

    @app.exception_handler(NotNow)
    async def _not_now(_: Request, error: NotNow) -> Response:
        return problem_response(409, str(error))

    @app.exception_handler(Unavailable)
    async def _unavailable(_: Request, error: Unavailable) -> Response:
        return problem_response(503, str(error), retry_after=1)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        path, status, detail = request.url.path, error.status_code, str(error.detail)
        if not legacy.is_ours(path):
            # As in Scrapy Cluster, whatever is not there is not there by GET and POST alone.
            if status in {404, 405}:
                status = 404 if request.method in {"GET", "HEAD", "POST"} else 405
                detail = HTTPStatus(status).phrase
            if status == 404:
                detail = "The desired endpoint does not exist"
        return legacy.refusal_for(path, status, detail)

    @app.exception_handler(Exception)
    async def _bug(request: Request, _: Exception) -> Response:
        # Starlette raises it again for the log.
        return legacy.refusal_for(
            request.url.path, 500, "An error occurred while processing your request."
        )


def _problem(error: Mapping[str, Any]) -> Problem:
    """Return FastAPI's error with a path like those of the schemas."""
    place, *path = error["loc"]
    name = ".".join(map(str, path)) if path else str(place)
    value = None if error["type"] in {"missing", "json_invalid"} else error.get("input")
    return Problem(name, error["msg"], value if isinstance(value, str | int | float) else None)


def _describe(app: FastAPI, parts: Parts) -> None:
    """Add to OpenAPI's description what FastAPI cannot know."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            schemas = found["components"]["schemas"]
            schemas["CrawlRequest"] = {
                name: value
                for name, value in parts.crawl_schema.definition.items()
                if name != "$schema"
            }
            schemas["Problem"] = PROBLEM
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path in found["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            legacy.describe(found["paths"])
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # as FastAPI's docs say


PROBLEM = {
    "title": "Problem",
    "description": "An error (RFC 9457).",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, in one line."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "The field; empty: all of it."},
                    "message": {"type": "string"},
                    "value": {},
                },
            },
        },
    },
    "example": {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "maxdepth: must be at most 3, not 5",
        "errors": [{"path": "maxdepth", "message": "must be at most 3, not 5", "value": 5}],
    },
}
