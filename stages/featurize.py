"""featurize: write what models read of the training customers, data/features/train.parquet."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from churn.blocks import read_blocks, write_blocks
from churn.features import FEATURES
from churn.model_inputs import input_names, model_inputs
from churn.params import closest, read_params, read_section
from churn.schema import CUSTOMER, TARGET, WEIGHT, Schema, read_schema
from churn.script import InputError, replacing, run

log = logging.getLogger("featurize")


def featurize(blocks: Iterable[pd.DataFrame], schema: Schema, *, features: list[str]) -> Iterator[pd.DataFrame]:
    """Blocks of the outcome as int8, the customer's number and weight where there is one, and the model inputs under
    schema names.

    A feature whose columns are absent is skipped, as is one that the table has itself.
    """
    for name in features:
        if name not in FEATURES:
            known = list(FEATURES)
            raise InputError(f"featurize.features has {name!r}{closest(name, known)}; churn/features.py has {known}")
    names = None
    for block in blocks:
        customers = block[[column.name for column in schema.columns if column.name in block]]
        if names is None:
            names = input_names(customers, features)
            added, numbers, categories = names
            log.info("%d numbers and %d categories, the features %s among them", len(numbers), len(categories), added)
            if skipped := [name for name in features if name not in added]:
                log.warning("skipped %s: the table has not the numbers, or has such a column itself", skipped)
        made = model_inputs(customers, *names)
        made.insert(0, TARGET, block[TARGET].astype("int8"))
        for name in (CUSTOMER, WEIGHT):
            if name in block:
                made.insert(1, name, block[name])
        # Parquet keeps them: `train` then runs again for another limit only, not for every edit of the schema
        made.attrs["max_levels"] = {c.name: c.max_levels for c in schema.columns if c.max_levels}
        yield made


def main(
    train: Path = Path("data/train.parquet"),
    inputs: Path = Path("data/features/train.parquet"),
) -> None:
    schema = read_schema(Path(read_section("data")["schema"]))
    with replacing(inputs) as temporary:
        rows = write_blocks(temporary, featurize(read_blocks(train), schema, **read_params("featurize", featurize)))
    log.info("wrote %s: %d customers", inputs, rows)


if __name__ == "__main__":
    run(main, "featurize")
