"""Who may use the REST service."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from crawling.exceptions import ConfigError
from rest_service.access import (
    SCOPES,
    Access,
    Denied,
    Scope,
    make_access,
    new_token,
    read_tokens,
)

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "not-to-be-repeated"
DIGEST = sha256(SECRET.encode()).hexdigest()


def settings(**given: Any) -> dict[str, Any]:
    return {"REST_HOST": "127.0.0.1", "REST_TOKENS": None, "REST_RATE_LIMIT": 50, **given}


def access_of(tmp_path: Path, *lines: str, rate: float = 0) -> Access:
    file = tmp_path / "tokens"
    file.write_text("\n".join(lines))
    return make_access(settings(REST_TOKENS=str(file), REST_RATE_LIMIT=rate))


def status_of(access: Access, header: str | None, scope: Scope) -> int:
    try:
        access.check(header, scope)
    except Denied as error:
        return error.status
    return 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_on_loopback_no_token_is_needed(host: str) -> None:
    access = make_access(settings(REST_HOST=host))

    assert access.is_open
    assert status_of(access, None, "operate") == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "fleet.example", "localhost."])
def test_elsewhere_the_service_does_not_start_without_tokens(host: str) -> None:
    with pytest.raises(ConfigError, match="REST_TOKENS: must name a file of tokens when"):
        make_access(settings(REST_HOST=host))


def test_a_scope_may_do_what_those_before_it_may(tmp_path: Path) -> None:
    tokens = {scope: new_token(f"a-{scope}", scope) for scope in SCOPES}
    access = access_of(tmp_path, "# who may", "", *(line for _, line in tokens.values()))

    allowed = {
        scope: [status_of(access, f"Bearer {token}", wanted) for wanted in SCOPES]
        for scope, (token, _) in tokens.items()
    }

    assert allowed == {
        "read": [200, 403, 403],
        "submit": [200, 200, 403],
        "operate": [200, 200, 200],
    }


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {SECRET}", "Bearer x", f"bearer {DIGEST}"]
)
def test_what_is_no_known_token_is_401(tmp_path: Path, header: str | None) -> None:
    access = access_of(tmp_path, f"one read {DIGEST}")

    assert status_of(access, header, "read") == 401
    assert status_of(access, f"bearer {SECRET}", "read") == 200


def test_a_token_is_held_back_and_another_is_not(tmp_path: Path) -> None:
    (one, first), (two, second) = new_token("one", "read"), new_token("two", "read")
    access = access_of(tmp_path, first, second, rate=0.5)

    assert [status_of(access, f"Bearer {one}", "read") for _ in range(4)] == [
        200,
        200,
        429,
        429,
    ]
    assert status_of(access, f"Bearer {two}", "read") == 200
    with pytest.raises(Denied) as error:
        access.check(f"Bearer {one}", "read")
    assert 0 < error.value.retry_after <= 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no token"),
        ("# nothing", "has no token"),
        (SECRET, "line 1: must be NAME SCOPE and 64 hex digits"),
        (f"one read {SECRET}", "line 1: must be NAME SCOPE and 64 hex digits"),
        (f"\none all {DIGEST}", "line 2: the scope must be read, submit, operate, not 'all'"),
        (f"one read {DIGEST}\none submit {DIGEST}", "has the name one twice"),
        (b"\xff", "cannot read"),
    ],
)
def test_a_file_of_tokens_that_is_wrong_is_named_and_no_secret_of_it(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError) as error:
        read_tokens(file)

    assert str(error.value).startswith("REST_TOKENS: ")
    assert problem in str(error.value)
    assert SECRET not in str(error.value)
    assert DIGEST not in str(error.value)


def test_a_file_of_tokens_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"REST_TOKENS: cannot read '.*/nowhere'"):
        read_tokens(tmp_path / "nowhere")


def test_a_new_token_is_unlike_any_other_and_not_in_its_line() -> None:
    made = [new_token("one", "read") for _ in range(100)]

    assert len({token for token, _ in made}) == 100
    assert all(len(token) >= 43 and token not in line for token, line in made)


@pytest.mark.parametrize(
    ("name", "scope"), [("two words", "read"), ("one", "all"), ("", "read")]
)
def test_a_token_without_a_name_or_scope_is_not_made(name: str, scope: str) -> None:
    with pytest.raises(ConfigError, match="--new-token"):
        new_token(name, scope)
