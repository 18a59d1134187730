"""A headless Chromium for tests, and a page that remembers what went wrong in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
PATIENCE = 120_000  # milliseconds, on a machine that has much else to do
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def need_browser() -> None:
    """Skip without a Chromium; or fail, where INDAD_NEEDS_BROWSER says that there must be one."""
    if CHROMIUM is None:
        assert "INDAD_NEEDS_BROWSER" not in os.environ, "no Chromium on the path"
        pytest.skip("no Chromium on the path")


@contextmanager
def running_browser(*flags: str) -> Iterator:
    from playwright.sync_api import sync_playwright

    need_browser()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags],
                                             timeout=PATIENCE)
        yield running
        running.close()


def watched(browser, **options) -> tuple:
    """A new page; -> page, complaints of console and scripts, addresses that it asked for."""
    page, complaints, addresses = browser.new_page(**options), [], []
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: message.type in ("error", "warning")
            and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("data:", "blob:"))
            or addresses.append(request.url))
    return page, complaints, addresses


def keep_picture(page, name: str) -> None:
    """Where somebody wants to look: `INDAD_SCREENSHOTS=folder python -m pytest ...`."""
    folder = os.environ.get("INDAD_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png")
