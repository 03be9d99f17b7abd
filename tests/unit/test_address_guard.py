from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer  # type: ignore[import-untyped]  # has no stubs

from crawling.address_guard import GuardedResolver
from tests.servers.static_names import StaticNames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PUBLIC, PUBLIC6 = "93.184.215.14", "2606:2800:21f::1"


class Reactor:
    """As much of a reactor as a resolver needs."""

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self.nameResolver = StaticNames(names)


@implementer(IResolutionReceiver)
class Answer:
    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.over = False

    def resolutionBegan(self, resolution: Any) -> None:  # noqa: N802 Twisted's
        """Nothing is to be cancelled."""

    def addressResolved(self, address: Any) -> None:  # noqa: N802 as above
        self.addresses.append((address.host, address.port))

    def resolutionComplete(self) -> None:  # noqa: N802 as above
        self.over = True


def resolver(names: Mapping[str, Sequence[str]], **options: Any) -> GuardedResolver:
    return GuardedResolver(Reactor(names), **{"size": 10, "ttl": 60.0, **options})


def ask(guard: GuardedResolver, name: str, port: int = 80) -> list[tuple[str, int]]:
    answer = Answer()
    guard.resolveHostName(answer, name, port)
    assert answer.over
    return answer.addresses


def test_of_mixed_addresses_only_the_public_ones_are_connected_to() -> None:
    guard = resolver({"a.example": ["10.0.0.1", PUBLIC, "::1", PUBLIC6]})

    assert ask(guard, "a.example") == [(PUBLIC, 80), (PUBLIC6, 80)]
    assert not guard.refused("a.example")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1"]
)
def test_a_name_with_private_addresses_alone_is_refused(address: str) -> None:
    guard = resolver({"a.example": [address]})

    assert ask(guard, "A.Example.") == ask(guard, "a.example") == []
    assert guard.refused("a.example")


def test_a_name_that_does_not_exist_is_not_refused() -> None:
    guard = resolver({})

    assert ask(guard, "a.example") == []
    assert not guard.refused("a.example")


def test_an_answer_is_remembered_for_every_port() -> None:
    guard = resolver({"a.example": [PUBLIC, PUBLIC6]})
    names: StaticNames = guard._inner

    assert ask(guard, "a.example", 80) == [(PUBLIC, 80), (PUBLIC6, 80)]
    assert ask(guard, "A.example", 443) == [(PUBLIC, 443), (PUBLIC6, 443)]
    assert names.asked == ["a.example"]


def test_a_name_that_came_to_mean_another_address_is_checked_again() -> None:
    names = {"a.example": ["10.0.0.1"]}
    guard = resolver(names, ttl=0.0)
    assert ask(guard, "a.example") == []

    names["a.example"] = [PUBLIC]
    assert ask(guard, "a.example") == [(PUBLIC, 80)]
    assert not guard.refused("a.example")

    names["a.example"] = ["10.0.0.1"]
    assert ask(guard, "a.example") == []


def test_private_addresses_pass_only_while_every_crawl_allows_them() -> None:
    guard = resolver({"a.example": ["10.0.0.1"]})

    guard.serve(allow_private=True)
    assert ask(guard, "a.example") == [("10.0.0.1", 80)]

    guard.serve(allow_private=False)
    guard.serve(allow_private=True)
    assert ask(guard, "a.example") == []


def test_a_proxy_may_be_private_and_nothing_else_with_its_address() -> None:
    guard = resolver({"proxy.example": ["10.0.0.1"], "a.example": ["10.0.0.1"]})
    guard.trust("Proxy.example")

    assert ask(guard, "proxy.example") == [("10.0.0.1", 80)]
    assert ask(guard, "a.example") == []
