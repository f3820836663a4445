"""The shadow scores what was answered, in its own time; whatever becomes of it, answers do not wait and do not fail."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from churn.scorer import Scorer
from demo.processes import until
from serve.log.prediction_log import PredictionLog
from serve.log.spool import Spool
from serve.log.tables import COLUMNS, Row
from serve.predict import shadow as module
from serve.predict.batching import MAX_SHADOW_ROWS, SHADOW_ROWS, Predictor
from serve.predict.live import Model
from serve.predict.shadow import Shadow, rank_correlation
from tests.factories import opposite_release

Probabilities = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])


@pytest.fixture(scope="module")
def champion(released: Path) -> Model:
    return Model(Scorer.open(released), "champion")


@pytest.fixture(scope="module")
def model(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("shadow") / "opposite"
    return Model(Scorer.open(opposite_release(released, folder)), "shadow")


@pytest.fixture
def customers(champion: Model) -> list[dict[str, Any]]:
    return [line["customer"] for line in champion.release.golden()][:50]


@pytest.fixture
def rows(champion: Model, customers: list[dict[str, Any]]) -> list[Row]:
    """What the champion answered."""
    p = champion.scorer.probabilities(customers).tolist()
    named = [
        {
            "id": f"{i:032}", "request_id": f"r{i}", "at": "2026-11-01 00:00:00.000000", "customer_id": f"c{i}",
            "features": '{"some": 1}', "churn_probability": q, "threshold": 0.33, "model_version": "v",
            "prediction": "churn" if q >= 0.33 else "no_churn", "arm": "champion", "latency_ms": 1.5,
        }
        for i, q in enumerate(p)
    ]  # fmt: skip
    return [tuple(row[name] for name in COLUMNS) for row in named]


@pytest.fixture
def started() -> Iterator[Callable[[Model], tuple[Shadow, list[dict[str, Any]]]]]:
    """A shadow, and what it has kept so far."""
    shadows = []

    def start(model: Model) -> tuple[Shadow, list[dict[str, Any]]]:
        kept: list[dict[str, Any]] = []
        shadow = Shadow(model, lambda rows: kept.extend(dict(zip(COLUMNS, row, strict=True)) for row in rows))
        shadows.append(shadow)
        return shadow, kept

    yield start
    for shadow in shadows:
        shadow.close()


def test_each_answer_gets_a_row_beside_it(
    started: Any, model: Model, champion: Model, customers: list[dict[str, Any]], rows: list[Row]
) -> None:
    shadow, kept = started(model)
    shadow.offer(customers, rows)
    until(lambda: len(kept) == len(rows))
    for row, beside in zip(rows, kept, strict=True):
        answer = dict(zip(COLUMNS, row, strict=True))
        p = 1 - answer["churn_probability"]
        assert beside["churn_probability"] == pytest.approx(p, abs=1e-6)
        assert beside["prediction"] == ("churn" if beside["churn_probability"] >= model.threshold else "no_churn")
        assert (beside["model_version"], beside["arm"], beside["features"]) == (model.version, "shadow", "{}")
        assert beside["threshold"] == model.threshold
        assert {name: beside[name] for name in ("request_id", "customer_id", "at")} == {
            name: answer[name] for name in ("request_id", "customer_id", "at")
        }
    assert len({row["id"] for row in kept} | {row[0] for row in rows}) == 2 * len(rows)


class Slow(Scorer):
    """It takes its time, until it is let go."""

    go = threading.Event()

    def probabilities(self, customers: Any) -> np.ndarray:
        assert self.go.wait(20)
        return super().probabilities(customers)


class Failing(Scorer):
    def probabilities(self, customers: Any) -> np.ndarray:
        raise ArithmeticError("no")


def test_who_offers_never_waits_and_a_line_that_is_full_takes_no_more(
    started: Any, champion: Model, customers: list[dict[str, Any]], rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 120)
    Slow.go.clear()
    shadow, kept = started(Model(Slow(champion.release), "shadow"))
    dropped = module.metrics.shadow_dropped._value.get()
    begin = time.perf_counter()
    for _ in range(6):
        shadow.offer(customers, rows)
    assert time.perf_counter() - begin < 1
    Slow.go.set()
    until(lambda: not shadow._line)
    shadow.close()
    # the first group may have left the line before it was full
    assert len(kept) + module.metrics.shadow_dropped._value.get() - dropped == 300
    assert 120 <= len(kept) <= 240


def test_what_the_shadow_can_not_score_is_its_own_trouble(
    started: Any, champion: Model, customers: list[dict[str, Any]], rows: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    shadow, kept = started(Model(Failing(champion.release), "shadow"))
    dropped = module.metrics.shadow_dropped._value.get()
    shadow.offer(customers, rows)
    until(lambda: module.metrics.shadow_dropped._value.get() == dropped + 50)
    assert kept == []
    assert "failed: ArithmeticError in probabilities, test_shadow.py" in caplog.text


def test_the_end_scores_who_is_in_line(
    started: Any, model: Model, customers: list[dict[str, Any]], rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 60)
    shadow, kept = started(model)
    shadow.offer(customers, rows)
    shadow.close()
    assert len(kept) == 50


@given(st.lists(st.tuples(Probabilities, Probabilities), min_size=2, max_size=40))
def test_the_rank_correlation_is_spearman_s(pairs: list[tuple[float, float]]) -> None:
    one, other = zip(*pairs, strict=True)
    found = rank_correlation(np.array(pairs))
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic)


# its rows in the log


def written(tmp_path: Path, n: int, down: bool) -> tuple[int, int, int]:
    """n rows carried through a log: how many are in the database and in the spool, how many were dropped."""
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", 2**20))
    log.open()
    if down:
        log.problem = "down"
    dropped = module.metrics.shadow_dropped._value.get()
    rows = [
        (f"s{i}", "r", "2026-11-01 00:00:00.000000", "c", "{}", 0.5, "churn", 0.3, "v", "shadow", 1.0) for i in range(n)
    ]

    async def carried() -> None:
        predictor = Predictor(log)
        predictor.carry(rows)
        await predictor.idle(5)

    asyncio.run(carried())
    spooled = log.spool.size
    with log.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar_one()
    log.close()
    return kept, spooled, int(module.metrics.shadow_dropped._value.get() - dropped)


def test_rows_are_committed_also_when_nobody_asks(tmp_path: Path) -> None:
    assert written(tmp_path, 2 * SHADOW_ROWS + 3, down=False) == (2 * SHADOW_ROWS + 3, 0, 0)


def test_while_the_database_is_down_the_spool_is_kept_for_answers(tmp_path: Path) -> None:
    kept, spooled, dropped = written(tmp_path, 10, down=True)
    assert (kept, spooled, dropped) == (0, 0, 10)


def test_rows_that_commits_do_not_keep_up_with_are_lost_and_counted(tmp_path: Path) -> None:
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", 2**20))
    dropped = module.metrics.shadow_dropped._value.get()

    async def carried() -> int:
        predictor = Predictor(log)
        for _ in range(3):
            predictor.carry([()] * (MAX_SHADOW_ROWS // 2 + 1))
        return len(predictor._carried)

    assert asyncio.run(carried()) == MAX_SHADOW_ROWS
    assert module.metrics.shadow_dropped._value.get() - dropped == MAX_SHADOW_ROWS // 2 + 3
