"""Crawls as text, for people: summaries, status, traces."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from crawling.exceptions import Unavailable
from crawling.service.text import printable
from crawling.tracker.redis_connect import shown
from crawling.tracker.tracker import is_failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.manager import Summary
    from crawling.tracker.tracker import CrawlStatus, Trace

#: Failed requests that a summary names.
SHOWN_FAILURES = 10


def show(text: str) -> None:
    """Write a result to standard output."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would raise once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Unavailable(f"standard output: {error.strerror}") from error


def size_text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def summary_text(summary: Summary, savers: Sequence[str]) -> str:
    status = summary.status
    rate = status.done / summary.elapsed if summary.elapsed else 0.0
    lines = [
        (
            f"Crawl {printable(status.crawl.crawlid)} {summary.state} "
            f"after {summary.elapsed:.1f} s: {status.done} pages "
            f"({size_text(status.size)}, {rate:.1f} pages/s)"
        ),
        *ledger_lines(status),
    ]
    if savers:
        lines.append(f"  saved to   {', '.join(printable(shown(target)) for target in savers)}")
    named = summary.failures[:SHOWN_FAILURES]
    lines += [
        f"  failed     {printable(failure.url)}: {failure.reason}"
        + (f" ({printable(failure.detail)})" if failure.detail else "")
        for failure in named
    ]
    if status.failed > len(named):
        lines.append(f"  … and {status.failed - len(named)} more failed")
    return "\n".join(lines)


def ledger_lines(status: CrawlStatus) -> list[str]:
    """Return the books of a crawl, a line a column."""
    failed = {r: n for r, n in status.reasons.items() if is_failure(r)}
    dropped = {r: n for r, n in status.reasons.items() if not is_failure(r)}
    lines = [
        f"  accepted   {status.accepted}",
        f"  done       {status.done}{_counts(status.statuses)}",
        f"  failed     {status.failed}{_counts(failed)}",
        f"  dropped    {status.dropped}{_counts(dropped)}",
    ]
    if status.outstanding:
        lines.append(
            f"  to do      {status.queued} queued, {status.delayed} delayed, "
            f"{status.leased} in flight"
        )
    if status.duplicates:
        lines.append(f"  duplicates {status.duplicates} (links met again, not accepted)")
    return lines


def status_text(status: CrawlStatus) -> str:
    seconds = (status.ended or time.time()) - status.started
    crawl = status.crawl
    head = (
        f"{printable(crawl.crawlid)}  {status.state}  "
        f"spider {printable(crawl.spiderid)}, app {printable(crawl.appid)}, "
        f"epoch {status.epoch}, {seconds:.0f} s, {size_text(status.size)}"
    )
    if status.boost:
        head += f", counts {status.boost:+d}"
    return "\n".join([head, *ledger_lines(status)])


def trace_text(url: str, trace: Trace) -> str:
    """Return one line, with the words of the JSON form."""
    words = [printable(url), trace.state]
    if trace.reason:
        words.append(trace.reason)
    for name in ("attempts", "depth", "priority", "worker"):
        value = getattr(trace, name)
        if value is not None:
            words.append(f"{name} {value}")
    for name, moment in (("since", trace.since), ("next_try", trace.next_try)):
        if moment is not None:
            words.append(f"{name} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(moment))}")
    return "  ".join(words)


def _counts(counts: Mapping[str, int] | Mapping[int, int]) -> str:
    if not counts:
        return ""
    shown = sorted(counts.items(), key=lambda pair: -pair[1])
    return "  (" + ", ".join(f"{name}: {n}" for name, n in shown) + ")"
