"""The kind of every setting: `settings.py` has the defaults, the reference page the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.service.kinds import (
    anything,
    boolean,
    choice,
    duration,
    integer,
    listing,
    mapping,
    optional,
    seconds,
    text,
)
from crawling.service.windows import WINDOWS

if TYPE_CHECKING:
    from crawling.service.kinds import Kind

_STATUS = integer(100, 599)
_LEVEL = choice("DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL")

OPTIONS: dict[str, Kind] = {
    # The tracker
    "TRACKER": optional(text),
    "REDIS_HOST": text,
    "REDIS_PORT": integer(1, 65535),
    "REDIS_DB": integer(0),
    "REDIS_PASSWORD": optional(text),
    "REDIS_SOCKET_TIMEOUT": duration,
    "CRAWL": text,
    "LEASE_TIMEOUT": duration,
    "SHUTDOWN_GRACE": seconds(0),
    "TRACKER_MAX_QUEUED": integer(0),
    "DUPEFILTER_TIMEOUT": seconds(0),
    "GLOBAL_PAGE_PER_DOMAIN_LIMIT": optional(integer(1)),
    # Politeness
    "QUEUE_HITS": integer(0),
    "QUEUE_WINDOW": duration,
    "QUEUE_MODERATED": boolean,
    "QUEUE_CONCURRENCY": integer(1),
    "SCHEDULER_TYPE_ENABLED": boolean,
    "SCHEDULER_IP_ENABLED": boolean,
    "PUBLIC_IP": optional(text),
    "USER_AGENT": text,
    "ROBOTSTXT_OBEY": boolean,
    "ROBOTSTXT_CACHE_SIZE": integer(1),
    "ROBOTSTXT_CACHE_TTL": duration,
    # Failures
    "RETRY_TIMES": integer(0),
    "RETRY_HTTP_CODES": listing(_STATUS),
    "RETRY_DELAY": seconds(0),
    "RETRY_DELAY_MAX": seconds(0),
    "DEFER_MAX": seconds(0),
    "HTTPERROR_ALLOW_ALL": boolean,
    # Downloads
    "CONCURRENT_REQUESTS": integer(1),
    "CONCURRENT_REQUESTS_PER_DOMAIN": integer(1),
    "DOWNLOAD_DELAY": seconds(0),
    "DOWNLOAD_TIMEOUT": duration,
    "DOWNLOAD_MAXSIZE": integer(1),
    "ALLOW_PRIVATE_ADDRESSES": boolean,
    "DNSCACHE_ENABLED": boolean,
    "DNSCACHE_SIZE": integer(1),
    "DNSCACHE_TTL": seconds(0),
    "REACTOR_THREADPOOL_MAXSIZE": integer(1),
    "TWISTED_REACTOR": text,
    # Pages
    "SAVERS": listing(),
    "FILE_NAME": anything,
    "CONCURRENT_ITEMS": integer(2),
    "SCRAPER_SLOT_MAX_ACTIVE_SIZE": integer(1),
    # Statistics
    "STATS_STATUS_CODES": boolean,
    "STATS_RESPONSE_CODES": listing(_STATUS),
    "STATS_CYCLE": duration,
    "STATS_TIMES": listing(choice(*WINDOWS)),
    # Logs
    "SC_LOGGER_NAME": text,
    "SC_LOG_LEVEL": _LEVEL,
    "SC_LOG_JSON": boolean,
    "SC_LOG_STDOUT": boolean,
    "SC_LOG_DIR": text,
    "SC_LOG_FILE": text,
    "SC_LOG_MAX_BYTES": integer(0),
    "SC_LOG_BACKUPS": integer(0),
    "LOG_ENABLED": boolean,
    "LOG_FORMATTER": anything,
    # Scrapy's components
    "BOT_NAME": text,
    "SPIDER_MODULES": listing(),
    "NEWSPIDER_MODULE": text,
    "SCHEDULER": anything,
    "DUPEFILTER_CLASS": anything,
    "ITEM_PIPELINES": mapping,
    "SPIDER_MIDDLEWARES": mapping,
    "DOWNLOADER_MIDDLEWARES": mapping,
    "EXTENSIONS": mapping,
    "TELNETCONSOLE_ENABLED": boolean,
    "REMOTE_CONTROL_ENABLED": boolean,
}

#: Scrapy Cluster's settings that nothing here needs any more: accepted, without effect.
RETIRED: dict[str, Kind] = {
    "SCHEDULER_PERSIST": boolean,
    "SCHEDULER_QUEUE_REFRESH": seconds(0),
    "SCHEDULER_QUEUE_TIMEOUT": seconds(0),
    "SCHEDULER_ITEM_RETRIES": integer(0),
    "SCHEDULER_BACKLOG_BLACKLIST": boolean,
    "SCHEDULER_IP_REFRESH": seconds(0),
    "GLOBAL_PAGE_PER_DOMAIN_LIMIT_TIMEOUT": seconds(0),
    "DOMAIN_MAX_PAGE_TIMEOUT": seconds(0),
    "PUBLIC_IP_URL": text,
    "IP_ADDR_REGEX": text,
    "ZOOKEEPER_ASSIGN_PATH": text,
    "ZOOKEEPER_ID": text,
    "ZOOKEEPER_HOSTS": text,
}

#: How Scrapy Cluster misspelled two of its settings -> how they are spelled.
ALIASES = {
    "SCHEUDLER_ITEM_RETRIES": "SCHEDULER_ITEM_RETRIES",
    "SCHEDULER_QUEUE_TIEOUT": "SCHEDULER_QUEUE_TIMEOUT",
}
