"""preprocess: type the checked table, drop copies and split it into data/train.parquet and data/test.parquet."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from churn.params import read_params, read_section
from churn.schema import TARGET, Schema, read_schema
from churn.script import InputError, replacing, run, write_json
from churn.table import customers

log = logging.getLogger("preprocess")


def preprocess(
    texts: pd.DataFrame,
    schema: Schema,
    *,
    drop_duplicates: bool,
    split: Literal["auto", "stratified", "time"],
    test_size: Annotated[float, Field(gt=0, lt=1)],
    seed: Annotated[int, Field(ge=0)],
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Train and test customers in their types, the target as `churned`, and what was dropped, counted by reason."""
    once = texts.drop_duplicates() if drop_duplicates else texts
    table = customers(once, schema).rename(columns={schema.target.name: TARGET})
    if split == "time" and schema.time is None:
        raise InputError("preprocess.split is 'time' but the schema has no time column; name one or use 'stratified'")
    if schema.time and split != "stratified":
        train, test = split_by_time(table, schema.time.name, test_size)
    else:
        train, test = split_stratified(table, test_size, seed)
    dropped = {
        "duplicate_rows": len(texts) - len(once),
        "leak_columns": sum(header in schema.dropped for header in texts),
        "unknown_columns": len(set(texts) - set(schema.dropped) - {part.name for part in schema.parts}),
    }
    return train.reset_index(drop=True), test.reset_index(drop=True), dropped


def split_stratified(table: pd.DataFrame, test_size: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A random split that keeps the share of churned customers, row for row that of scikit-learn's train_test_split."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(table, test_size=test_size, stratify=table[TARGET], random_state=seed)
    except ValueError as error:
        raise InputError(
            f"{len(table)} customers do not split with preprocess.test_size {test_size}: {error}"
        ) from None


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
    rows = pd.read_parquet(texts)
    *splits, dropped = preprocess(rows, schema, **read_params("preprocess", preprocess))
    for path, split in zip((train, test), splits, strict=True):
        with replacing(path) as temporary:
            split.to_parquet(temporary, index=False)
    counts = {"rows": len(rows), "train_rows": len(splits[0]), "test_rows": len(splits[1])}
    write_json(metrics, counts | {f"dropped_{reason}": count for reason, count in dropped.items()})
    log.info("from %(rows)d rows: %(train_rows)d to train, %(test_rows)d to test", counts)
    log.info("dropped: %s", ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.items()))


if __name__ == "__main__":
    run(main, "preprocess")
