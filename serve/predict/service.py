"""From customers to answers. Models (live.py: which of them answers whom) are reloaded when the store's state changes;
the champion stands in for a failing challenger. Nothing here knows HTTP."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from churn.schema import ID
from serve.log.prediction_log import LogFull, PredictionLog
from serve.log.spool import Spool
from serve.log.tables import Row
from serve.payloads import Prediction
from serve.predict.batching import MAX_GROUP, Busy, Predictor, RowRefused
from serve.predict.live import POLL_SECONDS, LiveModels, Model, Reloader
from serve.predict.shadow import Shadow
from serve.releases.store import Store
from serve.settings import Settings
from serve.telemetry import metrics
from serve.telemetry.call import Call
from serve.telemetry.logs import raised_at

log = logging.getLogger("serve")

RETRY_SECONDS = 5.0  # after the store could not be read
MAX_FAILURES = 3  # requests that a challenger may fail in one worker
CLOSE_SECONDS = 2.0  # that shutdown waits for the shadow's last rows


class Service:
    """Answers customers by the live models; opened by the application's lifespan, used by its routes."""

    def __init__(self, settings: Settings, on_new_schema: Callable[[], None]) -> None:
        self.on_new_schema = on_new_schema
        self.store = Store(settings.releases)
        self.reloader = Reloader(self.store)
        self.live = self.reloader.live
        self.log_url = settings.log
        self.log = PredictionLog(settings.log, Spool(settings.spool_path, settings.spool_max))
        self.predictor = Predictor(self.log)
        self._failures: Counter[str] = Counter()  # challenger -> requests that it failed

    def open(self) -> None:
        """Open the log and publish the live models; on the event loop."""
        self.log.open()
        metrics.publish_models([], self.live.loaded, self.live.share, self.live.problem)
        self.set_shadow(self.live.shadow)

    async def reload(self) -> None:
        """Swap the models whenever the store's state changes, for as long as the service runs."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if live := await asyncio.to_thread(self.reloader.poll):
                    self.swap_models(live)
            except Exception as error:  # the store can't be read now: the live models stay
                log.error("the store of releases can't be read: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def swap_models(self, live: LiveModels) -> None:
        """Use these models from now on; a request under way finishes with those it began with."""
        before, self.live = self.live, live
        metrics.publish_models(before.loaded, live.loaded, live.share, live.problem)
        if before.champion.release.schema != live.champion.release.schema:
            self.on_new_schema()
        if before.challenger is not live.challenger:
            self._failures.clear()
        if before.shadow is not live.shadow:
            self.set_shadow(live.shadow)
        log.info("exchanged", extra={"fields": {"release": described(live)}})

    def set_shadow(self, model: Model | None) -> None:
        loop, before = asyncio.get_running_loop(), self.predictor.shadow
        keep = self.predictor.carry
        self.predictor.shadow = Shadow(model, lambda rows: hand_over(loop, keep, rows)) if model else None
        if before:
            loop.run_in_executor(None, before.close)

    async def predict(
        self, customers: Sequence[Mapping[str, Any]], request_ids: Sequence[str], call: Call, live: LiveModels
    ) -> list[Prediction]:
        """Return answers in order, each by the model of the customer's arm; raise LogFull, Busy, RowRefused."""
        if len(customers) == 1 or not live.challenger:
            model = live.model_for(customers[0][ID])
            call.model_version, call.arm = model.version, model.arm
            return await self._predict(customers, request_ids, model, call, live)
        models = [live.model_for(customer[ID]) for customer in customers]
        involved = list(dict.fromkeys(models))
        call.model_version = ",".join(model.version for model in involved)
        call.arm = ",".join(model.arm for model in involved)
        answers: dict[int, Prediction] = {}
        for model in involved:
            places = [i for i, its in enumerate(models) if its is model]
            for start in range(0, len(places), MAX_GROUP):  # a group is committed whole or not at all
                some = places[start : start + MAX_GROUP]
                part = [customers[i] for i in some], [request_ids[i] for i in some]
                answers |= zip(some, await self._predict(*part, model, call, live), strict=True)
        return [answers[i] for i in range(len(customers))]

    async def _predict(
        self,
        customers: Sequence[Mapping[str, Any]],
        request_ids: Sequence[str],
        model: Model,
        call: Call,
        live: LiveModels,
    ) -> list[Prediction]:
        try:
            return await self.predictor.predict(customers, request_ids, model, call.arrived)
        except (LogFull, Busy, RowRefused):
            raise
        except Exception as error:
            if model.arm != "challenger":
                raise
            await self._challenger_failed(model, error)
        call.model_version, call.arm = live.champion.version, live.champion.arm
        return await self._predict(customers, request_ids, live.champion, call, live)

    async def _challenger_failed(self, challenger: Model, error: Exception) -> None:
        """Count the failure (the champion answers instead); end the split after MAX_FAILURES."""
        metrics.errors.labels("challenger").inc()
        log.error("the challenger %s failed: %s", challenger.version, raised_at(error))
        self._failures[challenger.version] += 1
        if self._failures[challenger.version] >= MAX_FAILURES and self.live.challenger is challenger:
            self.swap_models(replace(self.live, challenger=None, share=0.0))
            reason = f"{challenger.version} failed {MAX_FAILURES} requests: {raised_at(error)}"
            try:
                await asyncio.to_thread(self.store.abort, reason, "serve", challenger.version)
            except Exception as problem:
                log.error("the split could not be ended in the store: %s", problem)

    async def close(self) -> None:
        """Commit the shadow's last rows, then close the log."""
        if shadow := self.predictor.shadow:
            await asyncio.to_thread(shadow.close)
            await self.predictor.idle(CLOSE_SECONDS)
        self.log.close()


def hand_over(loop: asyncio.AbstractEventLoop, keep: Callable[[list[Row]], None], rows: list[Row]) -> None:
    with suppress(RuntimeError):  # the loop is closed: the service has ended
        loop.call_soon_threadsafe(keep, rows)


def described(live: LiveModels) -> dict[str, Any]:
    """The live models, for the log."""
    card = live.champion.release.card
    others = {model.arm: model.version for model in live.models[1:]}
    shared = {"share": live.share} if live.challenger else {}
    problem = {"problem": live.problem} if live.problem else {}
    return {key: card[key] for key in ("model_version", "model", "threshold")} | others | shared | problem
