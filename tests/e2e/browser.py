"""Debian's Chromium for tests of pages: by keyboard and mouse, on phones, light and dark, looked at by axe."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import ROOT

BROWSER = ROOT / ".venv/browser"
CHROMIUM = shutil.which("chromium")
MARKS = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (BROWSER / ".installed").exists(), reason="playwright is not installed: make test does it"),
    pytest.mark.skipif(not CHROMIUM, reason="chromium is missing"),
]
WIDTHS = {"phone": (360, 740), "desk": (1280, 900)}
SCHEMES = ("light", "dark")
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WITH_SIZES = {"rules": {"target-size": {"enabled": True}}}  # of WCAG 2.2: axe has it off by default
FAULTS = {"resultTypes": ["violations"]}  # what is right is not listed, in half the time


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright's synchronous API."""
    sys.path.append(str(BROWSER))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def violations(page: Any, *rules: str) -> list[str]:
    """What axe-core finds on the page by these rules, else by all: rule, and the first element that breaks it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=FAULTS | ({"runOnly": rules} if rules else WITH_SIZES)).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found]


def faults(page: Any) -> list[str]:
    """What axe finds in light, and of contrasts in dark; and by how much the page scrolls sideways."""
    page.emulate_media(color_scheme="light")
    found = violations(page)
    page.emulate_media(color_scheme="dark")
    too_wide = page.evaluate(TOO_WIDE)
    return [*found, *violations(page, "color-contrast"), *[f"scrolls sideways by {too_wide}"] * (too_wide > 0)]
