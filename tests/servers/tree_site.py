"""A site that is a tree: page n leads to 2n+1 and 2n+2."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.small_site import SmallSite


@contextmanager
def tree_site(pages: int, size: int = 0) -> Iterator[SmallSite]:
    """Serve *pages* pages, each with *size* bytes beside its links."""
    with small_site() as site:
        site.answers = {
            f"/{number or ''}": _page(number, pages, size) for number in range(pages)
        }
        yield site


def _page(number: int, pages: int, size: int) -> Answer:
    links = (child for child in (2 * number + 1, 2 * number + 2) if child < pages)
    body = "".join(f'<a href="/{child}">{child}</a>' for child in links)
    return Answer(
        200, body.encode() + b"x" * size, {"Content-Type": "text/html; charset=utf-8"}
    )
