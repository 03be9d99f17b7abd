"""Pages in Redis, one key each."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from redis.exceptions import AuthenticationError, AuthorizationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from crawling.exceptions import ConfigError, OutputError, Unavailable
from crawling.savers.file_names import check_scheme, fill_in
from crawling.savers.grouping import Grouping
from crawling.savers.jsonl_saver import to_line
from crawling.savers.saver import Saver
from crawling.tracker.redis_connect import is_cluster, redis_client, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.messages.page import Page

DEFAULT_KEY = "page:{crawlid}:{requestid}"

#: Seconds without an answer after which Redis counts as away.
_TIMEOUT = 30.0
#: Redis takes no longer value; it would close the connection.
_LARGEST = 512 * 1024 * 1024


class RedisSaver(Saver):
    """Sets a key to the page message; a page is safe when Redis has said so."""

    def __init__(self, url: str) -> None:
        key, url = _split_key(url)
        check_scheme("SAVERS", key)
        self._key = key
        self._place = shown(url)
        if is_cluster(url):
            raise ConfigError(
                "SAVERS",
                f"{self._place}: pages are not spread over a cluster; name a single Redis, "
                "or a service of Sentinels",
            )
        self._redis = redis_client(url, timeout=_TIMEOUT, connections=1, setting="SAVERS")
        self._pages: Grouping[Page] = Grouping(self._write)

    async def open(self) -> None:
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            await self._redis.aclose()
            if _is_refusal(error):
                raise ConfigError("SAVERS", f"{self._place}: {error}") from error
            raise Unavailable(f"{self._place}: {error}") from error

    async def save(self, page: Page) -> None:
        await self._pages.add(page, len(page.body))

    async def close(self) -> None:
        await self._pages.close()
        await self._redis.aclose()

    async def _write(self, pages: Sequence[Page]) -> None:
        """Set all keys in one round trip."""
        values = {fill_in(self._key, page): self._value(page) for page in pages}
        try:
            try:
                await self._set(values)
            except RedisConnectionError:
                # Once more at once, for a connection that died unnoticed; whoever saves
                # has patience of its own.
                await self._set(values)
        # Whatever Redis refuses (full, a replica, no permission) is no fault of the page.
        except (RedisError, OSError) as error:
            raise Unavailable(f"{self._place}: {error}") from error

    async def _set(self, values: Mapping[str, bytes]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(key, value)
            await pipeline.execute()

    def _value(self, page: Page) -> bytes:
        value = to_line(page.to_json()).rstrip()
        if len(value) > _LARGEST:
            raise OutputError(f"{len(value)} bytes are more than Redis takes")
        return value


def _split_key(url: str) -> tuple[str, str]:
    """Return the key scheme that *url* asks for, and the URL without it."""
    place, _, text = url.partition("?")
    query = dict(parse_qsl(text, keep_blank_values=True))
    key = query.pop("key", DEFAULT_KEY)
    return key, f"{place}?{urlencode(query)}" if query else place


def _is_refusal(error: BaseException | None) -> bool:
    """Say whether Redis refused our name or password; redis-py may wrap that."""
    if error is None or isinstance(error, (AuthenticationError, AuthorizationError)):
        return error is not None
    return _is_refusal(error.__cause__ or error.__context__)
