"""What GET /metrics says: of answers alone, under names that Prometheus' conventions ask for."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from churn.reasons import LEVELS, REASONS
from churn.schema import ID
from churn.scorer import Scorer
from serve.log.prediction_log import LogFull, PredictionLog
from serve.log.spool import Spool
from serve.log.tables import Check
from serve.predict.batching import Predictor
from serve.predict.live import LiveModels, Model
from serve.telemetry import metrics
from serve.telemetry.check_metrics import ADDED, CheckCollector
from tests.conftest import ROOT

FOUND: dict[str, Any] = {
    "verdict": "breach",
    "reasons": [{"id": "input_drift", "level": "breach", "words": "w"}, {"id": "new", "level": "warn", "words": "w"}],
    "customers": 600,
    "reference": {"roc_auc": 0.85},
    "drift": {"share": 0.2, "prediction": 0.1, "features": {"tenure": {"distance": 0.3, "threshold": 0.1}}},
    "quality": {"more_missing": 0.0, "unseen": 0.02, "outside": 0.0},
    "estimated": {"roc_auc": 0.8, "roc_auc_low": None, "roc_auc_high": 0.82, "trusted": None},
    "realised": None,
    "cohort": {"labelled": 0, "offered": 0},
}
CHECK = Check(datetime(2026, 3, 1, tzinfo=UTC), "v", "breach", FOUND)


@pytest.fixture(scope="module")
def model(released: Path) -> Model:
    return Model(Scorer.open(released), "challenger")


@pytest.fixture
def customer(model: Model) -> dict[str, Any]:
    return {**model.scorer.release.golden()[0]["customer"], ID: None}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", 2**20))
    log.open()
    yield log
    log.close()


def predict(log: PredictionLog, model: Model, *customers: dict[str, Any]) -> list[Any]:
    ids = [str(i) for i in range(len(customers))]
    return asyncio.run(Predictor(log).predict(customers, ids, model, time.perf_counter()))


def exposed(text: str | None = None) -> dict[str, float]:
    """Every sample of the exposition as name{labels}."""
    families = text_string_to_metric_families(text or metrics.exposition().decode())
    samples = (sample for family in families for sample in family.samples)
    return {f"{s.name}{{{','.join(f'{k}={v}' for k, v in sorted(s.labels.items()))}}}": s.value for s in samples}


def grown(before: dict[str, float]) -> dict[str, float]:
    """What the service counted since, without the histogram's sum."""
    after = exposed()
    more = {name: value - before.get(name, 0) for name, value in after.items() if name.startswith("churn_")}
    return {name: value for name, value in more.items() if value and "_sum" not in name}


def test_unseen_levels_and_missing_values_are_counted_by_column(
    log: PredictionLog, model: Model, customer: dict[str, Any]
) -> None:
    before = exposed()
    predict(log, model, customer, customer | {"contract": "new", "gender": "new"}, customer | {"contract": "newer"})
    predict(log, model, customer | {"total_charges": None}, customer | {"contract": "new", "total_charges": None})
    found = {name: n for name, n in grown(before).items() if "_levels" in name or "_missing" in name}
    assert found == {
        "churn_unseen_levels_total{column=contract}": 3,
        "churn_unseen_levels_total{column=gender}": 1,
        "churn_missing_values_total{column=total_charges}": 2,
    }


def test_answers_are_counted_by_decision_and_lie_in_tenths(log: PredictionLog, model: Model) -> None:
    customers = [line["customer"] | {ID: None} for line in model.scorer.release.golden()]
    before = exposed()
    p = [answer["churn_probability"] for answer in predict(log, model, *customers)]
    found = grown(before)
    decisions = {
        f"churn_predictions_total{{arm=challenger,prediction={name}}}": n
        for name, n in (
            ("churn", sum(q >= model.threshold for q in p)),
            ("no_churn", sum(q < model.threshold for q in p)),
        )
        if n
    }
    assert {name: n for name, n in found.items() if "_predictions" in name} == decisions
    tenths = {
        f"churn_probability_bucket{{arm=challenger,le={le}}}": sum(q <= float(le) for q in p)
        for le in ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1.0", "+Inf")
    }
    assert {name: n for name, n in found.items() if "_bucket" in name} == {k: n for k, n in tenths.items() if n}
    assert found["churn_probability_count{arm=challenger}"] == len(p)


def test_what_was_not_answered_is_not_counted(model: Model, customer: dict[str, Any], tmp_path: Path) -> None:
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", limit=1))
    before = exposed()
    with pytest.raises(LogFull):
        predict(log, model, customer | {"contract": "new"})
    broken = {name: value for name, value in customer.items() if name != "contract"}
    with pytest.raises(KeyError):
        predict(log, model, broken | {"gender": "new"})
    assert grown(before) == {}
    log.engine.dispose()
    log.spool.close()


def test_the_queue_is_as_long_as_the_line(log: PredictionLog, model: Model, customer: dict[str, Any]) -> None:
    seen = set()

    async def watched() -> None:
        ids = [str(i) for i in range(450)]
        asked = asyncio.create_task(Predictor(log).predict([customer] * 450, ids, model, time.perf_counter()))
        while not asked.done():
            await asyncio.sleep(0)
            seen.add(exposed()["churn_log_queue{}"])

    asyncio.run(watched())
    assert 450 in seen
    predict(log, model, customer)
    assert exposed()["churn_log_queue{}"] == 0


