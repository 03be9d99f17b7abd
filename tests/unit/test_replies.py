"""Every answer in the shape that Scrapy Cluster's clients rely on, literally."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from crawling.messages import replies
from crawling.tracker.tracker import CrawlId, CrawlOptions, CrawlStatus, QueuedIn, Trace

STATUS = CrawlStatus(
    crawl=CrawlId("link", "app1", "c1"),
    state="running",
    options=CrawlOptions(),
    epoch=1,
    accepted=9,
    queued=3,
    delayed=0,
    leased=1,
    done=5,
    failed=0,
    dropped=0,
    duplicates=0,
    size=0,
    started=1.0,
    ended=None,
    reasons={},
    statuses={},
)
DOMAINS = [QueuedIn("a.com", 1, 50, 50), QueuedIn("b.org", 2, 40, -9)]
ABOUT = {"uuid": "u1", "appid": "app1", "spiderid": "link", "crawlid": "c1"}


def shown(reply: dict[str, Any]) -> str:
    """Return the reply as it goes over Kafka, with a time that does not change."""
    now = reply["server_time"]
    assert isinstance(now, int)
    assert abs(now - time.time()) < 60
    return json.dumps({**reply, "server_time": 1795240554}, separators=(",", ":"))


def expiring(moment: float) -> CrawlStatus:
    return replace(STATUS, options=CrawlOptions(expires=moment))


def test_info_of_a_crawl() -> None:
    reply = replies.crawl_info(ABOUT, replies.pending(STATUS, DOMAINS))

    assert shown(reply) == (
        '{"uuid":"u1","total_pending":3,"server_time":1795240554,"total_domains":2,'
        '"appid":"app1","crawlid":"c1","spiderid":"link",'
        '"domains":{"a.com":{"total":1,"high_priority":50,"low_priority":50},'
        '"b.org":{"total":2,"high_priority":40,"low_priority":-9}}}'
    )


def test_info_of_a_crawl_that_is_unknown() -> None:
    assert shown(replies.crawl_info(ABOUT, None)) == (
        '{"uuid":"u1","total_pending":0,"server_time":1795240554,"total_domains":0,'
        '"appid":"app1","crawlid":"c1","spiderid":"link","domains":{}}'
    )


def test_expires_is_text_for_one_crawl_and_a_number_for_an_application() -> None:
    found = replies.pending(expiring(99999999999.0), DOMAINS)

    assert replies.crawl_info(ABOUT, found)["expires"] == "99999999999"
    crawls = replies.application_info(ABOUT, [found])["crawlids"]
    assert crawls["c1"]["expires"] == 99999999999


def test_info_of_an_application() -> None:
    second = replace(expiring(99999999999), crawl=CrawlId("link", "app1", "c2"))
    idle = replace(STATUS, crawl=CrawlId("link", "app1", "idle"), queued=0)
    found = [
        replies.pending(second, DOMAINS[:1]),
        replies.pending(STATUS, DOMAINS),
        replies.pending(idle, []),
    ]

    assert shown(replies.application_info({**ABOUT, "uuid": "u2"}, found)) == (
        '{"uuid":"u2","total_pending":4,"server_time":1795240554,"total_crawlids":2,'
        '"total_domains":2,"crawlids":{"c2":{"total":1,"domains":{"a.com":{"total":1,'
        '"high_priority":50,"low_priority":50}},"distinct_domains":1,"expires":99999999999},'
        '"c1":{"total":3,"domains":{"a.com":{"total":1,"high_priority":50,"low_priority":50},'
        '"b.org":{"total":2,"high_priority":40,"low_priority":-9}},"distinct_domains":2}},'
        '"appid":"app1","spiderid":"link"}'
    )


def test_what_waits_for_a_retry_is_pending() -> None:
    found = replies.pending(replace(STATUS, delayed=4), DOMAINS)

    assert replies.crawl_info(ABOUT, found)["total_pending"] == 7


def test_stop() -> None:
    assert shown(replies.stopped({**ABOUT, "action": "stop", "uuid": "u5"}, 3)) == (
        '{"action":"stop","spiderid":"link","appid":"app1","crawlid":"c1","total_purged":3,'
        '"uuid":"u5","server_time":1795240554}'
    )


def test_expired() -> None:
    event = {**ABOUT, "action": "expired", "total_expired": 1, "server_time": time.time()}

    assert shown(replies.expired(event)) == (
        '{"server_time":1795240554,"crawlid":"c1","spiderid":"link","appid":"app1",'
        '"total_expired":1,"action":"expired"}'
    )


def test_a_change_of_a_domain() -> None:
    request = {"uuid": "u", "appid": "app1", "domain": "x.com", "action": "domain-update"}

    assert shown(replies.domain_changed({**request, "hits": 10, "window": 60})) == (
        '{"uuid":"u","server_time":1795240554,"action":"domain-update","domain":"x.com",'
        '"appid":"app1"}'
    )
    assert replies.domain_changed(request, "why")["error"] == "why"


def test_statistics_end_with_whose_they_are() -> None:
    request = {"uuid": "u7", "appid": "app1", "stats": "queue"}

    assert shown(replies.statistics(request, {"queues": {"total_backlog": 0}})) == (
        '{"queues":{"total_backlog":0},"stats":"queue","appid":"app1","uuid":"u7",'
        '"server_time":1795240554}'
    )


def test_the_new_actions() -> None:
    request = {**ABOUT, "action": "pause"}

    assert shown(replies.acted(request, changed=True)) == (
        '{"action":"pause","spiderid":"link","appid":"app1","crawlid":"c1","changed":true,'
        '"uuid":"u1","server_time":1795240554}'
    )
    trace = replies.traced(
        {**ABOUT, "action": "trace", "url": "http://a.com/"}, Trace("unseen")
    )
    assert (trace["url"], trace["state"], trace["reason"]) == ("http://a.com/", "unseen", None)


def test_a_request_that_failed_is_named() -> None:
    assert shown(replies.failed({**ABOUT, "action": "info", "ts": 1.5}, "why")) == (
        '{"action":"info","spiderid":"link","appid":"app1","crawlid":"c1","uuid":"u1",'
        '"error":"why","server_time":1795240554}'
    )
