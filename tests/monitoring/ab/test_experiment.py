"""The A/B report: who belongs to the experiment, what it says of simulated ones, and the command."""

import functools
import json
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sqlalchemy import Engine

from churn.params import read_knobs, read_params
from churn.profit import Profit
from churn.script import InputError
from monitoring.ab import experiment as ab
from monitoring.ab.experiment import Experiment, chi_square, read_customers, report, running
from monitoring.ab.page import page
from monitoring.ab.sequential import variance_to_find
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.factories import START, act, customers, empty_log, fill, guessed, outcome, prediction, write_ledger

PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
KNOBS = read_params("ab", report, ROOT / "params.yaml") | {"resamples": 100}
SPLIT = {"challenger": "new", "share": 0.5}
EXPERIMENT = Experiment("old", "new", 0.5, START)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


def read(engine: Engine, experiment: Experiment = EXPERIMENT) -> pd.DataFrame:
    with engine.connect() as connection:
        return read_customers(connection, experiment)


def fill_experiment(engine: Engine, n: int, noise: tuple[float, float], share: float = 0.5, days: int = 30) -> None:
    """n customers, one after another; both arms' models are off by their noise, outcomes come a day later."""
    p, churned = customers(n, seed=1)
    at = np.sort(np.random.default_rng(2).uniform(0.1, 24 * days, n))
    is_challenger = np.random.default_rng(3).random(n) < share
    q = np.where(is_challenger, guessed(p, noise[1], 4), guessed(p, noise[0], 5))
    arms = np.where(is_challenger, "challenger", "champion")
    rows = [prediction(h, f"c{i}", str(arm), x) for i, (h, arm, x) in enumerate(zip(at, arms, q, strict=True))]
    known = [outcome(h + 24, bool(y), customer=f"c{i}") for i, (h, y) in enumerate(zip(at, churned, strict=True))]
    fill(engine, rows, known)


def earned(customers: pd.DataFrame) -> pd.DataFrame:
    arm = np.where(customers["challenger"] == 1, "challenger", "champion")
    return customers.assign(arm=arm, earned=PROFIT.of(customers["churned"], customers["flagged"]))


def test_an_experiment_begins_with_the_share_that_it_has_now() -> None:
    acts = [act("promote", 0), act("split", 1, challenger="new", share=0.1), act("split", 2, **SPLIT)]
    assert running(acts) == Experiment("old", "new", 0.5, START + timedelta(hours=2))
    shadowed = [*acts, act("shadow", 3, **SPLIT, shadow="third"), act("split", 4, **SPLIT, shadow="third")]
    assert running(shadowed) == running(acts)
    again = [*acts, act("split", 3, challenger="new", share=0.1), act("split", 4, **SPLIT)]
    assert running(again).since == START + timedelta(hours=4)


@pytest.mark.parametrize("name", ["promote", "rollback", "abort"])
def test_what_takes_the_challenger_away_ends_the_experiment(name: str) -> None:
    with pytest.raises(InputError, match="no split is running"):
        running([act("split", 1, **SPLIT), act(name, 2)])
    begun = running([act("split", 1, **SPLIT), act(name, 2), act("split", 3, **SPLIT)]).since
    assert begun == START + timedelta(hours=3)


def test_without_a_ledger_no_split_is_running() -> None:
    with pytest.raises(InputError, match="no split is running"):
        running([])


def test_a_customer_counts_once_in_the_arm_that_came_first(engine: Engine) -> None:
    rows = [
        prediction(-1, "before", "champion", 0.1),
        prediction(1, "twice", "challenger", 0.2),
        prediction(2, "twice", "challenger", 0.3),
        prediction(3, "switched", "champion", 0.4),
        prediction(4, "switched", "challenger", 0.5),
        prediction(5, "twice", "shadow", 0.6),
        prediction(5, "other release", "challenger", 0.6, model_version="third"),
        prediction(6, None, "champion", 0.7),
        prediction(7, "", "champion", 0.8),
        prediction(8, "before", "champion", 0.9),
    ]
    fill(engine, rows, [])
    found = read(engine)
    assert found["p"].tolist() == [0.2, 0.4, 0.9]
    assert found["challenger"].tolist() == [1, 0, 0]
    assert found["switched"].tolist() == [0, 1, 0]
    assert found["flagged"].tolist() == [0, 1, 1]
    assert found["churned"].isna().all()


def test_what_was_observed_last_and_after_the_prediction_is_the_outcome(engine: Engine) -> None:
    rows = [prediction(i, name, "champion") for i, name in enumerate("abcde")]
    known = [
        outcome(10, False, customer="a"),
        outcome(20, True, customer="a"),
        outcome(10, True, request=rows[1]["request_id"]),  # of the request
        outcome(30, False, customer="c"),  # of both: the later one
        outcome(20, True, request=rows[2]["request_id"]),
        outcome(2.9, True, customer="d"),  # before the prediction
        outcome(9, True, customer="nobody"),
    ]
    fill(engine, rows, known)
    found = read(engine)
    assert found["churned"].fillna(-1).tolist() == [1, 1, 0, -1, -1]
    assert found["observed_at"][0] == pd.Timestamp(START + timedelta(hours=20))


