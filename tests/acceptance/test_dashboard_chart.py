"""The charts of the overview: what their axes show, and what is said below them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.dashboard import in_page, queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.browser import Browser

#: Keeps what uPlot makes, as soon as the page has loaded it.
KEPT = """
    globalThis.charts = [];
    let library;
    Object.defineProperty(globalThis, "uPlot", {
      get: () => library,
      set(made) {
        library = function (...given) {
          const chart = new made(...given);
          globalThis.charts.push(chart);
          return chart;
        };
      },
    });
"""
HOUR, MINUTE = 3600, 60


@pytest.fixture
def charts(browser: Browser, ui: str) -> Iterator[Browser]:
    """Yield the browser with the overview, whose charts are kept."""
    command = "Page.addScriptToEvaluateOnNewDocument"
    added = browser.driver.execute_cdp_cmd(command, {"source": KEPT})
    browser.open(ui)
    browser.see("live")
    browser.until(lambda: len(axes(browser)) == 2, "two charts")
    yield browser
    browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def axes(browser: Browser) -> list[list[Any]]:
    """Return where the axis of times of each chart begins and ends."""
    return list(browser.script("return charts.map(({ scales: { x } }) => [x.min, x.max])"))


def test_the_axis_begins_with_a_young_history(charts: Browser) -> None:
    now = time.time()
    for begin, end in axes(charts):
        assert end == pytest.approx(now, abs=30)
        assert MINUTE - 1 <= end - begin < HOUR / 2


def test_the_axis_shows_the_last_hour(charts: Browser) -> None:
    in_page(
        charts,
        "const now = live.overview.time;"
        "live.history = Array.from({ length: 360 }, (_, n) => [now - 20 * (360 - n), 1, 0, n, 0]);"
        "live.dispatchEvent(new CustomEvent('change', { detail: {} }));",
    )

    now = time.time()
    for begin, end in axes(charts):
        assert end == pytest.approx(now, abs=30)
        assert end - begin == HOUR


def test_what_is_said_of_now_is_what_the_tiles_have(charts: Browser, tracker: str) -> None:
    def said() -> list[str]:
        """Return the tile and the words at one moment."""
        code = """
            const [tile] = [...document.querySelectorAll("dt")]
              .filter((each) => each.textContent === "Queued");
            return [tile.nextSibling, ...document.querySelectorAll("figcaption")]
              .map((each) => each.textContent);
        """
        return list(charts.script(code))

    assert said()[0] == "0"
    queue(tracker, "charted", *(f"http://charted.example/{number}" for number in range(7)))

    charts.until(lambda: said()[0] == "7", "what is queued")

    assert said()[1:] == [
        "pages now 0/s, most 0/s; failures now 0/s, most 0/s",
        "queued or waiting for a retry now 7, most 7; in flight now 0, most 0",
    ]
