"""A file in a real browser: sent and followed by keyboard, and not lost where the whole service is killed meanwhile."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import until
from tests.e2e.browser import MARKS, WIDTHS, chromium, faults
from tests.e2e.servers import Service

pytestmark = MARKS
READER = "readers-key"


@pytest.fixture(scope="module")
def service(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("files")
    with Service(folder, reproduced / "models/release", workers=2, CHURN_API_KEYS=READER) as started:
        yield started
        started.terminate()


@pytest.fixture
def page(service: Service) -> Iterator[Any]:
    """Signed in, on a phone."""
    wide, high = WIDTHS["phone"]
    with chromium() as browser:
        page = browser.new_context(viewport={"width": wide, "height": high}, bypass_csp=True).new_page()
        page.goto(f"http://127.0.0.1:{service.port}/console/files")
        page.fill("main input:not([type=hidden])", READER)
        page.press("main input:not([type=hidden])", "Enter")
        page.wait_for_selector("h1:text('Files')")
        yield page


def test_a_file_is_sent_scored_and_downloaded_though_the_service_is_killed_meanwhile(
    page: Any, service: Service, reproduced: Path
) -> None:
    page.set_input_files("#file", reproduced / "data/raw/customers.csv")
    page.focus("text=Score this file")
    page.keyboard.press("Enter")
    # on a busy machine the file may be scored before the browser asks for its page
    page.wait_for_selector("#following, a:has-text('Download the scores')", timeout=120_000)
    page.wait_for_load_state()  # with the script that looks again
    service.kill()
    service.start()
    until(lambda: service.answers("/ready"))
    page.wait_for_selector("text=Download the scores", timeout=120_000)  # the session holds, the page looked again
    assert not faults(page)
    with page.expect_download() as started:
        page.click("text=Download the scores")
    assert started.value.suggested_filename == "customers-scores.csv"
    with Path(started.value.path()).open() as file:
        scores = {row["customer_id"]: row["churn_probability"] for row in csv.DictReader(file)}
    with (reproduced / "data/raw/customers.csv").open() as file:
        assert set(scores) == {row["customer_id"] for row in csv.DictReader(file)}
    page.click("text=Remove the file and its scores")
    page.wait_for_selector("text=None is kept.")
    assert [path.name for path in (service.folder / "releases/files").iterdir()] == ["lock"]


def test_an_empty_file_gets_a_sentence_and_is_not_sent(page: Any, service: Service, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    page.set_input_files("#file", tmp_path / "empty.csv")
    page.click("text=Score this file")
    page.wait_for_selector("text=The file is empty.")
