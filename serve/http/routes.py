"""The routes, which translate exceptions into refusals; those for customers are typed by the champion's schema."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from churn.customer_model import customer_model
from serve.http import admin, model_card
from serve.http.application import Application
from serve.http.json_route import JSONRoute, body_error
from serve.http.middleware import ADMIN, Refused, Rules
from serve.log.prediction_log import LogDown, LogFull
from serve.log.refused import ReportsRefused
from serve.payloads import (
    Contacts,
    ContactsReceipt,
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
)
from serve.predict.batching import Busy, RowRefused
from serve.predict.live import LiveModels
from serve.predict.service import Service
from serve.telemetry import metrics
from serve.telemetry.call import Call

RETRY_SECONDS = 5.0  # that a client waits while the log accepts no rows

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


def add_customer_routes(app: Application, service: Service) -> None:
    """Add the routes typed by the champion's schema, in place of those for another schema."""
    release = service.live.champion.release
    Customer = customer_model(release.schema, release.golden()[0]["customer"])
    Batch = batch_model(Customer)

    async def predicted(customers: Sequence[Any], ids: Sequence[str], call: Call, live: LiveModels) -> list[Prediction]:
        try:
            return await service.predict(customers, ids, call, live)
        except LogFull:
            raise Refused(503, "log_full", "predictions can't be logged now, so none is made", RETRY_SECONDS) from None
        except Busy:
            raise Refused(503, "busy", "too many customers are waiting", 1) from None
        except RowRefused as error:
            words = f"the prediction log's database takes no row of this customer (request id {error.request_id})"
            raise body_error("not_logged", words) from None

    async def predict(customer: Customer, request: Request) -> Prediction:  # type: ignore[valid-type]
        """The probability that one customer leaves."""
        call = request.scope["call"]
        (answer,) = await predicted([customer], [call.request_id], call, service.live)
        return answer

    async def predict_batch(batch: Batch, request: Request) -> Predictions:  # type: ignore[valid-type]
        """The same for up to 10,000 customers, in order; their request ids are numbered."""
        call = request.scope["call"]
        ids = [f"{call.request_id}-{i}" for i in range(len(batch["customers"]))]  # type: ignore[index]
        customers = batch["customers"]  # type: ignore[index]
        return {"predictions": await predicted(customers, ids, call, service.live)}

    async def explain(customer: Customer, request: Request) -> Explanation:  # type: ignore[valid-type]
        """The prediction, and what each of the customer's values has to do with it."""
        call, live = request.scope["call"], service.live
        (answer,) = await predicted([customer], [call.request_id], call, live)
        (model,) = (model for model in live.models if model.arm == answer["arm"])
        explanation = await run_in_threadpool(model.explainer.explain, customer)
        return {**answer, **explanation}  # type: ignore[typeddict-item]

    async def feedback(sent: Feedback, request: Request) -> Receipt:
        """What became of customers, by customer_id or request_id. Sending the same twice changes nothing."""
        rows = [outcome.row() for outcome in sent.outcomes]
        try:
            matched = await run_in_threadpool(service.log.record, rows)
        except ReportsRefused as error:
            words = "the prediction log's database takes no such outcome; the others are kept"
            raise body_error("not_logged", words, *(("outcomes", place) for place in error.places)) from None
        except LogDown:
            raise Refused(503, "log_down", "outcomes can't be kept now; send them again", RETRY_SECONDS) from None
        return {"accepted": len(rows), "matched": matched, "unmatched": len(rows) - matched}

    async def contacts(sent: Contacts, request: Request) -> ContactsReceipt:
        """Who was made an offer, and who was held back as control. Sending the same twice changes nothing."""
        rows = [vars(contact) for contact in sent.contacts]
        try:
            await run_in_threadpool(service.log.record_contacts, rows)
        except ReportsRefused as error:
            words = "the prediction log's database takes no such contact; the others are kept"
            raise body_error("not_logged", words, *(("contacts", place) for place in error.places)) from None
        except LogDown:
            raise Refused(503, "log_down", "contacts can't be kept now; send them again", RETRY_SECONDS) from None
        return {"accepted": len(rows)}

    app.router.routes[:] = [route for route in app.router.routes if "customers" not in getattr(route, "tags", ())]
    for path, endpoint, answers, summary in (
        ("/predict", predict, Prediction, "Will this customer leave?"),
        ("/predict/batch", predict_batch, Predictions, "Which of these customers will leave?"),
        ("/explain", explain, Explanation, "Why this probability?"),
        ("/feedback", feedback, Receipt, "This is what became of them"),
        ("/contacts", contacts, ContactsReceipt, "These were made an offer, or held back as control"),
    ):
        documented: dict[str, Any] = {"response_model": answers, "responses": POSTED, "summary": summary}
        route = JSONRoute(path, endpoint, methods=["POST"], tags=["customers"], **documented)
        app.router.routes.append(route)
        app.fast_routes["POST", path] = route
    app.openapi_schema = None  # built anew for /docs


def add_routes(app: Application, service: Service, rules: Rules) -> None:
    """Add the routes that do not depend on a release."""
    for route in admin.routes(service.store, service.log_url):
        if route.path.startswith(ADMIN) and not rules.admin:
            continue  # the middleware refuses them with a reason
        app.router.routes.append(route)
        if isinstance(route, JSONRoute):
            app.fast_routes["POST", route.path] = route

    @app.get(
        "/model",
        response_model=dict[str, Any],
        responses={**REFUSALS, 200: {"content": {"text/html": {}}}},
        tags=["service"],
        summary="What answers",
    )
    async def model(request: Request) -> Response:
        """The card of the release that answers: scores with intervals, threshold, data hash, limits. A page where the
        Accept header prefers text/html."""
        return model_card.answer(request, service.live.champion.release)

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
        if problem := service.live.problem:
            status, reason = ("degraded" if status == "ready" else status), "; ".join(filter(None, (reason, problem)))
        response.status_code = 503 if status == "unready" else 200
        return {"status": status, "reason": reason, "model_version": service.live.champion.version}

    for path, endpoint in (("/health", health), ("/ready", ready)):  # load balancers ask so
        app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
        tags=["service"],
        summary="Numbers for Prometheus",
    )
    def numbers() -> Response:
        """Requests, latencies, predictions, scores, unseen levels, missing values, the log; over all workers. What the
        last check of production found."""
        metrics.check_collector.check = service.log.check
        metrics.spool.set(service.log.spool.size)
        metrics.spool_limit.set(service.log.spool.limit)
        metrics.log_up.set(not service.log.problem)
        return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)
