"""The Kafka monitor as users run it: processes that are fed, told to end, and killed."""

from __future__ import annotations

import json
import random
import re
import shlex
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from kafka import KafkaProducer

from tests.acceptance.crawls import PATIENCE, ROOT, until
from tests.acceptance.kafka_programs import KafkaPrograms, crawl, crawls

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis


@pytest.fixture
def cluster(
    redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str, tmp_path: Path
) -> KafkaPrograms:
    redis.ping()
    return KafkaPrograms(tmp_path, redis_url, kafka_hosts, topic_prefix)


def test_a_monitor_that_is_killed_again_and_again_takes_every_request_once(
    cluster: KafkaPrograms, redis: Redis
) -> None:
    requests, kills = 20_000, 20
    lines = "\n".join(map(crawl, range(requests))).encode()
    code, _ = cluster.run("kafka_monitor.py", "feed", "-", given=lines)
    assert code == 0, cluster.log()

    choose = random.Random(4)
    for kill in range(1, kills + 1):
        moment = kill * requests // (kills + 2) + choose.randrange(requests // (2 * kills))
        with cluster.monitor("-ll", "WARNING") as monitor:
            cluster.until_reached(redis, moment)
            # Now and then one lives long enough to commit what Redis holds.
            if kill % 5 == 0:
                cluster.until_committed(moment // 2)
            assert monitor.poll() is None, cluster.log()
            monitor.kill()
    with cluster.monitor("-ll", "WARNING"):
        cluster.until_committed(requests)

    assert crawls(redis) == requests
    pipeline = redis.pipeline()
    for cno in range(1, requests + 1):
        pipeline.hmget(f"fleet:crawl:{cno}", "accepted", "queued", "epoch")
    books = pipeline.execute()
    assert {tuple(book) for book in books} == {(b"1", b"1", b"1")}
    assert cluster.log() == "" or "Traceback" not in cluster.log()


def test_sigterm_ends_a_monitor_with_0(cluster: KafkaPrograms, redis: Redis) -> None:
    code, _ = cluster.run("kafka_monitor.py", "feed", crawl(1))
    assert code == 0
    with cluster.monitor("-lj") as monitor:
        cluster.until_reached(redis, 1)
        monitor.send_signal(signal.SIGTERM)

        assert monitor.wait(timeout=PATIENCE) == 0

    records = [
        json.loads(line) for line in cluster.log().splitlines() if line[:9] == '{"message'
    ]
    messages = [record["message"] for record in records]
    assert "Added crawl to Redis" in messages
    assert messages[-1] == "Closing Kafka Monitor"
    added = next(record for record in records if record["message"] == "Added crawl to Redis")
    assert list(added)[:4] == ["message", "action", "parsed", "valid"]
    assert (added["logger"], added["level"], added["spiderid"]) == (
        "kafka-monitor",
        "INFO",
        "link",
    )
    assert redis.zcard("stats:kafka-monitor:nodes") == 0


def test_a_message_of_50_mb_is_refused_and_the_next_is_served(
    cluster: KafkaPrograms, redis: Redis
) -> None:
    topic = f"{cluster.prefix}.incoming"
    assert cluster.run("kafka_monitor.py", "feed", '{"first": true}')[0] == 0
    producer = KafkaProducer(bootstrap_servers=cluster.hosts, max_request_size=60_000_000)
    for value in (b'"%s"' % (b"x" * 50_000_000), b"\xff", None, crawl(1).encode()):
        producer.send(topic, value, key=b"k", partition=0).get(timeout=60)
    producer.close()

    with cluster.monitor():
        cluster.until_reached(redis, 1)
        code, refused = cluster.run(
            "kafkadump.py", "dump", "-t", f"{cluster.prefix}.rejected", "-b", "-n", "4"
        )

    assert code == 0
    kept = sorted(map(json.loads, refused.splitlines()), key=str)
    assert {"first": True} in kept
    assert "\ufffd" in kept
    assert max(len(message) for message in kept) == 100_000
    assert "Traceback" not in cluster.log()


@pytest.mark.parametrize(
    ("arguments", "given", "code", "says"),
    [
        (['{"a": 1}'], "", 0, "Successfully fed item to Kafka"),
        (["-"], '{"a": 1}\n\n{"a": 2}\n{"a": 3}', 0, "Fed 3 requests into"),
        (["-"], '{"a": 1}\n{"a":\n{"a": 3}\n', 1, "line=2 error=message: JSON failed to parse"),
        (["-"], "", 0, "Fed 0 requests into"),
        (['{"a": 1'], "", 1, "JSON failed to parse: it is not JSON"),
        (["no such file"], "", 2, "JSON|FILE|-: is neither JSON nor a file: 'no such file'"),
        ([], "", 2, "the following arguments are required: JSON|FILE|-"),
        (['{"a": "%s"}' % ("x" * 100_000), "-s", "KAFKA_PRODUCER_MAX_REQUEST_SIZE=20000"], "", 1, "Failed to feed item into Kafka"),
        (["{}", "-s", "KAFKA_FEED_TIMEOUT=soon"], "", 2, "KAFKA_FEED_TIMEOUT: must be"),
    ],
)  # fmt: skip
def test_feed_says_by_its_exit_code_whether_kafka_has_it(
    cluster: KafkaPrograms, arguments: list[str], given: str, code: int, says: str
) -> None:
    ended, output = cluster.run("kafka_monitor.py", "feed", *arguments, given=given.encode())

    assert (ended, output) == (code, ""), cluster.log()
    assert says in cluster.log()
    assert "Traceback" not in cluster.log()


@pytest.mark.parametrize("lines", ['{"n": 1}\n{"n": 2}\n', '{\n  "n": 1\n}\n'])
def test_feed_takes_a_file_of_lines_or_of_one_request(
    cluster: KafkaPrograms, lines: str
) -> None:
    (cluster.folder / "requests").write_text(lines)

    code, _ = cluster.run("kafka_monitor.py", "feed", str(cluster.folder / "requests"))

    assert code == 0, cluster.log()
    count = 2 if "2" in lines else 1
    topic = f"{cluster.prefix}.incoming"
    _, dumped = cluster.run("kafkadump.py", "dump", "-t", topic, "-b", "-n", str(count))
    assert {json.loads(line)["n"] for line in dumped.splitlines()} == set(range(1, count + 1))


def test_feed_sends_each_line_as_it_comes(cluster: KafkaPrograms, redis: Redis) -> None:
    with cluster.monitor():
        feed = cluster.script("kafka_monitor.py", "feed", "-")
        assert feed.stdin is not None
        for number in (1, 2, 3):
            feed.stdin.write(crawl(number).encode() + b"\n")
            feed.stdin.flush()
            cluster.until_reached(redis, number)
        feed.communicate()

    assert feed.returncode == 0


def test_feed_of_an_endless_stream_ends_when_it_is_told_to(cluster: KafkaPrograms) -> None:
    with subprocess.Popen(["yes", '{"a": 1}'], stdout=subprocess.PIPE) as endless:
        feed = cluster.script("kafka_monitor.py", "feed", "-", stdin=endless.stdout)
        topic = f"{cluster.prefix}.incoming"
        until(lambda: f"- {topic}\n" in cluster.run("kafkadump.py", "list")[1], "a topic")
        feed.send_signal(signal.SIGTERM)
        feed.communicate(timeout=PATIENCE)
        endless.kill()

    assert feed.returncode == 0
    assert ", 0 failed" in cluster.log()
    assert "Traceback" not in cluster.log()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("kafka_monitor.py", ["feed", "{}"]),
        ("kafka_monitor.py", ["run"]),
        ("kafkadump.py", ["list"]),
        ("kafkadump.py", ["dump", "-t", "x"]),
    ],
)
def test_without_kafka_a_command_ends_in_one_line_that_says_so(
    cluster: KafkaPrograms, name: str, arguments: list[str]
) -> None:
    code, output = cluster.run(name, *arguments, KAFKA_HOSTS="127.0.0.1:1")

    assert (code, output) == (1, "")
    (line,) = [line for line in cluster.log().splitlines() if line.startswith(name)]
    assert line.startswith(f"{name}: KAFKA_HOSTS: no answer from the broker at 127.0.0.1:1")
    assert "Traceback" not in cluster.log()


