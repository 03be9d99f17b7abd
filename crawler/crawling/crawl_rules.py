"""The link rules of the crawls that this worker has lately worked for."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from crawling.links import LinkRules
from crawling.tracker.tracker import CrawlOptions

if TYPE_CHECKING:
    from crawling.tracker.tracker import CrawlId, Lease

#: Crawls whose compiled rules are kept.
MAX_RULES = 100


class CrawlRules:
    """Compiles each crawl's rules once, and again when its options change."""

    def __init__(self, *, private_allowed: bool) -> None:
        self._settings = {"ALLOW_PRIVATE_ADDRESSES": private_allowed}
        self._rules: OrderedDict[CrawlId, tuple[CrawlOptions, LinkRules]] = OrderedDict()
        #: For a request of which no options are known.
        self.general = LinkRules(CrawlOptions(), self._settings)

    def of(self, lease: Lease) -> LinkRules:
        """Return the rules for links on the leased page; raise `ConfigError`."""
        known = self._rules.get(lease.crawl)
        if known is None or (known[0] is not lease.options and known[0] != lease.options):
            known = (lease.options, LinkRules(lease.options, self._settings))
            self._rules[lease.crawl] = known
        self._rules.move_to_end(lease.crawl)
        if len(self._rules) > MAX_RULES:
            self._rules.popitem(last=False)
        return known[1]
