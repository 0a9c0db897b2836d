"""Pages in a real browser: what they ask for and complain of, and what axe finds."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1440, "height": 900}


@contextmanager
def started() -> Iterator[Any]:
    """Start Chromium; skip the test where there is none, but fail in CI."""
    if CHROMIUM is None:
        message = "Chromium is not installed; `make test` installs it where it may"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def opened(browser: Any, url: str, size: dict[str, int] = DESK, inside: str | Path = "", **about: Any) -> Iterator[Any]:
    """Open a page, and see that it complains of nothing and asks for nothing that does not begin with `inside`."""
    page = browser.new_page(viewport=size, **about)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.goto(url)
    yield page
    page.close()
    assert not complaints
    assert all(one.startswith((str(inside or url), "data:", "blob:")) for one in asked), asked


def findings(page: Any, part: str | None = None) -> list[str]:
    """Name what axe finds of serious or critical impact, in the whole page or in what a selector finds."""
    from axe_playwright_python.sync_playwright import Axe

    # Unless told not to, axe loads the styles that styles import, and looks for them beside the page.
    found = Axe().run(page, context=part, options={"preload": False}).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in grave for node in one["nodes"][:3]]


def is_within(page: Any) -> bool:
    """Say whether the page need not be scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
