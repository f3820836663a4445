"""The pipeline over the log: its report can be made again, and the first pipeline knows nothing of it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from churn.scorer import Scorer
from demo.world import month
from review.verify import git
from serve.releases.store import Store
from tests.e2e.conftest import command, ran, set_knobs
from tests.factories import empty_log
from tests.simulated_months import log_month

pytestmark = pytest.mark.e2e

END = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_stated_window_gives_the_same_report_and_none_is_made_twice(restored: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    bundle = restored / "models/release"
    store.promote(store.add(bundle, "test"), "test")
    log = empty_log(tmp_path)
    log_month(log, Scorer.open(bundle), month(1, 1_500), END - timedelta(days=29), known=False)
    log.dispose()
    set_knobs(restored, monitoring__snapshot__end=END.isoformat(), monitoring__report__resamples=100)
    again = ("dvc", "--cd", "monitoring", "repro")
    variables = {"CHURN_RELEASES": str(tmp_path), "CHURN_LOG_URL": ""}
    assert ran(command(restored, *again, **variables)) == ["snapshot", "report"]
    written = [restored / "monitoring" / name for name in ("metrics/check.json", "report.html", "drift.html")]
    before = [path.read_bytes() for path in written]
    assert json.loads(before[0])["customers"] == 1_500
    assert ran(command(restored, *again, **variables)) == ["snapshot"]
    assert ran(command(restored, *again, "--force", **variables)) == ["snapshot", "report"]
    assert [path.read_bytes() for path in written] == before
    assert git(restored, "status", "--porcelain", "--", "monitoring") == b"?? monitoring/dvc.lock\n"
    git(restored, "checkout", "--quiet", "params.yaml")
    assert "up to date" in command(restored, "dvc", "status")
