"""Who works on a SQLite tracker, and who only seemed to."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from crawling.tracker.sqlite_settle import bury, leased_by, release, unlease

if TYPE_CHECKING:
    from crawling.tracker.sqlite_books import Step
    from crawling.tracker.sqlite_settle import Request
    from crawling.tracker.tracker import Vitals

#: How many leases of the dead one step takes back, so that no transaction is long.
RECLAIM_STEP = 1_000


class Deaths:
    """Tells which workers are dead, as seen by one process.

    A worker whose process is gone is dead at once.  Any other is only when its deadline
    did not move for LEASE_TIMEOUT of our own time: after the host has slept, all
    deadlines have passed, and nobody is dead.
    """

    def __init__(self) -> None:
        self._watched: dict[str, tuple[float, float]] = {}

    def find(self, step: Step) -> list[str]:
        rows = step.db.execute("SELECT worker, deadline, host, pid, process FROM workers")
        dead, watched = [], {}
        for worker, deadline, host, pid, process in rows:
            before, since = self._watched.get(worker, (None, step.monotonic))
            if before != deadline:
                since = step.monotonic
            watched[worker] = (deadline, since)
            silent = step.monotonic - since >= step.config.lease_timeout
            if silent or (host and host == _host() and _process(pid) != process):
                dead.append(worker)
        self._watched = watched
        return dead


def register(step: Step, worker: str) -> None:
    deadline = step.now + step.config.lease_timeout
    pid = os.getpid()
    step.db.execute(
        "INSERT INTO workers VALUES (?, ?, ?, ?, ?, '', 0, 0, 0) "
        "ON CONFLICT DO UPDATE SET deadline = excluded.deadline",
        (worker, deadline, _host(), pid, _process_once(pid)),
    )


def renew(step: Step, worker: str, trouble: str, vitals: Vitals | None) -> bool:
    deadline = step.now + step.config.lease_timeout
    changed = step.db.execute(
        "UPDATE workers SET deadline = ?, trouble = ?, pages = coalesce(?, pages), "
        "rate = coalesce(?, rate), memory = coalesce(?, memory) WHERE worker = ?",
        (deadline, trouble, *(vitals or (None, None, None)), worker),
    )
    return changed.rowcount == 1


def leave(step: Step, worker: str) -> int:
    requests = leased_by(step, worker, -1)
    _release_all(step, requests)
    step.db.execute("DELETE FROM workers WHERE worker = ?", (worker,))
    return len(requests)


def give_back(step: Step, worker: str, token: str) -> None:
    """Release what one call lent to a worker that never heard of it."""
    rows = step.db.execute(
        "SELECT id FROM requests WHERE worker = ? AND token = ?", (worker, token)
    ).fetchall()
    lost = {row[0] for row in rows}
    held = leased_by(step, worker, -1) if lost else []
    _release_all(step, [request for request in held if request.id in lost])


def reclaim(step: Step, deaths: Deaths) -> int:
    """Take back a bounded number of leases; a worker is forgotten with its last one."""
    left = RECLAIM_STEP
    for worker in deaths.find(step):
        requests = leased_by(step, worker, left)
        for request in requests:
            bury(step, request)
        left -= len(requests)
        if not left:
            break
        step.db.execute("DELETE FROM workers WHERE worker = ?", (worker,))
    return RECLAIM_STEP - left


def _release_all(step: Step, requests: list[Request]) -> None:
    for request in requests:
        unlease(step, request)
        release(step, request)


@lru_cache(maxsize=1)
def _host() -> str:
    """Name the space in which a process id means something; "" where it cannot be told.

    Containers that share a file do not share process ids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """Return what tells this process from a later one of the same id: its start, in ticks."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name before it is in parentheses and may hold anything.
    fields = stat.rpartition(")")[2].split()
    # A zombie holds no lease any more, even while its parent does not look.
    return "" if fields[0] in {"Z", "X"} else fields[19]


@lru_cache(maxsize=8)
def _process_once(pid: int) -> str:
    return _process(pid)
