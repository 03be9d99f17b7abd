"""Private addresses are not crawled; each test crawls in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.middleware_crawl import LOCAL, PAGE, crawl
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        yield site


def test_a_private_address_is_dropped_and_never_asked(site: SmallSite) -> None:
    hosts = ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.2]"]

    crawled = crawl([f"http://{host}:{site.port}/" for host in hosts])

    assert crawled.reasons == {"private_address": len(hosts)}
    assert site.asked == []


def test_a_name_that_resolves_to_a_private_address_is_dropped(site: SmallSite) -> None:
    site.answers["/"] = PAGE
    names = {"inside.example": ["127.0.0.1", "::1"]}

    crawled = crawl([site.url("/", host="inside.example")], names=names)

    assert crawled.reasons == {"private_address": 1}
    assert site.asked == []


def test_where_private_addresses_are_allowed_their_names_are_too(site: SmallSite) -> None:
    site.answers["/"] = PAGE
    names = {"inside.example": ["127.0.0.1"]}

    assert crawl([site.url("/", host="inside.example")], names=names, **LOCAL).done == 1


@pytest.mark.parametrize("target", ["127.0.0.1", "2130706433"])
def test_a_redirect_to_a_private_address_is_not_followed(site: SmallSite, target: str) -> None:
    outside = "http://outside.example/"
    site.answers[outside] = Answer(302, headers={"Location": f"http://{target}:{site.port}/x"})

    crawled = crawl([outside], **through_proxy(site))

    assert crawled.reasons == {"private_address": 1}
    assert site.paths() == ["http://outside.example/robots.txt", outside]


def test_a_robots_txt_behind_a_private_address_is_not_fetched(site: SmallSite) -> None:
    outside = "http://outside.example/"
    site.answers[f"{outside}robots.txt"] = Answer(
        302, headers={"Location": site.url("/robots.txt")}
    )
    site.answers[outside] = PAGE

    crawled = crawl([outside], **through_proxy(site))

    assert crawled.done == 1
    assert site.paths() == [f"{outside}robots.txt", outside]


def through_proxy(site: SmallSite) -> dict[str, Any]:
    """Let *site* stand for the internet, as the proxy that is asked for outside.example."""
    return {"env": {"http_proxy": site.url(""), "no_proxy": ""}}
