"""`fleet doctor` against a cluster from which one part after the other is missing."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.cluster import Cluster, cluster
from tests.acceptance.crawls import CRAWLER, PATIENCE, fleet_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from redis import Redis

#: What a hop is called that does not work, and the command that mends it.
PARTS = {
    "kafka_monitor": ("Kafka monitor", "fleet kafka-monitor"),
    "worker": ("worker", "fleet worker"),
    "redis_monitor": ("Redis monitor", "fleet redis-monitor"),
}


@pytest.fixture
def fleet(
    tmp_path: Path, redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> Iterator[Cluster]:
    own_page = {"PUBLIC_IP": "127.0.0.1", "STATS_CYCLE": "1"}
    with cluster(kafka_hosts, topic_prefix, redis_url, tmp_path, **own_page) as running:
        running.make_topics(partitions=1)
        yield running


def doctor(
    fleet: Cluster, *, patience: float = 60, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        fleet_command("doctor", "--patience", str(patience)),
        cwd=CRAWLER,
        env={**fleet.environment(), **(settings or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_all_hops_of_a_whole_cluster_work(fleet: Cluster) -> None:
    for part in PARTS:
        getattr(fleet, part)()

    said = doctor(fleet)

    assert said.returncode == 0, said.stderr
    hops = [line.split(":")[0] for line in said.stdout.splitlines() if line.startswith("ok")]
    assert hops == [
        "ok  Redis",
        "ok  Kafka",
        "ok  Kafka",
        "ok  Kafka monitor",
        "ok  worker",
        "ok  worker",
        "ok  Redis monitor",
    ]


@pytest.mark.parametrize("missing", PARTS)
def test_the_part_that_does_not_run_is_named_with_the_command_that_starts_it(
    fleet: Cluster, missing: str
) -> None:
    name, remedy = PARTS[missing]
    for part in list(PARTS)[: list(PARTS).index(missing)]:
        getattr(fleet, part)()

    # As long as a part that does run may take to start.
    said = doctor(fleet, patience=10)

    [line] = said.stderr.splitlines()
    assert said.returncode == 1
    assert line.startswith(f"fleet: {name}: ")
    assert f"start `{remedy}`" in line


@pytest.mark.parametrize(
    ("setting", "address", "name"),
    [("TRACKER", "redis://127.0.0.1:1/0", "Redis"), ("KAFKA_HOSTS", "127.0.0.1:1", "Kafka")],
)
def test_a_server_that_does_not_answer_is_named_with_its_address_and_setting(
    fleet: Cluster, setting: str, address: str, name: str
) -> None:
    said = doctor(fleet, settings={setting: address})

    [line] = said.stderr.splitlines()
    assert said.returncode == 1
    assert line.startswith(f"fleet: {name}: ")
    assert setting in line
    assert "127.0.0.1:1" in line


def test_a_monitor_that_refuses_private_addresses_is_named(fleet: Cluster) -> None:
    fleet.settings["ALLOW_PRIVATE_ADDRESSES"] = "0"
    fleet.kafka_monitor()

    said = doctor(fleet)

    assert said.returncode == 1
    assert "ALLOW_PRIVATE_ADDRESSES" in said.stderr