def test_a_better_challenger_gets_better_and_a_worse_one_worse(tmp_path: Path) -> None:
    for name, noise in (("better", (2.5, 0.1)), ("worse", (0.1, 2.5))):
        (tmp_path / name).mkdir()
        fill_experiment(engine := empty_log(tmp_path / name), 4000, noise)
        found = report(read(engine), EXPERIMENT, PROFIT, **KNOBS)
        sign = 1 if name == "better" else -1
        assert found["verdict"] == name
        assert found["words"].startswith(f"challenger {name}: {found['sequential']['difference']:+.2f}")
        assert sign * found["differences"]["roc_auc"] > 0.05
        assert sign * found["differences"]["brier_high"] < 0 or sign * found["differences"]["brier_low"] < 0
        assert found["sequential"]["p"] < KNOBS["alpha"]


def test_two_arms_alike_stay_undecided(engine: Engine) -> None:
    fill_experiment(engine, 3000, (1.0, 1.0), share=0.2)
    found = report(read(engine), EXPERIMENT._replace(share=0.2), PROFIT, **KNOBS)
    assert found["verdict"] == "undecided"
    assert "wait for about" in found["words"]
    assert found["checks"]["problems"] == []
    more, labelled = found["sequential"]["more_labelled"], {arm: found["arms"][arm]["labelled"] for arm in ab.ANSWERED}
    spread = {arm: part["earned"].var() for arm, part in earned(read(engine)).groupby("arm")}
    then = sum(spread[arm] / (more[arm] + labelled[arm]) for arm in ab.ANSWERED)
    assert then == pytest.approx(variance_to_find(2.0, tau=2.0, alpha=0.05), rel=1e-3)
    assert all(np.isfinite(list(found["differences"].values())))


def test_a_share_that_is_not_the_split_s_is_not_trusted(engine: Engine) -> None:
    fill_experiment(engine, 3000, (2.5, 0.1), share=0.4)
    found = report(read(engine), EXPERIMENT, PROFIT, **KNOBS)
    assert found["verdict"] == "invalid"
    assert "instead of 50.00%" in found["words"]


def frame(n: tuple[int, int], labelled: tuple[int, int], switched: int = 0) -> pd.DataFrame:
    """Customers of both arms, the first of each with outcomes; some were in both arms."""
    rng, parts = np.random.default_rng(0), []
    for challenger in (0, 1):
        size, known = n[challenger], labelled[challenger]
        p = rng.random(size)
        churned = np.where(np.arange(size) < known, rng.random(size) < p, np.nan)
        days = pd.Series(pd.Timestamp(START), index=range(size)).where(np.arange(size) < known)
        part = {"challenger": float(challenger), "switched": 0.0, "p": p, "flagged": (p > 0.4) * 1.0}
        parts.append(pd.DataFrame(part | {"churned": churned, "observed_at": days}))
    parts[0].loc[: switched - 1, "switched"] = 1.0
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("customers", "verdict", "says"),
    [
        (frame((1000, 1000), (500, 400)), "invalid", "outcomes are known of 50.00% and 40.00%"),
        (frame((1000, 1000), (500, 500), switched=21), "invalid", "21 customers (1.05%) were in both arms"),
        (frame((1000, 1000), (500, 500), switched=20), "undecided", "wait for about"),
        (frame((1000, 1000), (500, 450)), "undecided", "wait for about"),
        (frame((150, 150), (150, 150)), "undecided", "wait for about"),
        (frame((150, 120), (150, 99)), "invalid", "outcomes are known"),
        (frame((150, 99), (150, 99)), "too_early", "of 150 of the champion's and 99 of the challenger's"),
        (frame((2, 0), (1, 0)), "too_early", "100 of each"),
        (frame((0, 0), (0, 0)), "too_early", "100 of each"),
    ],
)
def test_the_verdict_follows_from_the_counts(customers: pd.DataFrame, verdict: str, says: str) -> None:
    share = 0.4 if len(customers) == 249 else 0.5
    found = report(customers, EXPERIMENT._replace(share=share), PROFIT, **KNOBS)
    assert found["verdict"] == verdict
    assert says in found["words"]
    assert ab.table(found).endswith(f"{found['words']}\n")
    assert json.loads(ab.as_json(found))["verdict"] == verdict
    assert "</html>" in page(found)


def test_arms_that_flag_nobody_are_not_compared() -> None:
    nobody = frame((200, 200), (200, 200)).assign(flagged=0.0)
    found = report(nobody, EXPERIMENT, PROFIT, **KNOBS)
    assert (found["verdict"], found["words"]) == (
        "undecided", "not decided: every customer with an outcome earned the same",
    )  # fmt: skip


