"""What a release's training customers were like, column by column: `python -m churn.reference models/release`.

Writes the file validate.reference of params.yaml, from which `validate` says how far a table has moved since then. The
distances are those of monitoring.check, here by 100 quantiles and the commonest levels: Wasserstein's in standard
deviations of the reference for numbers and yes or no, Jensen and Shannon's (0 to sqrt(ln 2)) for categories.
"""

import argparse
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from churn.params import read_section
from churn.release import REFERENCE, Release, open_release
from churn.schema import Share
from churn.script import InputError, run, write_text

log = logging.getLogger("reference")

GRID = (np.arange(100) + 0.5) / 100  # in the middle of each hundredth: no value is the table's smallest or largest
LEVELS = 100  # that are kept apart; the others count as one
LEAST = 0.001  # as a standard deviation, as Evidently has it
WAY_OUT = "python -m churn.reference models/release writes it"


class Numbers(BaseModel, extra="forbid"):
    quantiles: Annotated[list[FiniteFloat], Field(min_length=len(GRID), max_length=len(GRID))]
    deviation: Annotated[FiniteFloat, Field(ge=0)]

    def distance(self, values: pd.Series) -> float:
        now = np.quantile(values.astype("float64"), GRID, method="inverted_cdf")
        scale = max(self.deviation, LEAST)
        return float(np.mean(np.abs(now / scale - np.array(self.quantiles) / scale)))  # divided first: no overflow


class Levels(BaseModel, extra="forbid"):
    shares: dict[str, Share]  # of the commonest, of customers who have a level

    def distance(self, values: pd.Series) -> float:
        now = values.astype("str").value_counts(normalize=True).to_dict()
        pairs = [(share, now.pop(level, 0.0)) for level, share in self.shares.items()]
        rest = max(0.0, 1 - sum(self.shares.values()))
        pairs += [(rest, sum(now.values()))] if rest > 1e-9 else [(0.0, share) for share in now.values()]
        return math.sqrt(max(0.0, sum(divergence(p, q) + divergence(q, p) for p, q in pairs) / 2))


def divergence(p: float, q: float) -> float:
    return p * math.log(2 * p / (p + q)) if p else 0.0


class Reference(BaseModel):
    """The file `validate.reference`; that of a project without a release is empty: {}."""

    model_config = ConfigDict(extra="forbid")
    release: str = ""
    table: str = ""
    customers: Annotated[int, Field(ge=0)] = 0
    columns: dict[str, Numbers | Levels] = {}

    @model_validator(mode="after")
    def is_of_a_release(self) -> Self:
        if self.columns and not (self.release and self.customers):
            raise ValueError("it has columns and names no release")
        return self

    def fits(self, headers: Sequence[str]) -> bool:
        """Whether a table may be one of the same kind: it has more than half of the columns."""
        return 2 * len(self.columns.keys() & {*headers}) > len(self.columns)

    def distance(self, name: str, values: pd.Series) -> float | None:
        """How far typed values (n,) are from the reference; None where there is nothing to compare."""
        column, present = self.columns.get(name), values.dropna()
        if column is None or present.empty or pd.api.types.is_numeric_dtype(present) != isinstance(column, Numbers):
            return None
        return column.distance(present)


def read_reference(path: Path) -> Reference:
    try:
        return Reference.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path} is missing, which params.yaml names as validate.reference; {WAY_OUT}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}; {WAY_OUT}") from None
    except ValueError as error:  # no JSON, or no text
        raise InputError(f"{path} is not JSON: {error}; {WAY_OUT}") from None


def reference_of(release: Release) -> dict[str, Any]:
    """The content of the file, from the sample of training customers in the bundle."""
    sample, columns = pd.read_parquet(release.folder / REFERENCE), {}
    for column in release.schema.columns:
        if column.name in sample and not (values := sample[column.name].dropna()).empty:
            columns[column.name] = of_numbers(values) if pd.api.types.is_numeric_dtype(values) else of_levels(values)
    table = release.card["data"]["table"]
    return {"release": release.version, "table": table, "customers": len(sample), "columns": columns}


def of_numbers(values: pd.Series) -> dict[str, Any]:
    numbers = values.astype("float64")
    return {
        "quantiles": [float(f"{value:.6g}") for value in np.quantile(numbers, GRID, method="inverted_cdf")],
        "deviation": float(f"{numbers.std(ddof=0):.6g}"),
    }


def of_levels(values: pd.Series) -> dict[str, Any]:
    shares = values.astype("str").value_counts(normalize=True).to_dict()
    commonest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:LEVELS]
    return {"shares": {level: round(share, 6) for level, share in commonest}}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m churn.reference", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="the release's folder")
    given = parser.parse_args()
    if not (where := read_section("validate").get("reference")):
        raise InputError("params.yaml names no file as validate.reference; add it: schemas/reference.json")
    path, content = Path(where), reference_of(open_release(given.bundle))
    columns = ",\n".join(f"    {json.dumps(name)}: {json.dumps(made)}" for name, made in content.pop("columns").items())
    facts = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in content.items())
    write_text(path, f'{{\n{facts}  "columns": {{\n{columns}\n  }}\n}}\n')  # a line each: a diff shows which changed
    log.info(
        "wrote %s: %d customers of %s, release %s", path, content["customers"], content["table"], content["release"]
    )


if __name__ == "__main__":
    run(main, "reference")
