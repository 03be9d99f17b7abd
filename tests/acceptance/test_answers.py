"""An answer that is on its way when its Redis monitor dies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from crawling.tracker.redis_tracker import RedisTracker
from tests.acceptance.cluster import cluster
from tests.acceptance.crawls import ask, until
from tests.servers.kafka_server import kafka_server

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import Tracker


def info(uuid: str) -> dict[str, Any]:
    return {"action": "info", "appid": "app1", "spiderid": "link", "uuid": uuid}


def post(tracker: str, request: dict[str, Any]) -> None:
    async def post_to(opened: Tracker) -> None:
        assert isinstance(opened, RedisTracker)
        [mailbox] = opened.mailboxes("test", claim_after=60.0)
        await mailbox.post([(request, None)])

    ask(tracker, post_to)


def test_an_answer_that_kafka_did_not_take_is_given_by_another_monitor(
    kafka_folder: Path, redis: Redis, redis_url: str, topic_prefix: str
) -> None:
    with (
        kafka_server(kafka_folder) as broker,
        cluster(broker.hosts, topic_prefix, redis_url, kafka_folder, CLAIM_AFTER="1") as fleet,
    ):
        fleet.make_topics(partitions=1)
        replies, first = fleet.listen("outbound"), fleet.redis_monitor()

        def answered(uuid: str) -> None:
            replies.until(lambda got: any(reply["uuid"] == uuid for reply in got), uuid)

        def pending() -> int:
            [group] = redis.xinfo_groups("fleet:control")
            return int(group["pending"])

        post(redis_url, info("with Kafka"))
        answered("with Kafka")

        broker.kill()
        post(redis_url, info("without Kafka"))
        until(lambda: pending() == 1, "the monitor has read it")
        # Long enough to forget it, were it not for Kafka.
        time.sleep(1.0)
        first.kill()
        broker.start()
        fleet.redis_monitor()

        answered("without Kafka")
