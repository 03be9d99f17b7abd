"""`fleet audit`: hold the books of a tracker against what there is, and mend them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crawling.exceptions import FleetError
from crawling.report import show
from crawling.service.text import printable
from crawling.tracker.findings import NOT_CHECKED
from crawling.tracker_commands import crawl_name, find_crawl, on_tracker, print_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from crawling.tracker.findings import Finding
    from crawling.tracker.tracker import Tracker

_COLUMN = (
    "{booked} {kind} by the books, {found} are there",
    "they would say {found}, and what is gone would be dropped as lost",
)
#: What a finding says, and what a repair would do about it.
TEXTS = {
    "accepted": (
        "{booked} accepted, but the columns sum up to {found}",
        "accepted would become {found}",
    ),
    "queued": _COLUMN,
    "delayed": _COLUMN,
    "leased": _COLUMN,
    "end": ("nothing is left to do, and it has not ended", "it would end"),
    "lane": (
        "{found} requests wait in a lane that counts as {booked}",
        "it would be listed as it is",
    ),
    "domain": ("no lease would ever come to it", "it would be put in line"),
    "due": ("a delayed request has lost its time", "it would be given back"),
    "flight": ("{booked} in flight by the books, {found} are", "they would say {found}"),
    "worker": ("{found} leases of a worker that nobody watches", "they would be given back"),
    "bundle": ("{found} leases of a dead worker are forgotten", "they would be given back"),
    "key": ("belongs to no crawl", "it would be deleted"),
    "unsteady": (
        "has too many lanes to be counted while it moves",
        "pause it, and audit it again",
    ),
    "unchecked": ("more than {found} of them: not counted", "audit again when there are fewer"),
}
#: A repair may bring to light what it then mends: leases of a lost worker come back into
#: lanes and columns.
PASSES = 3


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "hold the books of crawls against what there is, while they run"
    command = commands.add_parser(
        "audit", help=text, description=text, parents=[common, crawl_name()]
    )
    command.add_argument(
        "--repair", action="store_true", help="mend it, after saying what is wrong"
    )
    command.set_defaults(command=on_tracker(_audit))


async def _audit(args: argparse.Namespace, tracker: Tracker) -> None:
    named = args.crawlid or args.spider or args.appid
    crawl = await find_crawl(args, tracker) if named else None
    found = left = await tracker.audit(crawl)
    if not args.json:
        show("\n".join(map(finding_text, found)) if found else "nothing is wrong")
    for _ in range(PASSES if args.repair else 0):
        if not _mendable(left):
            break
        await tracker.audit(crawl, repair=True)
        left = await tracker.audit(crawl)
    if args.json:
        print_json({"findings": _rows(found), "left": _rows(left)})
    elif args.repair and found:
        show(f"mended {len(found) - len(left)} of {len(found)}")
    if left:
        mend = "" if args.repair or not _mendable(left) else "; --repair mends it"
        raise FleetError(f"findings of the audit: {len(left)}{mend}")


def finding_text(finding: Finding) -> str:
    """Return one line: where, what is wrong, and what a repair would do."""
    wrong, mend = (text.format(**asdict(finding)) for text in TEXTS[finding.kind])
    crawl = f"crawl {finding.crawl.crawlid}" if finding.crawl else ""
    place = " ".join(part for part in (crawl, finding.where) if part)
    return f"{printable(place)}: {wrong}: {mend}"


def _mendable(findings: Sequence[Finding]) -> bool:
    return any(finding.kind not in NOT_CHECKED for finding in findings)


def _rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {**asdict(finding), "crawl": finding.crawl and finding.crawl._asdict()}
        for finding in findings
    ]
