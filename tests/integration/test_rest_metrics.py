"""What a REST service tells Prometheus of itself, held against what it was asked."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

from tests.integration.serving import serving
from tests.integration.tracking import until
from tests.scraping import labels_of, parsed, series, value
from tests.servers.kafka_server import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.serving import Served
    from tests.scraping import Samples

CRAWL = {"url": "http://a.example/", "appid": "tests", "crawlid": "first"}
COUNT, SECONDS = "fleet_rest_requests_total", "fleet_rest_request_seconds"
METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS".split()
CRAWLS, ONE = "/api/v1/crawls", "/api/v1/crawls/{spiderid}/{appid}/{crawlid}"


async def told(served: Served) -> Samples:
    answer = await served.client.get("/metrics")
    assert answer.status_code == 200
    return parsed(answer.text)


async def test_requests_are_counted_by_path_method_and_status(tmp_path: Path) -> None:
    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
        for _ in range(3):
            await served.get("/crawls")
        await served.post("/crawls", CRAWL, 201)
        await served.post("/crawls", {**CRAWL, "maxdepth": 99}, 400)
        await served.get("/crawls/link/tests/first")
        for name in ("second", "th%2Frd"):
            await served.get(f"/crawls/link/tests/{name}", 404)
        assert (await served.client.get("/ui/")).status_code == 200
        assert (await served.client.get("/nowhere")).status_code == 404
        samples = await told(served)

    found = {
        tuple(dict(labels)[each] for each in ("path", "method", "status")): number
        for (name, labels), number in samples.items()
        if name == COUNT
    }
    # Asked until it was there.
    assert found.pop(("/healthz", "GET", "200")) >= 1
    assert found == {
        (CRAWLS, "GET", "200"): 3,
        (CRAWLS, "POST", "201"): 1,
        (CRAWLS, "POST", "400"): 1,
        (ONE, "GET", "200"): 1,
        (ONE, "GET", "404"): 2,
        ("/ui", "GET", "200"): 1,
        ("none", "GET", "404"): 1,
    }
    assert value(samples, f"{SECONDS}_count", path=ONE, method="GET") == 3


async def test_an_answer_takes_the_time_that_its_client_has_waited(tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        """Send the end of a body when the service has waited for it for a while."""
        yield b'{"url": "http://a.example/", "appid": "tests", '
        await asyncio.sleep(1.0)
        yield b'"crawlid": "first"}'

    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
        began = time.monotonic()
        answer = await served.client.post(
            CRAWLS, content=slow(), headers={"Content-Type": "application/json"}
        )
        waited = time.monotonic() - began
        samples = await told(served)

    assert answer.status_code == 201
    of = {"path": CRAWLS, "method": "POST"}
    assert 0.5 < value(samples, f"{SECONDS}_sum", **of) <= waited
    assert value(samples, f"{SECONDS}_bucket", **of, le="0.5") == 0
    assert value(samples, f"{SECONDS}_bucket", **of, le="+Inf") == 1


async def test_open_streams_of_events_are_told(tmp_path: Path) -> None:
    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:

        async def listeners() -> float:
            return value(await told(served), "fleet_rest_listeners")

        assert await listeners() == 0
        async with served.events() as first, served.events() as second:
            await anext(first)
            await anext(second)
            assert await listeners() == 2

        async def are_gone() -> bool:
            return await listeners() == 0

        await until(are_gone)


async def test_servers_that_are_away_are_told_as_readiness_tells_them() -> None:
    redis, kafka = free_ports(2)
    hosts = [f"127.0.0.1:{kafka}"]
    async with serving(f"redis://127.0.0.1:{redis}/0", KAFKA_HOSTS=hosts) as served:
        ready = await served.client.get("/readyz")
        samples = await told(served)

    assert ready.status_code == 503
    assert ready.json() == {"tracker": "down", "kafka": "down"}
    up = {name: number for (name, _), number in samples.items() if name.endswith("_up")}
    assert up == {"fleet_tracker_up": 0, "fleet_kafka_up": 0}
    assert value(samples, COUNT, path="/readyz", method="GET", status="503") == 1


async def test_whatever_is_asked_for_labels_are_of_closed_lists(tmp_path: Path) -> None:
    async with serving(f"sqlite:///{tmp_path}/crawl.db", REST_RATE_LIMIT=0) as served:
        described = (await served.get("/openapi.json"))["paths"]
        for name in ("a", "a.example"):
            await strange_requests(served, described, name)
        first = await told(served)
        for name in ("b", "b.example", "c", "c.example"):
            await strange_requests(served, described, name)
        assert series(await told(served)) == series(first)
        for name in ("d%2Fe", "%00", "x" * 500):
            await strange_requests(served, described, name)
        labels = labels_of(await told(served))

    assert labels["path"] <= {*described, "/", "/feed", "/poll", "/ui", "none"}
    assert labels["path"] >= {ONE, f"{ONE}/stop", "/api/v1/domains/{domain}/limit", "/ui"}
    assert labels["method"] == {*METHODS, "other"}
    assert all(re.fullmatch("[2-5][0-9]{2}", status) for status in labels["status"])


async def strange_requests(
    served: Served, described: dict[str, dict[str, Any]], name: str
) -> None:
    """Ask for each path with *name* for its names, by any method, and for what is not there."""
    asked = [("GET", path) for path in (f"/ui/{name}.js", f"/{name}", f"/api/v1/{name}")]
    asked += [(method, f"{CRAWLS}/{name}/{name}/{name}") for method in (*METHODS, "TRACE")]
    asked += [("POST", "/feed"), ("POST", "/poll"), (f"X{name[0].upper()}", f"/{name}")]
    for template, methods in described.items():
        # A stream that does not end.
        if template != "/api/v1/events":
            path = re.sub(r"{\w+}", name, template)
            asked += [(method.upper(), path) for method in methods]
    for method, path in asked:
        await served.client.request(method, path)
    await served.client.get(CRAWLS, headers={"Host": f"{name[0]}.attacker.example"})
