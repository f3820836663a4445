"""The report of a snapshot: what it calls a breach, a warning, healthy or unknown, and that it says why."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.params import read_knobs
from churn.profit import Profit
from churn.script import as_json
from monitoring.check import drift
from monitoring.check.findings import Estimated, Findings, Report, Window
from monitoring.check.knobs import Limits
from monitoring.check.report import cohort_of, report, write_report
from monitoring.check.snapshot_files import Snapshot
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # Evidently takes seconds to import


PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
LIMITS = replace(read_knobs("monitoring.report", Limits, ROOT / "params.yaml"), resamples=100)
DAY = datetime(2026, 3, 1, tzinfo=UTC)
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
        Window(model_version="old", start=DAY, end=DAY, cohort_start=DAY, cohort_end=DAY),
        answers["now"],
        answers["cohort"].assign(
            churned=(rng.random(len(cohort)) < chance(cohort, sign)) * 1.0, offered=0.0, spared=1.0
        ),
        current.assign(churn_probability=p["now"]),
        known.assign(churned=(rng.random(len(known)) < p["known"]) * 1, churn_probability=p["known"]),
        CARD,
    )


def made(*world: Any, **knobs: Any) -> Report:
    return report(taken(*world), PROFIT, replace(LIMITS, **knobs))[0]


def findings(made: Report) -> Findings:
    assert made.findings
    return made.findings


def estimated(made: Report) -> Estimated:
    result = findings(made).estimated
    assert result
    return result


def reasons(made: Report) -> dict[str, str]:
    return {reason.id: reason.level for reason in made.reasons}


def test_a_month_like_the_training_is_healthy() -> None:
    month = made(people(N, 1))
    realised = findings(month).realised
    assert (month.verdict, month.reasons) == ("healthy", [])
    assert estimated(month).trusted is True and realised
    assert estimated(month).roc_auc.value == pytest.approx(realised.roc_auc.value, abs=0.03)


def test_inputs_that_moved_are_a_breach_and_are_named() -> None:
    month = made(people(N, 1, tenure=0.5))
    drift = findings(month).drift
    assert month.verdict == "breach" and drift
    assert {"input_drift", "prediction_drift"} <= reasons(month).keys()
    assert drift.drifted == ["tenure"] and estimated(month).trusted is True


def test_one_input_of_many_that_moved_is_a_warning() -> None:
    customers = people(N, 1)
    customers["charges"] = 20 + 100 * ((customers["charges"] - 20) / 100) ** 1.3  # the model does not read it
    month = made(customers, drift_share=0.5)
    assert (month.verdict, reasons(month)) == ("warn", {"input_drift": "warn"})


def test_a_world_that_turned_round_is_found_and_the_estimate_is_not_trusted() -> None:
    month = made(people(N, 1), people(N, 3), -1.0)
    assert month.verdict == "breach" and {"concept_drift", "realised_auc"} == reasons(month).keys()
    assert estimated(month).trusted is False
    assert "don't trust the estimate" in " ".join(reason.words for reason in month.reasons)


def test_unclean_data_are_named_with_their_share() -> None:
    customers = people(N, 1)
    customers.loc[: N // 10, "tenure"] = np.nan
    customers.loc[: N // 5, "contract"] = "Three year"
    customers.loc[: N // 6, "charges"] = 500.0
    taken_ = taken(people(N, 1))._replace(sample=customers.assign(churn_probability=chance(people(N, 1))))
    month, _ = report(taken_, PROFIT, LIMITS)
    quality = findings(month).quality
    assert {"more_missing", "unseen", "outside"} <= reasons(month).keys() and quality
    assert quality.unseen == pytest.approx(0.2, abs=0.01)
    assert quality.features["charges"]["outside"] == pytest.approx(1 / 6, abs=0.01)
    assert quality.more_missing == pytest.approx(0.1, abs=0.01)


def test_both_distributions_are_kept_and_no_level_that_training_never_saw() -> None:
    customers = people(N, 1, tenure=0.5)
    customers.loc[: N // 5, "contract"] = "a secret"
    customers.loc[0, "charges"] = 123_456.0
    taken_ = taken(people(N, 1))._replace(sample=customers.assign(churn_probability=chance(people(N, 1))))
    month, _ = report(taken_, PROFIT, LIMITS)
    sides = findings(month).distributions
    assert sides.keys() == {"tenure", "charges", "churn_probability", "contract"}
    for one in sides.values():
        assert sum(one.reference) == pytest.approx(1, abs=0.01) and sum(one.current) == pytest.approx(1, abs=0.01)
        assert len(one.reference) == len(one.current) == (len(one.levels) or len(one.edges) - 1) <= 20
    contract = dict(zip(sides["contract"].levels, sides["contract"].current, strict=True))
    assert contract["levels that training never saw"] == pytest.approx(0.2, abs=0.01)
    assert sides["tenure"].current[0] > sides["tenure"].reference[0]
    text = as_json(month.as_dict())
    assert "secret" not in text and "123456" not in text


def test_too_few_customers_are_unknown_but_a_breach_by_outcomes_stays_one() -> None:
    assert made(people(60, 1)).verdict == "unknown"
    assert made(people(60, 1), people(N, 3), -1.0).verdict == "breach"


def test_without_outcomes_nobody_says_whether_to_trust_the_estimate() -> None:
    month = made(people(N, 1), people(20, 3))
    assert month.verdict == "healthy" and findings(month).realised is None
    assert estimated(month).trusted is None and findings(month).cohort.problem == "too_few_outcomes"


def test_outcomes_of_leavers_alone_are_not_scored() -> None:
    whole = taken(people(N, 1)).cohort
    leavers = whole.assign(churned=whole["churned"].where(whole["churned"] == 1))
    limits = replace(LIMITS, min_labelled=100, min_known=0.1, selected=0.1)
    cohort = cohort_of(leavers, limits)
    assert cohort.problem == "selected_outcomes" and cohort.off > 0.1
    assert cohort_of(whole, replace(limits, min_known=0.5)).problem == ""


def test_distances_are_found_by_name_whatever_their_order() -> None:
    frame = people(600, 1).assign(churn_probability=0.5)
    other = frame.assign(tenure=frame["tenure"] * 2)
    names = ["tenure", "charges", "churn_probability"]
    one, two = (drift.distances(drift.compare(frame, other, n, ["contract"], LIMITS)) for n in (names, names[::-1]))
    assert one == two and one["tenure"] > 0.5 and one["charges"] == one["contract"] == 0


def test_the_same_snapshot_gives_the_same_files(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        files = (tmp_path / folder / name for name in ("check.json", "r.html", "drift.html"))
        write_report(*report(taken(people(N, 1)), PROFIT, LIMITS), *files)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ("one", "two"))
    assert one == two and b"Evidently" in one["r.html"]


def test_what_programs_read_holds_no_nan_and_pages_name_the_verdict(tmp_path: Path) -> None:
    for customers in (people(N, 1), people(60, 1)):
        month, charts = report(taken(customers, people(20, 2)), PROFIT, LIMITS)
        again = json.loads(as_json(month.as_dict()))
        assert {"verdict", "reasons", "window", "drift", "quality", "estimated", "realised", "concept"} <= again.keys()
        write_report(month, charts, *(tmp_path / name for name in ("check.json", "r.html", "drift.html")))
        assert month.verdict in (tmp_path / "r.html").read_text()
