"""JSON logs of a running cluster, line by line, against docs/reference/logs.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.acceptance.cluster import SPIDER, cluster
from tests.acceptance.crawls import fleet, fleet_command, stop, until
from tests.acceptance.dashboard import answers
from tests.servers.kafka_server import free_ports
from tests.servers.site_sections import LEVELS, SectionSite
from tests.servers.small_site import Answer, small_site
from tests.servers.website import website

if TYPE_CHECKING:
    from redis import Redis

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "logs.md"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
TYPES = {"text": str, "number": int | float, "boolean": bool}
LEVELS_OF_LOGS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}


def documented() -> dict[str, str]:
    """Return the fields of the page with their types."""
    rows = re.findall(r"^\| (`.*?`) \| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}


def is_a(kind: str, value: Any) -> bool:
    """Return whether a value may stand in a field of this type; True is no number."""
    is_boolean = isinstance(value, bool)
    return value is None or (
        isinstance(value, TYPES[kind]) and is_boolean == (kind == "boolean")
    )


def test_each_line_of_each_process_is_as_documented(
    redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str, tmp_path: Path
) -> None:
    files: dict[str, Path] = {}
    options = ("--site", "sections", "--hosts", "4", "--sections", "1")
    with (
        website(tmp_path, *options) as web,
        cluster(
            kafka_hosts, topic_prefix, redis_url, tmp_path, RETRY_TIMES="1", RETRY_DELAY="0.1"
        ) as fleet,
    ):
        site = SectionSite(web.port, 4, 1)
        fleet.make_topics(partitions=1)
        [port] = free_ports(1)
        kinds = {
            "worker": SPIDER,
            "kafka-monitor": fleet_command("kafka-monitor"),
            "redis-monitor": fleet_command("redis-monitor"),
            "rest-service": fleet_command("serve", "--port", str(port)),
        }
        for kind, command in kinds.items():
            at_debug = {"redis-monitor", "rest-service"}
            level = {"LOG_LEVEL": "DEBUG"} if kind in at_debug else {}
            fleet.start(*command, LOG_JSON="1", SC_LOG_JSON="1", **level)
            # `start` has just opened it.
            files[kind] = max(tmp_path.glob("stderr-*.txt"), key=lambda path: path.name)
        events, pages = fleet.listen("outbound"), fleet.listen("crawled")
        failures = fleet.listen("failed")
        crawl = {"appid": "test", "crawlid": "logged", "maxdepth": LEVELS}
        fleet.feed({"url": site.start(0), **crawl, "allow_regex": [site.allowed(0)]})
        events.until(lambda seen: seen, "the crawl has finished")
        rest = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{rest}/readyz"), "the service is ready")
        asked = {"url": site.start(0), "appid": "test", "crawlid": "asked", "maxdepth": 0}
        httpx.post(f"{rest}/api/v1/crawls", json=asked).raise_for_status()
        fed = {**asked, "crawlid": "fed"}
        httpx.post(f"{rest}/feed", json=fed).raise_for_status()
        events.until(lambda seen: len(seen) > 2, "the crawls asked for by REST have finished")
        info = {"action": "info", "appid": "test", "uuid": "u1", "spiderid": "link"}
        fleet.feed({**info, "crawlid": "logged"})
        events.until(lambda seen: any(each.get("uuid") == "u1" for each in seen), "info")
        for process in fleet.processes:
            stop(process)
        messages, failed = pages.settle_down(), failures.settle_down()
        delivered = {page["requestid"] for page in messages}
        first = {page["crawlid"]: page["requestid"] for page in messages if not page["depth"]}

    lines: dict[str, list[dict[str, Any]]] = {
        kind: [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        for kind, file in files.items()
    }
    check_fields(lines)
    sent = {line["requestid"] for line in lines["worker"] if line.get("action") == "ack"}
    assert sent == delivered
    for kind, crawlid in (("kafka-monitor", "logged"), ("rest-service", "asked")):
        taken = [line for line in lines[kind] if line.get("action") == "ingest"]
        ids = [line["requestid"] for line in taken if line.get("crawlid") == crawlid]
        assert ids == [first[crawlid]]
    [told] = [line for line in lines["rest-service"] if line.get("action") == "feed"]
    assert told["crawlid"] == "fed"
    reported = [line for line in lines["redis-monitor"] if line.get("action") == "report"]
    assert {line["requestid"] for line in reported} == {each["requestid"] for each in failed}
    assert failed
    check_answers(lines["rest-service"])


def check_fields(lines: dict[str, list[dict[str, Any]]]) -> None:
    """Check each line of each process against the page."""
    fields = documented()
    for kind, written in lines.items():
        assert written, kind
        for line in written:
            assert {"message", "level", "timestamp", "logger"} <= set(line), line
            assert line["level"] in LEVELS_OF_LOGS
            assert TIMESTAMP.fullmatch(line["timestamp"]), line
            for name in set(line) & set(fields):
                assert is_a(fields[name], line[name]), (name, line)
        ours = "sc-crawler" if kind == "worker" else kind
        assert any(line["logger"] == ours for line in written)
        crawlid = "asked" if kind == "rest-service" else "logged"
        assert any(line.get("crawlid") == crawlid for line in written), kind


def check_answers(lines: list[dict[str, Any]]) -> None:
    answered = [line for line in lines if line.get("action") == "request"]
    fields = {"method", "path", "status", "seconds", "client"}
    assert all(fields <= set(line) for line in answered)
    made = [line for line in answered if (line["method"], line["status"]) == ("POST", 201)]
    assert [line["path"] for line in made] == ["/api/v1/crawls"]


TALKER = """
import asyncio, logging
from crawling.spiders.redis_spider import RedisSpider

