"""simulate: write data/raw/customers.csv, a seeded simulation of a telecom operator's customers. No row is real.

What it imitates is the IBM "Telco Customer Churn" sample table (github.com/IBM/telco-customer-churn-on-icp4d,
data/Telco-Customer-Churn.csv, Apache-2.0; itself about a fictional operator): columns, levels, shares, and why
customers leave.
The weights below were fitted once to its 7,043 rows, rounded and tuned; the rows themselves are nowhere in here.

Inputs are drawn column by column, each given those before it: tenure from a table of quantiles, every level as a
random-utility (logit) choice, the highest of UTILITY + Gumbel noise, charges as PRICES of the bundle +- OVERCHARGE.
Leaving is a proportional-hazard model (Cox 1972, "Regression Models and Life-Tables", JRSS B 34:187-220) with a
baseline that falls with tenure, as retention rises wherever the restless leave first (Fader & Hardie 2007, "How to
Project Customer Retention", Journal of Interactive Marketing 21(1):76-90). For a customer x after t months, per month,

    hazard(t, x) = (1 + t) ** -0.5 * exp(base + contract + internet + services + overcharge + payment + household)
    P(churned)   = 1 - exp(-WINDOW * hazard)

with the weights of HAZARD; overcharge is the monthly charge over what the bundle should cost, minus 1. Nothing else
decides, and the coin thrown with P is the only noise: no score can beat P itself, whose ROC AUC is .85 at a churn rate
of 26 %.

With several months a leaver's place is taken by a new customer of the same kind, at a shorter tenure but rarely at 0
(as if a ported number kept its months): a quarter of the book leaves every month, and refilled from zero it would drift
by itself. Who stays ages by a month and, as the tables say of older customers, moves to longer contracts and more
services. So the book is steady, but for tenure's top code, which fills up (5 % of the book at first, 12 % in a year).
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute, csv, parquet
from pydantic import Field
from tqdm import tqdm

from churn.params import read_params
from churn.script import InputError, replacing, run

log = logging.getLogger("simulate")

Share = Annotated[float, Field(ge=0, le=1)]
Month = Annotated[int, Field(ge=0)]
Array = np.ndarray[Any, np.dtype[Any]]

CHUNK = 2**15  # customers drawn at once, always in full: row i is the same however many follow
LOG_EVERY = 10**6  # rows
MOST_CUSTOMERS, MOST_MONTHS = 10**8, 120  # their product is the ids in use; 10**4 * 26**5 exist

COLUMNS = [  # in the order of the IBM table
    "customer_id", "gender", "senior_citizen", "partner", "dependents", "tenure", "phone_service", "multiple_lines",
    "internet_service", "online_security", "online_backup", "device_protection", "tech_support", "streaming_tv",
    "streaming_movies", "contract", "paperless_billing", "payment_method", "monthly_charges", "total_charges",
    "churned",
]  # fmt: skip

# share of customers with at most so many months; 72 is a top code: six years or more
TENURE = {
    0: 0.0015, 1: 0.089, 2: 0.122, 3: 0.151, 4: 0.176, 6: 0.210, 9: 0.263, 12: 0.310, 18: 0.388, 24: 0.456, 36: 0.574,
    48: 0.682, 60: 0.800, 66: 0.866, 70: 0.925, 71: 0.949, 72: 1.0,
}  # fmt: skip
LAST = max(TENURE)

# In every table of weights "base" counts 1, "tenure" months, "column=level" 1 for who has that level, else 0.
# Column, in the order drawn: level: log-odds against the column's first level, which needs none.
UTILITY: dict[str, dict[str, dict[str, float]]] = {
    "gender": {"Female": {}, "Male": {"base": 0.02}},
    "senior_citizen": {"0": {}, "1": {"base": -1.70, "tenure": 0.002}},
    "partner": {"No": {}, "Yes": {"base": -1.16, "tenure": 0.034}},
    "dependents": {"No": {}, "Yes": {"base": -2.04, "partner=Yes": 2.40, "senior_citizen": -2.14}},
    "internet_service": {
        "DSL": {},
        "Fiber optic": {"base": 0.18, "senior_citizen": 1.02, "dependents=Yes": -0.43},
        "No": {"base": -0.50, "senior_citizen": -1.14, "dependents=Yes": 0.30},
    },
    "phone_service": {"No": {}, "Yes": {"base": 40.0, "internet_service=DSL": -39.06}},  # only with DSL is it a choice
    "multiple_lines": {
        "No": {},
        "Yes": {"base": -2.05, "tenure": 0.035, "internet_service=Fiber optic": 1.39, "senior_citizen": 0.45},
    },
    "contract": {
        "Month-to-month": {},
        "One year": {
            "base": -2.95, "tenure": 0.074, "internet_service=Fiber optic": -1.34, "internet_service=No": 1.18,
            "dependents=Yes": 0.57,
        },
        "Two year": {
            "base": -5.90, "tenure": 0.130, "internet_service=Fiber optic": -2.05, "internet_service=No": 2.36,
            "dependents=Yes": 0.93,
        },
    },
    "online_security": {
        "No": {},
        "Yes": {
            "base": -1.23, "tenure": 0.023, "internet_service=Fiber optic": -0.94, "contract=One year": 0.62,
            "contract=Two year": 1.13,
        },
    },
    "online_backup": {"No": {}, "Yes": {"base": -1.49, "tenure": 0.035, "contract=Two year": 0.20}},
    "device_protection": {
        "No": {},
        "Yes": {
            "base": -1.57, "tenure": 0.024, "internet_service=Fiber optic": 0.21, "contract=One year": 0.69,
            "contract=Two year": 1.26,
        },
    },
    "tech_support": {
        "No": {},
        "Yes": {
            "base": -1.28, "tenure": 0.012, "internet_service=Fiber optic": -0.72, "contract=One year": 0.92,
            "contract=Two year": 1.91, "online_security=Yes": 0.31,
        },
    },
    "streaming_tv": {
        "No": {},
        "Yes": {"base": -1.42, "tenure": 0.024, "internet_service=Fiber optic": 0.85, "contract=Two year": 0.57},
    },
    "streaming_movies": {
        "No": {},
        "Yes": {
            "base": -1.80, "tenure": 0.019, "internet_service=Fiber optic": 0.58, "contract=Two year": 0.41,
            "streaming_tv=Yes": 1.53,
        },
    },
    "paperless_billing": {
        "No": {},
        "Yes": {
            "base": 0.23, "internet_service=Fiber optic": 0.94, "internet_service=No": -1.01, "senior_citizen": 0.44,
            "contract=Two year": -0.28,
        },
    },
    "payment_method": {
        "Mailed check": {},
        "Electronic check": {
            "base": -0.40, "tenure": 0.022, "internet_service=Fiber optic": 1.47, "internet_service=No": -1.49,
            "contract=One year": -0.72, "contract=Two year": -1.62, "paperless_billing=Yes": 0.56,
        },
        "Bank transfer (automatic)": {
            "base": -1.49, "tenure": 0.044, "internet_service=Fiber optic": 0.87, "internet_service=No": -0.55,
            "contract=Two year": -0.46, "paperless_billing=Yes": 0.27,
        },
        "Credit card (automatic)": {
            "base": -1.45, "tenure": 0.040, "internet_service=Fiber optic": 0.77, "internet_service=No": -0.63,
            "contract=Two year": -0.19, "paperless_billing=Yes": 0.32,
        },
    },
}  # fmt: skip
ADD_ONS = ["online_security", "online_backup", "device_protection", "tech_support", "streaming_tv", "streaming_movies"]
# column: the condition under which it is unavailable, and the level that says so
UNAVAILABLE = {
    "multiple_lines": ("phone_service=No", "No phone service"),
    **dict.fromkeys(ADD_ONS, ("internet_service=No", "No internet service")),
}

# dollars a month; the same list explains the charges of the IBM table to a standard deviation of 1.02
PRICES = {
    "phone_service=Yes": 20.0, "multiple_lines=Yes": 5.0, "internet_service=DSL": 25.0,
    "internet_service=Fiber optic": 50.0, "online_security=Yes": 5.0, "online_backup=Yes": 5.0,
    "device_protection=Yes": 5.0, "tech_support=Yes": 5.0, "streaming_tv=Yes": 10.0, "streaming_movies=Yes": 10.0,
}  # fmt: skip
OVERCHARGE = 0.05  # a customer's own charge is the list price +- at most this share
REPRICING = 0.35  # total = tenure * monthly +- at most this * sqrt(tenure - 1) * monthly: prices were other in the past

WINDOW = 1.0  # months observed; the IBM table flags who left within the last month
HAZARD = {  # log hazard per month
    "base": 0.115, "log_tenure": -0.50, "contract=One year": -0.70, "contract=Two year": -1.70, "overcharge": 4.0,
    "internet_service=Fiber optic": 0.70, "internet_service=No": -0.65, "phone_service=Yes": -0.40,
    "multiple_lines=Yes": 0.20, "online_security=Yes": -0.30, "tech_support=Yes": -0.30, "streaming_tv=Yes": 0.20,
    "streaming_movies=Yes": 0.20, "payment_method=Electronic check": 0.25, "paperless_billing=Yes": 0.25,
    "senior_citizen": 0.30, "dependents=Yes": -0.10,
}  # fmt: skip
# what concept = 1 adds to HAZARD: contracts stop protecting, support stops helping, fibre holds its customers while DSL
# loses them, the price matters; the base keeps the churn rate near 26 %, so the rate alone does not tell
CONCEPT = {
    "base": 0.25, "contract=One year": 0.70, "contract=Two year": 1.70, "online_security=Yes": 0.30,
    "tech_support=Yes": 0.30, "internet_service=Fiber optic": -1.3, "overcharge": 16.0,
}  # fmt: skip
# what drift = 1 adds to the base of UTILITY, and (DEARER, a share) to the price list that HAZARD still measures against
DRIFT = {
    "internet_service": {"Fiber optic": 1.0},
    "contract": {"One year": -0.8, "Two year": -0.8},
    "payment_method": {"Electronic check": 0.8},
}
DEARER = 0.10
NEWER = 0.8  # tenure is drawn as the quantile of u ** (1 + NEWER * drift)
ARRIVING = 0.8  # a leaver's place is taken at this share of the tenure first drawn for it: that keeps the book steady


def simulate(
    *,
    customers: Annotated[int, Field(ge=1, le=MOST_CUSTOMERS)],
    seed: Annotated[int, Field(ge=0)],
    months: Annotated[int, Field(ge=1, le=MOST_MONTHS)],
    start: date,
    drift: Share,
    drift_month: Month,
    concept: Share,
    concept_month: Month,
) -> Iterator[pd.DataFrame]:
    """Frames of at most CHUNK rows, so memory stays bounded: all months of the first CHUNK customers, then of the next.

    Columns as in COLUMNS, levels categorical, total_charges NaN at tenure 0; with months > 1 also snapshot_date, the
    first of a month as text, counted from the month of `start`.
    """
    for first in range(0, customers, CHUNK):
        places = np.arange(first, min(first + CHUNK, customers))
        kind, origin, overcharge = _kinds(seed, first // CHUNK, len(places))
        entered, tenure, total = np.zeros_like(places), np.zeros_like(places), np.zeros(len(places))
        new = np.full(len(places), True)  # in month 0 everyone is
        for month in range(months):
            drifted = drift if months == 1 or month >= drift_month else 0.0
            changed = concept if months == 1 or month >= concept_month else 0.0
            history, fate = _uniforms(seed, first // CHUNK, 1 + month, rows=2)[:, : len(places)]
            entered = np.where(new, month, entered)
            brought = tenure_at(origin ** (1 + NEWER * drifted)) * (ARRIVING if month else 1)
            tenure = np.where(new, np.ceil(brought).astype(np.int64), np.minimum(tenure + 1, LAST))
            table = _bundles(kind, tenure, drifted)
            monthly = np.round(weighted(PRICES, table) * (1 + DEARER * drifted) * (1 + overcharge), 2)
            past = tenure + REPRICING * np.sqrt(np.maximum(tenure - 1, 0)) * (2 * history - 1)
            total = np.round(np.where(new, past * monthly, total + monthly), 2)
            table |= {
                "customer_id": customer_ids(entered * MOST_CUSTOMERS + places, seed),
                "monthly_charges": monthly,
                "total_charges": np.where(tenure == 0, np.nan, total),
            }
            new = fate < leaving(table, changed)
            table["churned"] = pd.Categorical.from_codes(new.astype(np.int64), pd.Index(["No", "Yes"]))
            frame = pd.DataFrame({column: table[column] for column in COLUMNS})
            if months > 1:
                frame["snapshot_date"] = f"{np.datetime64(start, 'M') + month}-01"
            yield frame


def leaving(customers: pd.DataFrame | Mapping[str, Any], concept: float) -> Array:
    """P(churned), (n,) in [0, 1], of customers with the columns of a frame of simulate()."""
    weights = {name: weight + concept * CONCEPT.get(name, 0) for name, weight in HAZARD.items()}
    derived = {
        "log_tenure": np.log1p(customers["tenure"]),
        "overcharge": customers["monthly_charges"] / weighted(PRICES, customers) - 1,
    }
    hazard = np.exp(weighted(weights, {**customers, **derived}))
    return np.asarray(-np.expm1(-WINDOW * hazard))


def weighted(weights: Mapping[str, float], customers: pd.DataFrame | Mapping[str, Any]) -> Array:
    """Sum of the weights that apply to each customer, (n,); the keys are those of the tables above."""
    total: Array = np.full(len(customers["tenure"]), weights.get("base", 0.0), dtype=float)
    for name, weight in weights.items():
        column, _, level = name.partition("=")
        if name != "base":
            total += weight * np.asarray(customers[column] == level if level else customers[column])
    return total


def tenure_at(share: Array) -> Array:
    """Months of the customers at these quantiles, (n,) in [0, 1]."""
    months: Array = np.interp(share, list(TENURE.values()), list(TENURE))
    return np.ceil(months).astype(np.int64)


def customer_ids(number: Array, seed: int) -> Array:
    """One id like "7590-VHVEG" for each number, (n,) in [0, 10**4 * 26**5): no two alike, others for another seed.

    A Feistel network: what is added to one half is a function of the other half, so every round can be undone.
    """
    digits, letters = number % 10**4, number // 10**4
    for key in np.random.SeedSequence(seed).generate_state(4).astype(np.int64).reshape(2, 2):
        letters = (letters + (digits + 1) * key[0]) % 26**5
        digits = (digits + (letters + 1) * key[1]) % 10**4
    text = np.full((len(number), 10), ord("-"), np.uint8)
    text[:, :4] = ord("0") + digits[:, None] // 10 ** np.arange(4) % 10
    text[:, 5:] = ord("A") + letters[:, None] // 26 ** np.arange(5) % 26
    return np.asarray(text.view("S10")[:, 0].astype("U10"))


def _uniforms(seed: int, chunk: int, draw: int, rows: int) -> Array:
    """(rows, CHUNK) in [0, 1), the same whenever this draw of this chunk is asked for."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(draw, chunk))).random((rows, CHUNK))


