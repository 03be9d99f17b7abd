"""The defaults of Scrapy and of the fleet, for `scrapy runspider` and for `fleet crawl`.

Over them go `localsettings.py` and, last, environment variables of the same names;
`-s NAME=VALUE` beats all.  `docs/reference/settings.md` has the unit of each and why
it is what it is.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

from crawling.exceptions import ConfigError
from crawling.service.config import explain_bad_settings, overrides

# --- The tracker

TRACKER = None
REDIS_HOST = "localhost"
REDIS_PORT = 6379
REDIS_DB = 0
REDIS_PASSWORD = None
REDIS_SOCKET_TIMEOUT = 10
CRAWL = ""
LEASE_TIMEOUT = 60
SHUTDOWN_GRACE = 10
TRACKER_MAX_QUEUED = 0
TRACKER_SHARDS = 1
DUPEFILTER_TIMEOUT = 600
GLOBAL_PAGE_PER_DOMAIN_LIMIT = None

# --- Politeness

QUEUE_HITS = 10
QUEUE_WINDOW = 60
QUEUE_MODERATED = True
QUEUE_CONCURRENCY = 8
SCHEDULER_TYPE_ENABLED = True
SCHEDULER_IP_ENABLED = False
PUBLIC_IP = None
USER_AGENT = "scrapy-fleet/0.1 (Scrapy; a crawler)"
ROBOTSTXT_OBEY = True
ROBOTSTXT_CACHE_SIZE = 10_000
ROBOTSTXT_CACHE_TTL = 3600

# --- Failures

RETRY_TIMES = 3
RETRY_HTTP_CODES = [500, 502, 503, 504, 522, 524, 408, 429]
RETRY_DELAY = 1
RETRY_DELAY_MAX = 300
DEFER_MAX = 3600
HTTPERROR_ALLOW_ALL = True

# --- Downloads

CONCURRENT_REQUESTS = 64
# The tracker throttles; here a request would only wait while its lease runs.
CONCURRENT_REQUESTS_PER_DOMAIN = 10_000
DOWNLOAD_DELAY = 0
DOWNLOAD_TIMEOUT = 30
DOWNLOAD_MAXSIZE = 33_554_432
ALLOW_PRIVATE_ADDRESSES = False
DNSCACHE_ENABLED = True
DNSCACHE_SIZE = 10_000
DNSCACHE_TTL = 300
REACTOR_THREADPOOL_MAXSIZE = 20
TWISTED_REACTOR = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"
# Not to be had on Windows.
ASYNCIO_EVENT_LOOP = "uvloop.Loop" if find_spec("uvloop") else None

# --- Pages

SAVERS: list[str] = []
FILE_NAME = None
CONCURRENT_ITEMS = 4
SCRAPER_SLOT_MAX_ACTIVE_SIZE = 67_108_864

# --- Kafka

KAFKA_HOSTS = ["localhost:9092"]
KAFKA_TOPIC_PREFIX = "demo"
KAFKA_INCOMING_TOPIC = "demo.incoming"
KAFKA_GROUP = "demo-group"
KAFKA_APPID_TOPICS = False
KAFKA_BASE_64_ENCODE = False
KAFKA_COMPRESSION = "none"
KAFKA_OVERSIZE = "truncate"
KAFKA_OVERSIZE_FOLDER = "oversize"
KAFKA_TOPIC_PARTITIONS = 4
KAFKA_TOPIC_REPLICATION = -1
KAFKA_FEED_TIMEOUT = 10
KAFKA_PRODUCER_BATCH_LINGER_MS = 25
KAFKA_PRODUCER_MAX_REQUEST_SIZE = 1_048_576
KAFKA_CONSUMER_AUTO_OFFSET_RESET = "earliest"
KAFKA_CONSUMER_FETCH_MESSAGE_MAX_BYTES = 10_485_760
KAFKA_SECURITY_PROTOCOL = "PLAINTEXT"
KAFKA_SSL_CAFILE = None
KAFKA_SSL_CERTFILE = None
KAFKA_SSL_KEYFILE = None
KAFKA_SASL_MECHANISM = None
KAFKA_SASL_USERNAME = None
KAFKA_SASL_PASSWORD = None

# --- Statistics

STATS_STATUS_CODES = True
STATS_RESPONSE_CODES = [200, 404, 403, 504]
STATS_CYCLE = 5
STATS_TIMES = [
    "SECONDS_15_MINUTE",
    "SECONDS_1_HOUR",
    "SECONDS_6_HOUR",
    "SECONDS_12_HOUR",
    "SECONDS_1_DAY",
    "SECONDS_1_WEEK",
]

# --- Metrics

METRICS_PORT = None
METRICS_HOST = "127.0.0.1"
TRACING = False

# --- Logs

SC_LOGGER_NAME = "sc-crawler"
SC_LOG_LEVEL = "INFO"
SC_LOG_JSON = False
SC_LOG_STDOUT = True
SC_LOG_DIR = "logs"
SC_LOG_FILE = "sc_crawler.log"
SC_LOG_MAX_BYTES = 10_485_760
SC_LOG_BACKUPS = 5
# Scrapy's own handler: its records go to ours, with everybody's.
LOG_ENABLED = False
LOG_FORMATTER = "crawling.fleet_logs.FleetLogFormatter"

# --- Scrapy's components

BOT_NAME = "crawling"
SPIDER_MODULES = ["crawling.spiders"]
NEWSPIDER_MODULE = "crawling.spiders"
SCHEDULER = "crawling.distributed_scheduler.DistributedScheduler"
DUPEFILTER_CLASS = "crawling.redis_dupefilter.RedisDupeFilter"
ITEM_PIPELINES = {
    "crawling.pipelines.LoggingBeforePipeline": 1,
    "crawling.pipelines.KafkaPipeline": 100,
    "crawling.pipelines.SaverPipeline": 110,
    "crawling.pipelines.LoggingAfterPipeline": 200,
}
SPIDER_MIDDLEWARES = {
    # The tracker counts depth and measures URLs, and books what it refuses.
    "scrapy.spidermiddlewares.depth.DepthMiddleware": None,
    "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware": None,
    "crawling.meta_passthrough_middleware.MetaPassthroughMiddleware": 100,
    "crawling.redis_stats_middleware.RedisStatsMiddleware": 101,
}
DOWNLOADER_MIDDLEWARES = {
    "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
    "crawling.robots_middleware.RobotsMiddleware": 100,
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
    "crawling.redis_retry_middleware.RedisRetryMiddleware": 510,
    "crawling.log_retry_middleware.LogRetryMiddleware": 520,
    "scrapy.downloadermiddlewares.redirect.MetaRefreshMiddleware": None,
    "crawling.meta_refresh_middleware.MetaRefreshMiddleware": 580,
    # Between that, which reads texts, and decompression.
    "crawling.encoding_middleware.EncodingMiddleware": 585,
    "crawling.redirect_guard.RedirectGuardMiddleware": 610,
    "scrapy.downloadermiddlewares.cookies.CookiesMiddleware": None,
    "crawling.custom_cookies.CustomCookiesMiddleware": 700,
    # Closer to the network than the retries: a refused address is no failed download.
    "crawling.address_guard.AddressGuardMiddleware": 840,
}
EXTENSIONS = {
    "crawling.fleet_logs.FleetLogs": 0,
    "crawling.fleet_metrics.FleetMetrics": 1,
    "crawling.fleet_traces.FleetTraces": 1,
}
# Counts bytes by writing each request and response out again; the books count pages.
DOWNLOADER_STATS = False
TELNETCONSOLE_ENABLED = False
# Runs Python for whoever holds its token: not on a worker (Scrapy 2.19 starts it).
REMOTE_CONTROL_ENABLED = False

# Scrapy 2.16 renamed the setting, and warns of the old name.
_renamed = tuple(int(part) for part in version("scrapy").split(".")[:2]) >= (2, 16)
globals()["TWISTED_DNS_RESOLVER" if _renamed else "DNS_RESOLVER"] = (
    "crawling.address_guard.GuardedResolver"
)

try:
    globals().update(overrides())
except ConfigError:
    explain_bad_settings()
    raise