def test_the_last_day_is_the_test_of_all_and_the_days_before_knew_less(engine: Engine) -> None:
    fill_experiment(engine, 1500, (1.0, 0.5), days=10)
    found = report(read(engine), EXPERIMENT, PROFIT, **KNOBS)
    means = earned(read(engine)).groupby("arm")["earned"].mean()
    last = found["days"][-1]
    assert last["difference"] == pytest.approx(means["challenger"] - means["champion"])
    assert found["differences"]["profit_per_customer"] == pytest.approx(last["difference"])
    assert {key: last[key] for key in ("low", "high", "p")}.items() <= found["sequential"].items()
    assert last["labelled_champion"] + last["labelled_challenger"] == 1500
    assert [day["day"] for day in found["days"]] == sorted({day["day"] for day in found["days"]})
    assert all(day["low"] < last["low"] and day["p"] <= 1 for day in found["days"][:5])


def test_the_same_log_gives_the_same_report(engine: Engine) -> None:
    fill_experiment(engine, 600, (1.0, 0.5))
    one, two = (report(read(engine), EXPERIMENT, PROFIT, **KNOBS) for _ in range(2))
    assert ab.as_json(one) == ab.as_json(two)
    assert page(one) == page(two)


@pytest.mark.parametrize("seen", [[900, 100], [880, 120], [5000, 640]])
def test_the_ratio_is_checked_by_chi_square(seen: list[int]) -> None:
    n = sum(seen)
    assert chi_square([seen], [[0.9, 0.1]]) == pytest.approx(stats.chisquare(seen, [0.9 * n, 0.1 * n]).pvalue)
    halves = [[k // 2 for k in seen], [k // 3 for k in seen]]
    assert chi_square(halves) == pytest.approx(stats.chi2_contingency(halves, correction=False).pvalue)


def test_a_handful_of_customers_says_nothing_of_the_ratio() -> None:
    assert chi_square([[0, 3]], [[0.9, 0.1]]) == 1
    assert chi_square([[0, 0], [5, 5]]) == 1


@pytest.fixture
def command(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call the command on the log and the ledger in tmp_path."""
    monkeypatch.chdir(ROOT)  # params.yaml
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path))
    monkeypatch.delenv("CHURN_LOG_URL", raising=False)

    def call(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["monitoring.ab", *words])
        ab.main()

    return call


def test_the_command_ends_the_split_of_a_worse_challenger_alone(
    command: Callable[..., None], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ledger(tmp_path, [act("promote", -1), act("split", 0, **SPLIT)])
    fill_experiment(engine, 3000, (0.1, 3.0))
    command("--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["verdict"], Store(tmp_path).state()["challenger"]) == ("worse", "new")
    command("--abort", "--html", str(tmp_path / "ab.html"))
    assert found["words"] in capsys.readouterr().out
    last = Store(tmp_path).history()[-1]
    assert (last["act"], last["who"], last["state"]["challenger"]) == ("abort", "monitoring.ab", None)
    assert found["words"] in last["reason"]
    written = (tmp_path / "ab.html").read_text()
    assert "<svg" in written
    assert not re.findall(r'(?:src|href)="(?!#)', written)  # nothing to fetch
    with pytest.raises(InputError, match="no split is running"):
        command("--abort")


def test_the_command_lets_a_better_challenger_go_on(
    command: Callable[..., None], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ledger(tmp_path, acts := [act("promote", -1), act("split", 0, **SPLIT)])
    fill_experiment(engine, 3000, (3.0, 0.1))
    command("--abort", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["aborted"]) == ("better", False)
    assert Store(tmp_path).history() == acts


def test_a_split_that_was_changed_meanwhile_is_not_ended(
    command: Callable[..., None], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = [act("promote", -1), act("split", 0, **SPLIT)]
    write_ledger(tmp_path, acts)
    fill_experiment(engine, 2000, (0.1, 3.0))

    def slowly(*given: Any, **knobs: Any) -> dict[str, Any]:
        write_ledger(tmp_path, [*acts, act("split", 1, challenger="third", share=0.5)])
        return report(*given, **knobs)

    monkeypatch.setattr(ab, "report", functools.wraps(report)(slowly))
    with pytest.raises(InputError, match="was changed while it was looked at"):
        command("--abort")
    assert Store(tmp_path).state()["challenger"] == "third"


def test_where_there_is_no_log_the_command_says_so(
    command: Callable[..., None], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ledger(tmp_path, [act("split", 0, **SPLIT)])
    monkeypatch.setenv("CHURN_LOG_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    with pytest.raises(InputError, match="there is no log"):
        command()
    (tmp_path / "elsewhere.db").touch()
    with pytest.raises(InputError, match="no such table"):
        command()
