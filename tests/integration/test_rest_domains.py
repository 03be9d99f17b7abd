"""What the resource API says of domains, and how it treats them: as the tracker has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.serving import serving_over
from tests.integration.test_rest_events import receive
from tests.integration.tracking import OTHER, lease, offers, submit

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker
    from tests.integration.serving import Served


@pytest.fixture(params=["file", "redis", "shards"])
def tracker_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_domains_are_listed_by_backlog_name_and_state(
    rest: Served, tracker: Tracker
) -> None:
    await submit(tracker, *offers(5, "five.example"), *offers(9, "nine.example"))
    await submit(tracker, *offers(2, "two.example"), crawl=OTHER)
    await rest.put("/domains/nine.example/block")

    found = await rest.get("/domains", sort="backlog")
    assert [(row["domain"], row["queued"]) for row in found["domains"]] == [
        ("nine.example", 9),
        ("five.example", 5),
        ("two.example", 2),
    ]
    assert found["total"] == 3
    assert abs(found["as_of"] - time.time()) < 30
    by_name = await rest.get("/domains", sort="name", limit=2)
    assert [row["domain"] for row in by_name["domains"]] == ["five.example", "nine.example"]
    rest_of_it = await rest.get("/domains", sort="name", limit=2, after=by_name["next"])
    assert [row["domain"] for row in rest_of_it["domains"]] == ["two.example"]
    assert rest_of_it["next"] is None
    blocked = await rest.get("/domains", state="blocked")
    assert [row["domain"] for row in blocked["domains"]] == ["nine.example"]
    assert (await rest.get("/domains", name="TWO"))["domains"][0]["domain"] == "two.example"


async def test_a_domain_is_limited_blocked_and_deferred(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(3))

    await rest.put("/domains/a.example/limit", {"hits": 30, "window": 60, "scale": 0.5})
    [row] = (await rest.get("/domains"))["domains"]
    assert (row["hits"], row["window"], row["rate"], row["own"]) == (15, 60, 0.25, True)
    [setting] = (await rest.get("/domain-settings"))["settings"]
    assert setting == (await tracker.domain_settings())[0]._asdict()
    await rest.delete("/domains/a.example/limit")
    assert (await rest.get("/domain-settings"))["settings"] == []
    assert (await rest.get("/domains"))["domains"][0]["rate"] is None

    await rest.put("/domains/A.example/block")
    assert await lease(tracker) == []
    await rest.delete("/domains/a.example/block")
    await rest.post("/domains/a.example/defer", {"seconds": 500}, 204)
    assert await lease(tracker) == []
    [row] = (await rest.get("/domains"))["domains"]
    assert row["why"] == "deferred"
    assert 400 < row["until"] - time.time() < 600


async def test_what_was_set_for_one_domain_is_found(rest: Served, tracker: Tracker) -> None:
    await tracker.limit("a.example", 10, 60.0, 0.5)
    await tracker.block("b.example")

    found = await rest.get("/domain-settings", domain="B.Example")
    assert [row["domain"] for row in found["settings"]] == ["b.example"]
    assert (await rest.get("/domain-settings", domain="c.example"))["settings"] == []
    problem = await rest.get("/domain-settings", 400, domain="no domain")
    assert [each["path"] for each in problem["errors"]] == ["domain"]


async def test_what_was_set_for_domains_is_listed_page_by_page(
    rest: Served, tracker: Tracker
) -> None:
    for number in range(105):
        await tracker.limit(f"site-{number:03}.example", 1 + number, 60.0)
    everything = [each._asdict() for each in await tracker.domain_settings()]

    first = await rest.get("/domain-settings")
    assert (first["settings"], first["total"], first["next"]) == (everything[:100], 105, "100")
    second = await rest.get("/domain-settings", after=first["next"])
    assert (second["settings"], second["total"], second["next"]) == (
        everything[100:],
        105,
        None,
    )
    three = await rest.get("/domain-settings", limit=3, after=2)
    assert (three["settings"], three["next"]) == (everything[2:5], "5")
    assert (await rest.get("/domain-settings", limit=1000))["settings"] == everything
    for wrong in ({"limit": 0}, {"limit": 1001}, {"after": -1}):
        await rest.get("/domain-settings", 400, **wrong)


async def test_a_push_back_is_told_by_all_services_whoever_has_made_it(
    rest: Served, tracker: Tracker, tracker_url: str
) -> None:
    await submit(tracker, *offers(3))
    async with serving_over(tracker_url, tracker) as other, other.events() as stream:
        assert (await receive(stream, lambda data: data["crawls"]))["overview"]["queued"] == 3

        await rest.post("/domains/a.example/defer", {"seconds": 600}, 204)
        by_rest = await receive(stream, lambda data: data.get("changed"))
        await tracker.defer("a.example", 900.0)
        by_another = await receive(stream, lambda data: data.get("changed"))

        assert (by_rest["changed"], by_another["changed"]) == (["domains"], ["domains"])
