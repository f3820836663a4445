"""/docs in a real browser: every operation is there, from this server alone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.servers import Service

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is missing")]

ALONE = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
PAGE = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--enable-logging=stderr"]


def test_a_person_finds_every_operation(reproduced: Path, tmp_path: Path) -> None:
    with Service(tmp_path, reproduced / "models/release") as service:
        words = ["chromium", *PAGE, *ALONE, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
        done = subprocess.run(
            [*words, f"http://127.0.0.1:{service.port}/docs"], capture_output=True, text=True, timeout=120
        )
        operations = {
            (method.upper(), path)
            for path, methods in service.get("/openapi.json")[2]["paths"].items()
            for method in methods
        }
    shown = re.findall(r'opblock-summary-method">(\w+)<.*?data-path="([^"]+)"', done.stdout)
    assert set(shown) == operations
    assert len(operations) >= 8
    assert "CONSOLE" not in done.stderr  # a script, a style or a picture that the policy forbids
