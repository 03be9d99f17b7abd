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
    ranks,
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
    "TRACKER_SHARDS": integer(1),
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
    "ASYNCIO_EVENT_LOOP": optional(text),
    # Pages
    "SAVERS": listing(),
    "FILE_NAME": anything,
    "CONCURRENT_ITEMS": integer(2),
    "SCRAPER_SLOT_MAX_ACTIVE_SIZE": integer(1),
    # Kafka
    "KAFKA_HOSTS": optional(listing()),
    "KAFKA_TOPIC_PREFIX": text,
    "KAFKA_INCOMING_TOPIC": text,
    "KAFKA_GROUP": text,
    "KAFKA_APPID_TOPICS": boolean,
    "KAFKA_BASE_64_ENCODE": boolean,
    "KAFKA_COMPRESSION": choice("none", "gzip", "lz4", "snappy", "zstd"),
    "KAFKA_OVERSIZE": choice("truncate", "file", "fail"),
    "KAFKA_OVERSIZE_FOLDER": text,
    "KAFKA_TOPIC_PARTITIONS": integer(1),
    "KAFKA_TOPIC_REPLICATION": integer(-1),
    "KAFKA_FEED_TIMEOUT": duration,
    "KAFKA_PRODUCER_BATCH_LINGER_MS": integer(0, 10_000),
    "KAFKA_PRODUCER_MAX_REQUEST_SIZE": integer(10_000, 1_000_000_000),
    "KAFKA_CONSUMER_AUTO_OFFSET_RESET": choice("earliest", "latest"),
    "KAFKA_CONSUMER_FETCH_MESSAGE_MAX_BYTES": integer(1),
    "KAFKA_SECURITY_PROTOCOL": choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "KAFKA_SSL_CAFILE": optional(text),
    "KAFKA_SSL_CERTFILE": optional(text),
    "KAFKA_SSL_KEYFILE": optional(text),
    "KAFKA_SASL_MECHANISM": optional(
        choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI")
    ),
    "KAFKA_SASL_USERNAME": optional(text),
    "KAFKA_SASL_PASSWORD": optional(text),
    # Statistics
    "STATS_STATUS_CODES": boolean,
    "STATS_RESPONSE_CODES": listing(_STATUS),
    "STATS_CYCLE": duration,
    "STATS_TIMES": listing(choice(*WINDOWS)),
    # Metrics
    "METRICS_PORT": optional(integer(1, 65535)),
    "METRICS_HOST": text,
    "TRACING": boolean,
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
    "DOWNLOADER_STATS": boolean,
    "REMOTE_CONTROL_ENABLED": boolean,
}

#: Those of the monitors and the REST service; the defaults are in the `settings.py` of each.
MONITOR_OPTIONS: dict[str, Kind] = {
    "PLUGINS": ranks,
    "KAFKA_GROUP_INSTANCE": optional(text),
    "MAXDEPTH_LIMIT": integer(0, 10_000),
    "DOMAIN_MAX_PAGES_LIMIT": integer(0),
    "HEARTBEAT_TIMEOUT": duration,
    "STATS_TOTAL": boolean,
    "STATS_PLUGINS": boolean,
    "STATS_DUMP": seconds(0),
    "STATS_DUMP_CRAWL": boolean,
    "STATS_DUMP_QUEUE": boolean,
    "CLAIM_AFTER": duration,
    "REST_HOST": text,
    "REST_PORT": integer(1, 65535),
    "REST_TOKENS": optional(text),
    "REST_RATE_LIMIT": seconds(0),
    "REST_MAX_BODY": integer(1000),
    "REST_TLS_CERTFILE": optional(text),
    "REST_TLS_KEYFILE": optional(text),
    "WAIT_FOR_RESPONSE_TIME": seconds(0),
    "RETRY_FAILURES": boolean,
    "RETRY_FAILURES_MAX": integer(0),
    "LOGGER_NAME": text,
    "LOG_LEVEL": _LEVEL,
    "LOG_JSON": boolean,
    "LOG_STDOUT": boolean,
    "LOG_DIR": text,
    "LOG_FILE": text,
    "LOG_MAX_BYTES": integer(0),
    "LOG_BACKUPS": integer(0),
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
    "PLUGIN_DIR": text,
    "SLEEP_TIME": seconds(0),
    "KAFKA_CONN_TIMEOUT": seconds(0),
    "KAFKA_CONSUMER_AUTO_COMMIT_ENABLE": boolean,
    "KAFKA_CONSUMER_COMMIT_INTERVAL_MS": integer(0),
    "KAFKA_CONSUMER_TIMEOUT": integer(0),
    "KAFKA_PRODUCER_BUFFER_BYTES": integer(0),
    "REDIS_LOCK_EXPIRATION": seconds(0),
    "FLASK_LOGGING_ENABLED": boolean,
    "KAFKA_CONSUMER_SLEEP_TIME": seconds(0),
    "DAEMON_THREAD_JOIN_TIMEOUT": seconds(0),
    "SCHEMA_DIR": text,
    "ZOOKEEPER_ASSIGN_PATH": text,
    "ZOOKEEPER_ID": text,
    "ZOOKEEPER_HOSTS": text,
}

#: How Scrapy Cluster misspelled two of its settings -> how they are spelled.
MISSPELLED = {
    "SCHEUDLER_ITEM_RETRIES": "SCHEDULER_ITEM_RETRIES",
    "SCHEDULER_QUEUE_TIEOUT": "SCHEDULER_QUEUE_TIMEOUT",
}
#: All names of Scrapy Cluster that stand for another -> that one.
ALIASES = {
    **MISSPELLED,
    "FLASK_PORT": "REST_PORT",
    "KAFKA_PRODUCER_TOPIC": "KAFKA_INCOMING_TOPIC",
}
