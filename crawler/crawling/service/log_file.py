"""A log file that rotates, and that several processes write."""

from __future__ import annotations

import fcntl
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


class SharedLogFile(RotatingFileHandler):
    """A rotating file of all workers of a host, with a lock in `<file>.lock`.

    Without it each worker rotates by itself, and the others go on in the renamed file.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int) -> None:
        self._lock_file = Path(f"{path}.lock").open("a")  # noqa: SIM115 open as long as the log is
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            self._follow()
            super().emit(record)
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def close(self) -> None:
        super().close()
        self._lock_file.close()

    def _follow(self) -> None:
        """Go on in the file of this name if another process rotated ours away."""
        if self.stream is None or _is_open_as(self.stream.fileno(), self.baseFilename):
            return
        self.stream.close()
        self.stream = self._open()


def _is_open_as(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except FileNotFoundError:
        return False
