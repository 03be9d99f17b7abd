"""`python -m tests.mutations [WORDS]`: is each deliberate bug found by a test.

The bugs are put, one at a time, into a copy of the project, whose tests pass without them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutations.bugs import BUGS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("crawler", "kafka-monitor", "redis-monitor")
#: Of the project itself, nothing of what is made beside it.
COPIED = (*PARTS, "tests", "bench", "docs", "tools", ".cache", "pyproject.toml", "setup.py")


def main(words: list[str]) -> int:
    bugs = [bug for bug in BUGS if all(word in bug.name for word in words)]
    missed = []
    with TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder)
        copy_project(copy)
        every_test = {test for bug in bugs for test in bug.tests.split()}
        assert not (failed := failing_test(copy, " ".join(every_test))), f"{failed} has no bug"
        for bug in bugs:
            file, begun = copy / bug.file, time.monotonic()
            sound = file.read_text()
            assert sound.count(bug.old) == 1, f"{bug.name}: must stand in {file} once"
            file.write_text(sound.replace(bug.old, bug.new))
            found = failing_test(copy, bug.tests)
            file.write_text(sound)
            took = time.monotonic() - begun
            sys.stdout.write(f"| {bug.name} | {found or 'NOT FOUND'} | {took:.0f} s |\n")
            sys.stdout.flush()
            missed += [] if found else [bug.name]
    return 1 if missed else 0


def copy_project(folder: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if name == ".cache":
            (folder / name).symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def failing_test(folder: Path, tests: str) -> str:
    """Return the first of *tests* that fails in *folder*, or "" when all pass."""
    packages = [str(folder / part) for part in PARTS]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*packages, str(folder)])},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == 0:
        return ""
    failed = [
        line
        for line in ran.stdout.splitlines()
        if line.startswith(("FAILED tests", "ERROR tests"))
    ]
    assert failed, ran.stdout + ran.stderr
    return failed[0].partition(" - ")[0].partition(" ")[2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
