"""Scored files in the prediction log: what the service would have logged, each customer exactly once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import Connection, Engine, select

from churn.schema import TARGET
from churn.script import InputError
from serve.log.database import connect
from serve.log.tables import IS_ANSWER, predictions
from serve.releases.store import Store
from serve.score import log as module
from serve.score.__main__ import main


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = connect(url)
    yield made
    made.dispose()


@pytest.fixture
def table(project: Path, tmp_path: Path) -> Path:
    frame = pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)
    frame.loc[7, "tenure"] = -1.0
    parquet.write_table(pa.Table.from_pandas(frame), tmp_path / "customers.parquet")
    return tmp_path / "customers.parquet"


@pytest.fixture
def score(released: Path, table: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Run the command with --log in this process, in groups of 10 rows; the exit status."""
    monkeypatch.setattr(module, "GROUP", {"sqlite": 10, "postgresql": 10})
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "releases"))
    monkeypatch.setenv("CHURN_LOG_URL", url)
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    return lambda: main([str(table), str(tmp_path / "out"), "--processes", "1", "--log"])


def logged(engine: Engine) -> pd.DataFrame:
    with engine.connect() as connection:
        return pd.DataFrame(
            connection.execute(select(predictions).where(IS_ANSWER).order_by(predictions.c.id)).mappings()
        )


def test_the_log_holds_what_the_service_logs_of_the_same_customers(
    score: Callable[[], int], table: Path, engine: Engine, client: Any
) -> None:
    score()
    found, frame = logged(engine), pd.read_parquet(table).drop(index=7)
    assert found["customer_id"].tolist() == frame["customer_id"].tolist()
    assert found["request_id"].nunique() == found["at"].nunique() == 1
    customers = json.loads(frame.to_json(orient="records"))
    request_id = client.post("/predict/batch", json={"customers": customers}).json()["predictions"][0]["request_id"]
    with client.app.state.service.log.engine.connect() as connection:
        first = connection.execute(select(predictions).where(predictions.c.request_id == request_id)).mappings().one()
    same = ("customer_id", "features", "prediction", "threshold", "model_version", "arm")
    assert {key: found[key].iloc[0] for key in same} == {key: first[key] for key in same}
    assert found["churn_probability"].iloc[0] == pytest.approx(first["churn_probability"], abs=1e-6)


def test_a_run_that_ended_in_the_middle_goes_on_where_it_was(
    score: Callable[[], int], table: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, groups = module.insert, []

    def fails_once(connection: Connection, rows: Any) -> None:
        groups.append(len(rows))
        insert(connection, rows)
        if len(groups) == 4:
            raise TimeoutError("the disk is full")

    monkeypatch.setattr(module, "insert", fails_once)
    with pytest.raises(InputError, match=r"the log's database: .*run the same command again: what is finished stays"):
        score()
    assert len(logged(engine)) == 30
    assert score() == 0
    assert score() == 0
    found, frame = logged(engine), pd.read_parquet(table).drop(index=7)
    assert found["customer_id"].tolist() == frame["customer_id"].tolist()
    assert found["at"].nunique() == 1


def test_two_runs_of_one_input_at_once_log_each_customer_once(
    score: Callable[[], int], table: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of, words = module.rows_of, [str(table), str(tmp_path / "other"), "--processes", "1", "--log"]
    other = Thread(target=main, args=[words])

    def after_another_began(*arguments: Any) -> Iterator[Any]:
        if not other.ident:
            other.start()
            other.join(1)  # as far as it gets
        return rows_of(*arguments)

    monkeypatch.setattr(module, "rows_of", after_another_began)
    assert score() == 0
    other.join()
    found, frame = logged(engine), pd.read_parquet(table).drop(index=7)
    assert found["customer_id"].tolist() == frame["customer_id"].tolist()
