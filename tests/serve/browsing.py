"""Debian's Chromium for tests of the pages: fixtures to import, and a way to wait."""

import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
NEEDS_CHROMIUM = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["desk", "phone"])
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page on which nothing may fail: no script error, no blocked resource, no request to anywhere else."""
    size = {"viewport": {"width": 390, "height": 780}, "has_touch": True} if request.param == "phone" else {}
    context = browser.new_context(**size)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, wrong, asked = context.new_page(), [], []
    page.on("console", lambda message: wrong.append(message.text) if _is_wrong(message) else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda sent: asked.append(sent.url))
    page.set_default_timeout(15_000)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert wrong == []
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {page.url.split("/")[2]}
    context.close()


def _is_wrong(message: Any) -> bool:
    """Return whether the console told an error; a status that the page handles is told there too."""
    return message.type == "error" and "the server responded with a status" not in message.text


def until(page: Any, expression: str) -> None:
    """Wait until it is true. (Playwright's own way evaluates a string in the page, which the page's policy forbids.)"""
    deadline = time.monotonic() + 15
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.03)
