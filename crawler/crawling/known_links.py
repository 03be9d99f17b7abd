"""Which links this worker has had queued: it need not offer them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.links import Link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawling.tracker.tracker import Lease, Outcome, TrackerConfig

#: URLs in each of the two generations: some 12 MB.
MOST = 50_000

_NONE: Mapping[str, bytes] = {}


class KnownLinks:
    """URLs, with their fingerprints, that the tracker has taken from this worker.

    Most links of a page stand on the pages before it too.  What is here would be a
    duplicate for sure; what is not, the tracker judges.  The older half is forgotten now
    and then, and comes back with the next page that has it.
    """

    def __init__(self, config: TrackerConfig, most: int = MOST) -> None:
        self._config = config
        self._most = most
        self._size = 0
        #: Era of a crawl -> URL -> fingerprint
        self._young: dict[str, dict[str, bytes]] = {}
        self._old: dict[str, dict[str, bytes]] = {}

    def of(self, lease: Lease) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        """Return what is known of the crawl in its present state, in two parts."""
        if self._config.may_refuse_for_now(lease.options):
            return _NONE, _NONE
        return self._young.get(lease.era, _NONE), self._old.get(lease.era, _NONE)

    def learn(self, outcome: Outcome) -> None:
        """Remember the links of a page that the tracker has accepted."""
        if not outcome.links or self._config.may_refuse_for_now(outcome.lease.options):
            return
        urls = self._young.setdefault(outcome.lease.era, {})
        before = len(urls)
        urls.update(
            (link.url, link.fingerprint) for link in outcome.links if isinstance(link, Link)
        )
        self._size += len(urls) - before
        if self._size >= self._most:
            self._old, self._young, self._size = self._young, {}, 0
