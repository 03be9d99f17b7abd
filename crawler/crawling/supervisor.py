"""Several processes of one command: as many as asked for, whoever dies."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import random
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

#: Seconds before a process that died is started again: at first and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: A process that ran for so many seconds had begun well: the pauses start over.
WELL_BEGUN = 60.0
#: Seconds beside SHUTDOWN_GRACE in which a worker settles and gives back what it holds.
FAREWELL = 20.0
#: Linux: the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1


class Supervisor:
    """Runs a process of each command until SIGTERM or Ctrl-C, and then lets them end in peace."""

    def __init__(self, commands: Sequence[Sequence[str]], *, grace: float) -> None:
        self._commands = commands
        self._patience = grace + FAREWELL
        self._stopping = asyncio.Event()
        self._running: set[asyncio.subprocess.Process] = set()

    async def run(self) -> int:
        """Return 0 when all ended well after a signal, else 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        codes = await asyncio.gather(
            *(self._keep(number) for number in range(len(self._commands)))
        )
        return int(any(codes))

    async def _keep(self, number: int) -> int:
        """Run one process, again and again; return the code of the last one."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            code = await self._run_once(self._commands[number])
            if self._stopping.is_set():
                return code
            if time.monotonic() - began > WELL_BEGUN:
                pause = FIRST_PAUSE
            said = (
                f"fleet: worker {number} ended with {code}, starting again in {pause:.0f} s\n"
            )
            sys.stderr.write(said)
            with suppress(asyncio.TimeoutError):
                spread = random.uniform(0.75, 1.25)  # noqa: S311 not all at once
                await asyncio.wait_for(self._stopping.wait(), pause * spread)
            if self._stopping.is_set():
                return 0
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _run_once(self, command: Sequence[str]) -> int:
        process = await asyncio.create_subprocess_exec(
            *command,
            # Ctrl-C in a terminal goes to the whole group: we pass it on, once.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._running.add(process)
        try:
            if self._stopping.is_set():
                process.terminate()
            return await self._end_of(process)
        finally:
            self._running.discard(process)

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        ending = asyncio.ensure_future(process.wait())
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({ending, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        done, _ = await asyncio.wait({ending}, timeout=self._patience)
        if not done:
            sys.stderr.write(f"fleet: worker {process.pid} does not end, killing it\n")
            process.kill()
        return await ending

    def _stop(self) -> None:
        self._stopping.set()
        for process in self._running:
            with suppress(ProcessLookupError):
                process.terminate()


def _die_with_parent() -> None:
    """Let the kernel end a worker whose supervisor was killed; elsewhere it serves on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
