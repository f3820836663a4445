"""The report of a snapshot: what it calls a breach, a warning, healthy or unknown, and that it says why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.params import read_knobs, read_params
from churn.profit import Profit
from churn.script import as_json
from monitoring.check import drift
from monitoring.check.report import Report, known_of, report, write_report
from monitoring.check.snapshot_files import Snapshot
from tests.conftest import ROOT

PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
KNOBS = read_params("monitoring.report", report, ROOT / "params.yaml") | {"resamples": 100}
LEVELS = ["Month-to-month", "One year", "Two year"]
CARD = {"features": [], "inputs": {"numbers": ["tenure", "charges"], "categories": {"contract": LEVELS}}}
N = 1_500


def people(n: int, seed: int, tenure: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    drawn = {"tenure": tenure * rng.gamma(2.0, 15.0, n), "charges": rng.uniform(20, 120, n)}
    return pd.DataFrame(drawn | {"contract": rng.choice(LEVELS, n, p=[0.6, 0.2, 0.2])})


def chance(customers: pd.DataFrame, sign: float = 1.0) -> np.ndarray:
    """P(churned = 1): the longer, the less, and the more on a month's notice; turned round where the world did."""
    odds = sign * (1.0 - 0.08 * customers["tenure"] + 1.2 * (customers["contract"] == LEVELS[0]))
    return (1 / (1 + np.exp(1.2 - odds))).to_numpy()


def taken(current: pd.DataFrame, cohort: pd.DataFrame | None = None, sign: float = 1.0) -> Snapshot:
    """The model knows the chances of the world before it turned."""
    cohort, rng, known = people(N, 3) if cohort is None else cohort, np.random.default_rng(4), people(4_000, 5)
    p = {name: chance(frame) for name, frame in (("now", current), ("cohort", cohort), ("known", known))}
    answers = {name: pd.DataFrame({"p": q, "flagged": (q > 0.33) * 1.0}) for name, q in p.items()}
    return Snapshot(
        dict.fromkeys(("start", "end", "cohort_start", "cohort_end"), "2026-03-01T00:00:00+00:00")
        | {"model_version": "old"},
        answers["now"],
        answers["cohort"].assign(churned=(rng.random(len(cohort)) < chance(cohort, sign)) * 1.0),
        current.assign(churn_probability=p["now"]),
        known.assign(churned=(rng.random(len(known)) < p["known"]) * 1, churn_probability=p["known"]),
        CARD,
    )


def made(*args: Any, **knobs: Any) -> Report:
    return report(taken(*args), PROFIT, **KNOBS | knobs)


def reasons(found: dict[str, Any]) -> dict[str, str]:
    return {reason["id"]: reason["level"] for reason in found["reasons"]}


def test_a_month_like_the_training_is_healthy() -> None:
    found = made(people(N, 1)).found
    assert (found["verdict"], found["reasons"]) == ("healthy", [])
    assert found["estimated"]["trusted"] is True
    assert found["estimated"]["roc_auc"] == pytest.approx(found["realised"]["roc_auc"], abs=0.03)


def test_inputs_that_moved_are_a_breach_and_are_named() -> None:
    found = made(people(N, 1, tenure=0.5)).found
    assert found["verdict"] == "breach"
    assert {"input_drift", "prediction_drift"} <= reasons(found).keys()
    assert found["drift"]["drifted"] == ["tenure"] and found["estimated"]["trusted"] is True


def test_one_input_of_many_that_moved_is_a_warning() -> None:
    customers = people(N, 1)
    customers["charges"] = 20 + 100 * ((customers["charges"] - 20) / 100) ** 1.3  # the model does not read it
    found = made(customers, drift_share=0.5).found
    assert (found["verdict"], reasons(found)) == ("warn", {"input_drift": "warn"})


def test_a_world_that_turned_round_is_found_and_the_estimate_is_not_trusted() -> None:
    found = report(taken(people(N, 1), people(N, 3), -1.0), PROFIT, **KNOBS).found
    assert found["verdict"] == "breach" and {"concept_drift", "realised_auc"} == reasons(found).keys()
    assert found["estimated"]["trusted"] is False
    assert "don't trust the estimate" in " ".join(reason["words"] for reason in found["reasons"])


def test_unclean_data_are_named_with_their_share() -> None:
    customers = people(N, 1)
    customers.loc[: N // 10, "tenure"] = np.nan
    customers.loc[: N // 5, "contract"] = "Three year"
    customers.loc[: N // 6, "charges"] = 500.0
    taken_ = taken(people(N, 1))._replace(sample=customers.assign(churn_probability=chance(people(N, 1))))
    found = report(taken_, PROFIT, **KNOBS).found
    assert {"more_missing", "unseen", "outside"} <= reasons(found).keys()
    assert found["quality"]["unseen"] == pytest.approx(0.2, abs=0.01)
    assert found["quality"]["features"]["charges"]["outside"] == pytest.approx(1 / 6, abs=0.01)
    assert found["quality"]["more_missing"] == pytest.approx(0.1, abs=0.01)


def test_too_few_customers_are_unknown_but_a_breach_by_outcomes_stays_one() -> None:
    assert made(people(60, 1)).found["verdict"] == "unknown"
    assert report(taken(people(60, 1), people(N, 3), -1.0), PROFIT, **KNOBS).found["verdict"] == "breach"


def test_without_outcomes_nobody_says_whether_to_trust_the_estimate() -> None:
    found = made(people(N, 1), people(20, 3)).found
    assert found["verdict"] == "healthy" and found["realised"] is None
    assert found["estimated"]["trusted"] is None and found["cohort"]["problem"] == "too_few_outcomes"


def test_outcomes_of_leavers_alone_are_not_scored() -> None:
    whole = taken(people(N, 1)).cohort
    leavers = whole.assign(churned=whole["churned"].where(whole["churned"] == 1))
    found = known_of(leavers, 100, 0.1, 0.1)
    assert found["problem"] == "selected_outcomes" and found["off"] > 0.1
    assert known_of(whole, 100, 0.5, 0.1)["problem"] == ""


def test_distances_are_found_by_name_whatever_their_order() -> None:
    frame = people(600, 1).assign(churn_probability=0.5)
    other = frame.assign(tenure=frame["tenure"] * 2)
    limits = {"number": 0.1, "category": 0.05}
    names = ["tenure", "charges", "churn_probability"]
    one, two = (drift.distances(drift.compare(frame, other, n, ["contract"], limits)) for n in (names, names[::-1]))
    assert one == two and one["tenure"] > 0.5 and one["charges"] == one["contract"] == 0


def test_the_same_snapshot_gives_the_same_files(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_report(made(people(N, 1)), *(tmp_path / folder / name for name in ("check.json", "r.html", "drift.html")))
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ("one", "two"))
    assert one == two and b"Evidently" in one["r.html"]


def test_what_programs_read_holds_no_nan_and_pages_name_the_verdict(tmp_path: Path) -> None:
    for customers in (people(N, 1), people(60, 1)):
        found = made(customers, people(20, 2))
        again = json.loads(as_json(found.found))
        assert {"verdict", "reasons", "window", "drift", "quality", "estimated", "realised", "concept"} <= again.keys()
        write_report(found, *(tmp_path / name for name in ("check.json", "r.html", "drift.html")))
        assert found.found["verdict"] in (tmp_path / "r.html").read_text()
