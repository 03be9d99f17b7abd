"""What may happen to a cluster, by name.

A fault does its harm and mends it, and returns how many requests were in flight: their
pages may come once more.
"""

from __future__ import annotations

import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING

from kafka import KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from redis.exceptions import RedisError

from crawling.service.kafka_sender import DELIVERY_TIMEOUT
from tests.acceptance.crawls import until
from tests.chaos.arena import (
    HITS,
    HOSTS,
    LEASE_TIMEOUT,
    PROGRAMS,
    WINDOW,
    an_hour_ahead,
)
from tests.servers.redis_fleets import (
    Cluster,
    Server,
    Watched,
    answers,
    is_master,
    until_replicated,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.chaos.arena import Arena

    Fault = Callable[[Arena, Random], int]

#: Faults of every arena, of one Redis alone, and of one that fails over.
COMMON: dict[str, Fault] = {}
OF_ONE_REDIS: dict[str, Fault] = {}
OF_A_FAILOVER: dict[str, Fault] = {}
#: Seconds of work that a failover may take back, and with them what an old master does
#: until all have heard of the new one.
UNREPLICATED, UNHEARD = 2.0, 2.0
#: Faults that may make a page fail for good, which is told of.
MAY_FAIL_PAGES = frozenset({"Kafka takes no large message"})


def fault(name: str, faults: dict[str, Fault] = COMMON) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        faults[name] = function
        return function

    return register


def of_a_program(word: str) -> None:
    """Register what may happen to a process of a kind."""

    @fault(f"{word}: kill -9")
    def kill(arena: Arena, random: Random) -> int:
        _, in_flight = arena.replace(word, random.randrange(PROGRAMS[word]), signal.SIGKILL)
        return in_flight

    @fault(f"{word}: SIGTERM")
    def terminate(arena: Arena, random: Random) -> int:
        code, _ = arena.replace(word, random.randrange(PROGRAMS[word]), signal.SIGTERM)
        assert code == 0, f"a {word} ended on SIGTERM with {code}"
        return 0

    @fault(f"{word}: stopped longer than a lease, then continued")
    def stop(arena: Arena, random: Random) -> int:
        process = random.choice(arena.running[word])
        with arena.not_judged():
            process.send_signal(signal.SIGSTOP)
            in_flight = arena.leased(process.pid)
            time.sleep(2.5 * LEASE_TIMEOUT)
            process.send_signal(signal.SIGCONT)
        return in_flight


for program in PROGRAMS:
    of_a_program(program)


@fault("worker: clock an hour ahead")
def clock(arena: Arena, random: Random) -> int:
    number = random.randrange(PROGRAMS["worker"])
    ahead = an_hour_ahead(arena.fleet.folder)
    for settings in (ahead, {}):
        code, _ = arena.replace("worker", number, signal.SIGTERM, **settings)
        assert code == 0, f"a worker ended on SIGTERM with {code}"
        time.sleep(6)
    return 0


@fault("Redis: kill -9 and restart", OF_ONE_REDIS)
def kill_redis(arena: Arena, random: Random) -> int:
    in_flight = arena.leased()
    arena.server.kill()
    time.sleep(random.uniform(0.2, 4))
    arena.server.start()
    until(lambda: answers(arena.server), "Redis is back")
    return max(in_flight, arena.leased())


@fault("Redis: memory full", OF_ONE_REDIS)
def fill_redis(arena: Arena, random: Random) -> int:
    with arena.server.client() as client:
        client.config_set("maxmemory", 1_000_000)
        time.sleep(random.uniform(2, 5))
        client.config_set("maxmemory", 0)
    return 0


@fault("Redis: scripts flushed", OF_ONE_REDIS)
def flush_scripts(arena: Arena, random: Random) -> int:
    with arena.server.client() as client:
        for _ in range(random.randint(1, 5)):
            client.script_flush()
            time.sleep(0.2)
    return 0


@fault("Redis: busy with a slow script", OF_ONE_REDIS)
def slow_script(arena: Arena, random: Random) -> int:
    """Redis refuses everything after 0.5 s of it, until a SCRIPT KILL."""
    in_flight = arena.leased()
    with arena.server.client() as client, arena.server.client() as other:
        try:
            client.eval("while true do end", 0)
        except RedisError:
            time.sleep(random.uniform(0.5, 3))
            other.execute_command("SCRIPT", "KILL")
    return in_flight


@fault("Redis: connections cut", OF_ONE_REDIS)
def cut(arena: Arena, random: Random) -> int:
    assert arena.proxy is not None
    in_flight = arena.leased()
    arena.proxy.cut(refusing=True)
    time.sleep(random.choice([0.0, 1.0, 4.0]))
    arena.proxy.cut(refusing=False)
    return in_flight


@fault("Redis: network slow", OF_ONE_REDIS)
def slow_network(arena: Arena, random: Random) -> int:
    assert arena.proxy is not None
    in_flight = arena.leased()
    with arena.not_judged():
        arena.proxy.delay(random.uniform(0.1, 0.5))
        time.sleep(5)
        arena.proxy.delay(0.0)
    return in_flight


@fault("Redis: network swallows all", OF_ONE_REDIS)
def swallow(arena: Arena, random: Random) -> int:
    """Longer than a lease, or not so long."""
    assert arena.proxy is not None
    in_flight = arena.leased()
    arena.proxy.swallow(swallowing=True)
    time.sleep(random.choice([1.0, 3.0, 2 * LEASE_TIMEOUT]))
    arena.proxy.swallow(swallowing=False)
    return in_flight


@fault("Redis: failover", OF_A_FAILOVER)
def fail_over(arena: Arena, random: Random) -> int:
    return replace_master(arena, random, Server.kill, Server.start)


@fault("Redis: stopped until another is the master, then continued", OF_A_FAILOVER)
def stop_master(arena: Arena, random: Random) -> int:
    """Leave it for a while in the belief that it is the master, and its connections."""
    in_flight = replace_master(arena, random, _send(signal.SIGSTOP), _send(signal.SIGCONT))
    return in_flight + pages_in(UNHEARD)


def _send(sign: signal.Signals) -> Callable[[Server], None]:
    def send(server: Server) -> None:
        server.process.send_signal(sign)

    return send


def replace_master(
    arena: Arena,
    random: Random,
    stop: Callable[[Server], None],
    go_on: Callable[[Server], None],
) -> int:
    redis = arena.redis
    assert isinstance(redis, (Watched, Cluster))
    in_flight = arena.leased()
    masters = [server for server in redis.servers if is_master(server)]
    victim = random.choice(masters)
    others = [server for server in redis.servers if server is not victim]
    until_replicated(redis.servers)
    # Two masters let twice as many hits through, and one that has just taken over those again
    # that had not reached it.
    with arena.not_judged():
        stop(victim)
        try:
            until(lambda: sum(map(is_master, others)) == len(masters), "a replica took over")
        finally:
            go_on(victim)
        until(lambda: answers(victim) and not is_master(victim), "the old master follows")
    # Until then the next failover would lose what was never replicated.
    until_replicated(redis.servers)
    # What was settled but not replicated yet comes once more.
    return in_flight + pages_in(UNREPLICATED)


def pages_in(seconds: float) -> int:
    return int(seconds * HITS * HOSTS / WINDOW)


@fault("Kafka: kill -9 and restart")
def kill_kafka(arena: Arena, random: Random) -> int:
    in_flight = arena.leased()
    arena.kafka.kill()
    time.sleep(random.uniform(0.2, 5))
    arena.kafka.start()
    return in_flight


@fault("Kafka: hangs, for a moment or longer than a message may take")
def hang(arena: Arena, random: Random) -> int:
    broker, in_flight = arena.kafka.process, arena.leased()
    assert broker is not None
    broker.send_signal(signal.SIGSTOP)
    time.sleep(random.choice([2.0, DELIVERY_TIMEOUT + 4.0]))
    in_flight = max(in_flight, arena.leased())
    broker.send_signal(signal.SIGCONT)
    return in_flight


@fault("Kafka takes no large message")
def take_no_large(arena: Arena, random: Random) -> int:
    """Change the limit of the pages' topic for some seconds."""
    in_flight = arena.leased()
    topic = f"{arena.fleet.prefix}.crawled_firehose"
    with closing(KafkaAdminClient(bootstrap_servers=arena.kafka.hosts)) as admin:
        if topic in admin.list_topics():
            for limit in ("2000", "67108864"):
                configs = {"max.message.bytes": limit}
                change = ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)
                admin.alter_configs([change])
                time.sleep(random.uniform(1, 4))
    return in_flight


