"""The defaults of the Redis monitor; `crawling/settings.py` has those of the whole fleet.

`docs/reference/settings.md` has the unit of each and why it is what it is.
"""

from __future__ import annotations

PLUGINS: dict[str, int | None] = {
    "redis_monitor.plugins.info_monitor.InfoMonitor": 100,
    "redis_monitor.plugins.stop_monitor.StopMonitor": 200,
    "redis_monitor.plugins.crawl_monitor.CrawlMonitor": 300,
    "redis_monitor.plugins.stats_monitor.StatsMonitor": 400,
    "redis_monitor.plugins.zookeeper_monitor.ZookeeperMonitor": 500,
}
CLAIM_AFTER = 30
RETRY_FAILURES = True
RETRY_FAILURES_MAX = 3
HEARTBEAT_TIMEOUT = 120

STATS_TOTAL = True
STATS_PLUGINS = True
STATS_DUMP = 60
STATS_DUMP_CRAWL = True
STATS_DUMP_QUEUE = True

LOGGER_NAME = "redis-monitor"
LOG_LEVEL = "INFO"
LOG_JSON = False
LOG_STDOUT = True
LOG_DIR = "logs"
LOG_FILE = "redis_monitor.log"
LOG_MAX_BYTES = 10_485_760
LOG_BACKUPS = 5
