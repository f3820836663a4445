"""A list told to the log: once, of both sides, and nothing of a list that can't be one."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import select

from campaigns.contacted import contacted
from churn.script import InputError
from serve.log.database import connect
from serve.log.tables import campaigns, contacts
from tests.factories import empty_log

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(empty_log(tmp_path).url)


def table(path: Path, **columns: Any) -> Path:
    there = {"customer_id": ["a", "b", "'c"], "offered": [True, False, True], "share": [0.5] * 3} | columns
    made = pa.table({name: values for name, values in there.items() if values is not None})
    if path.suffix == ".csv":
        from pyarrow import csv

        csv.write_csv(made, path)
    else:
        parquet.write_table(made, path)
    return path


def rows(url: str) -> list[tuple[Any, ...]]:
    c = contacts.c
    with connect(url).connect() as connection:
        return [tuple(row) for row in connection.execute(select(c.customer_id, c.campaign, c.at, c.offered, c.share))]


@pytest.mark.parametrize("name", ["list.parquet", "list.csv"])
def test_a_list_told_twice_is_in_the_log_once(name: str, url: str, tmp_path: Path) -> None:
    path = table(tmp_path / name)
    for _ in range(2):
        assert contacted(path, "spring", AT, url) == (2, 1)
    told = [("'c", "spring", AT, True, 0.5), ("a", "spring", AT, True, 0.5), ("b", "spring", AT, False, 0.5)]
    assert sorted(rows(url)) == told


def test_the_plan_beside_the_list_says_what_is_expected_and_of_which_campaign(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    folder.mkdir()
    table(folder / "list.parquet")
    (folder / "plan.json").write_text(json.dumps({"campaign": "spring", "expected": {"profit": 5.0}}))
    with pytest.raises(InputError, match="is the list of the campaign 'spring', not of 'summer'"):
        contacted(folder, "summer", AT, url)
    contacted(folder, "spring", AT, url)
    with connect(url).connect() as connection:
        assert connection.execute(select(campaigns.c.name, campaigns.c.expected)).all() == [("spring", {"profit": 5.0})]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"customer_id": None}, "has no column 'customer_id'; it has"),
        ({"offered": None}, "has no column 'offered'"),
        ({"share": None}, "share is 1 for a customer who was held back, 'b'"),
        ({"share": [0.5, 0.5, 0.0]}, "share is 0 for an offer"),
        ({"customer_id": ["a", "a", "b"]}, "the customer 'a' stands in two rows"),
        ({"customer_id": ["a", None, "b"]}, "customer_id is missing in 1 of 3 rows"),
        ({"customer_id": ["a", "b", "x" * 129]}, "must have 1 to 128 characters"),
        ({"offered": ["yes", "no", "maybe"]}, "expected customer_id as string, offered as bool"),
    ],
)
def test_a_list_that_cannot_be_one_is_refused_whole(columns: Any, says: str, url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        contacted(table(tmp_path / "list.parquet", **columns), "spring", AT, url)
    assert rows(url) == []


def test_a_folder_without_a_plan_and_a_file_that_is_none_are_said(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no plan\.json"):
        contacted(tmp_path, "spring", AT, url)
    with pytest.raises(InputError, match="can't be read"):
        contacted(tmp_path / "nothing.parquet", "spring", AT, url)
