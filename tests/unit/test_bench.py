from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bench.__main__ import DATA, saved, section
from bench.frontier import DOMAINS
from bench.peers import PAIRS, PEERS
from bench.plots import draw
from bench.site import HOSTS, LINKS, SIZE, BenchSite

from tests.servers.site_pages import Visit

if TYPE_CHECKING:
    from pathlib import Path


def test_pages_of_the_bench_site_are_alike_in_size_and_all_their_links_lead_somewhere() -> None:
    site = BenchSite(port=8000)

    for page in (1, 4711, 199_999):
        body = site.reply(Visit("127.3.0.1", f"/page/{page}", 0)).body.decode()
        links = re.findall(r'href="http://(127\.3\.0\.\d+):8000(/page/\d+)"', body)

        assert abs(len(body) - SIZE) < SIZE * 0.05
        assert len(set(links)) == LINKS
        assert all(site.reply(Visit(host, path, 0)).status == 200 for host, path in links)
        assert {host for host, _ in links} <= {f"127.3.0.{n + 1}" for n in range(HOSTS)}


def test_the_figures_say_how_many_times_faster_we_are_by_medians() -> None:
    result: dict[str, Any] = {
        "rounds": 3,
        "seconds": 10.0,
        "runs": {name: [run(100, 10), run(1, 99), run(900, 1)] for name in PEERS},
        "ratios": {str(pair): [2.0, 9.0, 1.0] for pair in PAIRS},
        "date": "2026-01-01",
        "machine": "a machine",
        "versions": "Python",
    }
    result["runs"][PAIRS[0].ours] = [run(250, 5), run(9, 99), run(900, 1)]

    shown = section("crawl", result)

    assert (
        "| cluster : scrapy, 32 requests at once | 2.50 | 1.00 / 2.00 / 9.00 | at least 6 |"
        in shown
    )
    assert "| scrapy | 1 / 100 / 900 | 1.00 / 10.00 / 99.00 |" in shown


def test_each_saved_result_is_shown_in_the_page() -> None:
    page = DATA.with_name("benchmarks.md").read_text("utf-8")
    for name, result in saved().items():
        assert section(name, result) in page, name


def test_pictures_are_drawn_of_the_results_there_are(tmp_path: Path) -> None:
    cost = {"offer": 1.0, "lease": 2.0, "settle": 3.0, "bytes": 120.0}
    costs = {f"{store} {n}": [cost] * 3 for store in ("redis", "sqlite") for n in DOMAINS}

    shown = list(draw({"frontier": {"costs": costs}}, tmp_path))
    first = (tmp_path / "lease_by_domains.svg").read_bytes()
    list(draw({"frontier": {"costs": costs}}, tmp_path))

    assert len(shown) == 2
    assert {file.name for file in tmp_path.iterdir()} == {
        "lease_by_domains.svg",
        "bytes_by_domains.svg",
    }
    assert (tmp_path / "lease_by_domains.svg").read_bytes() == first


def run(pages: float, cpu: float) -> dict[str, float]:
    return {"pages": pages, "crawler": cpu, "redis": 0.0, "site": 0.1, "rss": 100_000_000}
