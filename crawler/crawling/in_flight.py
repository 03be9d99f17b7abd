"""The requests that Scrapy works on for their leases, and how each lease ends."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, Protocol

from scrapy import Request
from scrapy.http import Response
from scrapy.utils.url import url_is_from_any_domain
from twisted.python.failure import Failure

from crawling.exceptions import RequestError, TooLarge
from crawling.held_lease import held_here
from crawling.outcomes import Released, Verdict, cause_of, classify, describe, retry_asked
from crawling.request_record import child_offer, is_plain, names_of, next_offer, seed_offer
from crawling.tracker.tracker import CrawlId, Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from scrapy import Spider
    from scrapy.core.engine import ExecutionEngine

    from crawling.crawl_rules import CrawlRules
    from crawling.held_lease import HeldLease
    from crawling.known_links import KnownLinks
    from crawling.links import LinkBatch
    from crawling.tracker.tracker import Offer

logger = logging.getLogger(__name__)

#: Seconds in one phase after which the audit tells of the oldest request.
LONG = 900.0


class Desk(Protocol):
    """Where outcomes and seeds are handed in, and what is known of the throttle."""

    def settle(self, outcome: Outcome) -> None: ...

    def seed(self, crawl: CrawlId, offer: Offer) -> None: ...

    def may_send(self, held: HeldLease) -> None:
        """Raise `Released` when the request must not be sent now."""


class InFlight:
    """Knows of every leased Request that the engine has, by identity."""

    def __init__(
        self,
        spider: Spider,
        rules: CrawlRules,
        known: KnownLinks,
        desk: Desk,
        *,
        default_crawl: CrawlId,
        retry_codes: Collection[int],
    ) -> None:
        self._spider = spider
        self._rules = rules
        self._known = known
        self._desk = desk
        self._default_crawl = default_crawl
        self._retry_codes = frozenset(retry_codes)
        self._held: dict[Request, HeldLease] = {}
        #: What the downloader returned in place of a leased Request, until it is scheduled.
        self._replaced: dict[Request, HeldLease] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[HeldLease]:
        return iter(list(self._held.values()))

    def begin(self, held: HeldLease, request: Request) -> None:
        held.request = request
        held.enter("handed")
        self._held[request] = held

    def held(self, request: Request) -> HeldLease | None:
        return self._held.get(request)

    # What the engine's hooks tell, in this order.

    def sending(self, request: Request) -> None:
        held = self._held.get(request)
        if held is not None:
            self._desk.may_send(held)

    def downloaded(self, request: Request, response: Response) -> None:
        held = self._held.get(request)
        if held is not None:
            bad = response.status >= 400
            held.trouble = (f"http_{response.status}", "") if bad else ("", "")

    def download_failed(self, request: Request, error: Exception) -> None:
        held = self._held.get(request)
        if held is not None:
            verdict = classify(error)
            held.trouble = (verdict.reason, verdict.detail)

    def fetched(self, held: HeldLease, result: Any) -> None:
        held.enter("fetched")
        held.result = result
        if isinstance(result, Request):
            self._replaced[result] = held
            asyncio.get_running_loop().call_soon(self._not_scheduled, held, result)

    def finished(self, held: HeldLease) -> None:
        verdict, response = _verdict(held), held.result
        if verdict.kind != "done" or not isinstance(response, Response):
            self.settle(held, verdict)
        elif held.lease.attempts and response.status in self._retry_codes:
            # Scrapy's own middleware hands the page to the spider when it gives up.
            self.settle(held, Verdict("failed", f"http_{response.status}"))
        else:
            self.settle(held, verdict, status=response.status, size=len(response.body))

    def item_lost(self, held: HeldLease, error: BaseException) -> None:
        held.lost_items.append(error)
        logger.error("Item lost", extra=_extra("item_error", held), exc_info=error)

    def batch(self, batch: LinkBatch) -> None:
        held = held_here()
        if held is None or not held.open:
            for url in batch.urls:
                self.enqueue(Request(url))
            return
        offers, known = self._rules.of(held.lease).judge(
            batch.urls, held.lease, self._known.of(held.lease)
        )
        held.known += known
        if self._spider.name != held.lease.crawl.spiderid:
            offers = [offer._replace(spiderid=self._spider.name) for offer in offers]
        held.links.extend(offers)

    # Signals.

    def spider_error(self, failure: Failure) -> None:
        held = held_here()
        if held is not None:
            held.spider_errors.append(cause_of(failure))

    def item_error(self, failure: Failure) -> None:
        held = held_here()
        if held is not None:
            held.lost_items.append(cause_of(failure))

    # Requests on their way back to the scheduler.

    def enqueue(self, request: Request) -> bool:
        """Take a Request from the engine; False when it cannot be stored."""
        replaced = self._replaced.pop(request, None)
        if replaced is not None and replaced.open:
            self._go_on(replaced, request)
            return True
        held = held_here()
        try:
            if held is not None and held.open:
                self._add_child(held, request)
            else:
                self._add_seed(held, request)
        except RequestError as error:
            # Raised from here it would end a worker of the page's items.
            logger.error(  # noqa: TRY400 - the spider's mistake; our traceback says nothing
                "Request cannot be stored",
                extra={"action": "refuse", "url": request.url, "reason": str(error)},
            )
            if held is not None:
                held.spider_errors.append(error)
            return False
        return True

    def _go_on(self, held: HeldLease, request: Request) -> None:
        """Settle a lease whose Request some middleware replaced by *request*."""
        asked = retry_asked(request)
        if asked is not None:
            self.settle(held, Verdict("retry", *astuple(asked)))
            return
        assert held.request is not None
        redirected = _is_redirect(held.request, request)
        rule = self._rules.of(held.lease).redirect_rule(request.url) if redirected else ""
        if rule:
            self.settle(held, Verdict("dropped", rule, f"redirect to {request.url}"))
            return
        try:
            offer = next_offer(request, held.lease, self._spider, redirected=redirected)
        except RequestError as error:
            self.settle(held, Verdict("failed", error.reason, str(error)))
            return
        verdict = Verdict("redirect") if redirected else _plain_retry(held)
        self.settle(held, verdict, next=offer)

    def _not_scheduled(self, held: HeldLease, request: Request) -> None:
        """Drop a lease whose new Request a handler of request_scheduled has refused."""
        self._replaced.pop(request, None)
        if held.open and held.phase == "fetched":
            # Scrapy does not say which handler; its own is OffsiteMiddleware's.
            allowed = getattr(self._spider, "allowed_domains", None)
            onsite = not allowed or url_is_from_any_domain(request.url, allowed)
            reason = "x_refused" if onsite else "offsite"
            self.settle(held, Verdict("dropped", reason, f"refused: {request.url}"))

    def _add_child(self, held: HeldLease, request: Request) -> None:
        young, old = self._known.of(held.lease)
        if is_plain(request) and (request.url in young or request.url in old):
            held.known += 1
            return
        place = self._rules.of(held.lease).place(request.url)
        # The same for each delivery of the page, whatever was known by then.
        nth = len(held.links) + held.known
        offer = child_offer(request, held.lease, self._spider, place=place, nth=nth)
        held.links.append(offer)

    def _add_seed(self, held: HeldLease | None, request: Request) -> None:
        crawl = self._default_crawl if held is None else held.lease.crawl
        crawl = CrawlId(
            crawl.spiderid,
            request.meta.get("appid", crawl.appid),
            request.meta.get("crawlid", crawl.crawlid),
        )
        rule = self._rules.general.redirect_rule(request.url)
        self._desk.seed(crawl, seed_offer(request, crawl, self._spider, rule=rule))

    # The end.

    def settle(self, held: HeldLease, verdict: Verdict, **facts: Any) -> None:
        """Hand in how the lease ended; what comes later for it changes nothing."""
        if not held.open:
            return
        held.enter("settled")
        if held.request is not None:
            self._held.pop(held.request, None)
        # A released page is fetched again, and its links are found again.
        links, known = ([], 0) if verdict.kind == "released" else (held.links, held.known)
        self._desk.settle(
            Outcome(
                held.lease,
                verdict.kind,
                reason=verdict.reason,
                detail=verdict.detail,
                busy=verdict.busy,
                retry_after=verdict.retry_after,
                links=links,
                known=known,
                **facts,
            )
        )

    def audit(self, engine: ExecutionEngine) -> None:
        """Release what the engine no longer has: an end that the hooks missed."""
        slot = engine.scraper.slot
        scraping = set() if slot is None else slot.active
        for held in self:
            assert held.request is not None
            known = held.request in engine.downloader.active or held.request in scraping
            if not known and held.missed:
                logger.error("Request lost by the engine", extra=_extra("audit", held))
                self.settle(held, Verdict("released", "", "lost by the engine"))
            held.missed = not known
        oldest = min(self, key=lambda held: held.since, default=None)
        if oldest is not None and time.monotonic() - oldest.since > LONG:
            logger.warning("Request takes long", extra=_extra("audit", oldest))


def _verdict(held: HeldLease) -> Verdict:
    """Return how a lease ended whose page was parsed, with all its items processed."""
    failure = cause_of(held.result) if isinstance(held.result, Failure) else None
    # A pipeline held the page for an output that is down, until the worker stopped; or
    # the request was not sent.
    for error in (failure, *held.lost_items):
        if isinstance(error, Released):
            return classify(error)
    if held.lost_items:
        error = held.lost_items[0]
        reason = "too_large" if isinstance(error, TooLarge) else "output_error"
        return Verdict("failed", reason, describe(error))
    if failure is not None:
        return classify(failure)
    # Without an errback, the refusal comes back as the spider's error.
    errors = [error for error in held.spider_errors if error is not held.refusal]
    if errors:
        return Verdict("failed", "spider_error", describe(errors[0]))
    return Verdict("done") if held.refusal is None else classify(held.refusal)


def _is_redirect(before: Request, after: Request) -> bool:
    # A site that sets a cookie redirects to the same URL.
    times = "redirect_times"
    return after.url != before.url or after.meta.get(times, 0) > before.meta.get(times, 0)


def _plain_retry(held: HeldLease) -> Verdict:
    reason, detail = held.trouble
    return Verdict("retry", reason or "bad_response", detail)


def _extra(action: str, held: HeldLease) -> dict[str, Any]:
    lease = held.lease
    return {
        "action": action,
        "url": lease.url,
        **names_of(lease),
        "phase": held.phase,
    }
