"""The baseline of what FastAPI itself costs: the service's request and response models, and nothing between them.

RELEASE=models/release uvicorn benchmarks.empty_route:app
"""

import os
from pathlib import Path

from fastapi import FastAPI

from churn.customer_model import customer_model
from churn.release import open_release
from serve.payloads import Prediction

release = open_release(Path(os.environ["RELEASE"]))
Customer = customer_model(release.schema, release.golden()[0]["customer"])
app = FastAPI()


@app.post("/predict")
async def predict(customer: Customer) -> Prediction:  # type: ignore[valid-type]
    return {
        "customer_id": customer["customer_id"],  # type: ignore[index]
        "churn_probability": 0.25,
        "prediction": "no_churn",
        "confidence": 0.75,
        "threshold": 0.5,
        "model_version": release.version,
        "arm": "champion",
        "request_id": "0000000000000000",
        "warnings": [],
    }
