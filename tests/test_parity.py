"""The pickled pipeline and the service say the same of the same customers."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from starlette.testclient import TestClient

from churn.customers import records
from churn.model import load_model
from churn.release import open_release
from churn.table import customers, named
from serve.score.__main__ import main as score
from tests.conftest import ROOT, with_knobs

EXACT = 1e-6


def test_the_service_says_what_the_pickled_pipeline_says(project: Path, released: Path, client: Any) -> None:
    release = client.app.state.service.live.champion.release
    threshold = release.card["threshold"]["value"]
    model = load_model(released / "model.joblib")
    rows = pd.read_parquet(project / "data/test.parquet").head(50)[list(model.feature_names_in_)]
    p = model.predict_proba(rows)[:, 1]
    assert len(set(p >= threshold)) == 2
    for found in answers(client, records(rows, release.schema)):
        np.testing.assert_allclose([answer["churn_probability"] for answer in found], p, rtol=0, atol=EXACT)
        assert [answer["prediction"] == "churn" for answer in found] == (p >= threshold).tolist()
        assert {answer["threshold"] for answer in found} == {threshold}
        assert {answer["model_version"] for answer in found} == {release.version}


def answers(client: TestClient, customers: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """One by one, and in a batch."""
    yield [client.post("/predict", json=customer).json() for customer in customers]
    yield client.post("/predict/batch", json={"customers": customers}).json()["predictions"]


# a table as people have them

SCHEMA: dict[str, Any] = {
    "id": {"name": "customer_id", "source": "Kundennummer", "repeats": True},
    "target": {"name": "churned", "source": "Status", "positive": "gekündigt", "negative": "aktiv"},
    "as_of": "2024-06-30",
    "missing": ["", "k. A."],
    "leave_out": [{"source": "Status", "values": ["", "neu"], "why": "no outcome yet"}],
    "columns": [
        {"name": "charge", "source": "Betrag", "type": "number", "decimal": ",", "thousands": ".", "strip": ["€"]},
        {"name": "joined", "source": "Kunde seit", "type": "date", "format": "%d.%m.%Y", "nullable": True},
        {"name": "contract_end", "source": "Vertragsende", "type": "date"},
        {"name": "city", "source": "Ort", "type": "category", "max_levels": 20},
        {
            "name": "device", "source": "Gerät", "type": "category", "nullable": True,
            "merge": {"Mobile Phone": ["Phone", "Mobile phone"]},
        },
        {"name": "premium", "source": "Premium", "type": "boolean", "positive": "ja", "negative": "nein"},
    ],
}  # fmt: skip


def table(n: int = 700, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    charge, days, left = rng.lognormal(6, 1.5, n), rng.integers(1, 3000, n), rng.integers(-100, 700, n)
    city, device = rng.zipf(1.4, n) % 150, rng.choice(["Phone", "Mobile phone", "Mobile Phone", "Tablet", "k. A."], n)
    odds = 0.6 * (np.log(charge) - 6) - days / 800 + (city % 3 == 0) + (left < 100) - 0.5
    status = np.where(rng.random(n) < 1 / (1 + np.exp(-odds)), "gekündigt", "aktiv").astype(object)
    status[:30], status[30:50] = "neu", ""
    day = pd.Timestamp("2024-06-30")
    return pd.DataFrame(
        {
            "Kundennummer": [f"K{i // 2}" for i in range(n)],
            "Betrag": [f"{x:,.2f} €".translate(str.maketrans(",.", ".,")) for x in charge],
            "Kunde seit": [(day - pd.Timedelta(days=int(d))).strftime("%d.%m.%Y") if d % 9 else "" for d in days],
            "Vertragsende": [(day + pd.Timedelta(days=int(d))).strftime("%Y-%m-%d") for d in left],
            "Ort": [f"Ort {i}" for i in city],
            "Gerät": device,
            "Premium": rng.choice(["ja", "nein"], n),
            "Status": status,
        }
    )


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, TestClient]]:
    """The folder of a pipeline that ran on such a table, and a client of a service with its release."""
    from serve.app import create_app
    from serve.releases.store import Store
    from stages import deploy, evaluate, featurize, load, preprocess, select, train, validate

    folder = tmp_path_factory.mktemp("people")
    knobs = {
        "data.path": "people.csv", "data.schema": "people.yaml", "data.options": {"sep": ";"}, "train.folds": 3,
        "validate.reference": None,
        "evaluate.slices": ["device"], "evaluate.resamples": 100, "deploy.reference": 100, "select.ensemble": "always",
    }  # fmt: skip
    params = with_knobs(yaml.safe_load((ROOT / "params.yaml").read_text()), knobs)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        Path("people.yaml").write_text(json.dumps(SCHEMA))
        table().to_csv("people.csv", sep=";", index=False)
        for stage in (load, validate, preprocess, featurize):
            stage.main()
        for name in params["train"]["models"]:
            train.main(name)
        for stage in (select, evaluate, deploy):
            stage.main()
        for name in ("CHURN_LOG_URL", "CHURN_API_KEYS", "CHURN_ADMIN_KEY"):
            patch.delenv(name, raising=False)
        store = Store(folder / "releases")
        store.promote(store.add(Path("models/release"), "test"), "test")
        patch.setenv("CHURN_RELEASES", str(store.where))
        with TestClient(create_app(), raise_server_exceptions=False) as client:
            yield folder, client


def test_rows_without_an_outcome_are_left_out_and_counted(people: tuple[Path, TestClient]) -> None:
    folder, _ = people
    counts = json.loads((folder / "metrics/load.json").read_text())
    assert counts == {"rows_read": 700, "rows": 650, "left_out_no_outcome_yet": 50}


def test_every_kind_of_column_is_scored_as_in_training(people: tuple[Path, TestClient]) -> None:
    folder, client = people
    release = open_release(folder / "models/release")
    model = load_model(folder / "models/release/model.joblib")
    test = pd.read_parquet(folder / "data/test.parquet")
    sent = records(test, release.schema)
    assert sent[0]["as_of"] == "2024-06-30"
    assert {customer["device"] for customer in sent} == {"Mobile Phone", "Tablet", None}
    assert set(sent[0]) == {"charge", "joined", "contract_end", "city", "device", "premium", "as_of"}
    p = model.predict_proba(test[list(model.feature_names_in_)])[:, 1]
    assert len(p) > 100
    assert np.ptp(p) > 0.3
    for found in answers(client, sent):
        np.testing.assert_allclose([answer["churn_probability"] for answer in found], p, rtol=0, atol=EXACT)


def test_the_table_that_people_train_on_is_scored_as_it_is(people: tuple[Path, TestClient], tmp_path: Path) -> None:
    folder, client = people
    assert score([str(folder / "people.csv"), str(tmp_path / "out"), "--separator", ";", "--as-of", "2024-06-30"]) == 0
    scored = pd.concat(map(pd.read_parquet, sorted((tmp_path / "out").glob("part-*.parquet"))), ignore_index=True)
    assert scored["customer_id"].tolist() == table()["Kundennummer"].tolist()
    release = open_release(folder / "models/release")
    typed = customers(named(table(), release.schema), release.schema)
    sent = records(typed, release.schema)
    for found in answers(client, sent):
        for key in ("prediction", "threshold", "model_version"):
            assert scored[key].tolist() == [answer[key] for answer in found]
        p = [answer["churn_probability"] for answer in found]
        np.testing.assert_allclose(scored["churn_probability"], p, rtol=0, atol=EXACT)


def test_a_word_that_is_merged_scores_as_what_it_means_and_dates_count_from_the_day(
    people: tuple[Path, TestClient],
) -> None:
    folder, client = people
    customer = open_release(folder / "models/release").golden()[0]["customer"] | {"device": "Mobile Phone"}
    later = {"as_of": "2024-07-30", "joined": "2023-01-30", "contract_end": "2024-09-29"}
    sooner = {"as_of": "2024-06-30", "joined": "2022-12-31", "contract_end": "2024-08-30"}
    sent = [customer | sooner, customer | sooner | {"device": "Phone"}, customer | later]
    for found in answers(client, sent):
        assert len({answer["churn_probability"] for answer in found}) == 1
        assert found[0]["warnings"] == found[1]["warnings"] == []


def test_a_customer_without_a_day_is_described_as_of_today_and_logged_so(people: tuple[Path, TestClient]) -> None:
    folder, client = people
    customer = dict(open_release(folder / "models/release").golden()[0]["customer"])
    del customer["as_of"]
    before = pd.Timestamp.now("UTC").date().isoformat()
    request_id = client.post("/predict", json=customer).json()["request_id"]
    with contextlib.closing(sqlite3.connect(folder / "releases/log.db")) as log:
        (features,) = log.execute("SELECT features FROM predictions WHERE request_id = ?", [request_id]).fetchone()
    assert before <= json.loads(features)["as_of"] <= pd.Timestamp.now("UTC").date().isoformat()


def test_a_date_is_explained_as_the_date_it_is(people: tuple[Path, TestClient]) -> None:
    folder, client = people
    customer = open_release(folder / "models/release").golden()[0]["customer"]
    answer = client.post("/explain", json=customer).json()
    shares = {part["feature"]: part for part in answer["contributions"]}
    assert set(shares) == set(customer) - {"as_of"}
    assert shares["contract_end"]["value"] == customer["contract_end"]
    total = sum(part["contribution"] for part in answer["contributions"])
    assert answer["base_probability"] + total == pytest.approx(answer["churn_probability"])


@pytest.mark.parametrize("value", ["31.12.2020", "2020-02-30", "", 20201231, "2020-12-31T10:00"])
def test_a_date_of_another_form_is_refused(value: Any, people: tuple[Path, TestClient]) -> None:
    folder, client = people
    customer = open_release(folder / "models/release").golden()[0]["customer"]
    answer = client.post("/predict", json=customer | {"joined": value})
    assert answer.status_code == 422
    assert "joined" in answer.text
