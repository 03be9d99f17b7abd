"""The defaults of the Kafka monitor; `crawling/settings.py` has those of the whole fleet.

`docs/reference/settings.md` has the unit of each and why it is what it is.
"""

from __future__ import annotations

PLUGINS: dict[str, int | None] = {
    "kafka_monitor.plugins.scraper_handler.ScraperHandler": 100,
    "kafka_monitor.plugins.action_handler.ActionHandler": 200,
    "kafka_monitor.plugins.stats_handler.StatsHandler": 300,
    "kafka_monitor.plugins.zookeeper_handler.ZookeeperHandler": 400,
}
KAFKA_GROUP_INSTANCE = None
MAXDEPTH_LIMIT = 3
DOMAIN_MAX_PAGES_LIMIT = 2000
HEARTBEAT_TIMEOUT = 120

STATS_TOTAL = True
STATS_PLUGINS = True
STATS_DUMP = 60

LOGGER_NAME = "kafka-monitor"
LOG_LEVEL = "INFO"
LOG_JSON = False
LOG_STDOUT = True
LOG_DIR = "logs"
LOG_FILE = "kafka_monitor.log"
LOG_MAX_BYTES = 10_485_760
LOG_BACKUPS = 5
