"""The model card and the evidence of a release in a real browser: they look as they should, and axe finds nothing."""

from pathlib import Path

import pytest

from serve.releases.evidence.folder import write_evidence
from serve.releases.store import Store
from tests.e2e.browser import MARKS, SCHEMES, chromium, violations
from tests.e2e.servers import Service

pytestmark = MARKS


def test_the_card_is_readable_in_light_and_dark(reproduced: Path, tmp_path: Path) -> None:
    with Service(tmp_path, reproduced / "models/release") as service, chromium() as browser:
        for scheme in SCHEMES:
            page, complaints = browser.new_page(color_scheme=scheme), []
            page.on("console", lambda message, to=complaints: to.append(message.text))
            page.goto(f"http://127.0.0.1:{service.port}/model")
            assert page.title().startswith("Model card: churn, release ")
            background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
            assert page.locator("figure svg").count() == 2
            assert complaints == []
            page.close()
            checked = browser.new_page(color_scheme=scheme, bypass_csp=True)  # axe's script is not the page's
            checked.goto(f"http://127.0.0.1:{service.port}/model")
            assert violations(checked) == []
            checked.close()


def test_the_evidence_is_readable_in_light_and_dark(
    reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reproduced)
    store = Store(tmp_path / "releases")
    version = store.add(reproduced / "models/release", "r")
    write_evidence(store, f"sqlite:///{tmp_path}/none.db", version, tmp_path / "out")
    with chromium() as browser:
        for scheme in SCHEMES:
            page = browser.new_page(color_scheme=scheme)
            page.goto((tmp_path / "out/index.html").as_uri())
            assert page.get_by_role("heading", level=2).count() == 11
            assert violations(page) == []
            page.get_by_role("link", name="release/card.html").click()
            assert page.title().startswith("Model card: churn, release ")
            page.close()
