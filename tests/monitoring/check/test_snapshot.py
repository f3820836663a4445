"""The snapshot: whose answers it holds, which outcomes count, and that it comes out the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from churn.release import CARD, REFERENCE, Release
from churn.schema import read_schema
from monitoring.check.knobs import SnapshotKnobs
from monitoring.check.snapshot import read_customers, snapshot, window_of
from monitoring.check.snapshot_files import Snapshot, read_snapshot, write_snapshot
from serve.log.database import write_lock
from serve.log.reported import keep_contacts
from tests.conftest import ROOT
from tests.factories import START, empty_log, fill, outcome, prediction

DAY = 24.0
LASTS = timedelta(days=90)
KNOBS = SnapshotKnobs(end=START + timedelta(days=60), days=30, delay=30, sample=100, seed=1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    folder = tmp_path / "bundle"
    folder.mkdir()
    pd.DataFrame({"tenure": [1.0], "churned": [0], "churn_probability": [0.5]}).to_parquet(folder / REFERENCE)
    (folder / CARD).write_text('{"model_version": "old"}')
    return Release(folder, read_schema(ROOT / "schemas/telco.yaml"), {"model_version": "old"})


def read(engine: Engine, days: tuple[float, float] = (0, 30), known_by: float = 60) -> pd.DataFrame:
    start, end, last = (START + timedelta(days=day) for day in (*days, known_by))
    with engine.connect() as connection:
        return read_customers(connection, "old", start, end, last, LASTS)


def take(engine: Engine, release: Release, **knobs: Any) -> Snapshot:
    with engine.connect() as connection:
        return snapshot(connection, release, datetime(2030, 1, 1, tzinfo=UTC), replace(KNOBS, **knobs), LASTS)


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("now", datetime(2026, 5, 6, 7, 8, tzinfo=UTC)),
        ("today", datetime(2026, 5, 6, tzinfo=UTC)),
        (datetime(2026, 4, 1), datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_the_cohort_ends_when_its_last_outcome_is_due(end: Any, last: datetime) -> None:
    window = window_of("old", datetime(2026, 5, 6, 7, 8, tzinfo=UTC), replace(KNOBS, end=end, days=7, delay=20))
    assert (window.start, window.end) == (last - timedelta(days=7), last)
    assert (window.cohort_start, window.cohort_end) == (last - timedelta(days=27), last - timedelta(days=20))


def test_a_customer_counts_once_by_the_first_answer_of_the_champion(engine: Engine) -> None:
    rows = [
        prediction(-1, "a", "champion", 0.9),  # before the window
        prediction(1, "a", "champion", 0.2),
        prediction(2, "a", "champion", 0.3),
        prediction(3, "b", "challenger", 0.4),  # another release
        prediction(4, "b", "shadow", 0.5, model_version="old"),  # never went out
        prediction(5, "c", "challenger", 0.6, model_version="old"),  # the champion while it was the challenger
        prediction(6, None, "champion", 0.7),
        prediction(7, "", "champion", 0.8),
        prediction(31 * DAY, "d", "champion", 0.1),  # after the window
    ]
    fill(engine, rows, [])
    assert read(engine)["p"].tolist() == [0.2, 0.6, 0.7, 0.8]


def test_only_what_was_known_in_time_counts(engine: Engine) -> None:
    fill(
        engine,
        [prediction(1, name, "champion") for name in ("a", "b", "c")],
        [
            outcome(20 * DAY, False, customer="a"),
            outcome(61 * DAY, True, customer="a"),  # later than the report looks
            outcome(61 * DAY, True, customer="b"),
        ],
    )
    assert read(engine)["churned"].fillna(-1).tolist() == [0, -1, -1]
    assert read(engine, known_by=62)["churned"].fillna(-1).tolist() == [1, 1, -1]


@pytest.mark.parametrize(
    ("outcomes", "churned"),
    [
        ([outcome(29 * DAY, True, customer="a")], 1),
        ([outcome(31 * DAY, True, customer="a")], 1),  # before the later answer
        ([outcome(44 * DAY, True, customer="a")], 0),
        ([outcome(10 * DAY, True, customer="a"), outcome(44 * DAY, True, customer="a")], 1),  # reported again
        ([outcome(10 * DAY, True, customer="a"), outcome(44 * DAY, False, customer="a")], 0),  # corrected
        ([outcome(44 * DAY, True, request="first")], 1),  # it names the answer
    ],
)
def test_what_is_behind_a_later_answer_is_its_outcome(
    outcomes: list[dict[str, Any]], churned: int, engine: Engine
) -> None:
    """Else a customer who is scored each month would have left in each of several months."""
    fill(
        engine,
        [prediction(0, "a", "champion", request_id="first"), prediction(40 * DAY, "a", "champion"),
         prediction(0, "not again", "champion")],
        [*outcomes, outcome(44 * DAY, True, customer="not again")],
    )  # fmt: skip
    assert sorted(read(engine)["churned"]) == sorted([churned, 1])


def test_an_offer_counts_up_to_the_outcome_or_the_later_answer(engine: Engine) -> None:
    names = ("again", "stays", "leaves")
    fill(
        engine,
        [*(prediction(0, name, "champion") for name in names), prediction(40 * DAY, "again", "champion")],
        [outcome(55 * DAY, name == "leaves", customer=name) for name in names],
    )
    with engine.connect() as connection:
        contacts = [
            {"customer_id": name, "campaign": "c", "at": START + timedelta(days=45), "offered": True, "share": 0.5}
            for name in names
        ]
        assert keep_contacts(connection, write_lock(engine), contacts) == []
    customers = read(engine)
    assert customers["churned"].tolist() == [0, 0, 1]
    assert customers["offered"].tolist() == [0, 1, 1]


@pytest.mark.slow
def test_early_leavers_do_not_bias_the_cohort(engine: Engine, release: Release) -> None:
    """A customer a quarter hour, a fifth leave soon and are known at once, the others are known after 30 days."""
    left = np.random.default_rng(1).random(5_000) < 0.2
    rows = [prediction(i / 4, f"c{i}", "champion") for i in range(5_000)]
    outcomes = [outcome(i / 4 + (2 if y else 30) * DAY, bool(y), customer=f"c{i}") for i, y in enumerate(left)]
    fill(engine, rows, outcomes)
    taken = take(engine, release, end=START + timedelta(days=50))
    assert taken.cohort["churned"].mean() == pytest.approx(0.2, abs=0.03) and taken.cohort["churned"].notna().all()
    hasty = take(engine, release, end=START + timedelta(days=50), delay=0).cohort["churned"]
    assert hasty.mean() > 0.3  # what would be seen without waiting


def test_a_sampled_customer_is_as_it_was_sent(engine: Engine, release: Release) -> None:
    sent = {"tenure": 3, "partner": True, "contract": "One year", "total_charges": None}
    fill(engine, [prediction(31 * DAY + i, f"c{i}", "champion", i / 200, features=sent) for i in range(150)], [])
    taken = take(engine, release).sample
    assert len(taken) == 100 and taken["churn_probability"].is_monotonic_increasing
    assert (taken["tenure"] == 3).all() and (taken["partner"] == 1).all() and (taken["contract"] == "One year").all()
    assert taken["total_charges"].isna().all() and taken["gender"].isna().all()


def test_the_same_log_gives_the_same_bytes(engine: Engine, release: Release, tmp_path: Path) -> None:
    fill(engine, [prediction(i / 2, f"c{i}", "champion", i / 3000) for i in range(2_000)], [])
    for folder in ("one", "two"):
        write_snapshot(take(engine, release), release.folder, tmp_path / folder)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ("one", "two"))
    assert one == two and len(one) == 6
    back, made = read_snapshot(tmp_path / "one"), take(engine, release)
    assert back.window == made.window and back.card == made.card
    pd.testing.assert_frame_equal(back.cohort, made.cohort)
