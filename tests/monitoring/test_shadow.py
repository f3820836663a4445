"""The shadow report: which predictions are pairs, and what it says of them."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sqlalchemy import Engine

from churn.params import read_knobs
from churn.profit import Profit
from churn.report_text import plain
from churn.scores import scores
from churn.script import InputError, as_json
from monitoring.shadow import Report, Trial, as_text, main, rank_correlation, read_pairs, report, running
from tests.conftest import ROOT
from tests.factories import (
    START,
    THRESHOLD,
    act,
    customers,
    empty_log,
    fill,
    guessed,
    outcome,
    prediction,
    write_ledger,
)

PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
TRIAL = Trial("new", "old", START)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


def read(engine: Engine) -> tuple[int, int, pd.DataFrame]:
    with engine.connect() as connection:
        return read_pairs(connection, TRIAL, timedelta(days=90))


def made(engine: Engine) -> Report:
    return report(TRIAL, *read(engine), PROFIT, 100, 42)


def pair(hours: float, customer: str | None, p: float, q: float, request: str, arm: str = "champion") -> list[dict]:
    answered = prediction(hours, customer, arm, p, request_id=request)
    return [answered, prediction(hours, customer, "shadow", q, request_id=request)]


def fill_pairs(engine: Engine, n: int, noise: tuple[float, float]) -> None:
    """n customers, asked about once, every second one with an outcome; answer and shadow are off by their noise."""
    p, churned = customers(n, seed=1)
    answered, shadowed = guessed(p, noise[0], 2), guessed(p, noise[1], 3)
    rows = [pair(1 + i / n, f"c{i}", a, s, f"r{i}") for i, (a, s) in enumerate(zip(answered, shadowed, strict=True))]
    labelled = [outcome(5, bool(y), customer=f"c{i}") for i, y in enumerate(churned) if i % 2]
    fill(engine, [row for both in rows for row in both], labelled)


def test_a_shadow_is_read_from_when_it_and_the_champion_are_what_they_are() -> None:
    acts = [act("shadow", 1, shadow="new"), act("split", 2, shadow="new", challenger="x", share=0.1)]
    assert running(acts) == Trial("new", "old", START + timedelta(hours=1))
    assert running([*acts, act("promote", 3, shadow="new", champion="x")]).since == START + timedelta(hours=3)
    for ended in ([], [*acts, act("shadow", 4)]):
        with pytest.raises(InputError, match="no shadow is running"):
            running(ended)


def test_pairs_are_of_one_request_and_one_customer(engine: Engine) -> None:
    rows = [
        *pair(-1, "before", 0.1, 0.9, "r0"),
        *pair(1, "a", 0.2, 0.8, "r1"),
        *pair(2, "a", 0.3, 0.7, "r2"),  # a again: a pair, and no other customer
        *pair(3, "b", 0.4, 0.6, "same"),
        *pair(4, "c", 0.1, 0.5, "same", "challenger"),  # a client that gives all its requests one name
        *pair(5, None, 0.2, 0.2, "r3"),
        *pair(6, None, 0.3, 0.3, "r4"),
        prediction(7, "d", "champion", request_id="alone"),
        prediction(7, "d", "shadow", request_id="answered by nobody"),
        prediction(7, "d", "shadow", request_id="alone", model_version="third"),
    ]
    fill(engine, rows, [outcome(9, True, customer="a"), outcome(9, False, request="r4")])
    answered, pairs, result = read(engine)
    assert (answered, pairs) == (7, 6)
    assert result["p_answered"].tolist() == [0.2, 0.4, 0.1, 0.2, 0.3]
    assert result["p_shadow"].tolist() == [0.8, 0.6, 0.5, 0.2, 0.3]
    assert result["flagged_answered"].tolist() == [0, 1, 0, 0, 0]
    assert result["flagged_shadow"].tolist() == [1, 1, 1, 0, 0]
    assert result["churned"].fillna(-1).tolist() == [1, -1, -1, -1, 0]


def test_the_report_says_how_much_two_models_differ(engine: Engine) -> None:
    fill_pairs(engine, 2000, (1.5, 0.1))
    _, _, frame = read(engine)
    result = made(engine)
    p, q = frame["p_answered"].to_numpy(), frame["p_shadow"].to_numpy()
    assert (result.scored, result.customers) == (1, 2000)
    assert result.spearman.value == pytest.approx(np.corrcoef(stats.rankdata(p), stats.rankdata(q))[0, 1])
    assert result.decisions["only_shadow"] == ((q >= THRESHOLD) & (p < THRESHOLD)).sum()
    assert sum(result.decisions.values()) == 2000
    changed = result.changed
    assert changed.low < changed.value == ((q >= THRESHOLD) != (p >= THRESHOLD)).mean() < changed.high
    assert result.mean_difference == pytest.approx((q - p).mean())
    assert result.difference_90 == pytest.approx(np.quantile(np.abs(q - p), 0.9))
    outcomes, labelled = plain(result.outcomes), frame.dropna()
    for side in ("answered", "shadow"):
        peer = scores(labelled["churned"].to_numpy(), labelled[f"p_{side}"].to_numpy())
        assert {key: outcomes[f"{key}_{side}"] for key in ("roc_auc", "brier")} == pytest.approx(
            {key: peer[key] for key in ("roc_auc", "brier")}
        )
    assert outcomes["labelled"] == 1000
    assert outcomes["roc_auc_difference_low"] > 0
    assert outcomes["brier_difference_high"] < 0
    # the customers are the same: what makes one resample easy makes it easy for both
    apart = sum((outcomes[f"roc_auc_{s}_high"] - outcomes[f"roc_auc_{s}_low"]) ** 2 for s in ("answered", "shadow"))
    assert outcomes["roc_auc_difference_high"] - outcomes["roc_auc_difference_low"] < np.sqrt(apart)


def test_a_model_beside_itself_differs_in_nothing(engine: Engine) -> None:
    fill(engine, [row for i in range(20) for row in pair(1, f"c{i}", i / 20, i / 20, f"r{i}")], [])
    result = made(engine)
    assert result.spearman.low == result.spearman.value == pytest.approx(1)
    assert (result.changed.value, result.difference_max) == (0, 0)
    assert result.outcomes.labelled == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=40))
def test_the_rank_correlation_lies_in_its_interval_also_with_ties(rows: list[tuple[int, int]]) -> None:
    a, b = (pd.Series(side, dtype="float64") for side in zip(*rows, strict=True))
    result = rank_correlation(a, b)
    if a.nunique() < 2 or b.nunique() < 2:
        assert np.isnan(result.value)
        return
    assert result.value == pytest.approx(np.corrcoef(a.rank(), b.rank())[0, 1])
    assert -1 <= result.low <= result.value + 1e-12
    assert result.value - 1e-12 <= result.high <= 1
    assert rank_correlation(b, -a).low == pytest.approx(-result.high)


@pytest.mark.slow
def test_nine_intervals_in_ten_hold_the_true_rank_correlation() -> None:
    rng, true = np.random.default_rng(0), 6 / np.pi * np.arcsin(0.8 / 2)  # of normals that correlate by .8
    held = 0
    for _ in range(300):
        a, b = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 80).T
        result = rank_correlation(pd.Series(a), pd.Series(b))
        held += result.low <= true <= result.high
    assert 0.91 <= held / 300 <= 0.99


def test_an_empty_window_is_told_as_one(engine: Engine) -> None:
    result = made(engine)
    assert json.loads(as_json(plain(result)))["scored"] is None
    assert "0 of 0 answered requests" in as_text(result)


@pytest.fixture
def command(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call the command on the log and the ledger in tmp_path."""
    monkeypatch.chdir(ROOT)  # params.yaml
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path))
    monkeypatch.delenv("CHURN_LOG_URL", raising=False)

    return lambda *arguments: main(arguments)


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_command_tells_people_and_programs(
    arguments: list[str],
    command: Callable[..., None],
    engine: Engine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InputError, match="no shadow is running"):
        command(*arguments)
    write_ledger(tmp_path, [act("promote", -1), act("shadow", 0, shadow="new")])
    fill_pairs(engine, 200, (1.0, 0.5))
    command(*arguments)
    output = capsys.readouterr().out
    if arguments:
        assert json.loads(output)["outcomes"]["labelled"] == 100
    else:
        assert "200 of 200 answered requests" in output
        assert "100 outcomes" in output
