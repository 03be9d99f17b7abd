"""The defaults of the REST service; `crawling/settings.py` has those of the whole fleet.

`docs/reference/settings.md` has the unit of each and why it is what it is.
"""

from __future__ import annotations

REST_HOST = "127.0.0.1"
REST_PORT = 5343
REST_TOKENS = None
REST_RATE_LIMIT = 50
REST_MAX_BODY = 1_048_576
REST_TLS_CERTFILE = None
REST_TLS_KEYFILE = None
WAIT_FOR_RESPONSE_TIME = 5
MAXDEPTH_LIMIT = 3
DOMAIN_MAX_PAGES_LIMIT = 2000
HEARTBEAT_TIMEOUT = 120

LOGGER_NAME = "rest-service"
LOG_LEVEL = "INFO"
LOG_JSON = False
LOG_STDOUT = True
LOG_DIR = "logs"
LOG_FILE = "rest_service.log"
LOG_MAX_BYTES = 10_485_760
LOG_BACKUPS = 5
