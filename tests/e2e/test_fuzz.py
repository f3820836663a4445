"""What the service says of itself in OpenAPI holds against thousands of generated requests."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import command
from tests.e2e.servers import Service

pytestmark = pytest.mark.e2e

EXAMPLES = 445  # of each operation and seed at most; those without a body need few
# a schema can't say that a moment is not of the future, nor that a body is a file, or what the champion's schema has
CONFIG = """
[[operations]]
include-name = "POST /feedback"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /contacts"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /console/upload.json"
checks.positive_data_acceptance.enabled = false
"""
SEEDS = ("1", "2")  # at the same time: generating takes longer than answering


def test_no_request_finds_an_answer_that_is_not_documented(reproduced: Path, tmp_path: Path) -> None:
    with Service(tmp_path, reproduced / "models/release", CHURN_API_KEYS="old,new") as service:
        (tmp_path / "schemathesis.toml").write_text(CONFIG)
        words = ["st", "run", f"http://127.0.0.1:{service.port}/openapi.json", "--mode", "all"]
        words += ["--header", "X-API-Key: new", "--max-examples", str(EXAMPLES), "--no-color"]
        words += ["--generation-database", "none"]  # nothing is taken from an earlier run

        def run(seed: str) -> tuple[int, int]:
            said = command(tmp_path, *words, "--seed", seed, timeout=900)
            generated, passed = re.findall(r"(\d+) generated, (\d+) passed", said)[0]
            return int(generated), int(passed)

        with ThreadPoolExecutor() as pool:
            counts = list(pool.map(run, SEEDS))
        statuses = {line["status"] for line in service.lines() if line["logger"] == "serve.access"}
    assert all(generated == passed for generated, passed in counts)
    assert sum(passed for _, passed in counts) >= 5_000
    assert {200, 401, 405, 422} <= statuses
    assert max(statuses) < 500
