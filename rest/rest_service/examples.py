"""Examples of what the service takes and answers, for its OpenAPI description."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

CRAWL: Example = {
    "spiderid": "link",
    "appid": "demo",
    "crawlid": "first",
    "state": "running",
    "epoch": 1,
    "accepted": 121,
    "queued": 4,
    "delayed": 1,
    "leased": 2,
    "done": 110,
    "failed": 1,
    "dropped": 3,
    "duplicates": 803,
    "bytes": 1_650_112,
    "reasons": {"http_503": 1, "depth": 3},
    "failures": {"http_503": 1},
    "statuses": {"200": 107, "404": 3},
    "by_status": {"200": 107, "404": 3, "503": 1},
    "by_depth": {"0": 1, "1": 20, "2": 90},
    "started": 1_796_000_000.0,
    "ended": None,
    "elapsed": 58.2,
    "progress": 0.9421,
    "rate": 1.9,
    "eta": 3.7,
    "maxdepth": 2,
    "domain_max_pages": None,
    "max_pages": None,
    "expires": None,
    "priority": 0,
}
CRAWLS: Example = {"crawls": [CRAWL], "total": 1, "next": None}
WAITING: Example = {
    "domains": [
        {"domain": "example.com", "queued": 4, "why": "throttled", "until": 1_796_000_060.5}
    ],
    "total": 1,
    "next": None,
}
FAILED: Example = {
    "failed": [
        {
            "url": "https://example.com/broken",
            "domain": "example.com",
            "reason": "http_503",
            "detail": "503 Service Unavailable",
            "attempts": 3,
        }
    ],
    "next": None,
}
CHANGED: Example = {"changed": True}
STOPPED: Example = {"dropped": 4}
RETRIED: Example = {"queued": 1}
TRACE: Example = {
    "url": "https://example.com/broken",
    "state": "failed",
    "reason": "http_503",
    "attempts": 3,
    "depth": 1,
    "priority": 10,
    "worker": None,
    "since": None,
    "next_try": None,
}
DOMAINS: Example = {
    "domains": [
        {
            "domain": "example.com",
            "spiderid": "link",
            "queued": 4,
            "leased": 2,
            "paused": 0,
            "why": "throttled",
            "until": 1_796_000_060.5,
            "blocked": False,
            "hits": 10,
            "window": 60,
            "rate": 0.1667,
            "own": False,
        }
    ],
    "total": 1,
    "as_of": 1_796_000_058.2,
    "next": None,
}
DOMAIN_SETTINGS: Example = {
    "settings": [
        {"domain": "example.com", "hits": 10, "window": 60, "scale": 0.5, "blocked": False}
    ],
    "total": 1,
    "next": None,
}
LIMIT: Example = {"hits": 10, "window": 60, "scale": 0.5}
DEFER: Example = {"seconds": 600}
RETRY: Example = {"reason": "timeout", "domain": "example.com"}
PRIORITY: Example = {"priority": 20}
WORKERS: Example = {
    "workers": [
        {
            "worker": "crawler-1:4711:link:5f3a",
            "host": "crawler-1",
            "pid": "4711",
            "spiderid": "link",
            "deadline": 1_796_000_100.0,
            "alive": True,
            "leased": 2,
            "trouble": "",
            "pages": 110,
            "rate": 1.9,
            "memory": 118_000_000,
            "why": "busy",
            "until": None,
        }
    ],
    "total": 1,
    "next": None,
}
HELD: Example = {
    "requests": [
        {
            "spiderid": "link",
            "appid": "demo",
            "crawlid": "first",
            "url": "https://example.com/about",
            "domain": "example.com",
            "priority": 10,
            "depth": 1,
            "attempts": 0,
            "since": 1_796_000_057.9,
        }
    ]
}
STATS: Example = {
    "overview": {
        "time": 1_796_000_058.2,
        "tracker": "up",
        "kafka": "up",
        "crawls": {"running": 1},
        "queued": 4,
        "delayed": 1,
        "leased": 2,
        "done": 110,
        "failed": 1,
        "dropped": 3,
        "duplicates": 803,
        "bytes": 1_650_112,
        "pages_per_second": 1.9,
        "failures_per_second": 0.0,
        "workers": 1,
        "workers_stalled": 0,
    },
    "history": [[1_796_000_050.0, 1.9, 0.0, 21, 2]],
    "services": {"kafka-monitor": {"nodes": {"host-a": "running"}, "counts": {"total": 1}}},
}
PAGES: Example = {
    "pages": [{"url": "https://example.com/", "status_code": 200, "crawlid": "first"}],
    "looked_at": 12,
    "complete": True,
}
CRAWL_REQUEST: Example = {
    "url": "https://example.com",
    "appid": "demo",
    "crawlid": "first",
    "maxdepth": 1,
    "priority": 10,
}
INFO_REQUEST: Example = {
    "action": "info",
    "appid": "demo",
    "crawlid": "first",
    "spiderid": "link",
    "uuid": "3f1c",
}
INDEX: Example = {
    "kafka_connected": True,
    "my_id": "0c5b2d9a7e41",
    "node_health": "GREEN",
    "redis_connected": True,
    "uptime_sec": 86_400,
}
FED: Example = {"data": None, "error": None, "status": "SUCCESS"}
ANSWERED: Example = {
    **FED,
    "data": {
        "appid": "demo",
        "crawlid": "first",
        "domains": {"example.com": {"high_priority": 10, "low_priority": 0, "total": 4}},
        "server_time": 1_796_000_058,
        "spiderid": "link",
        "total_domains": 1,
        "total_pending": 4,
        "uuid": "3f1c",
    },
}
LATE: Example = {**FED, "data": {"poll_id": "3f1c"}}
POLL_REQUEST: Example = {"poll_id": "3f1c"}


def failure(message: str) -> Example:
    """Return what Scrapy Cluster's endpoints answer when they cannot."""
    return {"data": None, "error": {"message": message}, "status": "FAILURE"}
