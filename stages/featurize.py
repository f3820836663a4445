"""featurize: write what models read of the training customers, data/features/train.parquet."""

import logging
from pathlib import Path

import pandas as pd

from churn.features import FEATURES
from churn.model_inputs import input_names, model_inputs
from churn.params import closest, read_params, read_section
from churn.schema import CUSTOMER, TARGET, read_schema
from churn.script import InputError, replacing, run

log = logging.getLogger("featurize")


def featurize(customers: pd.DataFrame, *, features: list[str]) -> pd.DataFrame:
    """Model inputs of customers (n, .) under schema names; a feature whose columns are absent is skipped."""
    for name in features:
        if name not in FEATURES:
            known = list(FEATURES)
            raise InputError(f"featurize.features has {name!r}{closest(name, known)}; churn/features.py has {known}")
    added, numbers, categories = input_names(customers, features)
    log.info("%d numbers and %d categories, the features %s among them", len(numbers), len(categories), added)
    if skipped := [name for name in features if name not in added]:
        log.warning("skipped %s: the table has not the columns", skipped)
    return model_inputs(customers, added, numbers, categories)


def main(
    train: Path = Path("data/train.parquet"),
    inputs: Path = Path("data/features/train.parquet"),
) -> None:
    schema = read_schema(Path(read_section("data")["schema"]))
    customers = pd.read_parquet(train)
    made = featurize(customers[[column.name for column in schema.columns]], **read_params("featurize", featurize))
    made.insert(0, TARGET, customers[TARGET].astype("int8"))
    if CUSTOMER in customers:
        made.insert(1, CUSTOMER, customers[CUSTOMER])
    # Parquet keeps them: `train` then runs again for another limit only, not for every edit of the schema
    made.attrs["max_levels"] = {c.name: c.max_levels for c in schema.columns if c.max_levels}
    with replacing(inputs) as temporary:
        made.to_parquet(temporary, index=False)
    log.info("wrote %s: %d customers", inputs, len(made))


if __name__ == "__main__":
    run(main, "featurize")
