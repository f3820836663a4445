"""The answers to a group of customers: scored together, with their log rows and counts."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import orjson

from churn.schema import ID
from serve.log.tables import COLUMNS, Row, db_time, new_id
from serve.payloads import Prediction
from serve.predict.live import Model
from serve.telemetry import metrics

P, ARM = COLUMNS.index("churn_probability"), COLUMNS.index("arm")

labelled_scores = cache(metrics.scores.labels)


@dataclass(slots=True, eq=False)
class Work:
    """The customers of one request, or some of them."""

    customers: Sequence[Mapping[str, Any]]
    request_ids: Sequence[str]
    model: Model
    arrived: float  # time.perf_counter() of the request
    done: asyncio.Future[list[Prediction]]


@dataclass(slots=True)
class GroupResult:
    """An answer or an error for each part of a group; the log rows; the counts for the metrics."""

    answers: list[list[Prediction] | Exception] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)


def predict_group(group: list[Work]) -> GroupResult:
    """Predict for a group; if it fails, predict for each part alone, so that only the faulty one fails."""
    result = GroupResult()
    try:
        p = score_group(group)
        now, at = time.perf_counter(), db_time(datetime.now(UTC))
        for work, probabilities in zip(group, p, strict=True):
            latency = round((now - work.arrived) * 1000, 3)
            predictions: list[Prediction] = []
            for customer, request_id, q in zip(work.customers, work.request_ids, probabilities, strict=True):
                answer = prediction(customer, request_id, q, work.model, result.counts)
                predictions.append(answer)
                result.rows.append(log_row(customer, answer, at, latency))
            result.answers.append(predictions)
    except Exception as error:
        if len(group) == 1:
            return GroupResult([error])
        result = GroupResult()
        for one in map(predict_group, ([work] for work in group)):
            result.answers += one.answers
            result.rows += one.rows
            result.counts += one.counts
    return result


def score_group(group: list[Work]) -> list[list[float]]:
    """Return the probabilities of each part. Each model scores the whole group: picking its rows would cost more."""
    customers = [customer for work in group for customer in work.customers]
    inputs: dict[str, dict[str, np.ndarray]] = {}
    probabilities: dict[Model, list[float]] = {}
    for model in {work.model: None for work in group}:
        scorer = model.scorer
        if scorer.recipe not in inputs:
            inputs[scorer.recipe] = scorer.inputs(scorer.columns(customers))
        probabilities[model] = scorer.run(inputs[scorer.recipe]).tolist()
    parts, start = [], 0
    for work in group:
        end = start + len(work.customers)
        parts.append(probabilities[work.model][start:end])
        start = end
    if not all(0 <= q <= 1 for p in parts for q in p):  # the database would refuse such a row for ever
        raise ArithmeticError("the model's output is no probability")
    return parts


def prediction(
    customer: Mapping[str, Any], request_id: str, p: float, model: Model, counts: Counter[tuple[str, ...]]
) -> Prediction:
    """Return the answer for one customer and add it to `counts`."""
    churn = p >= model.threshold
    decision, warnings = "churn" if churn else "no_churn", []
    for name, levels in model.levels.items():
        level = customer[name]
        if level is not None and level not in levels:
            warnings.append(f"{name}: training never saw this level, so the model ignores it")
            counts["unseen", name] += 1
    for name in model.nullable:
        if customer[name] is None:
            counts["missing", name] += 1
    counts["predicted", decision, model.arm] += 1
    return {
        "customer_id": customer[ID],
        "churn_probability": p,
        "prediction": decision,  # type: ignore[typeddict-item]
        "confidence": p if churn else 1 - p,
        "threshold": model.threshold,
        "model_version": model.version,
        "arm": model.arm,  # type: ignore[typeddict-item]
        "request_id": request_id,
        "warnings": warnings,
    }


def log_row(customer: Mapping[str, Any], answer: Prediction, at: str, latency_ms: float) -> Row:
    """Return the answer as a row of the log's table."""
    return (
        new_id(),
        answer["request_id"],
        at,
        answer["customer_id"],
        orjson.dumps({name: value for name, value in customer.items() if name != ID}).decode(),
        answer["churn_probability"],
        answer["prediction"],
        answer["threshold"],
        answer["model_version"],
        answer["arm"],
        latency_ms,
    )


def count_group(result: GroupResult) -> None:
    """Add a group to the metrics."""
    for key, n in result.counts.items():
        counter(*key).inc(n)
    for row in result.rows:
        labelled_scores(row[ARM]).observe(row[P])


@cache
def counter(kind: str, *labels: str) -> Any:
    """Return a labelled counter; cached, since the Prometheus client looks labels up under a lock."""
    counters = {"unseen": metrics.unseen, "missing": metrics.missing, "predicted": metrics.predictions}
    return counters[kind].labels(*labels)
