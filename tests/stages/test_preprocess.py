"""preprocess: typed customers, copies and foreign columns dropped and counted, and a test set that nobody has seen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from churn.schema import CUSTOMER, TARGET, WEIGHT, Schema
from churn.script import InputError
from stages.preprocess import main, preprocess, stratified

KNOBS: dict[str, Any] = {"drop_duplicates": True, "split": "auto", "test_size": 0.2, "largest": 1000, "seed": 42}
PLAIN: dict[str, Any] = {
    "id": {"name": "customer_id"},
    "target": {"name": "left", "positive": "Yes", "negative": "No"},
    "drop": [{"source": "reason", "why": "known later"}],
    "columns": [
        {"name": "tenure", "type": "number"},
        {"name": "partner", "type": "boolean", "positive": "Yes", "negative": "No", "nullable": True},
        {"name": "contract", "type": "category"},
    ],
}
SCHEMA = Schema.model_validate(PLAIN)
TIMED = Schema.model_validate(PLAIN | {"time": {"name": "snapshot_date"}})


def texts(n: int = 60, **columns: Any) -> pd.DataFrame:
    """n customers as load writes them, a third of them gone."""
    table = {
        "customer_id": [f"C{i:03}" for i in range(n)],
        "left": ["Yes" if i % 3 == 0 else "No" for i in range(n)],
        "tenure": [str(i) for i in range(n)],
        "partner": ["Yes", "No", None] * (n // 3),
        "contract": ["One year", "Two year"] * (n // 2),
    }
    return pd.DataFrame(table | columns, dtype="str")


def dated(n: int = 60, a_day: int = 5, seed: int = 0) -> pd.DataFrame:
    """Customers in any order, `a_day` of them on each date."""
    days = [f"2024-01-{1 + i // a_day:02}" for i in range(n)]
    return texts(n, snapshot_date=np.random.default_rng(seed).permutation(days))


def test_weights_come_to_both_sides_as_numbers_and_move_nobody() -> None:
    plain, weighted = texts(), texts(**{WEIGHT: ["1", "2.5"] * 30})
    for before, after in zip(preprocess(plain, SCHEMA, **KNOBS), preprocess(weighted, SCHEMA, **KNOBS), strict=True):
        if isinstance(after, dict):
            assert before == after
        else:
            assert after[WEIGHT].tolist() == [2.5 if int(name[1:]) % 2 else 1.0 for name in after["customer_id"]]
            pd.testing.assert_frame_equal(before, after.drop(columns=WEIGHT))


# what belongs together


def sides(train: pd.DataFrame, test: pd.DataFrame, column: str) -> tuple[set[Any], set[Any]]:
    return set(train[column]), set(test[column])


def several_rows(customers: int = 40, rows: int = 6) -> pd.DataFrame:
    n = customers * rows
    ids = [f"C{i % customers:03}" for i in range(n)]
    return texts(n).assign(customer_id=ids, left=["Yes" if int(name[1:]) % 3 == 0 else "No" for name in ids])


def test_rows_of_one_customer_stay_on_one_side_and_are_numbered_for_the_folds() -> None:
    repeating = Schema.model_validate(PLAIN | {"id": {"name": "customer_id", "repeats": True}})
    train, test, _ = preprocess(several_rows(), repeating, **KNOBS)
    one, other = sides(train, test, "customer_id")
    assert not one & other
    assert (len(train), len(test)) == (6 * 32, 6 * 8)
    assert train.groupby("customer_id")[CUSTOMER].nunique().eq(1).all()
    assert train[CUSTOMER].nunique() == 32
    assert CUSTOMER not in test
    # stratified by customer
    assert test.groupby("customer_id")[TARGET].first().mean() == pytest.approx(1 / 3, abs=0.1)


def test_copies_apart_from_the_id_stay_on_one_side() -> None:
    n = 120
    charges = {"name": "charges", "type": "number"}
    wider = Schema.model_validate(PLAIN | {"columns": [*PLAIN["columns"], charges]})
    twins = pd.concat([texts(n, charges=[f"{i * 7.3:.2f}" for i in range(n)])] * 2, ignore_index=True)
    twins = twins.assign(customer_id=[f"C{i:03}" for i in range(2 * n)])
    train, test, _ = preprocess(twins, wider, **KNOBS)
    one, other = sides(train, test, "tenure")
    assert not one & other
    assert len(one) + len(other) == n
    assert CUSTOMER in train


def test_rows_that_are_equal_by_chance_are_customers_of_their_own() -> None:
    n = 120
    few = texts(n).assign(tenure=[str(i % 3) for i in range(n)])  # a dozen of kinds
    train, test, _ = preprocess(few, SCHEMA, **KNOBS)
    assert CUSTOMER not in train
    assert (len(train), len(test)) == (96, 24)


def test_by_time_a_customer_of_the_test_teaches_nothing_if_the_id_repeats() -> None:
    repeating = Schema.model_validate(
        PLAIN | {"time": {"name": "snapshot_date"}, "id": {"name": "customer_id", "repeats": True}}
    )
    table = several_rows().assign(snapshot_date=[f"2024-01-{1 + i // 30:02}" for i in range(240)])
    table.loc[table["customer_id"] < "C020", "snapshot_date"] = "2024-01-01"  # they left early
    train, test, dropped = preprocess(table, repeating, **KNOBS | {"split": "time"})
    one, other = sides(train, test, "customer_id")
    assert not one & other
    assert train["snapshot_date"].max() < test["snapshot_date"].min()
    assert dropped["rows_of_test_customers"] == 240 - len(train) - len(test) > 0
    with pytest.raises(
        InputError, match=r"preprocess.split 'time': of \d+ older rows most are of customers who have newer"
    ):
        preprocess(
            several_rows()
            .assign(snapshot_date=table["snapshot_date"].tolist()[::-1])
            .assign(snapshot_date=[f"2024-01-{1 + i // 40:02}" for i in range(240)]),
            repeating,
            **KNOBS | {"split": "time"},
        )
    # auto draws customers
    train, test, _ = preprocess(table, repeating, **KNOBS | {"split": "auto"})
    assert not set(train["customer_id"]) & set(test["customer_id"])
    assert train["snapshot_date"].max() == test["snapshot_date"].max()


# what is kept


def test_of_more_rows_than_largest_so_many_are_drawn() -> None:
    table = pd.concat([texts(3000), texts(3000).head(60)], ignore_index=True)
    train, test, dropped = preprocess(table, SCHEMA, **KNOBS)
    assert (len(train), len(test)) == (800, 200)
    assert (dropped["duplicate_rows"], dropped["rows_beyond_largest"]) == (60, 2000)
    drawn = pd.concat([train, test])
    assert not drawn["customer_id"].duplicated().any()
    # from everywhere, in the table's proportions
    assert drawn["tenure"].quantile([0.25, 0.5, 0.75]).tolist() == pytest.approx([750, 1500, 2250], rel=0.1)
    assert drawn[TARGET].mean() == pytest.approx(1 / 3, abs=0.05)


def test_columns_come_in_their_types_and_the_target_as_churned() -> None:
    train, test, _ = preprocess(texts(), SCHEMA, **KNOBS)
    assert train.dtypes.astype(str).to_dict() == {
        "customer_id": "str", TARGET: "boolean", "tenure": "float64", "partner": "boolean", "contract": "category",
    }  # fmt: skip
    assert (test.dtypes == train.dtypes).all()
    row = train[train["customer_id"] == "C003"].iloc[0]
    assert row.tolist() == ["C003", True, 3.0, True, "Two year"]


def test_copies_of_a_row_are_dropped_and_counted() -> None:
    table = pd.concat([texts(), texts().head(4)], ignore_index=True)
    train, test, dropped = preprocess(table, SCHEMA, **KNOBS)
    assert dropped["duplicate_rows"] == 4
    assert sorted([*train["customer_id"], *test["customer_id"]]) == texts()["customer_id"].tolist()


def test_copies_may_be_customers_of_their_own() -> None:
    table = pd.concat([texts(), texts().head(4)], ignore_index=True)
    train, test, dropped = preprocess(table, SCHEMA, **KNOBS | {"drop_duplicates": False})
    assert (dropped["duplicate_rows"], len(train) + len(test)) == (0, 64)


def test_a_row_that_differs_in_one_cell_is_no_copy() -> None:
    table = pd.concat([texts(), texts().head(1).assign(tenure="99")], ignore_index=True)
    assert preprocess(table, SCHEMA, **KNOBS)[2]["duplicate_rows"] == 0


def test_columns_under_drop_and_unknown_ones_are_counted() -> None:
    train, _, dropped = preprocess(texts(reason="moved", colour="red", city="x"), SCHEMA, **KNOBS)
    assert (dropped["columns_under_drop"], dropped["unknown_columns"]) == (1, 2)
    assert sum(dropped.values()) == 3
    assert not {"reason", "colour", "city"} & {*train}


def test_test_customers_keep_their_groups_that_no_model_reads() -> None:
    region = [f"region {i % 7}" if i % 7 else None for i in range(60)]
    table = texts(region=region, email=[f"{i}@example.com" for i in range(60)], churned="Yes", reason="moved")
    table = pd.concat([table.head(3), table], ignore_index=True)  # copies shift the positions
    train, test, _ = preprocess(table, SCHEMA, **KNOBS)
    assert list(test) == [*train, "region", "reason"]
    expected = dict(zip(table["customer_id"], table["region"], strict=True))
    kept = test.astype({"region": "str"})["region"].tolist()
    assert all(
        value == expected[id] or pd.isna(expected[id]) for id, value in zip(test["customer_id"], kept, strict=True)
    )


# the split


def test_the_stratified_split_is_scikit_learn_s_row_for_row() -> None:
    train, test, _ = preprocess(texts(), SCHEMA, **KNOBS)
    expected = train_test_split(texts(), test_size=0.2, stratify=texts()["left"], random_state=42)
    assert [split["customer_id"].tolist() for split in (train, test)] == [s["customer_id"].tolist() for s in expected]
    assert train[TARGET].mean() == test[TARGET].mean() == 1 / 3


@given(
    st.lists(st.booleans(), min_size=2, max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32 - 1),
)
def test_the_drawn_rows_are_those_of_scikit_learn(left: list[bool], test_size: float, seed: int) -> None:
    try:
        expected = train_test_split(np.arange(len(left)), test_size=test_size, stratify=left, random_state=seed)
    except ValueError:
        with pytest.raises(ValueError, match="each side needs one of either outcome"):
            stratified(np.array(left), test_size, seed)
        return
    drawn = stratified(np.array(left), test_size, seed)
    assert [side.tolist() for side in drawn] == [side.tolist() for side in expected]


def test_the_seed_is_that_of_the_split() -> None:
    one, other = (preprocess(texts(), SCHEMA, **KNOBS | {"seed": seed})[1] for seed in (1, 2))
    assert set(one["customer_id"]) != set(other["customer_id"])


@pytest.mark.parametrize("split", ["auto", "time"])
@pytest.mark.parametrize("test_size", [0.1, 0.2, 0.33])
def test_the_newest_rows_are_the_test_and_no_date_is_on_both_sides(split: str, test_size: float) -> None:
    train, test, _ = preprocess(dated(), TIMED, **KNOBS | {"split": split, "test_size": test_size})
    assert train["snapshot_date"].max() < test["snapshot_date"].min()
    assert len(train) + len(test) == 60
    assert 60 * test_size - 1 <= len(test) < 60 * test_size + 5  # whole days


def test_a_time_column_may_be_left_out_of_the_split() -> None:
    train, test, _ = preprocess(dated(), TIMED, **KNOBS | {"split": "stratified"})
    assert train["snapshot_date"].max() > test["snapshot_date"].min()
    assert len(test) == 12


def test_splits_are_numbered_anew() -> None:
    for split in preprocess(dated(), TIMED, **KNOBS)[:2]:
        assert split.index.tolist() == list(range(len(split)))


def test_a_split_in_time_needs_a_time_column() -> None:
    with pytest.raises(InputError, match=r"split is 'time' but the schema has no time column; name one"):
        preprocess(texts(), SCHEMA, **KNOBS | {"split": "time"})


def test_one_date_cannot_be_split() -> None:
    with pytest.raises(InputError, match=r"'snapshot_date': no date has both outcomes on both sides; set preprocess"):
        preprocess(texts(snapshot_date="2024-01-01"), TIMED, **KNOBS)


def test_newest_customers_of_one_outcome_cannot_be_the_test() -> None:
    rows = dated().sort_values("snapshot_date")
    rows.loc[rows.index[-20:], "left"] = "No"
    with pytest.raises(InputError, match="no date has both outcomes on both sides"):
        preprocess(rows, TIMED, **KNOBS)


def test_too_few_leavers_to_split_are_one_line() -> None:
    table = texts(6, left=["Yes", "No", "No", "No", "No", "No"])
    with pytest.raises(
        InputError, match=r"^6 customers do not split with preprocess.test_size 0.2: the rarer outcome has 1 "
    ):
        preprocess(table, SCHEMA, **KNOBS)


# the command


def test_the_files_hold_the_splits_and_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(json.dumps({"data": {"schema": "my.yaml"}, "preprocess": KNOBS}))
    Path("my.yaml").write_text(json.dumps(PLAIN))
    pd.concat([texts(), texts().head(3)], ignore_index=True).to_parquet("loaded.parquet")
    for twin in ("a", "b"):
        main(Path("loaded.parquet"), *(Path(twin, f"{name}") for name in ("train.parquet", "test.parquet", "m.json")))
    assert len(pd.read_parquet("a/train.parquet")) == 48
    assert json.loads(Path("a/m.json").read_text()) == {
        "rows": 63, "train_rows": 48, "test_rows": 12,
        "dropped_duplicate_rows": 3, "dropped_rows_beyond_largest": 0, "dropped_rows_of_test_customers": 0,
        "dropped_columns_under_drop": 0, "dropped_unknown_columns": 0,
    }  # fmt: skip
    assert [path.read_bytes() for path in sorted(Path("a").iterdir())] == [
        path.read_bytes() for path in sorted(Path("b").iterdir())
    ]


@pytest.mark.parametrize(
    ("knob", "value"), [("split", "random"), ("test_size", 0), ("test_size", 1), ("seed", -1)], ids=str
)
def test_a_knob_out_of_range_is_named(knob: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(json.dumps({"data": {"schema": "my.yaml"}, "preprocess": KNOBS | {knob: value}}))
    Path("my.yaml").write_text(json.dumps(PLAIN))
    texts().to_parquet("loaded.parquet")
    with pytest.raises(InputError, match=rf"^params.yaml: preprocess.{knob} is "):
        main(Path("loaded.parquet"))
