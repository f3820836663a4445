"""The experiment: since when it runs, which customers belong to it, and what became of them."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from churn.script import InputError
from monitoring.ab.experiment import Experiment, running
from tests.factories import START, act, empty_log, fill, outcome, prediction
from tests.monitoring.ab.experiments import SPLIT, read


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


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
    frame = read(engine)
    assert frame["p"].tolist() == [0.2, 0.4, 0.9]
    assert frame["challenger"].tolist() == [1, 0, 0]
    assert frame["switched"].tolist() == [0, 1, 0]
    assert frame["flagged"].tolist() == [0, 1, 1]
    assert frame["churned"].isna().all()


def test_what_was_observed_last_and_after_the_prediction_is_the_outcome(engine: Engine) -> None:
    rows = [prediction(i, name, "champion") for i, name in enumerate("abcde")]
    outcomes = [
        outcome(10, False, customer="a"),
        outcome(20, True, customer="a"),
        outcome(10, True, request=rows[1]["request_id"]),  # of the request
        outcome(30, False, customer="c"),  # of both: the later one
        outcome(20, True, request=rows[2]["request_id"]),
        outcome(2.9, True, customer="d"),  # before the prediction
        outcome(9, True, customer="nobody"),
    ]
    fill(engine, rows, outcomes)
    frame = read(engine)
    assert frame["churned"].fillna(-1).tolist() == [1, 1, 0, -1, -1]
    assert frame["observed_at"][0] == pd.Timestamp(START + timedelta(hours=20))
