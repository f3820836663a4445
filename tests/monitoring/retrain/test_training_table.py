"""The table of a retraining: who is in it, with which outcome, and what becomes of the table before."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from sqlalchemy import Engine

from churn.params import read_params
from churn.schema import WEIGHT, Schema, read_schema
from churn.table import customers, named
from monitoring.retrain.training_table import Production, has_repeats, joined, read_production, slices
from serve.log.database import write_lock
from serve.log.reported import keep_contacts
from stages.validate import validate
from tests.conftest import ROOT
from tests.factories import START, empty_log, fill, outcome, prediction

DAY = 24.0
SCHEMA = read_schema(ROOT / "schemas/telco.yaml")
FEATURES: dict[str, Any] = {
    **{column.name: (column.levels or [False])[0] for column in SCHEMA.columns},
    "gender": "Female", "senior_citizen": True, "partner": False, "tenure": 7, "monthly_charges": 70.35,
    "contract": "Two year", "total_charges": None,
}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


def asked(day: float, customer: str | None, arm: str = "champion", **more: Any) -> dict[str, Any]:
    return prediction(day * DAY, customer, arm, features=FEATURES | more)


def read(engine: Engine, schema: Schema = SCHEMA, **knobs: Any) -> Production:
    """At day 120: answers of day 0 to 90 count, in slices of 30 days."""
    asked = {
        "days": 90,
        "slice_days": 30,
        "delay": 30,
        "most": 1000,
        "min_known": 0.5,
        "since": None,
        "lasts": timedelta(days=90),
    }
    with engine.connect() as connection:
        return read_production(connection, schema, START + timedelta(days=120), **{"learned": None} | asked | knobs)


def test_who_is_old_enough_and_has_an_outcome_is_learned_from(engine: Engine) -> None:
    fill(
        engine,
        [asked(-1, "too old"), asked(1, "left"), asked(50, "stayed"), asked(60, "unknown"), asked(91, "too young"),
         asked(70, "seen by the shadow", arm="shadow"), asked(80, "by the challenger", arm="challenger")],
        [outcome(d * DAY, churned, customer=name) for d, churned, name in (
            (2, True, "too old"), (2, True, "left"), (75, False, "stayed"), (92, True, "too young"),
            (71, True, "seen by the shadow"), (85, True, "by the challenger"))],
    )  # fmt: skip
    table = read(engine).table
    assert dict(zip(table["customer_id"], table["churned"], strict=True)) == {
        "left": "True", "stayed": "False", "by the challenger": "True",
    }  # fmt: skip


def test_all_had_as_long_to_leave(engine: Engine) -> None:
    """Of the slice of day 30 to 60, what was seen by day 90 counts, as in the check: later leavers stayed."""
    fill(
        engine,
        [asked(31, "late")],
        [outcome(85 * DAY, False, customer="late"), outcome(95 * DAY, True, customer="late")],
    )
    assert read(engine).table["churned"].tolist() == ["False"]


def test_a_customer_has_a_row_of_each_slice(engine: Engine) -> None:
    """Of a stayer as of a leaver: one row of each would be one for three months, and one for the last."""
    fill(
        engine,
        [asked(day, name, tenure=day) for day in (10, 11, 40, 70) for name in ("stays", "leaves")],
        [*(outcome(d * DAY, False, customer="stays") for d in (35, 65, 95)), outcome(80 * DAY, True, customer="leaves"),
         *(outcome(d * DAY, False, customer="leaves") for d in (35, 65))],
    )  # fmt: skip
    production = read(engine, learned=START + timedelta(days=60))
    assert sorted(zip(*(production.table[name] for name in ("customer_id", "tenure", "churned")), strict=True)) == [
        ("leaves", "10", "False"), ("leaves", "40", "False"), ("leaves", "70", "True"),
        ("stays", "10", "False"), ("stays", "40", "False"), ("stays", "70", "False"),
    ]  # fmt: skip
    assert (production.customers, production.new) == (2, 2)
    assert has_repeats(production.table, SCHEMA)
    assert not has_repeats(production.table[::3], SCHEMA)


def test_a_customer_counts_once_where_the_schema_has_no_id(engine: Engine) -> None:
    """Else the same customer would be learned from and tested on. The first answer: all may leave behind it."""
    schema = SCHEMA.model_copy(update={"id": None})
    fill(
        engine,
        [asked(10, "a", tenure=1), asked(40, "a", tenure=2), asked(40, None, tenure=3)],
        [outcome(d * DAY, False, customer="a") for d in (35, 65)],
    )
    production = read(engine, schema)
    assert production.table["tenure"].tolist() == ["1"]
    assert not has_repeats(production.table, schema)
    new = read(engine, schema, learned=START + timedelta(days=30))
    assert (new.table["tenure"].tolist(), new.new) == (["2"], 1)


def test_a_customer_stands_once_in_a_month_of_the_table(engine: Engine, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "schemas/telco.yaml").read_text()) | {"time": {"name": "month", "format": "%Y-%m"}}
    (tmp_path / "monthly.yaml").write_text(yaml.safe_dump(content))
    schema = read_schema(tmp_path / "monthly.yaml")
    days = (61, 62, 89)
    fill(
        engine,
        [asked(day, "a", tenure=day) for day in days],
        [outcome(90 * DAY, False, customer="a")],
    )
    table = joined(None, read(engine, schema, slice_days=10).table, schema)
    months = {f"{START + timedelta(days=day):%Y-%m}" for day in days}
    assert table["month"].tolist() == sorted(months)
    again = joined(table, read(engine, schema, slice_days=30).table, schema)
    assert again["month"].tolist() == table["month"].tolist()


def test_white_space_around_an_id_makes_no_second_customer(engine: Engine) -> None:
    """The pipeline drops it, and refuses a table in which a customer stands twice."""
    names = ("a", "a ", "b")
    fill(engine, [asked(80, name) for name in names], [outcome(85 * DAY, False, customer=name) for name in names])
    assert sorted(read(engine).table["customer_id"]) == ["a", "b"]


def test_a_column_may_be_called_as_the_log_calls_one_of_its_own(engine: Engine, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "schemas/telco.yaml").read_text()) | {"time": {"name": "at"}}
    (tmp_path / "monthly.yaml").write_text(yaml.safe_dump(content))
    fill(engine, [asked(80, "a")], [outcome(82 * DAY, True, customer="a")])
    schema = read_schema(tmp_path / "monthly.yaml")
    table = joined(None, read(engine, schema).table, schema)
    assert table["at"].tolist() == [(START + timedelta(days=80)).isoformat()]


def test_who_has_a_value_that_the_pipeline_refuses_is_left_out(engine: Engine) -> None:
    """The service answers them, and one of them would end every retraining."""
    odd: dict[str, dict[str, Any]] = {
        "fits": {}, "fits too": {"total_charges": 9.5}, "NA": {}, "new level": {"contract": "Three years"},
        "means missing": {"contract": "NA"}, "blank": {"contract": "  "}, "lacks one": {"contract": None},
        "out of range": {"tenure": -1}, "another type": {"tenure": "long"},
    }  # fmt: skip
    fill(
        engine,
        [asked(80, name, **more) for name, more in odd.items()],
        [outcome((82 if name == "fits" else 83) * DAY, name == "fits", customer=name) for name in odd],
    )
    table = read(engine).table
    assert set(table["customer_id"]) == {"fits", "fits too"}
    knobs = read_params("validate", validate, ROOT / "params.yaml") | {"reference": None}
    assert validate(table, SCHEMA, **knobs).errors == []


def test_a_time_of_which_the_leavers_alone_are_known_is_not_learned_from(engine: Engine) -> None:
    fill(
        engine,
        [asked(day, f"day {day}, {i}") for day in (40, 70) for i in range(30)],
        [
            outcome((day + 10) * DAY, i < 10, customer=f"day {day}, {i}")
            for day, n in ((40, 30), (70, 10))
            for i in range(n)
        ],
    )
    assert read(engine).table["churned"].value_counts().to_dict() == {"False": 20, "True": 10}
    assert read(engine, min_known=0.3).table["churned"].value_counts().to_dict() == {"False": 20, "True": 20}


def test_the_newest_are_kept_where_there_are_too_many(engine: Engine) -> None:
    days = range(1, 90, 2)
    fill(
        engine,
        [asked(d, f"c{d:02}") for d in days],
        [outcome((d + 1) * DAY, d % 3 == 0, customer=f"c{d:02}") for d in days],
    )
    found = read(engine, most=10)
    assert sorted(found.table["customer_id"]) == [f"c{d:02}" for d in days][-10:]


def test_the_world_before_and_what_was_learned_already_do_not_count(engine: Engine) -> None:
    fill(
        engine,
        [asked(d, f"c{d}") for d in (10, 40, 70)],
        [outcome((d + 1) * DAY, True, customer=f"c{d}") for d in (10, 40, 70)],
    )
    assert set(read(engine, since=START + timedelta(days=30)).table["customer_id"]) == {"c40", "c70"}
    found = read(engine, learned=START + timedelta(days=60))
    assert (len(found.table), found.new) == (3, 1)
    assert found.until == START + timedelta(days=90)


def test_customers_without_an_id_are_customers_each(engine: Engine) -> None:
    rows = [asked(80, None), asked(81, None)]
    fill(engine, rows, [outcome(82 * DAY, False, request=row["request_id"]) for row in rows])
    assert sorted(read(engine).table["customer_id"]) == sorted(row["id"] for row in rows)


def test_nobody_is_an_empty_table(engine: Engine) -> None:
    found = read(engine)
    assert (len(found.table), found.new) == (0, 0)
    assert list(joined(None, found.table, SCHEMA)) == [part.name for part in SCHEMA.parts]


def test_the_pipeline_reads_the_values_that_were_sent(engine: Engine) -> None:
    fill(engine, [asked(80, "a")], [outcome(82 * DAY, True, customer="a")])
    typed = customers(named(read(engine).table, SCHEMA), SCHEMA).iloc[0]
    sent = {name: typed[name] for name, value in FEATURES.items() if value is not None}
    assert sent == {name: value for name, value in FEATURES.items() if value is not None}
    assert pd.isna(typed["total_charges"]) and typed["churned"]


def test_a_schema_with_a_time_gets_the_answer_s(engine: Engine, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "schemas/telco.yaml").read_text()) | {"time": {"name": "snapshot_date"}}
    (tmp_path / "monthly.yaml").write_text(yaml.safe_dump(content))
    schema = read_schema(tmp_path / "monthly.yaml")
    fill(engine, [asked(80, "a")], [outcome(82 * DAY, True, customer="a")])
    typed = customers(named(read(engine, schema).table, schema), schema)
    assert typed["snapshot_date"].tolist() == [pd.Timestamp(START + timedelta(days=80)).tz_localize(None)]


def test_what_an_earlier_retraining_learned_from_is_as_production_knows_it_by_now() -> None:
    names = [part.name for part in SCHEMA.parts]
    rows = [["a", "1", "False"], ["b", "1", "False"], ["b", "1", "False"], ["b", "2", "False"], ["d", "1", "True"]]
    before = pd.DataFrame(rows, columns=["customer_id", "tenure", "churned"]).assign(other="x")
    now = [["b", "2", "True", "1"], ["b", "1", "False", "4"], ["c", "2", "False", "1"], ["d", "1", "True", "0"]]
    production = pd.DataFrame(now, columns=["customer_id", "tenure", "churned", WEIGHT]).reindex(
        columns=[*names, WEIGHT]
    )
    table = joined(before, production, SCHEMA)
    assert list(zip(*(table[name] for name in ("customer_id", "tenure", "churned", WEIGHT)), strict=True)) == [
        ("a", "1", "False", "1"), ("b", "1", "False", "1"), ("b", "2", "True", "1"), ("b", "1", "False", "4"),
        ("c", "2", "False", "1"),
    ]  # fmt: skip
    assert sorted(table) == sorted([*names, WEIGHT])
    assert joined(None, production, SCHEMA)["customer_id"].tolist() == ["b", "b", "c"]
    nameless = SCHEMA.model_copy(update={"id": None})
    assert len(joined(before.drop(columns="customer_id"), production, nameless)) == 8


def contacted(engine: Engine, *rows: tuple[float, str, bool]) -> None:
    """At that day, whether the customer was made an offer, which was drawn with a chance of .75."""
    contacts = [
        {"customer_id": name, "campaign": "c", "at": START + timedelta(days=day), "offered": offered, "share": 0.75}
        for day, name, offered in rows
    ]
    with engine.connect() as connection:
        assert keep_contacts(connection, write_lock(engine), contacts) == []


def test_the_control_group_stands_for_customers_who_were_made_an_offer(engine: Engine) -> None:
    names = ("made an offer", "held back", "not selected")
    fill(
        engine,
        [asked(day, name, tenure=day) for day in (40, 70) for name in names],
        [outcome((day + 10) * DAY, name == names[1], customer=name) for day in (40, 70) for name in names],
    )
    contacted(engine, (71, names[0], True), (71, names[1], False))  # behind the month of the first answers
    found = read(engine)
    before = pd.DataFrame({"customer_id": ["another"]})
    table = joined(before, found.table, SCHEMA)
    assert sorted(zip(table["customer_id"], table["tenure"].fillna(""), table[WEIGHT], strict=True)) == [
        ("another", "", "1"), ("held back", "40", "1"), ("held back", "70", "4"), ("made an offer", "40", "1"),
        ("not selected", "40", "1"), ("not selected", "70", "1"),
    ]  # fmt: skip
    reached = found.table[found.table[WEIGHT] == "0"].drop(columns=WEIGHT)  # before its offer was reported
    assert reached["tenure"].tolist() == ["70"]
    assert joined(reached, found.table, SCHEMA)["customer_id"].tolist().count("made an offer") == 1
    weighted = before.assign(**{WEIGHT: "9"})
    assert joined(weighted, found.table, SCHEMA)[WEIGHT].tolist()[0] == "9"


def test_without_offers_the_table_has_no_weights(engine: Engine) -> None:
    fill(engine, [asked(80, "a")], [outcome(82 * DAY, True, customer="a")])
    contacted(engine, (90, "a", True))  # behind the outcome
    table = joined(None, read(engine).table, SCHEMA)
    assert list(table) == [part.name for part in SCHEMA.parts]


@pytest.mark.parametrize("days", [0, 1, 30, 31, 90, 100])
def test_slices_cover_the_time_once(days: int) -> None:
    end = START + timedelta(days=days)
    found = list(slices(START, end, timedelta(days=30)))[::-1]
    assert sum((last - first for first, last in found), timedelta()) == timedelta(days=days)
    assert all(a[1] == b[0] for a, b in pairwise(found))
