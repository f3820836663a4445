"""In the environment of Great Expectations: what its suites say of the tables in a folder, as lines of JSON.

Beside KIND.yaml, a schema, and KIND.json, its suite, lie loaded tables, KIND-*.parquet, and raw ones, KIND-*.csv.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd

from churn.schema import read_schema
from review.expectations import Checker, Failure, failure_of


def of_raw(suite: dict[str, Any], paths: list[Path]) -> dict[str, list[Failure]]:
    """As somebody does who has the suite and the CSV files, and nothing of ours."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    suite_there = context.suites.add(gx.ExpectationSuite(**suite))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="v", data=batch, suite=suite_there))
    found = {}
    for path in paths:
        frame = pd.read_csv(path, **suite["meta"]["read_csv"])
        results = definition.run(batch_parameters={"dataframe": frame}, result_format="COMPLETE").results
        found[path.name] = [failure_of(result) for result in results if not result.success]
    return found


def main(folder: Path) -> None:
    for file in sorted(folder.glob("*.yaml")):
        schema, suite = read_schema(file), json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        checker = Checker(suite)
        tables = sorted(folder.glob(f"{file.stem}-*.parquet"))
        found = {path.name: checker.check(pd.read_parquet(path), schema) for path in tables}
        found |= of_raw(suite, sorted(folder.glob(f"{file.stem}-*.csv")))
        for name, failures in found.items():
            line = {"table": name, "failures": [asdict(failure) for failure in failures]}
            sys.stdout.write(json.dumps(line, default=str) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
