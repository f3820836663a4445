"""The service: `uvicorn serve.app:app`. Routes hold no maths and no paths; the store of releases is followed."""

import asyncio
import gc
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from serve.http import admin
from serve.http.docs import add_docs
from serve.http.json_route import JSONRoute
from serve.http.middleware import ADMIN, Call, Door, Refused, Rules, asks_for_key
from serve.http.rate_limit import ApiKeys, RateLimit
from serve.log.spool import Spool
from serve.log.tables import Row
from serve.log.writer import LogDown, LogFull, PredictionLog
from serve.payloads import (
    ID,
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
from serve.predict.batching import GROUP, Busy, Predictor
from serve.predict.live import POLL, Follower, Lineup, Model
from serve.predict.shadow import Shadow
from serve.releases.store import Store
from serve.settings import read_settings
from serve.telemetry import logs as jsonlog
from serve.telemetry import metrics

log = logging.getLogger("serve")

RETRY = 5.0  # seconds, when the log takes no rows or the store can't be read
ERRORS = 3  # requests that a challenger may fail in one worker
SWITCH = 0.0005  # seconds that a thread keeps the interpreter from the event loop, ten times less than usual
IDLE = 2.0  # seconds that the end of the service waits for the last rows of the shadow

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
        if self.state.rules.keys or self.state.rules.admin:
            scheme = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            document["components"]["securitySchemes"] = {"ApiKey": scheme}
            for path, operations in document["paths"].items():
                if path.startswith(ADMIN) or (self.state.rules.keys and asks_for_key(path)):
                    for operation in operations.values():
                        operation["security"] = [{"ApiKey": []}]
        return document


class Service:
    """What the lifespan opens and the routes use."""

    def __init__(self, app: Churn) -> None:
        settings = read_settings()
        self.app = app
        self.rules = Rules(
            ApiKeys(settings.api_keys),
            ApiKeys((settings.admin_key,) if settings.admin_key else ()),
            RateLimit(settings.rate_limit, metrics.FOLDER) if settings.rate_limit else None,
            settings.max_body,
        )
        self.store = Store(settings.releases)
        self.follower = Follower(self.store)
        self.lineup = self.follower.lineup
        self.log_url = settings.log
        self.log = PredictionLog(settings.log, Spool(settings.spool_path, settings.spool_max))
        self.predictor = Predictor(self.log)
        self._erred: Counter[str] = Counter()  # challenger -> requests that it failed

    async def follow(self) -> None:
        """Exchange the models as the store says, for as long as the service runs."""
        while True:
            await asyncio.sleep(POLL)
            try:
                if lineup := await asyncio.to_thread(self.follower.look):
                    self.exchange(lineup)
            except Exception as error:  # the store can't be read now: who answers stays
                log.error("the store of releases can't be followed: %s", error)
                await asyncio.sleep(RETRY)

    def exchange(self, lineup: Lineup) -> None:
        """From here on these answer; whoever is being answered gets what was begun."""
        before, self.lineup = self.lineup, lineup
        metrics.tell(before, lineup)
        if before.champion.release.schema != lineup.champion.release.schema:
            add_customer_routes(self.app, self)
        if before.challenger is not lineup.challenger:
            self._erred.clear()
        if before.shadow is not lineup.shadow:
            self.set_shadow(lineup.shadow)
        log.info("exchanged", extra={"fields": {"release": described(lineup)}})

    def set_shadow(self, model: Model | None) -> None:
        loop, before = asyncio.get_running_loop(), self.predictor.shadow
        keep = self.predictor.carry
        self.predictor.shadow = Shadow(model, lambda rows: hand_over(loop, keep, rows)) if model else None
        if before:
            loop.run_in_executor(None, before.close)

    async def predict(
        self, customers: Sequence[Mapping[str, Any]], request_ids: Sequence[str], call: Call, lineup: Lineup
    ) -> list[Prediction]:
        """Answers in order, each by the model of its customer's arm."""
        if len(customers) == 1 or not lineup.challenger:
            model = lineup.model(customers[0][ID])
            call.model_version, call.arm = model.version, model.arm
            return await self._predict(customers, request_ids, model, call, lineup)
        models = [lineup.model(customer[ID]) for customer in customers]
        involved = list(dict.fromkeys(models))
        call.model_version = ",".join(model.version for model in involved)
        call.arm = ",".join(model.arm for model in involved)
        answers: dict[int, Prediction] = {}
        for model in involved:
            places = [i for i, its in enumerate(models) if its is model]
            for start in range(0, len(places), GROUP):  # what is committed of a part is committed of the whole part
                some = places[start : start + GROUP]
                part = [customers[i] for i in some], [request_ids[i] for i in some]
                answers |= zip(some, await self._predict(*part, model, call, lineup), strict=True)
        return [answers[i] for i in range(len(customers))]

    async def _predict(
        self,
        customers: Sequence[Mapping[str, Any]],
        request_ids: Sequence[str],
        model: Model,
        call: Call,
        lineup: Lineup,
    ) -> list[Prediction]:
        try:
            return await self.predictor.predict(customers, request_ids, model, call.arrived)
        except LogFull:
            raise Refused(503, "log_full", "predictions can't be logged now, so none is made", RETRY) from None
        except Busy:
            raise Refused(503, "busy", "too many customers are in line", 1) from None
        except Exception as error:
            if model.arm != "challenger":
                raise
            await self._challenger_erred(model, error)
        call.model_version, call.arm = lineup.champion.version, lineup.champion.arm
        return await self._predict(customers, request_ids, lineup.champion, call, lineup)

    async def _challenger_erred(self, challenger: Model, error: Exception) -> None:
        """The champion stands in; a challenger that errs again and again is taken out of the split."""
        metrics.errors.labels("challenger").inc()
        log.error("the challenger %s failed: %s", challenger.version, jsonlog.place(error))
        self._erred[challenger.version] += 1
        if self._erred[challenger.version] >= ERRORS and self.lineup.challenger is challenger:
            self.exchange(replace(self.lineup, challenger=None, share=0.0))
            reason = f"{challenger.version} failed {ERRORS} requests: {jsonlog.place(error)}"
            try:
                await asyncio.to_thread(self.store.abort, reason, "serve", challenger.version)
            except Exception as problem:
                log.error("the split could not be ended in the store: %s", problem)

    async def close(self) -> None:
        """Have the shadow's last rows committed, then leave the log."""
        if shadow := self.predictor.shadow:
            await asyncio.to_thread(shadow.close)
            await self.predictor.idle(IDLE)
        self.log.close()


def hand_over(loop: asyncio.AbstractEventLoop, keep: Callable[[list[Row]], None], rows: list[Row]) -> None:
    with suppress(RuntimeError):  # the loop is closed: the service has ended
        loop.call_soon_threadsafe(keep, rows)


def described(lineup: Lineup) -> dict[str, Any]:
    """For the log: who answers."""
    card = lineup.champion.release.card
    others = {model.arm: model.version for model in lineup.models[1:]}
    shared = {"share": lineup.share} if lineup.challenger else {}
    problem = {"problem": lineup.problem} if lineup.problem else {}
    return {key: card[key] for key in ("model_version", "model", "threshold")} | others | shared | problem


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    service = Service(app)
    app.state.service, app.state.rules = service, service.rules
    add_routes(app, service)
    add_customer_routes(app, service)
    service.log.open()
    metrics.tell(None, service.lineup)
    service.set_shadow(service.lineup.shadow)
    log.info("ready", extra={"fields": {"release": described(service.lineup)}})
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()  # what is loaded stays: no collection looks at it again
    following = asyncio.create_task(service.follow())
    yield
    following.cancel()
    await service.close()


def add_customer_routes(app: Churn, service: Service) -> None:
    """The routes that are typed by the champion's schema, in place of those that are there."""
    release = service.lineup.champion.release
    Customer = customer_model(release.schema, release.golden()[0]["customer"])
    Batch = batch_model(Customer)

    async def predict(customer: Customer, request: Request) -> Prediction:  # type: ignore[valid-type]
        """The probability that one customer leaves."""
        call = request.scope["call"]
        (answer,) = await service.predict([customer], [call.request_id], call, service.lineup)
        return answer

    async def predict_batch(batch: Batch, request: Request) -> Predictions:  # type: ignore[valid-type]
        """The same for up to 10,000 customers, in order; their request ids are numbered."""
        call = request.scope["call"]
        ids = [f"{call.request_id}-{i}" for i in range(len(batch["customers"]))]  # type: ignore[index]
        customers = batch["customers"]  # type: ignore[index]
        return {"predictions": await service.predict(customers, ids, call, service.lineup)}

    async def explain(customer: Customer, request: Request) -> Explanation:  # type: ignore[valid-type]
        """The prediction, and what each of the customer's values has to do with it."""
        call, lineup = request.scope["call"], service.lineup
        (answer,) = await service.predict([customer], [call.request_id], call, lineup)
        (model,) = (model for model in lineup.models if model.arm == answer["arm"])
        found = await run_in_threadpool(model.explainer.explain, customer)
        return {**answer, **found}  # type: ignore[typeddict-item]

    async def feedback(given: Feedback, request: Request) -> Receipt:
        """What became of customers, by customer_id or request_id. Sending the same twice changes nothing."""
        found = [outcome.row() for outcome in given.outcomes]
        try:
            matched = await run_in_threadpool(service.log.record, found)
        except LogDown:
            raise Refused(503, "log_down", "outcomes can't be kept now; send them again", RETRY) from None
        return {"accepted": len(found), "matched": matched, "unmatched": len(found) - matched}

    app.router.routes[:] = [route for route in app.router.routes if "customers" not in getattr(route, "tags", ())]
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
    app.openapi_schema = None  # what /docs showed


def add_routes(app: Churn, service: Service) -> None:
    """The routes that stay as they are, whatever release answers."""
    for route in admin.routes(service.store, service.log_url):
        if route.path.startswith(ADMIN) and not service.rules.admin:
            continue  # the door says that they are off
        app.router.routes.append(route)
        if isinstance(route, JSONRoute):
            app.lane["POST", route.path] = route

    @app.get("/model", responses=REFUSALS, tags=["service"], summary="What answers")
    async def model() -> dict[str, Any]:
        """The card of the release that answers: scores with intervals, threshold, data hash, limits."""
        return service.lineup.champion.release.card

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
        if problem := service.lineup.problem:
            status, reason = ("degraded" if status == "ready" else status), "; ".join(filter(None, (reason, problem)))
        response.status_code = 503 if status == "unready" else 200
        return {"status": status, "reason": reason, "model_version": service.lineup.champion.version}

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
        """Requests, latencies, predictions, scores, unseen levels, missing values, the log; over all workers. What the
        last check of production found."""
        metrics.checked.check = service.log.check
        metrics.spool.set(service.log.spool.size)
        metrics.spool_limit.set(service.log.spool.limit)
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
