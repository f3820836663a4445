"""A look at a million logged predictions takes less than a minute and 2 GB."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from churn.scorer import Scorer
from demo.world import month, sent
from review.verify import environment
from serve.log.tables import COLUMNS, db_time, first_id
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.factories import empty_log

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

MILLION, KNOWN = 1_000_000, 300_000  # of the window, of the cohort with outcomes
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MEASURED = """
import resource, runpy, sys
try:
    runpy.run_module("monitoring.check", run_name="__main__")
finally:
    sys.stderr.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\\n")
"""


def write(database: Path, scorer: Scorer) -> None:
    """The answers to 5,000 customers over and over, as if they were others."""
    drawn = month(1, 5_000)
    rows, churned = sent(scorer.release.schema, drawn), (drawn["churned"] == "Yes").tolist()
    p, texts = scorer.probabilities(rows).tolist(), [json.dumps(row) for row in rows]
    threshold, version = scorer.release.card["threshold"]["value"], scorer.release.version

    def answers(n: int, begin: datetime) -> Iterator[tuple[Any, ...]]:
        for i in range(n):
            at, k = begin + i * timedelta(days=28) / n, i % len(rows)
            decision = "churn" if p[k] >= threshold else "no_churn"
            name = f"{first_id(at)}{i:018x}"
            yield (name, name, db_time(at), f"c{i}", texts[k], p[k], decision, threshold, version, "champion", 1.0)

    def outcomes() -> Iterator[tuple[Any, ...]]:
        for i in range(KNOWN):
            at = db_time(BEGIN + timedelta(days=29))
            yield (f"c{i}", "", at, churned[i % len(rows)], at)

    log = sqlite3.connect(database)
    insert = f"INSERT INTO predictions ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    log.executemany(insert, answers(KNOWN, BEGIN))
    log.executemany(insert, answers(MILLION, BEGIN + timedelta(days=31)))
    names = "customer_id, request_id, observed_at, churned, received_at"
    log.executemany(f"INSERT INTO outcomes ({names}) VALUES (?, ?, ?, ?, ?)", outcomes())
    log.commit()
    log.close()


def test_a_million_predictions_are_checked_within_a_minute_and_2_gb(reproduced: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.promote(store.add(reproduced / "models/release", "test"), "test")
    empty_log(tmp_path).dispose()
    write(tmp_path / "log.db", Scorer.open(reproduced / "models/release"))
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "--json", "--end", "2026-03-02"],
        cwd=ROOT, env=environment(CHURN_RELEASES=str(tmp_path)), capture_output=True, text=True,
    )  # fmt: skip
    took, most = time.monotonic() - begun, int(done.stderr.split()[-1]) * 1024
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"]) == (0, "healthy"), found["reasons"]
    assert (found["customers"], found["cohort"]["labelled"]) == (MILLION, KNOWN)
    assert took < 60 and most < 2e9, (took, most)
