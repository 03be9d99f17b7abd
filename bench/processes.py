"""Processes under measurement: pinned to a core, and read from /proc with their children."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TICKS = os.sysconf("SC_CLK_TCK")
#: Seconds that a process has to end when it is asked to.
PATIENCE = 10.0
_cores = sorted(os.sched_getaffinity(0))
#: The crawler has a core of its own where there are two; all servers share the other.
CRAWLER_CORE, SERVER_CORE = _cores[0], _cores[-1]


class InVain(Exception):
    """A measured process did not do what it is measured for."""


@contextmanager
def running(
    command: Sequence[str],
    *,
    core: int,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* on one core; it is ended when the block is left.

    What it said on standard error is shown when the block was in vain.
    """
    variables = {**os.environ, **(env or {})}
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(
            command, cwd=cwd, env=variables, stdout=stdout, stderr=said
        ) as process,
    ):
        pin(process.pid, core)
        try:
            yield process
        except InVain:
            said.seek(0)
            sys.stderr.write(said.read())
            raise
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def pin(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def pin_redis(url: str, core: int) -> int:
    """Pin the Redis at *url*; return its process id."""
    with Redis.from_url(url) as client:
        pid = int(client.info("server")["process_id"])
    pin(pid, core)
    return pid


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process on one core for a while."""
    cores = os.sched_getaffinity(0)
    pin(os.getpid(), core)
    try:
        yield
    finally:
        for task in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of its children, living and dead."""
    return sum(_own_cpu(member) for member in _tree(pid))


def thread_seconds(pid: int) -> float:
    """Return the CPU time of a process's first thread, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def peak_rss(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    return _memory(pid, "VmHWM:")


def rss(pid: int) -> int:
    """Return the memory that a process has now, in bytes."""
    return _memory(pid, "VmRSS:")


def _memory(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def machine() -> str:
    """Return what the figures were measured on, in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}, {len(_cores)} cores, {platform.system()} {platform.release()}"


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _tree(int(child))


def _own_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS
