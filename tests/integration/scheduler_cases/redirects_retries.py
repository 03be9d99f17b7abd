"""Requests that come back: as a redirect or a retry, by our middlewares or Scrapy's."""

from __future__ import annotations

from tests.integration.scheduler_cases.callbacks import Nothing
from tests.integration.scheduler_cases.case import Case, CaseSpider

#: Scrapy's own retries: any middleware may ask for one.
SCRAPYS_RETRIES = {
    "crawling.redis_retry_middleware.RedisRetryMiddleware": None,
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": 550,
}


class OnSite(CaseSpider):
    allowed_domains = ["127.0.0.1"]  # noqa: RUF012 - Scrapy's own way to say it


CASES = [
    Case("redirect", CaseSpider, {"redirect": 1, "done": 3}, seeds=("/redirect/1",)),
    Case("meta refresh", CaseSpider, {"redirect": 1, "done": 3}, seeds=("/refresh/1",)),
    Case(
        "redirect to another site that the spider does not allow",
        OnSite,
        {"dropped": 1},
        seeds=("/offsite/1",),
        reasons={"offsite": 1},
        unwatched=True,
    ),
    Case(
        "redirect loop",
        CaseSpider,
        {"redirect": 3, "dropped": 1},
        seeds=("/loop/1",),
        reasons={"redirect_limit": 1},
        settings={"REDIRECT_MAX_TIMES": 3},
    ),
    Case(
        "503 for ever",
        CaseSpider,
        {"retry": 2, "failed": 1},
        seeds=("/busy/1",),
        reasons={"http_503": 1},
        settings={"RETRY_TIMES": 2},
    ),
    Case(
        "503 for ever, retried by Scrapy's middleware",
        Nothing,
        {"retry": 2, "failed": 1},
        seeds=("/busy/1",),
        reasons={"http_503": 1},
        settings={"RETRY_TIMES": 2, "DOWNLOADER_MIDDLEWARES": SCRAPYS_RETRIES},
    ),
    Case(
        "503 once",
        CaseSpider,
        {"retry": 1, "done": 3},
        seeds=("/flaky/1",),
        settings={"RETRY_TIMES": 2},
    ),
    Case(
        "503 once, retried by Scrapy's middleware",
        CaseSpider,
        {"retry": 1, "done": 3},
        seeds=("/flaky/2",),
        settings={"RETRY_TIMES": 2, "DOWNLOADER_MIDDLEWARES": SCRAPYS_RETRIES},
    ),
    Case("404", Nothing, {"done": 1}, seeds=("/missing/1",)),
    Case(
        "404 that never reaches the callback",
        Nothing,
        {"failed": 1},
        seeds=("/missing/1",),
        reasons={"http_404": 1},
        settings={"HTTPERROR_ALLOW_ALL": False},
    ),
]
