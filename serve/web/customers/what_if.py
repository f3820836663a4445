"""What the service would answer for a customer, without an answer being given: nothing is logged or counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from churn.customer_model import customer_model
from churn.schema import ID
from serve.http.application import Application
from serve.http.json_route import JSONRoute
from serve.http.routes import POSTED
from serve.predict.answers import prediction
from serve.predict.live import LiveModels, Model
from serve.predict.service import Service
from serve.web.charts import Bar, bars

SHOWN = 10  # reasons with a bar


@dataclass(frozen=True)
class Reason:
    """What one value has to do with the probability."""

    feature: str
    value: str | float | bool | None
    contribution: float  # a difference of probability


@dataclass(frozen=True)
class Answer:
    """As /predict and /explain have it."""

    churn_probability: float
    prediction: str
    threshold: float
    model_version: str
    base_probability: float
    contributions: list[Reason]
    reasons: list[str]
    warnings: list[str]

    @property
    def bar(self) -> Bar:
        (drawn,) = bars([self.churn_probability], self.threshold, 1.0)
        return drawn

    @property
    def rows(self) -> list[tuple[Reason, Bar]]:
        """The largest contributions, each with its bar."""
        largest = self.contributions[:SHOWN]
        return list(zip(largest, bars([reason.contribution for reason in largest]), strict=True))


def model_for(live: LiveModels, customer_id: str) -> Model:
    """Who answers this customer; the champion where it has no id."""
    return live.model_for(customer_id or None)


def answer(customer: Mapping[str, Any], model: Model) -> Answer:
    """Of a customer that was checked; the same number as /predict gives, bit for bit."""
    (p,) = model.scorer.probabilities([customer]).tolist()
    predicted = prediction({ID: None, **customer}, "", p, model, Counter())
    explained = model.explainer.explain(customer)
    return Answer(
        p,
        predicted["prediction"],
        model.threshold,
        model.version,
        explained["base_probability"],
        [Reason(**contribution) for contribution in explained["contributions"]],
        explained["reasons"],
        predicted["warnings"],
    )


def add_what_if(app: Application, service: Service) -> None:
    """POST /what-if, typed by the champion's schema; `add_customer_routes` takes away the one for another schema."""
    release = service.live.champion.release
    Customer = customer_model(release.schema, release.golden()[0]["customer"])

    async def what_if(customer: Customer, request: Request) -> Answer:  # type: ignore[valid-type]
        """As /predict and /explain answer, but nothing is logged: this is no prediction."""
        values: Mapping[str, Any] = customer
        return await run_in_threadpool(answer, values, model_for(service.live, values[ID] or ""))

    documented: dict[str, Any] = {"response_model": Answer, "responses": POSTED, "summary": "What would the answer be?"}
    app.router.routes.append(JSONRoute("/what-if", what_if, methods=["POST"], tags=["customers"], **documented))
