"""The columns of the three views of `fleet top`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crawling.idle_report import idle_text
from crawling.report import size_text
from crawling.top.listing import Column
from crawling.tracker.idleness import of_domain

if TYPE_CHECKING:
    from crawling.top.looks import CrawlRow
    from crawling.tracker.idleness import Idle
    from crawling.tracker.tracker import DomainStatus, WorkerStatus

_STATES = {"running": "green", "paused": "yellow", "stopped": "red", "expired": "red"}


def _rate(rate: float) -> str:
    return f"{rate:.1f}"


def _red(count: int) -> str:
    return "red" if count else ""


def _name(row: CrawlRow) -> str:
    return row.status.crawl.crawlid


CRAWLS: tuple[Column[CrawlRow], ...] = (
    Column("crawl", _name, is_text=True),
    Column("spider", lambda row: row.status.crawl.spiderid, is_text=True, wide=80),
    Column("app", lambda row: row.status.crawl.appid, is_text=True, wide=100),
    Column(
        "state",
        lambda row: row.status.state,
        is_text=True,
        style=lambda state: _STATES.get(state, ""),
    ),
    Column("done", lambda row: row.status.done),
    Column("/s", lambda row: row.rate, _rate),
    Column("queued", lambda row: row.status.queued),
    Column("delayed", lambda row: row.status.delayed, wide=80),
    Column("flight", lambda row: row.status.leased),
    Column("failed", lambda row: row.status.failed, style=_red),
    Column("dropped", lambda row: row.status.dropped, wide=80),
    Column("size", lambda row: row.status.size, size_text, wide=100),
)


def _idle(idle: Idle) -> str:
    return idle_text(idle, "%H:%M:%SZ")


DOMAINS: tuple[Column[DomainStatus], ...] = (
    Column("domain", lambda domain: domain.domain, is_text=True),
    Column("queued", lambda domain: domain.queued),
    Column("flight", lambda domain: domain.leased),
    Column("", of_domain, _idle, is_text=True),
)

WORKERS: tuple[Column[tuple[WorkerStatus, Idle]], ...] = (
    Column("worker", lambda row: row[0].host or row[0].worker, is_text=True),
    Column("process", lambda row: row[0].pid),
    Column("spider", lambda row: row[0].spiderid, is_text=True, wide=80),
    Column("holds", lambda row: row[0].leased),
    Column("pages", lambda row: row[0].vitals.pages, wide=100),
    Column("/s", lambda row: row[0].vitals.rate, _rate, wide=100),
    Column("memory", lambda row: row[0].vitals.memory, size_text, wide=100),
    Column("alive", lambda row: row[0].deadline, lambda until: f"{until - time.time():.0f} s"),
    Column("", lambda row: row[1], _idle, is_text=True),
)