@fault("Kafka: a topic is deleted")
def delete_topic(arena: Arena, random: Random) -> int:
    """Delete the pages' topic of an application; the one of all pages is counted."""
    in_flight = arena.leased()
    with closing(KafkaAdminClient(bootstrap_servers=arena.kafka.hosts)) as admin:
        topics = set(admin.list_topics())
        named = sorted(topic for topic in topics if ".crawled_chaos" in topic)
        if named:
            admin.delete_topics([named[-1]])
    time.sleep(random.uniform(0, 2))
    return in_flight


@fault("Kafka: the group of the monitors is disturbed")
def disturb(arena: Arena, random: Random) -> int:
    """Join as an outsider, and leave again: partitions move."""
    fleet = arena.fleet
    for _ in range(2):
        with closing(
            KafkaConsumer(
                fleet.incoming,
                bootstrap_servers=fleet.hosts,
                group_id=f"{fleet.prefix}-group",
                enable_auto_commit=False,
            )
        ) as outsider:
            outsider.poll(timeout_ms=int(random.uniform(500, 3000)), max_records=1)
    return 0


@fault("site: refuses connections")
def site_refuses(arena: Arena, random: Random) -> int:
    with arena.not_judged():
        arena.web.process.kill()
        arena.web.process.wait()
        time.sleep(random.uniform(0.5, 3))
        arena.restart_site()
    return 0


def of_the_site(trouble: str, name: str) -> None:
    @fault(name)
    def ail(arena: Arena, random: Random) -> int:
        # A request on a kept connection that breaks is sent again at once: a hit more.
        with arena.not_judged():
            arena.web.ail(trouble)
            time.sleep(random.uniform(0.5, 3))
            arena.web.ail("")
        return 0


of_the_site("hang", "site: never answers")
of_the_site("dribble", "site: answers a byte at a time")
of_the_site("reset", "site: resets connections")
of_the_site("truncate", "site: cuts bodies short")
