"""Sound tables of three kinds, and mistakes put into them at random: what people's tables have wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

ROWS = 80

# kind of table -> its schema
SCHEMAS: dict[str, dict[str, Any]] = {
    "plain": {
        "id": {"name": "customer_id", "source": "customerID"},
        "target": {"name": "churned", "source": "Churn", "positive": "Yes", "negative": "No"},
        "missing": ["", "NA", "?"],
        "drop": [{"source": "Churn Reason", "why": "known too late"}],
        "columns": [
            {"name": "tenure", "source": "Tenure in months", "type": "number", "min": 0, "max": 72},
            {"name": "charges", "type": "number", "nullable": True, "max_missing": 0.3},
            {"name": "balance", "source": ["Balance", "Saldo"], "type": "number", "min": -1000, "nullable": True},
            {"name": "senior", "type": "boolean", "positive": 1, "negative": 0},
            {"name": "contract", "type": "category", "levels": ["Month", "Year"]},
            {"name": "town", "type": "category", "nullable": True},
        ],
    },
    "snapshots": {
        "id": {"name": "customer_id", "source": "customerID"},
        "time": {"name": "snapshot"},
        "target": {"name": "churned", "source": "Outcome", "positive": "Left", "negative": ["Stayed", "Renewed"]},
        "strict": True,
        "drop": [{"source": "Churn Reason", "why": "known too late"}],
        "columns": [
            {"name": "tenure", "type": "number", "max": 72},
            {"name": "joined", "type": "date", "nullable": True},
            {"name": "paperless", "type": "boolean", "nullable": True},
            {"name": "contract", "type": "category", "levels": ["Month", "Year"], "merge": {"Month": ["monthly", "M"]}},
        ],
    },
    "formats": {
        "target": {"name": "churned", "source": "Churn", "positive": "1", "negative": "0"},
        "as_of": "2024-12-31",
        "missing": ["", "-"],
        "columns": [
            {"name": "charges", "type": "number", "min": 0, "max": 5000,
             "decimal": ",", "thousands": ".", "strip": ["€"]},
            {"name": "joined", "source": "Joined on", "type": "date", "format": "%d/%m/%Y"},
            {"name": "age", "type": "number", "merge": {"29": ["Twenty-nine"]}, "max_missing": 0.7},
            {"name": "device", "type": "category", "nullable": True},
        ],
    },
}  # fmt: skip

ALLOWED_MISSING = {"charges": 0.3, "age": 0.7}
LONG = "é" * 201
# header -> what is wrong in it alone
WRONG = {
    **dict.fromkeys(("Tenure in months", "tenure"), ("73", "72.5", "1e16")),
    **dict.fromkeys(("town", "device"), (LONG,)),
    **dict.fromkeys(("contract",), ("Weekly", "month", "Years")),
    **dict.fromkeys(("joined", "Joined on"), ("2024-02-30", "30/02/2024", "soon")),
    **dict.fromkeys(("Churn", "Outcome"), ("Maybe", "1.0", "True")),
}
# what may stand in any cell
TEXTS = (
    *("", "NA", "?", "-", " ", "dear", "-1", "0", "1", "73", "72.0000001", "1e15", "1.5e15", "-1e300", "1e400", "inf"),
    *("nan", "0x10", "1,5", "1.234,5", "12abc", "1_000", "€ 7", "Twenty-nine", "yes", "Yes", "No", "no", "True"),
    *("false", "Maybe", "Left", "Joined", "Weekly", "month", "Year ", "monthly", "M", "2024-02-30", "2024-13-01"),
    *("31/12/2024", "12/31/2024", "20240101", "2024-01-01T10:00:00Z", "2024-1-5", "soon", "it's \"so\""),
    *("é" * 200, LONG),
)  # fmt: skip

Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def sound(kind: str, rng: np.random.Generator) -> pd.DataFrame:
    """A table (ROWS, k) of texts that passes."""
    row = np.arange(ROWS)
    days = (pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 360, ROWS), unit="D")).to_series()
    number, outcome = rng.integers(1, 72, ROWS), np.where(row % 4 == 0, 1, 0)
    columns: dict[str, dict[str, Any]] = {
        "plain": {
            "customerID": [f"C{i}" for i in row],
            "Tenure in months": number.astype(str),
            "charges": np.where(rng.random(ROWS) < 0.1, "", (number * 1.25).astype(str)),
            "Balance": np.where(rng.random(ROWS) < 0.2, "NA", (number - 30.5).astype(str)),
            "senior": rng.choice(["0", "1"], ROWS),
            "contract": rng.choice(["Month", "Year"], ROWS),
            "town": rng.choice(["Oslo", "Rome", "São Paulo", "?"], ROWS),
            "Churn Reason": "price",
            "Churn": np.where(outcome, "Yes", "No"),
        },
        "snapshots": {
            "customerID": [f"C{i // 4}" for i in row],
            "snapshot": [f"2024-0{1 + i % 4}-01" for i in row],
            "tenure": number.astype(str),
            "joined": days.dt.strftime("%Y-%m-%d").tolist(),
            "paperless": rng.choice(["true", "false", ""], ROWS),
            "contract": rng.choice(["Month", "Year", "M"], ROWS),
            "Churn Reason": "price",
            "Outcome": np.where(outcome, "Left", rng.choice(["Stayed", "Renewed"], ROWS)),
        },
        "formats": {
            "charges": [f"€ {i}.{100 + i},5" if i < 5 else f"{i},25 €" for i in number],
            "Joined on": days.dt.strftime("%d/%m/%Y").tolist(),
            "age": np.where(rng.random(ROWS) < 0.1, "Twenty-nine", number.astype(str)),
            "device": rng.choice(["Phone", "Tablet", "-"], ROWS),
            "Churn": outcome.astype(str),
        },
    }
    return pd.DataFrame(columns[kind]).astype(str)


def cells(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One text in a few cells of a column."""
    header = rng.choice(table.columns)
    rows = rng.choice(len(table), rng.integers(1, 6), replace=False)
    text = rng.choice(WRONG[header] if header in WRONG and rng.random() < 0.5 else TEXTS)
    return table.assign(**{header: table[header].mask(table.index.isin(rows), text)})