def test_without_redis_the_monitor_ends_in_one_line_that_says_so(
    cluster: KafkaPrograms,
) -> None:
    code, _ = cluster.run("kafka_monitor.py", "run", TRACKER="redis://127.0.0.1:1/0")

    assert code == 1
    assert "Traceback" not in cluster.log()
    assert "127.0.0.1:1" in cluster.log()


PAGE = {"url": "http://a.com/é", "body": "PGI+w6k8L2I+", "encoding": "utf-8"}


@pytest.mark.parametrize(
    ("flags", "printed"),
    [
        ([], json.dumps(PAGE) + "\n"),
        (["-nb"], '{"url": "http://a.com/\\u00e9", "encoding": "utf-8"}\n'),
        (["-jb"], "PGI+w6k8L2I+\n"),
        (["-jb", "-d"], "<b>é</b>\n"),
        (["--format", "body"], "PGI+w6k8L2I+\n"),
        (["-p", "-jb"], json.dumps(PAGE, indent=4) + "\n"),
        (["--format", "repr"], repr(PAGE) + "\n"),
        (["--format", "raw"], json.dumps(PAGE) + "\n"),
    ],
)
def test_dump_prints_a_message_as_it_is_asked_to(
    cluster: KafkaPrograms, flags: list[str], printed: str
) -> None:
    cluster.run("kafka_monitor.py", "feed", json.dumps(PAGE))
    topic = ["-t", f"{cluster.prefix}.incoming", "-b", "-n", "1"]

    assert cluster.run("kafkadump.py", "dump", *topic, *flags) == (0, printed)

    size = len(json.dumps(PAGE))
    assert f"Num Records: 1, Total MBs: 0.000, kb per message: {size / 1024:.3f}" in (
        cluster.log()
    )


