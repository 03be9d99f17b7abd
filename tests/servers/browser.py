"""Chromium, as the dashboard's users have it, and what they see and do in it."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver.remote.webelement import WebElement

AXE = Path(__file__).parents[1] / "axe" / "axe.min.js"
#: Seconds until something must be seen.
PATIENCE = 60.0
#: What an element may do to a test while the page redraws it.
MOVING = (
    AssertionError,
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
Result = TypeVar("Result")


def has_chromium() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """One window; whatever is asked of it is tried until it can be done."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        # Else the same page with another hash would not be loaded anew.
        self.driver.get("about:blank")
        self.driver.get(url)

    def go(self, page: str) -> None:
        """Follow the link of a page in the navigation."""
        self.do(lambda: self._one(f"//nav//a[.='{page}']").click(), f"the link {page}")

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def text(self) -> str:
        return str(self.script("return document.body.innerText"))

    def see(self, *texts: str) -> None:
        for text in texts:
            self.until(lambda text=text: text in self.text(), f"{text!r}")  # type: ignore[misc]  # known

    def press(self, button: str, within: str = "//body") -> None:
        where = f"{within}//button[normalize-space()='{button}' or @aria-label='{button}']"
        self.do(lambda: self._one(where).click(), f"the button {button}")

    def follow(self, link: str) -> None:
        """Follow a link of the page itself."""
        where = f"//main//a[normalize-space()='{link}']"
        self.do(lambda: self._one(where).click(), f"the link {link}")

    def unfold(self, summary: str) -> None:
        where = f"//main//summary[normalize-space()='{summary}']"
        self.do(lambda: self._one(where).click(), f"the details of {summary}")

    def type(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        return str(self.script("return document.activeElement.textContent"))

    def offers(self, button: str) -> bool:
        """Whether a button is there to be pressed."""
        where = f"//button[normalize-space()='{button}']"
        return any(each.is_displayed() for each in self.driver.find_elements(By.XPATH, where))

    def fill(self, name: str, value: str) -> None:
        def write() -> None:
            field = self._one(f"//*[@name='{name}']")
            field.clear()
            field.send_keys(value)

        self.do(write, f"the field {name}")

    def choose(self, name: str, option: str) -> None:
        where = f"//select[@name='{name}']/option[.='{option}']"
        self.do(lambda: self._one(where).click(), f"{option} of {name}")
        # As browsers do when somebody chooses; chromedriver only tells of the change.
        self.script(
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self._one(f"//select[@name='{name}']"),
        )

    def error_at(self, name: str) -> str:
        """Return what is said to be wrong with a field, as a screen reader finds it."""

        def said() -> str:
            field = self._one(f"//*[@name='{name}'][@aria-invalid='true']")
            described = (field.get_attribute("aria-describedby") or "").split()[0]
            return str(self.driver.find_element(By.ID, described).text)

        return self.until(said, f"an error at {name}")

    def fact(self, name: str) -> str:
        """Return the value beside a name in a list."""
        where = f"//dt[.='{name}']/following-sibling::dd"
        return self.until(lambda: str(self._one(where).text), f"the value of {name}")

    def rows(self, caption: str) -> list[list[str]]:
        """Return the cells of a table."""
        code = """
            const table = [...document.querySelectorAll("table")]
              .find((each) => each.caption.innerText === arguments[0]);
            return [...table?.tBodies[0].rows ?? []]
              .map((row) => [...row.cells].map((cell) => cell.innerText));
        """
        return list(self.script(code, caption))

    def until(self, answer: Callable[[], Result], what: str) -> Result:
        """Return the first true answer; say what was seen instead when none comes."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = None
            try:
                found = answer()
            except MOVING as error:
                last: object = error
            else:
                last = found
            if found:
                return found
            assert time.monotonic() < deadline, f"{what}: {last}; seen:\n{self.text()}"
            time.sleep(0.05)

    def do(self, action: Callable[[], object], what: str) -> None:
        self.until(lambda: action() is None, what)

    def console(self) -> list[str]:
        """Return the errors of the console since the last time."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # Selenium's
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def violations(self) -> list[str]:
        """Return what axe finds to be serious."""
        if not self.script("return Boolean(window.axe)"):
            self.script(AXE.read_text())
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((found) => done(found.violations))"
        )
        return [
            f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']][:3]}"
            for each in found
            if each["impact"] in {"serious", "critical"}
        ]

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def _one(self, xpath: str) -> WebElement:
        seen = [
            each for each in self.driver.find_elements(By.XPATH, xpath) if each.is_displayed()
        ]
        assert seen, f"nothing is seen at {xpath}"
        return seen[0]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Run a browser without a screen, that knows nobody."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--force-prefers-reduced-motion",
        f"--user-data-dir={folder}/profile",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_script_timeout(PATIENCE)
        yield Browser(driver)
    finally:
        driver.quit()
