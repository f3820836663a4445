"""preprocess: type the checked table, drop copies and split it into data/train.parquet and data/test.parquet."""

import logging
import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from churn.blocks import ColumnsOf, RowsOf, Table, blocks_of, write_blocks
from churn.params import read_params, read_section
from churn.schema import CUSTOMER, MAX_LEVELS, TARGET, WEIGHT, Schema, read_schema
from churn.script import InputError, replacing, run, write_json
from churn.table import copies_of, customers, fingerprints

log = logging.getLogger("preprocess")

MOSTLY_ALONE = 0.9  # share of the rows that are the first of their customer, or of their copies


def preprocess(
    texts: Table,
    schema: Schema,
    *,
    drop_duplicates: bool,
    split: Literal["auto", "stratified", "time"],
    test_size: Annotated[float, Field(gt=0, lt=1)],
    largest: Annotated[int, Field(ge=1000)],
    seed: Annotated[int, Field(ge=0)],
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Train and test customers in their types, the target as `churned`, and what was dropped, counted by reason.

    Test customers keep the columns of few values that no model reads: `evaluate` tells how groups by them fare.
    Of more than `largest` customers so many stay, drawn at random before the split.
    """
    if split == "time" and schema.time is None:
        raise InputError("preprocess.split is 'time' but the schema has no time column; name one or use 'stratified'")
    kept = ~fingerprints(texts, texts).duplicated().to_numpy() if drop_duplicates else np.ones(len(texts), bool)
    once = int(kept.sum())
    if once > largest:
        drawn = np.random.default_rng(seed).choice(np.flatnonzero(kept), largest, replace=False)
        kept = np.zeros(len(texts), bool)
        kept[drawn] = True
    rows = RowsOf(texts, kept)
    table = customers(rows, schema).rename(columns={schema.target.name: TARGET})
    table[CUSTOMER] = belonging_together(rows, schema)
    if WEIGHT in rows:
        table[WEIGHT] = rows[WEIGHT].astype("float64")
    repeats = bool(schema.id and schema.id.repeats)
    if schema.time and (split == "time" or (split == "auto" and not repeats)):
        train, test = split_by_time(table, schema.time.name, test_size)
        before = len(train)
        if repeats:
            train = train[~train[CUSTOMER].isin(test[CUSTOMER])]
            if train[TARGET].nunique() < 2:
                raise InputError(
                    f"preprocess.split 'time': of {before} older rows most are of customers who have newer ones; "
                    f"{len(train)} are left to train on; set preprocess.split: stratified"
                )
    else:
        train, test = split_stratified(table, test_size, seed)
        before = len(train)
    dropped = {
        "duplicate_rows": len(texts) - once,
        "rows_beyond_largest": once - len(rows),
        "rows_of_test_customers": before - len(train),
        "columns_under_drop": sum(header in schema.dropped for header in texts),
        "unknown_columns": len(set(texts) - set(schema.dropped) - {part.name for part in schema.parts} - {WEIGHT}),
    }
    if not train[CUSTOMER].duplicated().any():
        train = train.drop(columns=CUSTOMER)
    test = test.drop(columns=CUSTOMER)
    named = {*(part.name for part in schema.parts), TARGET, CUSTOMER, WEIGHT}
    for name in (name for name in rows if name not in named):
        groups = rows[name]
        if groups.nunique() <= MAX_LEVELS:
            test[name] = groups[test.index].astype("category")
    return train.reset_index(drop=True), test.reset_index(drop=True), dropped


def belonging_together(texts: Table, schema: Schema) -> np.ndarray:
    """A number for each row (n,); rows with the same one are of one customer, or copies, and stay on one side.

    A customer's rows where an id repeats; else rows equal in all that the schema names but id and time, where chance
    alone does not explain them.
    """
    names = [part.name for part in (*schema.columns, schema.target) if part.name in texts]
    if schema.id and texts[schema.id.name].duplicated().any():
        return pd.factorize(texts[schema.id.name])[0]
    copies = copies_of(texts, names)
    return np.arange(len(texts)) if copies is None else pd.factorize(copies)[0]


def split_stratified(table: pd.DataFrame, test_size: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A random split that keeps the share of churned customers, row for row that of scikit-learn's train_test_split.

    Of customers with several rows the customers are drawn. Copies are few: rows are drawn, and copies follow the first.
    """
    is_first = ~table[CUSTOMER].duplicated()
    drawn_from = table[is_first] if is_first.mean() < MOSTLY_ALONE else table
    try:
        in_train, in_test = stratified(drawn_from[TARGET].to_numpy(bool), test_size, seed)
    except ValueError as error:
        raise InputError(
            f"{len(table)} customers do not split with preprocess.test_size {test_size}: {error}"
        ) from None
    train, test = drawn_from.iloc[in_train], drawn_from.iloc[in_test]
    if is_first.all():
        return train, test
    follows = table[CUSTOMER].isin(test.loc[is_first[test.index], CUSTOMER])
    order = np.concatenate([train.index, test.index, table.index.difference(drawn_from.index)])
    in_order = follows.loc[order]
    return table.loc[in_order.index[~in_order]], table.loc[in_order.index[in_order]]


def stratified(churned: np.ndarray, test_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions of train and test rows, as scikit-learn's StratifiedShuffleSplit draws them; churned (n,) bool.

    Importing scikit-learn for it takes twice as long as all else that preprocess does.
    """
    _, of_outcome, counts = np.unique(churned, return_inverse=True, return_counts=True)
    n_test = math.ceil(test_size * len(churned))
    if counts.min() < 2 or min(n_test, len(churned) - n_test) < len(counts):
        raise ValueError(f"the rarer outcome has {counts.min()} of them, and each side needs one of either outcome")
    rng = np.random.RandomState(seed)  # scikit-learn's own generator
    n_trained = apportioned(counts, len(churned) - n_test, rng)
    n_tested = apportioned(counts - n_trained, n_test, rng)
    parts: list[list[np.ndarray]] = [[], []]
    for outcome, (k, m) in enumerate(zip(n_trained, n_tested, strict=True)):
        drawn = rng.permutation(np.flatnonzero(of_outcome == outcome))
        parts[0].append(drawn[:k])
        parts[1].append(drawn[k : k + m])
    in_train, in_test = (rng.permutation(np.concatenate(part)) for part in parts)
    return in_train, in_test


def apportioned(counts: np.ndarray, n: int, rng: np.random.RandomState) -> np.ndarray:
    """n rows shared out in proportion to counts (k,) by largest remainder; ties are drawn."""
    exact = counts / counts.sum() * n
    share = np.floor(exact)
    left, remainders = int(n - share.sum()), exact - share
    for remainder in np.unique(remainders)[::-1]:
        if left <= 0:
            break
        tied = np.flatnonzero(remainders == remainder)
        chosen = rng.choice(tied, min(len(tied), left), replace=False)
        share[chosen] += 1
        left -= len(chosen)
    return share.astype(int)


def split_by_time(table: pd.DataFrame, time: str, test_size: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The newest rows are the test: a model must predict the future. No date stands on both sides."""
    cut = table[time].sort_values().iloc[-max(1, round(test_size * len(table)))]
    train, test = table[table[time] < cut], table[table[time] >= cut]
    if train.empty or train[TARGET].nunique() < 2 or test[TARGET].nunique() < 2:
        raise InputError(f"column '{time}': no date has both outcomes on both sides; set preprocess.split: stratified")
    return train, test


def main(
    texts: Path = Path("data/loaded.parquet"),
    train: Path = Path("data/train.parquet"),
    test: Path = Path("data/test.parquet"),
    metrics: Path = Path("metrics/preprocess.json"),
) -> None:
    schema = read_schema(Path(read_section("data")["schema"]))
    rows = ColumnsOf(texts)
    *splits, dropped = preprocess(rows, schema, **read_params("preprocess", preprocess))
    for path, split in zip((train, test), splits, strict=True):
        with replacing(path) as temporary:
            write_blocks(temporary, blocks_of(split))
    counts = {"rows": len(rows), "train_rows": len(splits[0]), "test_rows": len(splits[1])}
    write_json(metrics, counts | {f"dropped_{reason}": count for reason, count in dropped.items()})
    log.info("from %(rows)d rows: %(train_rows)d to train, %(test_rows)d to test", counts)
    log.info("dropped: %s", ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.items()))


if __name__ == "__main__":
    run(main, "preprocess")
