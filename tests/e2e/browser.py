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


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright's synchronous API."""
    sys.path.append(str(BROWSER))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def violations(page: Any) -> list[str]:
    """What axe-core finds on the page: rule, and the first element that breaks it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found]