def _kinds(seed: int, chunk: int, n: int) -> tuple[dict[str, Array], Array, Array]:
    """What stays with a place from customer to customer: the Gumbel noise of its choices, {column: (levels, n)}, the
    quantile of its tenure, (n,), and the share it pays above the price list, (n,)."""
    sizes = [len(levels) for levels in UTILITY.values()]
    origin, charge, *choices = _uniforms(seed, chunk, 0, rows=2 + sum(sizes))[:, :n]
    noise = np.split(-np.log(-np.log(choices)), np.cumsum(sizes)[:-1])
    return dict(zip(UTILITY, noise, strict=True)), origin, OVERCHARGE * (2 * charge - 1)


def _bundles(kind: Mapping[str, Array], tenure: Array, drift: float) -> dict[str, Any]:
    """Household, services, contract and payment of customers of these kinds at this tenure, {column: (n,)}."""
    table: dict[str, Any] = {"tenure": tenure}
    for column, levels in UTILITY.items():
        shifts = DRIFT.get(column, {})
        utility = [
            noise + drift * shifts.get(level, 0) + weighted(weights, table)
            for noise, (level, weights) in zip(kind[column], levels.items(), strict=True)
        ]
        chosen, names = np.argmax(utility, axis=0), list(levels)
        if column in UNAVAILABLE:
            condition, name = UNAVAILABLE[column]
            chosen[weighted({condition: 1}, table) == 1] = len(names)
            names.append(name)
        table[column] = chosen if column == "senior_citizen" else pd.Categorical.from_codes(chosen, pd.Index(names))
    return table


