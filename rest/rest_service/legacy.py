"""Scrapy Cluster's three endpoints, with its bodies: `/`, `/feed` and `/poll`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from crawling.exceptions import MessageError, OutputError, Problem, Unavailable
from crawling.messages.control import check_action, check_domain
from crawling.messages.crawl import submission
from crawling.messages.reading import read_message
from crawling.messages.rejection import shown_problem
from crawling.messages.validation import Schema, load_schema
from crawling.tracker.scripts import answer
from rest_service import examples
from rest_service.access import Denied
from rest_service.answers import headers_of, problem_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rest_service.access import Access, Scope
    from rest_service.backends import Backends

logger = logging.getLogger(__name__)

#: Seconds for which an answer that came too late can be polled for.
KEPT = 3600
#: Paths that Scrapy Cluster did not have.
OURS = ("/api/", "/healthz", "/readyz", "/metrics", "/ui")
#: What Flask says of each path of Scrapy Cluster's: what is not there it takes by GET and POST.
ALLOWED = "GET, HEAD, OPTIONS, POST"
#: What the actions that only look at crawls are called; the others change them.
LOOKING = frozenset({"info", "trace"})
#: What a log line repeats of a message.
NAMES = ("appid", "crawlid", "spiderid", "uuid")

_POLL = Schema(
    {
        "type": "object",
        "properties": {"poll_id": {"type": "string", "minLength": 1, "maxLength": 100}},
        "required": ["poll_id"],
        "additionalProperties": False,
    },
    "poll request",
)


class Refused(Exception):
    """An answer of these endpoints that is no success."""

    def __init__(
        self, status: int, message: str, errors: Sequence[Problem] = (), retry: float = 0.0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errors = errors
        self.retry = retry


def wrapped(data: Any = None) -> Response:
    return _response({"status": "SUCCESS", "data": data, "error": None}, 200)


def refusal(error: Refused) -> Response:
    said: dict[str, Any] = {"message": str(error)}
    if error.errors:
        said["cause"] = str(MessageError(error.errors))
        said["errors"] = [shown_problem(each) for each in error.errors]
    body = {"status": "FAILURE", "data": None, "error": said}
    return _response(body, error.status, headers_of(error.status, error.retry))


def is_ours(path: str) -> bool:
    """Whether errors of a path have the form of the resource API."""
    return path.startswith(OURS)


def refusal_for(path: str, status: int, detail: str) -> Response:
    """Return an error in the form that the clients of *path* know."""
    if is_ours(path):
        return problem_response(status, detail)
    return refusal(Refused(status, detail))


def _response(body: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    text = json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    return Response(text, status, headers=dict(headers or {}), media_type="application/json")


class Legacy:
    """What Scrapy Cluster's REST service does, for clients that know it."""

    def __init__(self, backends: Backends, access: Access, node: str) -> None:
        self._backends = backends
        self._access = access
        self._node = node
        self._started = time.monotonic()
        settings = backends.settings
        self._patience: float = settings["WAIT_FOR_RESPONSE_TIME"]
        self._private_allowed: bool = settings["ALLOW_PRIVATE_ADDRESSES"]
        self._schemas = {
            kind: load_schema(kind, settings)
            for kind in ("crawl", "action", "stats", "zookeeper")
        }
        if backends.kafka is not None:
            backends.kafka.keep = self._keep

    async def index(self) -> Response:
        """Answer 200 whatever is with the servers; `node_health` says how they are."""
        redis, kafka = await self._redis_is_up(), self._kafka_is_up()
        health = ("RED", "YELLOW", "GREEN")[redis + kafka]
        return _response(
            {
                "kafka_connected": kafka,
                "redis_connected": redis,
                "uptime_sec": int(time.monotonic() - self._started),
                "my_id": self._node,
                "node_health": health,
            },
            200,
        )

    async def feed(self, request: Request) -> Response:
        """Send a request to Kafka; with a `uuid`, wait for what is answered to it."""
        self._allow(request, "read")
        message = await _read(request)
        kind = self._check(message)
        self._allow_message(request, kind, message)
        kafka = self._backends.kafka
        if kafka is None or not kafka.is_up:
            raise Refused(500, "Unable to connect to Kafka")
        uuid = message.get("uuid")
        # Before the request is sent: a fast answer must find who waits for it.
        waiting = kafka.wait_for(uuid) if uuid else None
        try:
            await kafka.send(await request.body(), message.get("crawlid"))
            # Which page it begins is known when Kafka has it: its id has partition and offset.
            named = {name: message[name] for name in NAMES if name in message}
            logger.info("Fed request", extra={"action": "feed", **named})
            if waiting is None:
                return wrapped()
            return wrapped(await asyncio.wait_for(asyncio.shield(waiting), self._patience))
        except asyncio.TimeoutError:
            # It may have come at the last moment: nobody else has it then.
            if waiting is not None and waiting.done():
                return wrapped(waiting.result())
            return wrapped({"poll_id": uuid})
        except Unavailable as error:
            logger.warning("Kafka refused", extra={"action": "feed", "error": str(error)})
            raise Refused(500, "Unable to connect to Kafka") from error
        except OutputError as error:
            raise Refused(413, f"The message is too large for Kafka: {error}") from error
        finally:
            if uuid:
                kafka.give_up(uuid)

    async def poll(self, request: Request) -> Response:
        """Return an answer that came too late for who had asked by `/feed`."""
        self._allow(request, "read")
        message = await _read(request)
        try:
            _POLL.validate(message)
        except MessageError as error:
            raise _unfit(error) from error
        redis = self._backends.redis
        if redis is None:
            raise Refused(500, "Unable to connect to Redis")
        try:
            found = await answer(redis.execute_command("GETDEL", self._key(message["poll_id"])))  # type: ignore[no-untyped-call]  # redis-py's
        except Unavailable as error:
            raise Refused(500, "Unable to connect to Redis") from error
        if found is None:
            raise Refused(404, "Could not find matching poll_id")
        try:
            return wrapped(json.loads(found))
        except ValueError as error:
            raise Refused(500, "Unparseable JSON Received from redis") from error

    def _allow(self, request: Request, scope: Scope, *, counted: bool = True) -> None:
        try:
            self._access.check(request.headers.get("authorization"), scope, counted=counted)
        except Denied as error:
            raise Refused(error.status, str(error), retry=error.retry_after) from error

    def _allow_message(self, request: Request, kind: str, message: Mapping[str, Any]) -> None:
        if kind == "crawl":
            self._allow(request, "submit", counted=False)
        elif kind == "zookeeper" or (kind == "action" and message["action"] not in LOOKING):
            self._allow(request, "operate", counted=False)

    def _check(self, message: Any) -> str:
        """Return which kind of message it is; raise `Refused` as the Kafka monitor would."""
        refusals: list[MessageError] = []
        for kind, schema in self._schemas.items():
            try:
                valid = schema.validate(message)
            except MessageError as error:
                refusals.append(error)
                continue
            try:
                self._check_more(kind, valid)
            except MessageError as error:
                raise _unfit(error) from error
            return kind
        # That of the schema which it was most likely meant for.
        raise _unfit(min(refusals, key=lambda error: len(error.errors)))

    def _check_more(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "crawl":
            submission(message, None, private_allowed=self._private_allowed)
        elif kind == "action":
            check_action(message)
        elif kind == "zookeeper":
            check_domain(message)

    async def _keep(self, uuid: str, reply: dict[str, Any]) -> None:
        redis = self._backends.redis
        assert redis is not None
        try:
            await answer(redis.set(self._key(uuid), json.dumps(reply), ex=KEPT))
        except Unavailable as error:
            logger.warning("Answer lost", extra={"action": "keep", "error": str(error)})

    def _key(self, uuid: str) -> str:
        return f"{self._backends.tag}rest:poll:{uuid}"

    async def _redis_is_up(self) -> bool:
        redis = self._backends.redis
        if redis is None:
            return False
        try:
            await answer(redis.ping())
        except Unavailable:
            return False
        return True

    def _kafka_is_up(self) -> bool:
        return self._backends.kafka is not None and self._backends.kafka.is_up


def _unfit(error: MessageError) -> Refused:
    return Refused(400, "JSON did not validate against schema.", error.errors)


async def _read(request: Request) -> Any:
    """Return the JSON of a body; null is none here."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    message = None
    if is_json:
        try:
            message = read_message(await request.body())
        except MessageError as error:
            raise Refused(400, "The payload must be valid JSON.", error.errors) from error
    if message is None:
        raise Refused(400, "The payload must be valid JSON.")
    return message


async def options() -> Response:
    return Response(headers={"Allow": ALLOWED})


def make_router(legacy: Legacy) -> APIRouter:
    router = APIRouter(tags=["Scrapy Cluster"])
    add = router.add_api_route
    # Apart: each needs a name of its own in the description.
    add("/", legacy.index, methods=["GET"])
    add("/", legacy.index, methods=["POST"])
    add("/feed", legacy.feed, methods=["POST"])
    add("/poll", legacy.poll, methods=["POST"])
    for path in ("/", "/feed", "/poll"):
        add(path, options, methods=["OPTIONS"], include_in_schema=False)
    return router


def describe(paths: dict[str, Any]) -> None:
    """Add to OpenAPI's *paths* what is taken and answered; FastAPI would leave out null."""
    unfit, away = "JSON did not validate against schema.", "Unable to connect to"
    for operation in paths["/"].values():
        operation["responses"] = {"200": _told("How the servers are.", health=examples.INDEX)}
    paths["/feed"]["post"] |= {
        "requestBody": _sent(crawl=examples.CRAWL_REQUEST, info=examples.INFO_REQUEST),
        "responses": {
            "200": _told(
                "Kafka has it; with a `uuid`, the answer to it, or what to poll for.",
                sent=examples.FED,
                answered=examples.ANSWERED,
                late=examples.LATE,
            ),
            "400": _failed(unfit),
            "500": _failed(f"{away} Kafka"),
        },
    }
    paths["/poll"]["post"] |= {
        "requestBody": _sent(poll=examples.POLL_REQUEST),
        "responses": {
            "200": _told("The answer, once.", answered=examples.ANSWERED),
            "400": _failed(unfit),
            "404": _failed("Could not find matching poll_id"),
            "500": _failed(f"{away} Redis"),
        },
    }


def _content(shown: dict[str, examples.Example]) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in shown.items()}
    return {"application/json": {"schema": {"type": "object"}, "examples": named}}


def _sent(**shown: examples.Example) -> dict[str, Any]:
    return {"required": True, "content": _content(shown)}


def _told(meaning: str, **shown: examples.Example) -> dict[str, Any]:
    return {"description": meaning, "content": _content(shown)}


def _failed(message: str) -> dict[str, Any]:
    return _told(message, failure=examples.failure(message))