class Talker(RedisSpider):
    name = "talker"

    async def parse(self, response):
        path = response.url.rpartition("/")[2]
        self.logger.info("Parsing %s", path)
        yield self.page(response)
        # Others are parsed, and downloaded, meanwhile.
        await asyncio.sleep(0.05)
        await asyncio.to_thread(logging.getLogger("a.library").warning, "Looking at %s", path)
        for n in range(20) if not path else ():
            yield response.follow(f"/{n}")
        if path:
            raise ValueError(path)
"""


def test_what_others_log_for_a_page_bears_the_request_id_of_its_message(tmp_path: Path) -> None:
    (tmp_path / "talker.py").write_text(TALKER)
    paths = ["", *map(str, range(20))]
    with small_site() as site:
        site.answers = {f"/{path}": Answer(body=b"page") for path in paths}
        done = fleet(
            *("crawl", site.url("/"), "--spider", "talker:Talker", "--save", "-", "--quiet"),
            *("--ignore-robots", "--allow-private", "--hits", "0", "--crawlid", "told"),
            *("-s", "SC_LOG_JSON=1", "-s", "SC_LOG_LEVEL=DEBUG"),
            cwd=tmp_path,
        )

    pages = [json.loads(line) for line in done.stdout.splitlines()]
    ids = {page["url"].rpartition("/")[2]: page["requestid"] for page in pages}
    assert set(ids) == set(paths)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    for path in paths:
        expected = {"requestid": ids[path], "crawlid": "told", "spiderid": "talker"}
        texts = [f"Parsing {path}", f"Looking at {path}"]
        crawled = rf"Crawled \(200\) <GET http://[^/]*/{path}> .*"
        raised = [rf"Spider error processing <GET http://[^/]*/{path}> .*"] if path else []
        for text in (*map(re.escape, texts), crawled, *raised):
            told = [line for line in lines if re.fullmatch(text, line["message"], re.DOTALL)]
            assert told, text
            for line in told:
                assert expected.items() <= line.items(), line
    for line in lines:
        if "requestid" in line and "url" in line:
            assert line["requestid"] == ids[line["url"].rpartition("/")[2]], line
