"""The service: `uvicorn serve.app:app`. Routes hold no maths and no paths; the release is opened at the start."""

import gc
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from churn.release import Release
from churn.scorer import Scorer
from serve import jsonlog, metrics
from serve.docs import add_docs
from serve.door import Call, Door, Refused, Rules, asks_for_key
from serve.explain import Explainer
from serve.json_route import JSONRoute
from serve.limits import ApiKeys, RateLimit
from serve.log import LogDown, LogFull, PredictionLog
from serve.messages import (
    Explanation,
    Feedback,
    Health,
    Mistakes,
    Prediction,
    Predictions,
    Readiness,
    Receipt,
    Refusal,
    batch_model,
    customer_model,
)
from serve.predictor import Busy, Model, Predictor
from serve.releases import Store
from serve.settings import read_settings
from serve.spool import Spool

log = logging.getLogger("serve")

RETRY = 5.0  # seconds, when the log takes no rows

REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "No valid API key"},
    429: {"model": Refusal, "description": "Too many requests; see Retry-After"},
}
POSTED: dict[int | str, dict[str, Any]] = {
    **REFUSALS,
    413: {"model": Refusal, "description": "The body is too large"},
    415: {"model": Refusal, "description": "The body is not declared as JSON"},
    422: {"model": Mistakes, "description": "The body is not JSON, or fields are wrong; they are named"},
    503: {"model": Refusal, "description": "The prediction can't be logged now; see Retry-After"},
}


class Churn(FastAPI):
    """FastAPI behind the door."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.lane: dict[tuple[str, str], APIRoute] = {}

    def build_middleware_stack(self) -> ASGIApp:
        outermost: Any = super().build_middleware_stack()  # would answer an error in plain text before the door sees it
        return Door(outermost.app, self.lane, self.state)

    def openapi(self) -> dict[str, Any]:
        """What /docs shows; where keys are asked for, it has a place to give one."""
        document = super().openapi()
        if self.state.rules.keys:
            scheme = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            document["components"]["securitySchemes"] = {"ApiKey": scheme}
            for path, operations in document["paths"].items():
                if asks_for_key(path):
                    for operation in operations.values():
                        operation["security"] = [{"ApiKey": []}]
        return document


class Service:
    """What the lifespan opens and the routes use."""

    def __init__(self) -> None:
        settings = read_settings()
        self.rules = Rules(
            ApiKeys(settings.api_keys),
            RateLimit(settings.rate_limit, metrics.FOLDER) if settings.rate_limit else None,
            settings.max_body,
        )
        self.model = Model(Scorer.open(Store(settings.releases).champion()), "champion")
        self.explainer = Explainer(self.model.scorer)
        self.log = PredictionLog(settings.log, Spool(settings.spool_path, settings.spool_max))
        self.predictor = Predictor(self.log)

    @property
    def release(self) -> Release:
        return self.model.scorer.release

    async def predict(
        self, customers: Sequence[Mapping[str, Any]], request_ids: Sequence[str], call: Call
    ) -> list[Prediction]:
        call.model_version, call.arm = self.model.version, self.model.arm
        try:
            return await self.predictor.predict(customers, request_ids, self.model, call.arrived)
        except LogFull:
            raise Refused(503, "log_full", "predictions can't be logged now, so none is made", RETRY) from None
        except Busy:
            raise Refused(503, "busy", "too many customers are in line", 1) from None


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    service = Service()
    app.state.service, app.state.rules = service, service.rules
    add_routes(app, service)
    service.log.open()
    metrics.model.labels(service.model.version, service.model.arm).set(1)
    metrics.begin(service.model.arm, service.model.levels, service.model.nullable)
    card = service.release.card
    log.info("ready", extra={"fields": {"release": {k: card[k] for k in ("model_version", "model", "threshold")}}})
    gc.collect()
    gc.freeze()  # what is loaded stays: no collection looks at it again
    yield
    service.log.close()


def add_routes(app: Churn, service: Service) -> None:
    """The routes; those that take customers are typed by the release's schema."""
    example = service.release.golden()[0]["customer"]
    Customer = customer_model(service.release.schema, example)
    Batch = batch_model(Customer)

    async def predict(customer: Customer, request: Request) -> Prediction:  # type: ignore[valid-type]
        """The probability that one customer leaves."""
        call = request.scope["call"]
        (answer,) = await service.predict([customer], [call.request_id], call)
        return answer

    async def predict_batch(batch: Batch, request: Request) -> Predictions:  # type: ignore[valid-type]
        """The same for up to 10,000 customers, in order; their request ids are numbered."""
        call = request.scope["call"]
        ids = [f"{call.request_id}-{i}" for i in range(len(batch["customers"]))]  # type: ignore[index]
        return {"predictions": await service.predict(batch["customers"], ids, call)}  # type: ignore[index]

    async def explain(customer: Customer, request: Request) -> Explanation:  # type: ignore[valid-type]
        """The prediction, and what each of the customer's values has to do with it."""
        call = request.scope["call"]
        (answer,) = await service.predict([customer], [call.request_id], call)
        found = await run_in_threadpool(service.explainer.explain, customer)
        return {**answer, **found}  # type: ignore[typeddict-item]

    async def feedback(given: Feedback, request: Request) -> Receipt:
        """What became of customers, by customer_id or request_id. Sending the same twice changes nothing."""
        found = [outcome.row() for outcome in given.outcomes]
        try:
            matched = await run_in_threadpool(service.log.record, found)
        except LogDown:
            raise Refused(503, "log_down", "outcomes can't be kept now; send them again", RETRY) from None
        return {"accepted": len(found), "matched": matched, "unmatched": len(found) - matched}

    for path, endpoint, answers, summary in (
        ("/predict", predict, Prediction, "Will this customer leave?"),
        ("/predict/batch", predict_batch, Predictions, "Which of these customers will leave?"),
        ("/explain", explain, Explanation, "Why this probability?"),
        ("/feedback", feedback, Receipt, "This is what became of them"),
    ):
        documented: dict[str, Any] = {"response_model": answers, "responses": POSTED, "summary": summary}
        route = JSONRoute(path, endpoint, methods=["POST"], tags=["customers"], **documented)
        app.router.routes.append(route)
        app.lane["POST", path] = route

    @app.get("/model", responses=REFUSALS, tags=["service"], summary="What answers")
    async def model() -> dict[str, Any]:
        """The card of the release that answers: scores with intervals, threshold, data hash, limits."""
        return service.release.card

    @app.get("/health", tags=["service"], summary="Is it alive?")
    async def health() -> Health:
        """The process answers."""
        return {"status": "alive"}

    @app.get(
        "/ready",
        responses={503: {"model": Readiness, "description": "Send no customers here"}},
        tags=["service"],
        summary="May customers be sent here?",
    )
    async def ready(response: Response) -> Readiness:
        """A verified release is loaded, and the log or its spool takes rows."""
        status, reason = service.log.state()
        response.status_code = 503 if status == "unready" else 200
        return {"status": status, "reason": reason, "model_version": service.model.version}

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
        tags=["service"],
        summary="Numbers for Prometheus",
    )
    def numbers() -> Response:
        """Requests, latencies, predictions, scores, unseen levels, missing values, the log; over all workers."""
        metrics.spool.set(service.log.spool.size)
        metrics.log_up.set(not service.log.problem)
        return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)


def create_app() -> Churn:
    jsonlog.configure()
    app = Churn(
        title="Churn",
        description="How likely a customer is to leave, from a verified and versioned release. "
        "A request may bring its own name in the header X-Request-ID.",
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the client named
    )
    add_docs(app)
    return app


app = create_app()
