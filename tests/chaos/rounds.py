"""One round: crawls are fed, faults come one after another, and then the books are checked."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.acceptance.crawls import until
from tests.chaos.arena import HITS, WINDOW
from tests.chaos.faults import COMMON, MAY_FAIL_PAGES, OF_A_FAILOVER, OF_ONE_REDIS
from tests.chaos.leftovers import leftovers
from tests.servers.site_sections import LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from crawling.tracker.tracker import CrawlStatus, Tracker
    from tests.chaos.arena import Arena

FAULTS = {**COMMON, **OF_ONE_REDIS, **OF_A_FAILOVER}
#: Seconds between some crawls and the next fault.
BREATH = (0.2, 2.0)
#: Seconds that a crawl may take after the last fault.
PATIENCE = 120.0
#: Seconds that hits may be closer together than the throttle wants them: this machine is
#: too busy to say it more exactly, and a throttle that a fault opens lets them all through.
JITTER = 2.0
INFOS = 2
Message = dict[str, Any]


@dataclass
class Injection:
    """A fault that was injected, and how many pages came once more after it."""

    name: str
    in_flight: int = 0
    repeats: int = 0


@dataclass
class Round:
    """What was injected, what was counted, and what is wrong."""

    number: int
    injections: list[Injection] = field(default_factory=list)
    pages: int = 0
    lost: int = 0
    errors: list[str] = field(default_factory=list)

    def attribute(self, repeats: int) -> None:
        """Book pages that came once more to the latest faults that may be why."""
        for injection in reversed(self.injections):
            share = min(repeats, injection.in_flight - injection.repeats)
            injection.repeats += share
            repeats -= share
        self.expect(not repeats, f"{repeats} pages more than were in flight came once more")

    def expect(self, condition: object, what: str) -> None:
        if not condition:
            self.errors.append(what)


class Ears:
    """All that came on the topics of the arena, and what of it came more than once."""

    def __init__(self, arena: Arena) -> None:
        kinds = ("crawled", "outbound", "failed")
        self._topics = {kind: arena.fleet.listen(kind) for kind in kinds}
        self._repeated = 0

    def repeats(self, quiet: float) -> int:
        """Return how many pages came more than once since this was asked last."""
        pages, before = self._topics["crawled"].settle_down(quiet), self._repeated
        self._repeated = len(pages) - len(
            {(page["appid"], page["requestid"]) for page in pages}
        )
        return self._repeated - before

    def hear(self, kind: str, appid: str) -> list[Message]:
        messages = self._topics[kind].settle_down(2.0)
        return [message for message in messages if message.get("appid") == appid]


def run_round(
    arena: Arena, ears: Ears, random: Random, number: int, names: Sequence[str]
) -> Round:
    """Feed a crawl of each section, some before each fault; wait for the end, and check."""
    result, appid, since = Round(number), f"chaos{number}", time.monotonic()
    infos: list[Message] = []
    for turn, name in enumerate(names):
        sections = arena.site.sections[turn :: len(names)]
        arena.fleet.feed(*(request(arena, appid, section) for section in sections))
        time.sleep(random.uniform(*BREATH))
        result.injections.append(injection := Injection(name))
        try:
            injection.in_flight = FAULTS[name](arena, random)
            arena.supervise()
        except AssertionError as error:
            result.errors.append(f"{name}: {error}")
        infos += [info(appid, f"{name}-{count}") for count in range(INFOS)]
        arena.fleet.feed(*infos[-INFOS:])
        result.attribute(ears.repeats(1.0))
        check_audit(arena, result, name)
    try:
        until(lambda: is_over(arena, appid), "all crawls are finished", PATIENCE)
    except AssertionError as error:
        unfinished = [str(status) for status in books(arena, appid) if not done(status)]
        result.errors += [str(error), *unfinished]
    result.attribute(ears.repeats(2.0))
    try:
        arena.supervise()
    except AssertionError as error:
        result.errors.append(str(error))
    check_books(arena, ears, result, appid)
    check_answers(arena, ears, result, appid, [each["uuid"] for each in infos])
    check_throttle(arena, result, since)
    check_audit(arena, result, "the end")
    check_keys(arena, result)
    return result


def request(arena: Arena, appid: str, section: int) -> Message:
    return {
        "url": arena.site.start(section),
        "appid": appid,
        "crawlid": f"section-{section}",
        "maxdepth": LEVELS,
        "allow_regex": [arena.site.allowed(section)],
        "priority": 1 + section % 100,
    }


def info(appid: str, uuid: str) -> Message:
    return {"action": "info", "appid": appid, "uuid": uuid, "spiderid": "link"}


def books(arena: Arena, appid: str) -> list[CrawlStatus]:
    async def all_of(tracker: Tracker) -> list[CrawlStatus]:
        ids = [crawl for crawl in await tracker.crawls() if crawl.appid == appid]
        statuses = [await tracker.crawl(crawl) for crawl in ids]
        return [status for status in statuses if status is not None]

    return arena.ask(all_of)


def done(status: CrawlStatus) -> bool:
    return status.state == "finished"


def is_over(arena: Arena, appid: str) -> bool:
    statuses = books(arena, appid)
    return len(statuses) == len(arena.site.sections) and all(map(done, statuses))


def check_books(arena: Arena, ears: Ears, result: Round, appid: str) -> None:
    """Every page has arrived, every failure was told of, each with one id; the books agree."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for page in ears.hear("crawled", appid):
        ids[page["crawlid"], page["url"]].add(page["requestid"])
    result.pages = len(ids)
    for key, some in ids.items():
        result.expect(len(some) == 1, f"{key} came with several ids: {some}")
    failed = failures_told(arena, ears, appid)
    lenient = any(injection.name in MAY_FAIL_PAGES for injection in result.injections)
    for status in books(arena, appid):
        crawlid = status.crawl.crawlid
        section = int(crawlid.removeprefix("section-"))
        pages = set(arena.site.pages(section))
        arrived = {url for crawl, url in ids if crawl == crawlid}
        told = {url for crawl, url in failed if crawl == crawlid}
        broken = {f"{arena.site.start(section)}broken"}
        lost = (pages | broken) - arrived - told
        result.lost += len(lost)
        result.expect(not lost, f"{crawlid} lost {sorted(lost)}")
        result.expect(arrived <= pages, f"{crawlid} has {arrived - pages}")
        result.expect(
            status.accepted == status.done + status.failed + status.dropped,
            f"{crawlid} does not balance: {status}",
        )
        result.expect(
            (status.done, status.failed) == (len(arrived), len(told)),
            f"{crawlid}: {len(arrived)} pages and {len(told)} failures came; {status}",
        )
        if not lenient:
            totals = (status.done, status.failed, status.dropped)
            result.expect(
                totals == arena.site.totals(section),
                f"{crawlid}: {totals}, not {arena.site.totals(section)}: {sorted(told)}",
            )


