"""All customers of IBM's table get over HTTP what the offline pipeline says, one by one and in batches."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.model import load_model
from churn.read_table import read_table
from churn.release import PIPELINE
from churn.schema import Schema, read_schema
from churn.table import customers, named
from tests.e2e.conftest import TELCO, command
from tests.e2e.servers import Load, Service

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not TELCO.is_file(), reason=f"{TELCO} is missing")]

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def bundle(clone: Path) -> Path:
    """A release trained on the table."""
    command(clone, "dvc", "exp", "run", "-S", f"data.path={TELCO.resolve()}", timeout=600)
    return clone / "models/release"


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service"), bundle) as running:
        yield running


@pytest.fixture(scope="module")
def schema(bundle: Path) -> Schema:
    return read_schema(bundle / "schema.yaml")


@pytest.fixture(scope="module")
def table(schema: Schema) -> pd.DataFrame:
    """The customers, some with values that are missing or levels that training never saw."""
    frame = customers(named(read_table(TELCO, {}), schema), schema)[[column.name for column in schema.columns]]
    chance = np.random.default_rng(42)
    for column in schema.columns:
        touched = chance.random(len(frame)) < 0.03
        if column.nullable:
            frame.loc[touched, column.name] = None
        elif column.type == "category":
            frame.loc[touched, column.name] = "a level never seen"
    assert len(frame) == 7043
    assert frame["total_charges"].isna().sum() > 200
    assert (frame["contract"] == "a level never seen").sum() > 150
    return frame


@pytest.fixture(scope="module")
def expected(bundle: Path, table: pd.DataFrame) -> np.ndarray:
    p: np.ndarray = load_model(bundle / PIPELINE).predict_proba(table)[:, 1]
    return p


@pytest.fixture(scope="module")
def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return found


def test_in_batches(service: Service, records: list[dict[str, Any]], expected: np.ndarray) -> None:
    answers: list[Any] = []
    for start in range(0, len(records), 3000):
        status, _, said = service.post("/predict/batch", {"customers": records[start : start + 3000]})
        assert status == 200
        answers += said["predictions"]
    p = np.array([answer["churn_probability"] for answer in answers])
    np.testing.assert_allclose(p, expected, rtol=0, atol=TOLERANCE)
    unseen = ["contract" in " ".join(answer["warnings"]) for answer in answers]
    assert unseen == [record["contract"] == "a level never seen" for record in records]


def test_one_by_one(service: Service, records: list[dict[str, Any]], expected: np.ndarray) -> None:
    load = Load(service.port, [{"customer_id": f"c-{i}", **record} for i, record in enumerate(records)])
    asyncio.run(load.run(requests=len(records)))
    assert list(load.answered.values()) == [200] * len(records)
    p = {answer["customer_id"]: answer["churn_probability"] for answer in load.answers.values()}
    np.testing.assert_allclose([p[f"c-{i}"] for i in range(len(records))], expected, rtol=0, atol=TOLERANCE)
