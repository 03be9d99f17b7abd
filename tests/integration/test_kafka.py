"""The Kafka clients against a real broker, which may die."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from crawling.exceptions import ConfigError, RequestError, TooLarge, Unavailable
from crawling.savers.kafka_saver import KafkaSaver
from crawling.service.config import load_settings
from crawling.service.kafka import KafkaConfig, KafkaReader, topic_of
from crawling.service.kafka_sender import KafkaSender
from crawling.service.outbound import Outbound
from tests.integration.tracking import until
from tests.pages import make_page
from tests.servers.kafka_server import kafka_server

if TYPE_CHECKING:
    from pathlib import Path

    from crawling.service.kafka import Record


async def read(reader: KafkaReader, count: int) -> list[Record]:
    found: list[Record] = []

    async def enough() -> bool:
        found.extend(await reader.poll(count - len(found), 1.0))
        return len(found) >= count

    await until(enough, timeout=30)
    return found


async def opened(client: Any) -> Any:
    await client.open()
    return client


async def test_what_was_sent_is_acknowledged_and_can_be_read(
    kafka_hosts: str, topic_prefix: str
) -> None:
    config = KafkaConfig((kafka_hosts,), topic_prefix)
    topic = topic_of(topic_prefix, "crawled")
    sender = await opened(KafkaSender(config))

    await asyncio.gather(
        *(
            sender.send(topic, f"page {n}".encode(), key=b"crawl", headers=[("n", b"%d" % n)])
            for n in range(100)
        )
    )

    reader = await opened(KafkaReader(config, [topic], None))
    records = await read(reader, 100)
    assert {record.value for record in records} == {b"page %d" % n for n in range(100)}
    assert {record.partition for record in records} == {records[0].partition}
    assert records[7].headers == [("n", (records[7].value or b"")[5:])]
    await sender.close()
    await reader.close()


async def test_a_reader_tells_how_far_it_is_behind(kafka_hosts: str, topic_prefix: str) -> None:
    config = KafkaConfig((kafka_hosts,), topic_prefix, partitions=2)
    sender = await opened(KafkaSender(config))
    await asyncio.gather(
        *(sender.send(topic_prefix, b"message", key=b"%d" % n) for n in range(10))
    )
    reader = await opened(KafkaReader(config, [topic_prefix], None))

    assert await reader.lag() == 10
    await read(reader, 4)
    assert await reader.lag() == 6
    await read(reader, 6)
    assert await reader.lag() == 0

    await reader.rewind({(topic_prefix, 0): 0, (topic_prefix, 1): 0, ("another", 0): 0})
    assert await reader.lag() == 10
    await sender.close()
    await reader.close()


async def test_partitions_that_a_topic_gets_later_are_read_from_their_beginning(
    kafka_hosts: str, topic_prefix: str
) -> None:
    config = KafkaConfig((kafka_hosts,), topic_prefix, partitions=1)
    sender = await opened(KafkaSender(config))
    await sender.send(topic_prefix, b"before")
    reader = await opened(KafkaReader(config, [topic_prefix], None, from_beginning=False))

    admin = AdminClient({"bootstrap.servers": kafka_hosts})
    admin.create_partitions([NewPartitions(topic_prefix, 3)])[topic_prefix].result()
    other = Producer({"bootstrap.servers": kafka_hosts})
    for partition in range(3):
        other.produce(topic_prefix, b"after %d" % partition, partition=partition)
    other.flush()

    records = await read(reader, 3)
    assert {(each.partition, each.value) for each in records} == {
        (partition, b"after %d" % partition) for partition in range(3)
    }
    assert await reader.lag() == 0
    await sender.close()
    await reader.close()


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
async def test_messages_may_be_compressed(
    kafka_hosts: str, topic_prefix: str, codec: str
) -> None:
    config = KafkaConfig((kafka_hosts,), topic_prefix, compression=codec)
    sender = await opened(KafkaSender(config))

    await sender.send(topic_prefix, b"page" * 1000)

    reader = await opened(KafkaReader(config, [topic_prefix], None))
    assert [record.value for record in await read(reader, 1)] == [b"page" * 1000]
    await sender.close()
    await reader.close()


async def test_a_reader_names_a_codec_whose_package_it_has_not(
    kafka_hosts: str, topic_prefix: str
) -> None:
    config = KafkaConfig((kafka_hosts,), topic_prefix, compression="snappy")
    sender = await opened(KafkaSender(config))
    await sender.send(topic_prefix, b"page" * 1000)
    await sender.close()

    reader = await opened(KafkaReader(config, [topic_prefix], None))
    with pytest.raises(ConfigError, match="snappy"):
        await read(reader, 1)
    await reader.close()


async def test_a_group_goes_on_where_it_has_committed(
    kafka_hosts: str, topic_prefix: str
) -> None:
    config = KafkaConfig((kafka_hosts,), topic_prefix, partitions=1)
    topic = f"{topic_prefix}.incoming"
    sender = await opened(KafkaSender(config))
    await sender.ensure_topic(topic)
    for n in range(10):
        await sender.send(topic, b"%d" % n)
    first = await opened(KafkaReader(config, [topic], topic_prefix))
    await read(first, 10)
    await first.commit({(topic, 0): 4})
    await first.close()

    second = await opened(KafkaReader(config, [topic], topic_prefix))

    assert [record.value for record in await read(second, 6)] == [
        b"%d" % n for n in range(4, 10)
    ]
    await second.close()
    await sender.close()


async def test_a_message_that_is_too_large_is_refused_and_the_next_one_goes(
    kafka_hosts: str, topic_prefix: str
) -> None:
    sender = await opened(KafkaSender(KafkaConfig((kafka_hosts,), max_request_size=10_000)))
    topic = topic_of(topic_prefix, "crawled")

    with pytest.raises(TooLarge):
        await sender.send(topic, b"x" * 20_000)

    await sender.send(topic, b"x")
    await sender.close()


async def test_a_broker_that_is_not_there_is_named_with_setting_and_address() -> None:
    with pytest.raises(Unavailable, match=r"KAFKA_HOSTS: .* 127\.0\.0\.1:1 .*start Kafka"):
        await KafkaSender(KafkaConfig(("127.0.0.1:1",))).open()


async def test_what_a_dead_broker_did_not_acknowledge_can_be_sent_again(
    kafka_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawling.service.kafka_sender.DELIVERY_TIMEOUT", 11.0)
    topic, refused = "demo.crawled_firehose", list[Unavailable]()

    with kafka_server(kafka_folder) as broker:
        sender = await opened(KafkaSender(KafkaConfig((broker.hosts,))))
        await sender.send(topic, b"0")
        broker.kill()
        sending = []
        for n in range(1, 1500):
            sending.append(asyncio.create_task(insist(sender, topic, b"%d" % n, refused)))
            await asyncio.sleep(0.01)
        await asyncio.to_thread(broker.start)

        await asyncio.wait_for(asyncio.gather(*sending), 60)

        assert refused
        reader = await opened(KafkaReader(KafkaConfig((broker.hosts,)), [topic], None))
        received = {record.value for record in await read(reader, 1500)}
        assert received == {b"%d" % n for n in range(1500)}
        await reader.close()
        await sender.close()


async def test_a_topic_that_was_deleted_is_made_again(
    kafka_hosts: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawling.service.kafka_sender.DELIVERY_TIMEOUT", 11.0)
    config, topic = KafkaConfig((kafka_hosts,)), f"{topic_prefix}.crawled_app"
    sender = await opened(KafkaSender(config))
    await sender.send(topic, b"before")
    with closing(KafkaAdminClient(bootstrap_servers=kafka_hosts)) as admin:
        admin.delete_topics([topic])

    await asyncio.wait_for(insist(sender, topic, b"after", []), 40)

    reader = await opened(KafkaReader(config, [topic], None))
    assert [record.value for record in await read(reader, 1)] == [b"after"]
    await reader.close()
    await sender.close()


async def test_a_message_that_the_brokers_find_too_large_harms_no_other(
    kafka_hosts: str, topic_prefix: str
) -> None:
    config, topic = KafkaConfig((kafka_hosts,)), f"{topic_prefix}.crawled_app"
    sender = await opened(KafkaSender(config))
    await sender.ensure_topic(topic)
    with closing(KafkaAdminClient(bootstrap_servers=kafka_hosts)) as admin:
        limit = ConfigResource(
            ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": "2000"}
        )
        admin.alter_configs([limit])
    small = [b"%d" % number for number in range(20)]

    sending = [sender.send(topic, value) for value in (*small[:9], b"x" * 3000, *small[9:19])]
    results = await asyncio.gather(*sending, return_exceptions=True)
    await sender.send(topic, small[19])

    assert [number for number, result in enumerate(results) if result is not None] == [9]
    assert isinstance(results[9], TooLarge)
    reader = await opened(KafkaReader(config, [topic], None))
    assert {record.value for record in await read(reader, 20)} == set(small)
    await reader.close()
    await sender.close()


async def test_a_page_whose_own_topic_fails_is_on_the_firehose_once(
    kafka_hosts: str, topic_prefix: str
) -> None:
    page = make_page()
    given = f"KAFKA_HOSTS={kafka_hosts}", f"KAFKA_TOPIC_PREFIX={topic_prefix}"
    saver = KafkaSaver(load_settings([*given, "KAFKA_APPID_TOPICS=1"]))
    await saver.open()
    await saver.save(page)
    own = topic_of(topic_prefix, "crawled", page.appid)
    with closing(KafkaAdminClient(bootstrap_servers=kafka_hosts)) as admin:
        admin.delete_topics([own])
    refused = 0
    while refused < 100:
        try:
            await saver.save(page)
            break
        except Unavailable:
            refused += 1
            await asyncio.sleep(0.5)
    await saver.close()

    assert refused
    firehose = topic_of(topic_prefix, "crawled")
    reader = await opened(KafkaReader(KafkaConfig((kafka_hosts,)), [firehose], None))
    assert len(await read(reader, 2)) == 2
    assert await reader.poll(1, 1.0) == []
    await reader.close()


async def insist(
    sender: KafkaSender, topic: str, value: bytes, refused: list[Unavailable]
) -> None:
    """Send until the brokers have it."""
    while True:
        try:
            return await sender.send(topic, value, key=value)
        except Unavailable as error:
            refused.append(error)
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("appid", ["a/b", "a b", "ä", "x" * 300])
def test_an_appid_that_cannot_name_a_topic_is_refused(appid: str) -> None:
    with pytest.raises(RequestError, match="cannot name a Kafka topic"):
        topic_of("demo", "crawled", appid)


async def test_an_answer_that_is_too_large_is_told_of_in_few_words(
    kafka_hosts: str, topic_prefix: str
) -> None:
    config = KafkaConfig((kafka_hosts,), topic_prefix, max_request_size=10_000)
    sender = await opened(KafkaSender(config))
    outbound = Outbound(
        sender, {"KAFKA_TOPIC_PREFIX": topic_prefix, "KAFKA_APPID_TOPICS": False}
    )
    await outbound.open()
    large = {"action": "info", "appid": "app", "uuid": "u1", "domains": ["x" * 20_000]}
    failure = {"url": "http://a.example/", "crawlid": "c\ud800", "attrs": "x" * 20_000}

    await outbound.tell(large)
    await outbound.report({**failure, "detail": "d", "exception": "e"})

    async def received(kind: str) -> Any:
        reader = await opened(KafkaReader(config, [topic_of(topic_prefix, kind)], None))
        [record] = await read(reader, 1)
        await reader.close()
        return json.loads(record.value or b"")

    told, reported = await received("outbound"), await received("failed")
    assert told.pop("error").startswith("cannot be sent: ")
    assert told == {"action": "info", "appid": "app", "uuid": "u1"}
    emptied = {"attrs": None, "detail": "", "exception": None, "replay": None}
    assert reported == failure | emptied
    await sender.close()
