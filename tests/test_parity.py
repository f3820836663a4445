"""The pickled pipeline and the service say the same of the same customers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from churn.customers import records
from churn.model import load_model


def test_the_service_says_what_the_pickled_pipeline_says(project: Path, released: Path, client: Any) -> None:
    card = client.app.state.service.live.champion.release.card
    threshold = card["threshold"]["value"]
    model = load_model(released / "model.joblib")
    rows = pd.read_parquet(project / "data/test.parquet").head(50)[list(model.feature_names_in_)]
    p = model.predict_proba(rows)[:, 1]
    assert len(set(p >= threshold)) == 2

    customers = records(rows)
    alone = [client.post("/predict", json=customer).json() for customer in customers]
    batch = client.post("/predict/batch", json={"customers": customers}).json()["predictions"]
    for found in (alone, batch):
        np.testing.assert_allclose([answer["churn_probability"] for answer in found], p, rtol=0, atol=1e-6)
        assert [answer["prediction"] == "churn" for answer in found] == (p >= threshold).tolist()
        assert {answer["threshold"] for answer in found} == {threshold}
        assert {answer["model_version"] for answer in found} == {card["model_version"]}