def main(table: Path = Path("data/raw/customers.csv")) -> None:
    if not table.name.endswith((".csv", ".csv.gz", ".parquet")):
        raise InputError(f"{table}: simulate writes .csv, .csv.gz or .parquet")
    knobs = read_params("simulate", simulate)
    tables = (_plain(frame) for frame in simulate(**knobs))
    first = next(tables)
    rows = churned = 0
    with (
        replacing(table) as temporary,
        _writer(temporary, first.schema) as writer,
        tqdm(total=knobs["customers"] * knobs["months"], unit=" rows", unit_scale=True, disable=None) as bar,
    ):
        for part in chain([first], tables):
            writer.write_table(part)
            bar.update(len(part))
            if bar.disable and rows // LOG_EVERY < (rows + len(part)) // LOG_EVERY:
                log.info("%d of %d rows", rows + len(part), bar.total)
            rows += len(part)
            churned += compute.sum(compute.equal(part["churned"], "Yes")).as_py()
    log.info("wrote %s: %d rows, %.1f %% churned", table, rows, 100 * churned / rows)


def _plain(frame: pd.DataFrame) -> pa.Table:
    """The frame for any reader: levels as text, NaN as null, without pandas' own notes."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    plain = [pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(plain))


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[csv.CSVWriter | parquet.ParquetWriter]:
    """What takes tables of this schema, in the format that the path's suffix names."""
    if path.suffix == ".parquet":
        with parquet.ParquetWriter(path, schema) as writer:
            yield writer
    else:
        unquoted = csv.WriteOptions(quoting_style="none", quoting_header="none")  # no name or level needs quotes
        with (
            pa.output_stream(path, compression="detect") as sink,
            csv.CSVWriter(sink, schema, write_options=unquoted) as writer,
        ):
            yield writer


if __name__ == "__main__":
    run(main, "simulate")