def missing(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A share of a column, about as many as its schema allows, or all of it."""
    limited = [header for header in table if header in ALLOWED_MISSING]
    header = rng.choice(limited if limited and rng.random() < 0.5 else table.columns)
    count = round(ALLOWED_MISSING.get(header, 1) * len(table)) + rng.integers(-1, 2)
    return table.assign(**{header: table[header].mask(rng.permutation(len(table)) < count, "")})


def one_value(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    header = rng.choice([header for header in table if header in ("Churn", "Outcome")] or table.columns)
    return table.assign(**{header: rng.choice(table[header])})


def same_id(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Rows that take over the first two columns, of ids and times, of others."""
    a, b = rng.choice(len(table), (2, 3))
    keys = list(table.columns[:2])
    changed = table.copy()
    changed.loc[a, keys] = table.loc[b, keys].to_numpy()
    return changed


def copies(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Whole rows twice."""
    return pd.concat([table, table.iloc[rng.choice(len(table), 3)]], ignore_index=True)


def without_column(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return table.drop(columns=rng.choice(table.columns)) if len(table.columns) > 3 else table


def other_columns(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One more, one under another header, and all in another order."""
    own = table.columns.drop("Extra", errors="ignore")
    header = rng.choice(own)
    other = "Saldo" if header == "Balance" else rng.choice([f" {header} ", header.swapcase()])
    return table[rng.permutation(own)].rename(columns={header: other}).assign(Extra="1")


CHANGES: tuple[Change, ...] = (
    *(cells, cells, cells, cells, missing, missing, one_value, same_id, copies, without_column, other_columns),
)


def mutated(kind: str, seed: int) -> pd.DataFrame:
    """A table with up to five mistakes; one in twenty has none."""
    rng = np.random.default_rng(seed)
    table = sound(kind, rng)
    for change in rng.choice(np.array(CHANGES), 0 if rng.random() < 0.05 else rng.integers(1, 6)):
        table = change(table, rng)
    return table
