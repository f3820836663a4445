"""What the service says of itself in OpenAPI holds against thousands of generated requests."""

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import command
from tests.e2e.servers import Service

pytestmark = pytest.mark.e2e

EXAMPLES = 1100  # of each operation at most; those without a body need few


def test_no_request_finds_an_answer_that_is_not_documented(reproduced: Path, tmp_path: Path) -> None:
    with Service(tmp_path, reproduced / "models/release", CHURN_API_KEYS="old,new") as service:
        words = ["st", "run", f"http://127.0.0.1:{service.port}/openapi.json", "--checks", "all", "--mode", "all"]
        words += ["--header", "X-API-Key: new", "--max-examples", str(EXAMPLES), "--seed", "42", "--no-color"]
        said = command(tmp_path, *words, timeout=900)
        generated, passed = map(int, re.findall(r"(\d+) generated, (\d+) passed", said)[0])
        assert generated == passed >= 5_000
        statuses = {line["status"] for line in service.lines() if line["logger"] == "serve.access"}
        assert {200, 401, 405, 422} <= statuses
        assert max(statuses) < 500
