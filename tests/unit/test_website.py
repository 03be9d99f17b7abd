from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.servers.site_graph import PAGES, SiteGraph, walk
from tests.servers.site_sections import SectionSite
from tests.servers.website import website

if TYPE_CHECKING:
    from pathlib import Path


def test_two_thousand_pages_are_reachable() -> None:
    expected = SiteGraph(port=8000).expected

    assert Counter(what.state for what in expected.values())["done"] == PAGES


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_walk_does_not_matter(seed: int) -> None:
    graph, choice = SiteGraph(port=8000, seed=seed), random.Random(seed)

    shuffled = walk(graph, lambda waiting: waiting.pop(choice.randrange(len(waiting))))

    assert shuffled == walk(graph, list.pop) == graph.expected


def test_the_site_answers_on_every_host_and_logs_who_asked(tmp_path: Path) -> None:
    with website(tmp_path) as site:
        graph = SiteGraph(site.port)
        for number in range(len(graph.hosts)):
            with urlopen(graph.url(number, "/")) as response:
                assert response.status == 200

        assert [access.host for access in site.accesses()] == graph.hosts


def test_every_page_of_a_section_answers_with_its_status(tmp_path: Path) -> None:
    options = ("--site", "sections", "--hosts", "2", "--sections", "3")
    with website(tmp_path, *options) as web:
        site = SectionSite(web.port, hosts=2, sections=3)
        for number in site.sections:
            for url, status in site.pages(number).items():
                assert _status(url) == status, url


def _status(url: str) -> int:
    try:
        with urlopen(url) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code
