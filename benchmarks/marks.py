"""How often the draft of a schema sees what is in a table: python -m benchmarks.marks [TABLES]

Each table has columns of known kinds, drawn anew: honest ones, some of which look like something else, and ones that
need a key or a decision. A kind's recall is the share of its columns that got the key or the mark; its precision the
share of the columns with that key or mark that are of the kind.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import yaml

from churn.draft_schema import draft
from churn.text import columns

Draw = Callable[[np.random.Generator, np.ndarray], Any]
DAY = np.datetime64("2024-01-01")


def money(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.lognormal(6, 1, n).round(2)


def german(number: float) -> str:
    return f"{number:,.2f}".translate(str.maketrans(",.", ".,"))


def flipped(rng: np.random.Generator, left: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(len(left)) < share, ~left, left)


def texts(rng: np.random.Generator, like: str, low: int, high: int, n: int) -> list[str]:
    return [like.format(x) for x in rng.integers(low, high, n)]


def some(rng: np.random.Generator, left: np.ndarray, *levels: str) -> np.ndarray:
    return rng.choice(levels, len(left))


def spelt(rng: np.random.Generator, left: np.ndarray) -> np.ndarray:
    return some(
        rng, left, "Mobile Phone", str(rng.choice(["mobile phone", "Mobile-Phone", "Phone (mobile)"])), "Tablet"
    )


def date(rng: np.random.Generator, left: np.ndarray) -> pd.Series:
    form = str(rng.choice(["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%Y-%m-%d"]))
    return pd.Series(DAY - rng.integers(0, 2000, len(left)).astype("timedelta64[D]")).dt.strftime(form)


def code(rng: np.random.Generator, left: np.ndarray) -> np.ndarray:
    return rng.choice(rng.integers(10_000, 99_999, 300), len(left))


def gaps(rng: np.random.Generator, left: np.ndarray) -> np.ndarray:
    return np.where(rng.random(len(left)) < 0.1, "", money(rng, len(left)).astype(str))


# kind -> names its column may have, and how its cells are drawn; left (n,) says who churned
HONEST: list[tuple[tuple[str, ...], Draw]] = [
    (
        ("credit_score", "account_length", "products_number", "satisfaction_score", "balance_previous_month", "age"),
        lambda rng, left: rng.integers(300, 850, len(left)),
    ),
    (("income", "salary"), lambda rng, left: rng.integers(20_000, 90_000, len(left))),
    (("plan", "segment"), lambda rng, left: some(rng, left, "Basic", "Premium", "Family")),
    (("usage",), gaps),
    (("calls", "complaints"), lambda rng, left: rng.poisson(np.where(left, 6, 3))),  # a strong one, ROC AUC .85
]
KINDS: dict[str, tuple[tuple[str, ...], Draw]] = {
    "id": (
        ("CLIENTNUM", "ref", "subscriber"),
        lambda rng, left: (k := 10 ** rng.integers(4, 9)) + rng.choice(8 * k, len(left), replace=False),
    ),
    "row numbers": (("index", "Unnamed: 0"), lambda rng, left: np.arange(len(left))),
    "code": (("zip", "postcode", "branch_code"), code),
    "leak": (
        ("note", "x_7", "status_detail"),
        lambda rng, left: np.where(flipped(rng, left, rng.uniform(0, 0.2)), "a", "b"),
    ),
    "missing tells": (
        ("last_call", "agent"),
        lambda rng, left: np.where(flipped(rng, left, rng.uniform(0, 0.4)), "", some(rng, left, "x", "y")),
    ),
    "late name": (("churn_reason", "cancel_reason", "CLTV"), lambda rng, left: rng.integers(1, 40, len(left)) + 0.5),
    "spellings": (("device", "payment"), spelt),
    "money": (("charge", "fee"), lambda rng, left: [f"${x:,.2f}" for x in money(rng, len(left))]),
    "decimal comma": (("betrag", "umsatz"), lambda rng, left: [german(x) for x in money(rng, len(left))]),
    "units": (("contract_len", "duration"), lambda rng, left: texts(rng, "{} months", 1, 72, len(left))),
    "date": (("joined", "since"), date),
    "constant": (("country",), lambda rng, left: ["DE"] * len(left)),
}
SEEN: dict[str, str] = {
    "id": r"^id: .*|distinct in every row",
    "row numbers": "row numbers",
    "code": "by its name a code",
    "leak": "alone it tells the outcome",
    "missing tells": "whether it is missing tells",
    "late name": "by its name known only after",
    "spellings": "spellings of one level",
    "money": r'strip: \["\$"\]',
    "decimal comma": 'decimal: ","',
    "units": r"strip: \[months\]",
    "date": "type: date",
    "constant": "constant, tells nothing",
}


def table(seed: int, n: int = 600) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table with an outcome, and the kind of each of its other columns."""
    rng = np.random.default_rng(seed)
    left = rng.random(n) < 0.3
    made, kinds = {"Churn": np.where(left, "Yes", "No")}, {}
    chosen = [("honest", *one) for one in HONEST]
    chosen += [(kind, *one) for kind, one in KINDS.items() if rng.random() < 0.5]
    for kind, names, drawn in chosen:
        name = str(rng.choice(names))
        made[name], kinds[name] = np.asarray(drawn(rng, left)).astype(str), kind
    return pd.DataFrame(made), kinds


def main() -> None:
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    there, hit, said = Counter[str](), Counter[str](), Counter[str]()
    for seed in range(tables):
        raw, kinds = table(seed)
        text = draft(raw, "Churn")
        yaml.safe_load(text)
        lines = {
            name: next(line for line in text.splitlines() if re.search(rf'source: "?{re.escape(name)}"?[,}}]', line))
            for name in kinds
        }
        there.update(kinds.values())
        for name, line in lines.items():
            for kind, words in SEEN.items():
                if re.search(words, line):
                    said[kind] += 1
                    hit[kind] += kind == kinds[name]
    rows = [["kind", "columns", "recall", "precision"]]
    rows += [
        [kind, str(there[kind]), f"{hit[kind] / there[kind]:.2f}", f"{hit[kind] / max(said[kind], 1):.2f}"]
        for kind in SEEN
    ]
    print("\n".join(columns(rows)))
    print(f"{there['honest']} honest columns in {tables} tables")


if __name__ == "__main__":
    main()
