"""The schemas accept and refuse what Scrapy Cluster's do, and our own fields."""

from __future__ import annotations

from typing import Any

import pytest

from crawling.exceptions import ConfigError, MessageError
from crawling.messages.validation import check_schema, load_schema
from kafka_monitor import settings as defaults

SETTINGS = vars(defaults)
SCHEMAS = {name: load_schema(name, SETTINGS) for name in "crawl action stats zookeeper".split()}

CRAWL = {"url": "http://www.example.co.uk/a?b=1", "appid": "testapp", "crawlid": "abc"}
ACTION = {"uuid": "u1", "appid": "app1", "spiderid": "link", "action": "info"}
STATS = {"uuid": "u1", "appid": "app1"}
DOMAIN = {"uuid": "u1", "appid": "app1", "domain": "x.com", "action": "domain-update"}
SMALLEST = {"crawl": CRAWL, "action": ACTION, "stats": STATS, "zookeeper": DOMAIN}


def refused(schema: str, message: Any) -> dict[str, str]:
    """Return path and text of everything that is wrong with *message*."""
    with pytest.raises(MessageError) as error:
        SCHEMAS[schema].validate(message)
    return {problem.path: problem.message for problem in error.value.errors}


def test_a_crawl_request_gets_the_defaults_in_scrapy_clusters_order() -> None:
    assert list(SCHEMAS["crawl"].validate(CRAWL).items()) == [
        ("url", "http://www.example.co.uk/a?b=1"),
        ("appid", "testapp"),
        ("crawlid", "abc"),
        ("spiderid", "link"),
        ("priority", 1),
        ("maxdepth", 0),
        ("domain_max_pages", None),
        ("allowed_domains", None),
        ("allow_regex", None),
        ("deny_regex", None),
        ("deny_extensions", None),
        ("expires", 0),
        ("useragent", None),
        ("cookie", None),
        ("attrs", None),
    ]


def test_the_other_requests_get_theirs() -> None:
    assert SCHEMAS["action"].validate(ACTION) == ACTION
    assert SCHEMAS["stats"].validate(STATS) == {**STATS, "stats": "all"}
    assert SCHEMAS["zookeeper"].validate(DOMAIN) == {
        **DOMAIN,
        "hits": 0,
        "window": 0,
        "scale": 1.0,
    }


def test_what_was_sent_is_not_changed() -> None:
    message = {**CRAWL, "attrs": {"list": [{"a": 1}]}}

    valid = SCHEMAS["crawl"].validate(message)
    valid["attrs"]["list"][0]["a"] = 2
    valid["attrs"]["more"] = 3

    assert message == {**CRAWL, "attrs": {"list": [{"a": 1}]}}


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        ("crawl", {"url": ""}),
        ("crawl", {"url": "not a url"}),
        ("crawl", {"url": "file:///etc/passwd"}),
        ("crawl", {"appid": "x" * 40, "crawlid": "y" * 40}),
        ("crawl", {"crawlid": "y", "spiderid": "a:b*"}),
        ("crawl", {"priority": 100, "maxdepth": 3, "domain_max_pages": 2000}),
        ("crawl", {"priority": 1, "maxdepth": 0, "domain_max_pages": 0}),
        ("crawl", {"allowed_domains": [], "allow_regex": ["a", "b"], "deny_regex": ["c"]}),
        ("crawl", {"deny_extensions": []}),
        ("crawl", {"expires": -5}),
        ("crawl", {"useragent": "abc", "cookie": "a=b", "attrs": {}}),
        ("crawl", {"useragent": "x" * 1000, "attrs": {"deep": [{"er": None}]}}),
        ("crawl", {"method": "POST", "body": "a=1", "headers": {"X": "1", "Y": ["2", "3"]}}),
        ("crawl", {"cookies": {"a": "b"}, "max_pages": 1}),
        ("crawl", {"link_regex": "a", "id_regex": "b", "download_url_fmt": "http://x/{id}"}),
        ("action", {"action": "stop"}),
        ("action", {"action": "stop", "crawlid": "a:b"}),
        ("action", {"action": "retry", "crawlid": "c", "reason": "timeout", "domain": "x.com"}),
        ("action", {"action": "trace", "crawlid": "c", "url": "http://x.com"}),
        ("action", {"action": "prioritize", "crawlid": "c", "priority": -100}),
        ("stats", {"stats": "kafka-monitor"}),
        ("stats", {"uuid": "x" * 40}),
        ("zookeeper", {"hits": -1, "window": -1, "scale": 0}),
        ("zookeeper", {"action": "blacklist-remove", "scale": 0.5}),
    ],
)
def test_what_the_reference_accepts(schema: str, fields: dict[str, Any]) -> None:
    message = {**SMALLEST[schema], **fields}

    assert SCHEMAS[schema].validate(message).items() >= message.items()


