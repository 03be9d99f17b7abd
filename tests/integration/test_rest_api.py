"""The resource API over SQLite and over Redis: its numbers are the tracker's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.tracker import CrawlId, TrackerConfig, Vitals, worker_name
from tests.integration.serving import serving
from tests.integration.tracking import CRAWL, OTHER, lease, offer, offers, settle, submit, until

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker
    from tests.integration.serving import Served

ONE = "/crawls/link/tests/first"
REQUEST = {"url": "http://a.example/", "appid": "tests", "crawlid": "first"}


@pytest.fixture(params=["file", "redis", "shards"])
def tracker_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def same_books(rest: Served, tracker: Tracker, crawl: CrawlId, path: str) -> None:
    """Check that a crawl's numbers are the tracker's, alone and in the list."""
    status = await tracker.crawl(crawl)
    assert status is not None
    alone = await rest.get(path)
    names = "accepted queued delayed leased done failed dropped duplicates epoch".split()
    assert {name: alone[name] for name in names} == {
        name: getattr(status, name) for name in names
    }
    assert (alone["state"], alone["bytes"]) == (status.state, status.size)
    assert alone["reasons"] == dict(status.reasons)
    assert sum(alone["failures"].values()) == status.failed
    assert alone["statuses"] == {str(code): n for code, n in status.statuses.items()}
    assert alone["by_status"] == {str(code): n for code, n in status.by_status.items()}
    assert alone["by_depth"] == {str(depth): n for depth, n in status.by_depth.items()}
    assert (alone["started"], alone["ended"]) == (status.started, status.ended)

    async def listed() -> bool:
        rows = (await rest.get("/crawls", limit=500))["crawls"]
        same = [row for row in rows if row["crawlid"] == crawl.crawlid]
        shown: dict[str, Any] = {name: row[name] for row in same for name in names}
        return shown == {name: alone[name] for name in names}

    await until(listed, timeout=90, every=0.1)


async def test_a_submitted_crawl_is_the_trackers(rest: Served, tracker: Tracker) -> None:
    made = await rest.post("/crawls", {**REQUEST, "maxdepth": 2, "priority": 70}, 201)

    assert (made["state"], made["queued"], made["maxdepth"]) == ("running", 1, 2)
    [page] = await lease(tracker)
    assert (page.url, page.crawl, page.priority) == ("http://a.example/", CRAWL, 70)


async def test_where_a_submitted_crawl_is_stands_in_the_answer(rest: Served) -> None:
    name = {**REQUEST, "crawlid": "a/b c?é"}

    made = await rest.client.post("/api/v1/crawls", json=name)

    assert made.headers["location"] == "/api/v1/crawls/link/tests/a%2Fb%20c%3F%C3%A9"
    found = await rest.client.get(made.headers["location"])
    assert found.json()["crawlid"] == "a/b c?é"


async def test_the_books_of_a_crawl_are_the_trackers(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(6), offer("no", rule="deny"))
    done, failed, dropped, retried, *_ = await lease(tracker, 5)
    await settle(tracker, done, links=[offer("0"), offer("new")], size=123)
    await settle(tracker, failed, "failed", reason="http_502")
    await settle(tracker, dropped, "dropped")
    await settle(tracker, retried, "retry")

    await same_books(rest, tracker, CRAWL, ONE)

    progress = (await rest.get(ONE))["progress"]
    assert progress == pytest.approx(4 / 8, abs=0.001)


async def test_crawls_are_listed_newest_first_page_by_page(
    rest: Served, tracker: Tracker
) -> None:
    for number in range(7):
        appid = "even" if number % 2 == 0 else "odd"
        await submit(tracker, offer("x"), crawl=CrawlId("link", appid, str(number)))

    async def all_are_there() -> bool:
        return bool((await rest.get("/crawls"))["total"] == 7)

    await until(all_are_there, timeout=90, every=0.1)
    found, after = list[str](), 0
    while True:
        page = await rest.get("/crawls", limit=3, after=after)
        found += [row["crawlid"] for row in page["crawls"]]
        if page["next"] is None:
            break
        after = page["next"]

    assert sorted(found) == [str(number) for number in range(7)]
    assert found[0] == "6"
    even = await rest.get("/crawls", appid="even")
    assert (even["total"], {row["appid"] for row in even["crawls"]}) == (4, {"even"})
    assert (await rest.get("/crawls", state="finished"))["total"] == 0
    assert (await rest.get("/crawls", spiderid="id"))["total"] == 0


async def test_a_crawl_is_paused_resumed_and_stopped(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(3))

    assert await rest.post(f"{ONE}/pause") == {"changed": True}
    assert await lease(tracker) == []
    assert (await rest.get("/crawls", state="paused"))["total"] == 1
    assert await rest.post(f"{ONE}/pause") == {"changed": False}
    assert await rest.post(f"{ONE}/resume") == {"changed": True}
    assert len(await lease(tracker, 1)) == 1
    assert await rest.post(f"{ONE}/stop") == {"dropped": 2}

    assert (await rest.get(ONE))["state"] == "stopped"
    await same_books(rest, tracker, CRAWL, ONE)


async def test_a_crawl_is_raised_above_others(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, offer("1", "a.example"))
    await submit(tracker, offer("2", "b.example"), crawl=OTHER)

    changed = await rest.post("/crawls/link/tests/second/prioritize", {"priority": 10})

    assert changed == {"changed": True}
    assert [each.highest for each in await tracker.queued(OTHER)] == [80]
    assert (await rest.get("/crawls/link/tests/second"))["priority"] == 10
    assert (await rest.get(ONE))["priority"] == 0


async def test_failures_are_listed_and_queued_again(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(4, "a.example"), *offers(3, "b.example"))
    for page in await lease(tracker):
        reason = "timeout" if page.domain == "a.example" else "http_503"
        await settle(tracker, page, "failed", reason=reason, detail="said so")

    found, after = list[dict[str, Any]](), ""
    while True:
        page_of = await rest.get(f"{ONE}/failed", limit=2, after=after)
        found += page_of["failed"]
        after = page_of["next"]
        if after is None:
            break
    assert sorted(row["url"] for row in found) == sorted(
        [f"http://a.example/{n}" for n in range(4)]
        + [f"http://b.example/{n}" for n in range(3)]
    )
    assert {row["detail"] for row in found} == {"said so"}
    some = (await rest.get(f"{ONE}/failed", reason="http_503"))["failed"]
    assert {row["domain"] for row in some} == {"b.example"}
    assert len((await rest.get(f"{ONE}/failed", domain="a.example"))["failed"]) == 4

    assert await rest.post(f"{ONE}/retry", {"reason": "http_503"}) == {"queued": 3}
    assert await rest.post(f"{ONE}/retry") == {"queued": 4}

    await same_books(rest, tracker, CRAWL, ONE)


async def test_a_url_is_traced(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, offer("page"), offer("no", rule="deny"))

    found = await rest.get(f"{ONE}/trace", url="http://a.example/page")
    assert found["state"] == "queued"
    trace = await tracker.trace(CRAWL, offer("page").fingerprint)
    assert found == {"url": "http://a.example/page", **vars(trace)}
    refused = await rest.get(f"{ONE}/trace", url="http://a.example/no")
    assert (refused["state"], refused["reason"]) == ("dropped", "deny")
    assert (await rest.get(f"{ONE}/trace", url="a.example/never"))["state"] == "unseen"


async def test_a_crawl_that_has_ended_is_deleted(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(2))
    problem = await rest.delete(ONE, 409)
    assert problem["detail"].startswith("the crawl goes on")

    await rest.post(f"{ONE}/stop")
    await until(lambda: is_deleted(rest, tracker), timeout=90, every=0.1)

    await rest.get(ONE, 404)
    assert (await rest.get("/crawls"))["total"] == 0


async def is_deleted(rest: Served, tracker: Tracker) -> bool:
    # Over shards a crawl ends in the next sweep only.
    await tracker.sweep()
    deleted = await rest.client.delete(f"/api/v1{ONE}")
    assert deleted.status_code in {204, 409}
    return deleted.status_code == 204


async def test_why_a_crawl_waits_is_told_by_domain(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(3, "a.example"), *offers(5, "b.example"))
    await tracker.block("b.example")

    found = await rest.get(f"{ONE}/domains")

    assert [(row["domain"], row["queued"], row["why"]) for row in found["domains"]] == [
        ("b.example", 5, "blocked"),
        ("a.example", 3, "ready"),
    ]


async def test_workers_are_listed_with_what_they_hold(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    await lease(tracker, 2, worker="host:1:link:abc")
    await tracker.renew("host:1:link:abc", vitals=Vitals(12, 0.25, 98_304_000))
    await tracker.lease("host:2:id:def", 1, "id")
    await tracker.renew("host:2:id:def", trouble="Kafka is away")

    found = await rest.get("/workers")

    rows = [(row["worker"], row["leased"], row["why"]) for row in found["workers"]]
    assert rows == [("host:2:id:def", 0, "trouble"), ("host:1:link:abc", 2, "busy")]
    assert found["workers"][0]["trouble"] == "Kafka is away"
    told = [(row["pages"], row["rate"], row["memory"]) for row in found["workers"]]
    assert told == [(0, 0.0, 0), (12, 0.25, 98_304_000)]
    assert found["total"] == 2
    one = await rest.get("/workers", limit=1)
    assert (len(one["workers"]), one["next"]) == (1, "1")


async def test_what_a_worker_holds_is_listed(rest: Served, tracker: Tracker) -> None:
    name = worker_name("a/b")
    path = f"/workers/{quote(name, safe='')}/requests"
    crawl = CrawlId("a/b", "tests", "first")
    await submit(tracker, offer("é", depth=2), *offers(3, "b.example"), crawl=crawl)
    assert len(await lease(tracker, worker=name, spiderid="a/b")) == 4

    found = (await rest.get(path))["requests"]

    held = await tracker.held(name)
    assert held is not None
    assert found == [
        {
            **crawl._asdict(),
            "url": each.url,
            "domain": each.domain,
            "priority": 70,
            "depth": 2 if each.domain == "a.example" else 0,
            "attempts": 0,
            "since": each.since,
        }
        for each in held
    ]
    assert len(found) == 4
    assert len((await rest.get(path, limit=3))["requests"]) == 3
    await tracker.leave(name)
    problem = await rest.get(path, 404)
    assert problem["detail"] == f"there is no worker {name!r}"


async def test_requests_are_listed_whatever_is_in_their_urls(
    rest: Served, tracker: Tracker
) -> None:
    odd = offer("page")._replace(url="http://a.example/\udce9", domain="a\udce9.example")
    shown = {"url": "http://a.example/\\udce9", "domain": "a\\udce9.example"}
    await submit(tracker, odd)
    [page] = await lease(tracker)

    [held] = (await rest.get("/workers/worker-1/requests"))["requests"]
    await settle(tracker, page, "failed", detail="no \udce9")
    [failed] = (await rest.get(f"{ONE}/failed"))["failed"]

    assert held.items() >= shown.items()
    assert failed.items() >= {**shown, "detail": "no \\udce9"}.items()


async def test_the_overview_is_the_sum_of_all_crawls(rest: Served, tracker: Tracker) -> None:
    await submit(tracker, *offers(4))
    await submit(tracker, *offers(3), crawl=OTHER)
    done, failed, *_ = await lease(tracker, 3)
    await settle(tracker, done)
    await settle(tracker, failed, "failed")
    await tracker.pause(OTHER)
    names = "queued delayed leased done failed dropped".split()
    statuses = [await tracker.crawl(crawl) for crawl in (CRAWL, OTHER)]
    sums = {name: sum(getattr(status, name) for status in statuses) for name in names}

    async def agrees() -> bool:
        found = (await rest.get("/stats"))["overview"]
        return {name: found[name] for name in names} == sums

    await until(agrees, timeout=90, every=0.1)
    overview = (await rest.get("/stats"))["overview"]
    assert overview["crawls"] == {"running": 1, "paused": 1}
    assert (overview["tracker"], overview["kafka"]) == ("up", "off")
    metrics = (await rest.client.get("/metrics")).text
    for name in names:
        assert f'fleet_requests{{state="{name}"}} {float(sums[name])}' in metrics
    assert 'fleet_crawls{state="paused"} 1.0' in metrics
    assert "first" not in metrics


@pytest.mark.parametrize(
    ("changed", "path", "message"),
    [
        ({"maxdepth": 9}, "maxdepth", "must be at most 3, not 9"),
        ({"appid": "x"}, "appid", "must have at least 3 characters, not 1"),
        ({"url": "file:///etc/passwd"}, "url", "can never be fetched"),
        ({"allow_regex": ["("]}, "allow_regex", "cannot use the pattern"),
        ({"nonsense": 1}, "nonsense", "is no field of a crawl request"),
    ],
)
async def test_a_crawl_that_makes_no_sense_is_refused_with_path_and_reason(
    rest: Served, tracker: Tracker, changed: dict[str, Any], path: str, message: str
) -> None:
    problem = await rest.post("/crawls", {**REQUEST, **changed}, 400)

    assert problem["errors"][0]["path"] == path
    assert message in problem["errors"][0]["message"]
    assert await tracker.crawls() == []


@pytest.mark.parametrize(
    ("asked", "status", "field"),
    [
        (("POST", "/crawls", b"{"), 400, ""),
        (("POST", "/crawls", b"\xff"), 400, ""),
        (("POST", "/crawls", b'{"url": "x", "url": "y"}'), 400, ""),
        (("GET", "/crawls?limit=0", None), 400, "limit"),
        (("GET", "/crawls?limit=many", None), 400, "limit"),
        (("GET", "/crawls?state=lost", None), 400, "state"),
        (("GET", f"{ONE}/failed?reason=nonsense", None), 400, "reason"),
        (("GET", "/crawls/link/tests/%FF", None), 400, "crawlid"),
        (("GET", "/workers/worker-1/requests?limit=501", None), 400, "limit"),
        (("GET", "/workers/%FF/requests", None), 400, "name"),
        (("GET", "/crawls/link/tests/unknown", None), 404, None),
        (("GET", "/workers/unknown/requests", None), 404, None),
        (("POST", "/crawls/link/tests/unknown/stop", None), 404, None),
        (("POST", f"{ONE}/prioritize", b'{"priority": 1000}'), 400, "priority"),
        (("POST", f"{ONE}/prioritize", b"nonsense"), 400, None),
        (("POST", f"{ONE}/retry", b'{"what": 1}'), 400, "what"),
        (("PUT", "/domains/www.a.example/block", None), 400, "domain"),
        (("PUT", "/domains/a.example/limit", b'{"hits": 0, "window": 1}'), 400, "hits"),
        (("PUT", "/domains/a.example/limit", b'{"hits": 1}'), 400, "window"),
        (("POST", "/domains/a.example/defer", b'{"seconds": -1}'), 400, "seconds"),
        (("POST", "/domains/a.example/defer", b'{"seconds": NaN}'), 400, "seconds"),
        (("PUT", "/domains/a.example/limit", b'{"hits": 1, "window": 1e999}'), 400, "window"),
        (("GET", "/nothing", None), 404, None),
        (("PATCH", "/crawls", None), 405, None),
        (("GET", f"{ONE}/pages", None), 409, None),
    ],
)
async def test_bad_input_is_answered_with_a_problem(
    rest: Served,
    tracker: Tracker,
    asked: tuple[str, str, bytes | None],
    status: int,
    field: str | None,
) -> None:
    method, path, body = asked
    await submit(tracker, offer("x"))

    answer = await rest.client.request(
        method,
        f"/api/v1{path}",
        content=body,
        headers={"Content-Type": "application/json"} if body else {},
    )

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.text, parse_constant=pytest.fail)
    assert problem["status"] == status
    assert problem["detail"]
    if field is not None:
        assert [each["path"] for each in problem["errors"]] == [field]


async def test_what_was_never_there_can_be_waited_for(tmp_path: Any) -> None:
    # A tracker is opened in the service alone, and what others do with the file is seen.
    url = f"sqlite:///{tmp_path}/new.db"
    async with serving(url) as served:
        assert (await served.get("/crawls"))["total"] == 0
        other = tracker_at(url, TrackerConfig())
        await other.open()
        await other.submit(CRAWL, [offer("x")])
        await other.close()

        assert (await served.get(ONE))["queued"] == 1