def failures_told(arena: Arena, ears: Ears, appid: str) -> set[tuple[str, str]]:
    """Return what was told to have failed, when the broken page of each crawl is in it.

    What a monitor had read when its Redis died comes when it is claimed.
    """
    broken = {
        (f"section-{section}", f"{arena.site.start(section)}broken")
        for section in arena.site.sections
    }

    def told() -> set[tuple[str, str]]:
        return {(failure["crawlid"], failure["url"]) for failure in ears.hear("failed", appid)}

    with suppress(AssertionError):
        until(lambda: broken <= told(), "all failures have come", PATIENCE)
    return told()


def check_answers(
    arena: Arena, ears: Ears, result: Round, appid: str, uuids: Sequence[str]
) -> None:
    """Each request was answered, and each crawl announced: its copies say the same.

    What a dead monitor had begun comes when another has claimed it.
    """
    crawls = {f"section-{section}" for section in arena.site.sections}

    def silent() -> set[str]:
        heard = ears.hear("outbound", appid)
        finished = {each["crawlid"] for each in heard if each.get("action") == "finished"}
        return {*crawls, *uuids} - {each.get("uuid") for each in heard} - finished

    with suppress(AssertionError):
        until(lambda: not silent(), "all answers and events have come", PATIENCE)
    result.expect(not (missing := silent()), f"no answer or event: {missing}")
    events: dict[str, set[str]] = defaultdict(set)
    for message in ears.hear("outbound", appid):
        if message.get("action") == "finished":
            event = {name: value for name, value in message.items() if name != "server_time"}
            events[message["crawlid"]].add(str(event))
    for crawlid, some in events.items():
        result.expect(len(some) == 1, f"{crawlid} finished more than once: {some}")


def check_audit(arena: Arena, result: Round, after: str) -> None:
    """Check that an audit finds nothing, whatever goes on at this moment."""
    found = arena.ask(lambda tracker: tracker.audit())
    result.expect(not found, f"after {after} an audit found {found[:10]}")


def check_keys(arena: Arena, result: Round) -> None:
    """No key is left that only a running crawl, or one that is gone, would have."""
    with suppress(AssertionError):
        until(lambda: not arena.ask(leftovers), "what is left is cleared up", PATIENCE)
    result.expect(not (left := arena.ask(leftovers)), f"keys without an owner: {left[:10]}")


def check_throttle(arena: Arena, result: Round, since: float) -> None:
    times: dict[str, list[float]] = defaultdict(list)
    for access in arena.web.accesses():
        if access.time >= since:
            times[access.host].append(access.time)
    for host, arrivals in times.items():
        arrivals.sort()
        for first, last in zip(arrivals, arrivals[HITS:], strict=False):
            if last - first < WINDOW - JITTER and not _blind(arena, first, last):
                result.errors.append(
                    f"{HITS + 1} hits of {host} in {last - first:.3f} s, at {first:.3f}"
                )
                break


def _blind(arena: Arena, first: float, last: float) -> bool:
    return any(first < end and last > begin for begin, end in arena.blind)