@pytest.mark.parametrize(
    ("schema", "field", "value", "problem"),
    [
        ("crawl", "appid", "ab", "must have at least 3 characters, not 2"),
        ("crawl", "appid", "x" * 41, "must have at most 40 characters, not 41"),
        ("crawl", "appid", 123, "must be text, not 123"),
        ("crawl", "crawlid", "", "must have at least 1 characters, not 0"),
        ("crawl", "crawlid", "x" * 41, "must have at most 40 characters, not 41"),
        ("crawl", "url", None, "must be text, not null"),
        ("crawl", "url", ["http://x"], 'must be text, not ["http://x"]'),
        ("crawl", "spiderid", 5, "must be text, not 5"),
        ("crawl", "priority", 0, "must be at least 1, not 0"),
        ("crawl", "priority", 101, "must be at most 100, not 101"),
        ("crawl", "priority", 1.0, "must be a whole number, not 1.0"),
        ("crawl", "priority", True, "must be a whole number, not true"),
        ("crawl", "priority", "1", 'must be a whole number, not "1"'),
        ("crawl", "priority", None, "must be a whole number, not null"),
        ("crawl", "maxdepth", -1, "must be at least 0, not -1"),
        ("crawl", "maxdepth", 4, "must be at most 3, not 4"),
        ("crawl", "domain_max_pages", 2001, "must be at most 2000, not 2001"),
        ("crawl", "domain_max_pages", None, "must be a whole number, not null"),
        ("crawl", "allowed_domains", None, "must be a list, not null"),
        ("crawl", "allowed_domains", ["a", "a"], "must not have an item twice"),
        ("crawl", "allowed_domains", "a.com", 'must be a list, not "a.com"'),
        ("crawl", "allow_regex", None, "must be a list, not null"),
        ("crawl", "deny_regex", {}, "must be a list, not {}"),
        ("crawl", "deny_extensions", None, "must be a list, not null"),
        ("crawl", "expires", None, "must be a whole number, not null"),
        ("crawl", "expires", 1.5, "must be a whole number, not 1.5"),
        ("crawl", "useragent", None, "must be text, not null"),
        ("crawl", "useragent", "ab", "must have at least 3 characters, not 2"),
        ("crawl", "cookie", None, "must be text, not null"),
        ("crawl", "cookie", "x" * 1001, "must have at most 1000 characters, not 1001"),
        ("crawl", "attrs", None, "must be an object, not null"),
        ("crawl", "attrs", [], "must be an object, not []"),
        ("crawl", "ts", 1.5, "is no field of a crawl request"),
        ("crawl", "uuid", "u", "is no field of a crawl request"),
        ("crawl", "method", "get", "must be one of GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("crawl", "body", "x" * 1_000_001, "must have at most 1000000 characters"),
        ("crawl", "body", None, "must be text, not null"),
        ("crawl", "cookies", "a=b", 'must be an object, not "…"'),
        ("crawl", "max_pages", 0, "must be at least 1, not 0"),
        ("action", "action", "start", "must be one of stop, info, pause, resume, retry, "),
        ("action", "crawlid", None, "must be text, not null"),
        ("action", "uuid", "", "must have at least 1 characters, not 0"),
        ("action", "uuid", "x" * 41, "must have at most 40 characters, not 41"),
        ("action", "priority", 101, "must be at most 100, not 101"),
        ("action", "ts", 1.5, "is no field of a action request"),
        ("stats", "stats", "everything", "must be one of kafka-monitor, redis-monitor, "),
        ("stats", "stats", None, "must be one of kafka-monitor, redis-monitor, "),
        ("stats", "spiderid", "link", "is no field of a statistics request"),
        ("zookeeper", "action", "update", "must be one of domain-update, domain-remove, "),
        ("zookeeper", "hits", 1.0, "must be a whole number, not 1.0"),
        ("zookeeper", "window", "60", 'must be a whole number, not "60"'),
        ("zookeeper", "scale", 1.1, "must be at most 1.0, not 1.1"),
        ("zookeeper", "scale", -0.1, "must be at least 0.0, not -0.1"),
        ("zookeeper", "scale", True, "must be a number, not true"),
    ],
)
def test_what_the_reference_refuses(
    schema: str, field: str, value: object, problem: str
) -> None:
    wrong = refused(schema, {**SMALLEST[schema], field: value})

    assert list(wrong) == [field]
    assert wrong[field].startswith(problem)


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        ("crawl", ["appid", "crawlid", "url"]),
        ("action", ["uuid", "appid", "spiderid", "action"]),
        ("stats", ["uuid", "appid"]),
        ("zookeeper", ["uuid", "appid", "domain", "action"]),
    ],
)
def test_each_required_field_is_missed_by_name(schema: str, fields: list[str]) -> None:
    assert refused(schema, {}) == dict.fromkeys(fields, "is required")


def test_fields_deep_inside_are_named_by_their_path() -> None:
    assert refused("crawl", {**CRAWL, "headers": {"X": ["1", 2]}}) == {
        "headers.X.1": "must be text, not 2"
    }
    assert refused("crawl", {**CRAWL, "allow_regex": ["a", None]}) == {
        "allow_regex.1": "must be text, not null"
    }


@pytest.mark.parametrize("message", [5, "text", None, True, [], [CRAWL]])
def test_what_is_no_object_is_no_request(message: object) -> None:
    assert list(refused("crawl", message)) == [""]


def test_limits_come_from_the_settings() -> None:
    wide = load_schema(
        "crawl", {**SETTINGS, "MAXDEPTH_LIMIT": 20, "DOMAIN_MAX_PAGES_LIMIT": 1_000_000}
    )
    message = {**CRAWL, "maxdepth": 20, "domain_max_pages": 1_000_000}

    assert wide.validate(message)["maxdepth"] == 20
    with pytest.raises(MessageError, match="maxdepth: must be at most 20, not 21"):
        wide.validate({**message, "maxdepth": 21})


def test_a_schema_that_is_none_is_refused() -> None:
    check_schema({"type": "object"}, "x.json")

    with pytest.raises(ConfigError, match=r"PLUGINS: x\.json is no JSON Schema: "):
        check_schema({"type": "thing"}, "x.json")


def test_over_shards_a_limit_on_all_pages_is_refused() -> None:
    schema = load_schema("crawl", {**SETTINGS, "TRACKER_SHARDS": 2})

    with pytest.raises(MessageError, match="max_pages"):
        schema.validate({**CRAWL, "max_pages": 5})
    assert SCHEMAS["crawl"].validate({**CRAWL, "max_pages": 5})
