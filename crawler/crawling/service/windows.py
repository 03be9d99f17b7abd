"""The rolling windows of the statistics, under Scrapy Cluster's names."""

from __future__ import annotations

#: Name in STATS_TIMES -> seconds.
WINDOWS = {
    "SECONDS_1_MINUTE": 60,
    "SECONDS_15_MINUTE": 900,
    "SECONDS_30_MINUTE": 1800,
    "SECONDS_1_HOUR": 3600,
    "SECONDS_2_HOUR": 7200,
    "SECONDS_4_HOUR": 14400,
    "SECONDS_6_HOUR": 21600,
    "SECONDS_12_HOUR": 43200,
    "SECONDS_24_HOUR": 86400,
    "SECONDS_1_DAY": 86400,
    "SECONDS_1_WEEK": 604800,
}