def test_dump_goes_on_where_its_group_stopped_and_ends_on_sigterm(
    cluster: KafkaPrograms,
) -> None:
    topic = f"{cluster.prefix}.incoming"
    cluster.run("kafka_monitor.py", "feed", "-", given=b'{"n": 1}\n{"n": 2}\n{"n": 3}')
    first = cluster.run("kafkadump.py", "dump", "-t", topic, "-c", "readers", "-b", "-n", "2")
    rest = cluster.script("kafkadump.py", "dump", "-t", topic, "-c", "readers", "-b")
    assert rest.stdout is not None
    line = rest.stdout.readline().decode()

    rest.send_signal(signal.SIGTERM)
    output, _ = rest.communicate(timeout=PATIENCE)

    assert (rest.returncode, output) == (0, b"")
    assert sorted([*first[1].splitlines(), line.strip()]) == [
        '{"n": 1}',
        '{"n": 2}',
        '{"n": 3}',
    ]


def test_dump_into_a_pipe_that_is_closed_ends_quietly(cluster: KafkaPrograms) -> None:
    lines = "\n".join(map(crawl, range(2000))).encode()
    cluster.run("kafka_monitor.py", "feed", "-", given=lines)
    dump = cluster.script("kafkadump.py", "dump", "-t", f"{cluster.prefix}.incoming", "-b")
    assert dump.stdout is not None
    dump.stdout.readline()
    dump.stdout.close()
    dump.stdout = None

    dump.communicate(timeout=PATIENCE)
    assert dump.returncode == 0
    assert "Traceback" not in cluster.log()
    assert "BrokenPipe" not in cluster.log()


def test_topics_are_listed_and_a_topic_that_is_not_there_is_named(
    cluster: KafkaPrograms,
) -> None:
    topic = f"{cluster.prefix}.incoming"
    cluster.run("kafka_monitor.py", "feed", "{}")

    code, output = cluster.run("kafkadump.py", "list", "-kh", cluster.hosts)
    assert (code, output.splitlines()[0]) == (0, "Topics:")
    assert f"- {topic}" in output.splitlines()

    assert cluster.run("kafkadump.py", "dump", "-t", f"{topic}x") == (2, "")
    assert f"kafkadump.py: --topic: there is no topic '{topic}x'" in cluster.log()


def test_the_fleet_command_has_them_too(cluster: KafkaPrograms, redis: Redis) -> None:
    topic = f"{cluster.prefix}.incoming"
    with cluster.monitor("-ll", "ERROR"):
        assert cluster.run("-m", "crawling.cli", "feed", crawl(1))[0] == 0
        cluster.until_reached(redis, 1)

    dumped = cluster.run("-m", "crawling.cli", "dump", "-t", topic, "-b", "-n", "1")
    assert dumped == (0, crawl(1) + "\n")
    code, listed = cluster.run("-m", "crawling.cli", "dump", "list")
    assert code == 0
    assert f"- {topic}\n" in listed


def test_the_plugin_of_the_docs_works(cluster: KafkaPrograms) -> None:
    page = (ROOT / "docs" / "howto" / "add_a_plugin.md").read_text("utf-8")
    plugin, schema, settings, commands, *_ = re.findall(r"```\w+\n(.*?)```", page, re.DOTALL)
    for name, text in (
        ("my_plugins.py", plugin),
        ("note_schema.json", schema),
        ("localsettings.py", settings),
    ):
        (cluster.folder / name).write_text(text)
    monitor, feed = (shlex.split(line)[2:] for line in commands.splitlines() if line[:1] == "$")

    notes = cluster.folder / "notes.txt"
    with cluster.running("-m", "crawling.cli", *monitor, cwd=cluster.folder):
        cluster.script("-m", "crawling.cli", *feed, cwd=cluster.folder).communicate()
        until(lambda: notes.exists() and notes.read_text() == "Hello\n", cluster.log())

    assert "[kafka-monitor] INFO: Noted note=Hello" in cluster.log()


def test_the_two_plugins_of_the_docs_work_together(cluster: KafkaPrograms) -> None:
    page = (ROOT / "docs" / "howto" / "add_a_plugin.md").read_text("utf-8")
    (cluster.folder / "greetings.py").write_text(
        re.findall(r"```\w+\n(# greetings.*?)```", page, re.DOTALL)[0]
    )
    fleet = ("-m", "crawling.cli")
    kafka = [*fleet, "kafka-monitor", "-s", 'PLUGINS={"greetings.GreetHandler": 50}']
    redis = [*fleet, "redis-monitor", "-s", 'PLUGINS={"greetings.GreetMonitor": 50}']
    topic = f"{cluster.prefix}.outbound_firehose"
    folder = cluster.folder
    with cluster.running(*kafka, cwd=folder), cluster.running(*redis, cwd=folder):
        cluster.run("kafka_monitor.py", "feed", '{"greet": "Ann", "appid": "testapp"}')
        until(lambda: f"- {topic}\n" in cluster.run("kafkadump.py", "list")[1], cluster.log())
        _, answered = cluster.run("kafkadump.py", "dump", "-t", topic, "-b", "-n", "1")

    assert json.loads(answered) == {
        "action": "greeted",
        "appid": "testapp",
        "text": "Hello Ann, you have 0 crawls",
    }
