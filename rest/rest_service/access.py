"""Who may do what: bearer tokens with scopes, and how often."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crawling.exceptions import ConfigError, FleetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Scope = Literal["read", "submit", "operate"]
#: Each may do what those before it may.
SCOPES: tuple[Scope, ...] = ("read", "submit", "operate")
#: Seconds' worth of requests that a token may send at once.
BURST = 4.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Denied(FleetError):
    """A request that its sender may not make, or not now."""

    def __init__(self, status: int, problem: str, retry_after: float = 0.0) -> None:
        super().__init__(problem)
        self.status = status
        self.retry_after = retry_after


class Token(NamedTuple):
    """A token as the file has it: only its SHA-256 is known."""

    name: str
    scope: Scope
    digest: bytes


class Bucket:
    """Lets *rate* requests a second through, and some at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left = rate * BURST
        self._since = time.monotonic()

    def take(self) -> float:
        """Take one place; return 0, or seconds until there is one."""
        now = time.monotonic()
        self._left = min(self._rate * BURST, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


class Access:
    """The tokens of this service; with none, everybody may do everything."""

    def __init__(self, tokens: Sequence[Token], rate: float) -> None:
        self._tokens = tokens
        self._buckets = {token.name: Bucket(rate) for token in tokens if rate}

    @property
    def is_open(self) -> bool:
        return not self._tokens

    def check(self, authorization: str | None, scope: Scope, *, counted: bool = True) -> str:
        """Return the name of the token that allows *scope*; raise `Denied`.

        Each request is *counted* once, however often it is looked at.
        """
        if self.is_open:
            return ""
        token = self._known(authorization)
        bucket = self._buckets.get(token.name)
        if counted and bucket is not None and (wait := bucket.take()):
            raise Denied(429, f"more requests than REST_RATE_LIMIT allows {token.name}", wait)
        if SCOPES.index(token.scope) < SCOPES.index(scope):
            raise Denied(403, f"needs a token of scope {scope}; {token.name} has {token.scope}")
        return token.name

    def _known(self, authorization: str | None) -> Token:
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not given:
            raise Denied(401, "needs a token: Authorization: Bearer TOKEN")
        digest = sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        # All of them, whichever it is: the time taken tells nothing.
        same = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        if not same:
            raise Denied(401, "this token is not known")
        return same[0]


def make_access(settings: Mapping[str, Any]) -> Access:
    """Return who may do what; raise `ConfigError` where everybody on the net could."""
    path, host = settings["REST_TOKENS"], settings["REST_HOST"]
    if path:
        return Access(read_tokens(Path(path)), settings["REST_RATE_LIMIT"])
    if not is_loopback(host):
        raise ConfigError(
            "REST_TOKENS",
            f"must name a file of tokens when REST_HOST is not of loopback, as {host} is not; "
            "`fleet serve --new-token NAME operate` makes one",
        )
    return Access([], 0)


def read_tokens(path: Path) -> list[Token]:
    """Read lines of `NAME SCOPE SHA256`; raise `ConfigError`, which repeats no secret."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigError("REST_TOKENS", f"cannot read {str(path)!r}: {error}") from error
    tokens: list[Token] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            tokens.append(_token(line.split(), f"{path} line {number}"))
    if not tokens:
        raise ConfigError("REST_TOKENS", f"{path} has no token")
    names = [token.name for token in tokens]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError("REST_TOKENS", f"{path} has the name {twice} twice")
    return tokens


def new_token(name: str, scope: str) -> tuple[str, str]:
    """Return a new token, and the line of the file by which it is known."""
    token = secrets.token_urlsafe(32)
    line = f"{name} {scope} {sha256(token.encode()).hexdigest()}"
    _token(line.split(), "--new-token")
    return token, line


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _token(words: Sequence[str], where: str) -> Token:
    if len(words) != 3 or not _DIGEST.fullmatch(words[2]):
        raise ConfigError(
            "REST_TOKENS", f"{where}: must be NAME SCOPE and 64 hex digits of SHA-256"
        )
    name, scope, digest = words
    for known in SCOPES:
        if scope == known:
            return Token(name, known, bytes.fromhex(digest))
    raise ConfigError(
        "REST_TOKENS", f"{where}: the scope must be {', '.join(SCOPES)}, not {scope!r}"
    )
