"""A real browser for tests, and pages that tell on themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from e2e.conftest import LiveNode, live_node
from support.needs import missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)
SECRET = b"a secret of the tests, of 32 bytes or more"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """One node for all tests of a module."""
    with live_node(tmp_path_factory.mktemp("node"), jwt_secret=SECRET) as node:
        yield node


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium; skipped where there is none, unless MARKETBELL_REQUIRE_ALL=1 wants all tests."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        program = None
    if program is None:
        missing("Chromium or playwright is missing: apt-get install chromium, make setup")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(FLAGS), timeout=60_000
        )
        yield browser
        browser.close()


@pytest.fixture
def page_of(chromium: Browser, live: LiveNode) -> Iterator[Callable[..., Page]]:
    """
    Opens a page in a browser of its own.

    Afterwards no page has said anything in its console, has asked another server for anything,
    or has shown a dialog but by `window.confirm`.
    """
    told: list[str] = []
    contexts: list[BrowserContext] = []

    def open_page(**options: Any) -> Page:
        context = chromium.new_context(**options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: told.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on("request", lambda request: told.extend(_elsewhere(live, request.url)))
        page.on("dialog", lambda dialog: _answered(dialog, told))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


def _elsewhere(live: LiveNode, url: str) -> list[str]:
    own = urlsplit(live.url).netloc
    return [] if urlsplit(url).netloc == own else [f"request: {url}"]


def _answered(dialog: Any, told: list[str]) -> None:
    if dialog.type != "confirm":
        told.append(f"{dialog.type}: {dialog.message}")
    dialog.accept()
