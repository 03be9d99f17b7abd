"""The Lua scripts, and running them on one Redis."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from crawling.exceptions import ConfigError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

#: Operation -> the files that are run as one script, in this order.
PARTS = {
    "block": ("prelude", "domain", "block"),
    "defer": ("prelude", "domain", "defer"),
    "domains": ("prelude", "domains"),
    "flag": ("prelude", "flag"),
    "lease": ("prelude", "throttle", "lease"),
    "leave": ("prelude", "leave"),
    "limit": ("prelude", "domain", "limit"),
    "reclaim": ("prelude", "reclaim"),
    "renew": ("prelude", "renew"),
    "retry": ("prelude", "offers", "retry"),
    "settle": ("prelude", "offers", "settle"),
    "submit": ("prelude", "offers", "submit"),
    "sweep": ("prelude", "sweep"),
    "trace": ("prelude", "trace"),
}


@cache
def read_part(name: str) -> str:
    return (files("crawling.tracker") / "lua" / f"{name}.lua").read_text("utf-8")


def read_script(operation: str) -> str:
    return "\n".join(read_part(part) for part in PARTS[operation])


class Scripts:
    """All operations as scripts of one Redis; sent again when Redis has forgotten them."""

    def __init__(self, redis: Redis, meta: str) -> None:
        self._meta = meta
        self._scripts: dict[str, AsyncScript] = {
            operation: redis.register_script(read_script(operation)) for operation in PARTS
        }

    async def run(self, operation: str, *args: str | bytes | float) -> Any:
        with redis_errors():
            return await self._scripts[operation](keys=[self._meta], args=args)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn what Redis refuses for now into `Unavailable`, and a wrong login into ConfigError."""
    try:
        yield
    except (OutOfMemoryError, ReadOnlyError) as error:
        raise Unavailable(f"Redis refuses to write: {error}") from error
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise _border(error) from error
    except RedisError as error:
        # Inside a script Redis wraps its refusals in an error of the script.
        if "OOM" in str(error) or "READONLY" in str(error):
            raise Unavailable(f"Redis refuses to write: {error}") from error
        raise


def _border(error: RedisError) -> Exception:
    if "auth" in str(error).lower() or "WRONGPASS" in str(error):
        return ConfigError("TRACKER", f"Redis refuses the login: {error}")
    return Unavailable(f"Redis does not answer: {error}")
