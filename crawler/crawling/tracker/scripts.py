"""The Lua scripts, and running them on one Redis."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from crawling.exceptions import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline
    from redis.commands.core import AsyncScript

#: Operation -> the files that are run as one script, in this order.
PARTS = {
    "audit": ("prelude", "queues", "endings", "auditing", "audit"),
    "audit_keys": ("prelude", "queues", "endings", "auditing", "audit_keys"),
    "audit_lanes": ("prelude", "queues", "endings", "auditing", "audit_lanes"),
    "book": ("prelude", "book"),
    "block": ("prelude", "queues", "endings", "domain", "block"),
    "close": ("prelude", "queues", "endings", "close"),
    "count_domains": ("prelude", "count_domains"),
    "defer": ("prelude", "queues", "endings", "domain", "defer"),
    "domains": ("prelude", "domains"),
    "flag": ("prelude", "queues", "endings", "flag"),
    "forget": ("prelude", "forgetting", "forget"),
    "held": ("prelude", "held"),
    "lease": ("prelude", "queues", "endings", "throttle", "lease"),
    "lanes": ("prelude", "lanes"),
    "listed": ("prelude", "listed"),
    "letters": ("prelude", "letters"),
    "leave": ("prelude", "queues", "endings", "leave"),
    "limit": ("prelude", "queues", "endings", "domain", "limit"),
    "oldest": ("prelude", "queues", "oldest"),
    "post": ("prelude", "ingest", "post"),
    "prioritize": ("prelude", "queues", "endings", "prioritize"),
    "reclaim": ("prelude", "queues", "endings", "reclaim"),
    "renew": ("prelude", "queues", "endings", "renew"),
    "retry": ("prelude", "queues", "endings", "offers", "retry"),
    "settle": ("prelude", "queues", "endings", "offers", "settle"),
    "submit": ("prelude", "queues", "endings", "offers", "ingest", "submit"),
    "sweep": ("prelude", "queues", "endings", "forgetting", "sweep"),
    "trace": ("prelude", "trace"),
    "unmark": ("prelude", "unmark"),
}


@cache
def read_part(name: str) -> str:
    return (files("crawling.tracker") / "lua" / f"{name}.lua").read_text("utf-8")


def read_script(operation: str) -> str:
    return "\n".join(read_part(part) for part in PARTS[operation])


class Scripts:
    """All operations as scripts of one Redis; sent again when Redis has forgotten them."""

    def __init__(self, redis: Redis, meta: str) -> None:
        self._redis = redis
        self._meta = meta
        self._scripts: dict[str, AsyncScript] = {
            operation: redis.register_script(read_script(operation)) for operation in PARTS
        }

    async def run(self, operation: str, *args: str | bytes | float) -> Any:
        return await answer(self._scripts[operation](keys=[self._meta], args=args))

    async def run_all(
        self, operation: str, calls: Sequence[Sequence[str | bytes | float]]
    ) -> list[Any]:
        """Run one script many times, in order and in one round trip."""
        async with self._pipeline(operation, calls) as pipeline:
            results: list[Any] = await answer(pipeline.execute())
        return results

    async def run_confirmed(
        self, operation: str, calls: Sequence[Sequence[str | bytes | float]], timeout: int
    ) -> tuple[list[Any], int]:
        """Run one script many times; return also how many replicas had it in *timeout* ms."""
        async with self._pipeline(operation, calls) as pipeline:
            pipeline.wait(1, timeout)
            *results, confirmed = await answer(pipeline.execute())
        return results, confirmed

    @asynccontextmanager
    async def _pipeline(
        self, operation: str, calls: Sequence[Sequence[str | bytes | float]]
    ) -> AsyncIterator[Pipeline]:
        # Left without `async with`, one whose look for its scripts fails keeps its connection.
        async with self._redis.pipeline(transaction=False) as pipeline:
            script = self._scripts[operation]
            for args in calls:
                await script(keys=[self._meta], args=args, client=pipeline)
            yield pipeline


async def answer(reply: Awaitable[Any]) -> Any:
    """Await what Redis replies, its errors as ours and a cancellation as one.

    Before Python 3.12 `asyncio.wait_for`, with which redis-py sends, swallows a
    cancellation that comes while the command is on its way.
    """
    cancelling: Callable[[], int] = getattr(asyncio.current_task(), "cancelling", lambda: 0)
    before = cancelling()
    with redis_errors():
        answered = await reply
    if cancelling() > before:
        raise asyncio.CancelledError
    return answered


#: What Redis says when it will be able again, also from inside a script.
PASSING_REFUSALS = re.compile(
    r"\b(OOM|READONLY|MISCONF|NOREPLICAS|LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN"
    r"|UNBLOCKED)\b"
)

#: The same, where redis-py has taken the word away.
PASSING_ERRORS = (
    ClusterDownError,
    MasterDownError,
    # It was sent, and flushed again before it was called.
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)


#: What waiting does not mend, unless somebody changes the server.
LASTING_REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError, InvalidResponse)


def is_lasting(error: Unavailable) -> bool:
    """Whether what Redis said, also while the connection was made, is no mere outage."""
    cause = error.__cause__
    return isinstance(cause, LASTING_REFUSALS) or (
        cause is not None and isinstance(cause.__cause__, LASTING_REFUSALS)
    )


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn errors of Redis into ours; what is left is an error in a script."""
    try:
        yield
    except InvalidResponse as error:
        raise Unavailable(f"is no Redis: {error}") from error
    except LASTING_REFUSALS as error:
        raise Unavailable(f"Redis does not permit it: {error}") from error
    except (RedisConnectionError, RedisTimeoutError) as error:
        # redis-py wraps what Redis refused while the connection was made.
        if isinstance(error.__cause__, LASTING_REFUSALS):
            raise Unavailable(f"Redis does not permit it: {error}") from error
        raise Unavailable(f"Redis does not answer: {error}") from error
    except ResponseError as error:
        # Redis 6 wraps a refusal inside a script in an error of the script; the class
        # of the others depends on the version of redis-py.
        if isinstance(error, PASSING_ERRORS) or PASSING_REFUSALS.search(str(error)):
            kind = type(error).__name__
            raise Unavailable(f"Redis refuses for now ({kind}): {error}") from error
        raise
