"""The pickled pipeline and the service say the same of the same customers."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from churn.model import load_model
from serve.app import create_app, lifespan
from serve.releases import Store
from stages.deploy import records


async def answers(customers: list[dict[str, Any]]) -> tuple[list[Any], dict[str, Any]]:
    """POST /predict for each customer and POST /predict/batch for all of them, in a service that started."""
    app = create_app()
    async with lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://churn") as client:
        alone = [await client.post("/predict", json=customer) for customer in customers]
        batch = await client.post("/predict/batch", json={"customers": customers})
    return [answer.raise_for_status().json() for answer in alone], batch.raise_for_status().json()


def test_the_service_says_what_the_pickled_pipeline_says(
    project: Path, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("CHURN_")]:
        monkeypatch.delenv(name)
    store = Store(tmp_path)
    store.promote(store.add(released))
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path))
    card = json.loads((released / "card.json").read_text())
    threshold = card["threshold"]["value"]
    rows = pd.read_parquet(project / "data/test.parquet").head(50)
    model = load_model(released / "model.joblib")
    customers = rows[list(model.feature_names_in_)]
    p = model.predict_proba(customers)[:, 1]
    assert len(p) == 50
    assert len(set(p >= threshold)) == 2

    alone, batch = asyncio.run(answers(records(customers)))
    for found in (alone, batch["predictions"]):
        np.testing.assert_allclose([answer["churn_probability"] for answer in found], p, rtol=0, atol=1e-6)
        assert [answer["prediction"] == "churn" for answer in found] == (p >= threshold).tolist()
        assert {answer["threshold"] for answer in found} == {threshold}
        assert {answer["model_version"] for answer in found} == {card["model_version"]}
