"""Where duplicates are told apart: in the tracker."""

from __future__ import annotations

from scrapy.dupefilters import BaseDupeFilter


class RedisDupeFilter(BaseDupeFilter):
    """Set as DUPEFILTER_CLASS: lets every request pass.

    A request is told to be a duplicate where it is queued, in the same step of the
    tracker, for all workers at once and per crawlid: by its canonical URL, with method
    and body if it is no GET.  A filter in front of it would only know what this process
    has seen, and would hide URLs that were dropped for a passing reason.
    """