def test_names_and_units_are_prometheus_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.check_collector, "check", CHECK)
    monkeypatch.setattr(metrics.check_collector, "models", ())
    families = [f for f in text_string_to_metric_families(metrics.exposition().decode()) if f.name.startswith("churn_")]
    assert len(families) == 19 + 13
    for family in families:
        assert re.fullmatch(r"churn_[a-z]+(_[a-z]+)*", family.name)
        assert family.documentation
        assert family.name.rpartition("_")[2] not in ("total", "count", "ms", "milliseconds", "kb")
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert not sample.name.endswith("_created")
            assert sample.name.endswith("_total") == (family.type == "counter")


def worker(folder: Path, code: str) -> str:
    """Output of a process that counts in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", f"from serve.telemetry import metrics\n{code}"],
        cwd=ROOT,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_dead_worker_s_counts_stay_and_its_state_goes(tmp_path: Path) -> None:
    worker(tmp_path, "metrics.unseen.labels('contract').inc(3); metrics.queue.set(50); metrics.log_up.set(0)")
    assert list(tmp_path.glob("gauge_live*.db"))
    text = worker(
        tmp_path,
        "metrics.unseen.labels('contract').inc(); metrics.queue.set(2); metrics.log_up.set(1)\n"
        "print(metrics.exposition().decode())",
    )
    found = exposed(text)
    assert found["churn_unseen_levels_total{column=contract}"] == 4
    assert (found["churn_log_queue{}"], found["churn_log_up{}"]) == (2, 1)


@pytest.mark.slow
def test_the_state_of_the_log_is_the_last_word_of_any_worker(tmp_path: Path) -> None:
    last = "from serve.telemetry import metrics as m; m.log_up.set(1); m.spool.set(0); print(m.exposition().decode())"
    first = "import subprocess, sys; metrics.log_up.set(0); metrics.spool.set(99)"
    found = exposed(worker(tmp_path, f"{first}; subprocess.run([sys.executable, '-c', {last!r}])"))
    assert (found["churn_log_up{}"], found["churn_log_spool_bytes{}"]) == (1, 0)


# what the last check found


def told(check: Check | None, live: LiveModels | None = None) -> dict[str, float]:
    registry, collector = CollectorRegistry(), CheckCollector()
    collector.check, collector.models = check, live.loaded if live else ()
    registry.register(collector)
    return exposed(generate_latest(registry).decode() or "# EOF")


def test_a_check_is_told_and_what_is_not_known_is_left_out() -> None:
    found = told(CHECK)
    assert {name: value for name, value in found.items() if "_reason" not in name} == {
        f"churn_monitoring_{name}": value
        for name, value in {
            "timestamp_seconds{model_version=v}": 1772323200,
            **{f"verdict{{model_version=v,verdict={v}}}": v == "breach" for v in LEVELS},
            "customers{model_version=v}": 600,
            "labelled_customers{model_version=v}": 0,
            "offered_customers{model_version=v}": 0,
            "drift_share{model_version=v}": 0.2,
            "drift_distance{column=tenure,model_version=v}": 0.3,
            "drift_threshold{column=tenure,model_version=v}": 0.1,
            "prediction_drift{model_version=v}": 0.1,
            "quality_share{check=more_missing,model_version=v}": 0,
            "quality_share{check=unseen,model_version=v}": 0.02,
            "quality_share{check=outside,model_version=v}": 0,
            "roc_auc{kind=reference,model_version=v}": 0.85,
            "roc_auc{kind=estimated,model_version=v}": 0.8,
            "roc_auc_high{kind=estimated,model_version=v}": 0.82,
        }.items()
    }
    reasons = {name: value for name, value in found.items() if "_reason" in name}
    assert {name for name, holds in reasons.items() if holds} == {
        "churn_monitoring_reason{level=breach,model_version=v,reason=input_drift}",
        "churn_monitoring_reason{level=warn,model_version=v,reason=new}",
    }
    assert len(reasons) == sum(map(len, REASONS.values())) + 1


def test_without_a_check_or_with_one_of_another_make_nothing_is_told() -> None:
    assert told(None) == {}
    assert told(CHECK._replace(found={"reasons": [{}]})) == {}


def test_the_age_of_who_answers_is_told(model: Model) -> None:
    live = LiveModels(model, challenger=model, added={model.version: 17.5})
    assert told(None, live) == {f"{ADDED}{{arm=challenger,model_version={model.version}}}": 17.5}
    assert told(None, LiveModels(model)) == {}


@pytest.mark.slow
def test_workers_that_tell_of_the_same_check_tell_it_once(tmp_path: Path) -> None:
    see = f"import datetime; metrics.check_collector.check = {CHECK!r}".replace(
        "Check(", "__import__('serve.log.prediction_log').log.prediction_log.Check("
    )
    worker(tmp_path, f"{see}; metrics.queue.set(1); metrics.exposition()")
    found = exposed(worker(tmp_path, f"{see}; print(metrics.exposition().decode())"))
    assert {name: value for name, value in found.items() if "churn_monitoring" in name} == told(CHECK)
