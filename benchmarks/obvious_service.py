"""The baseline of how a model is usually served: the pickled pipeline on a pandas frame of one row, nothing logged.

RELEASE=models/release uvicorn benchmarks.obvious_service:app
"""

import os
from pathlib import Path

import pandas as pd
from fastapi import FastAPI

from churn.customer_model import customer_model
from churn.model import load_model
from churn.release import PIPELINE, open_release
from serve.payloads import Prediction

release = open_release(Path(os.environ["RELEASE"]))
model = load_model(release.folder / PIPELINE)
threshold = release.card["threshold"]["value"]
types = {column.name: "float64" for column in release.schema.columns if column.type == "number"}
Customer = customer_model(release.schema, release.golden()[0]["customer"])
app = FastAPI()


@app.post("/predict")
async def predict(customer: Customer) -> Prediction:  # type: ignore[valid-type]
    p = float(model.predict_proba(pd.DataFrame([customer])[list(model.feature_names_in_)].astype(types))[0, 1])
    return {
        "customer_id": customer["customer_id"],
        "churn_probability": p,
        "prediction": "churn" if p >= threshold else "no_churn",
        "confidence": max(p, 1 - p),
        "threshold": threshold,
        "model_version": release.version,
        "arm": "champion",
        "request_id": "0000000000000000",
        "warnings": [],
    }
