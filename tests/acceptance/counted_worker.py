"""`python -m tests.acceptance.counted_worker FILE`: a worker that counts what it costs."""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
from pathlib import Path

from bench.worker import LINK_SPIDER
from scrapy.cmdline import execute


def main(file: Path) -> None:
    profile = cProfile.Profile()
    profile.enable()
    try:
        execute(["scrapy", "runspider", str(LINK_SPIDER)])
    finally:
        profile.disable()
        calls = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]  # not in its stub
        file.write_text(json.dumps({"calls": calls, "blocks": sys.getallocatedblocks()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
