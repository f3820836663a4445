"""Whoever asks at the same time is answered together, and each as if alone; what is answered is in the log."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from churn.release import Release
from churn.schema import ID
from churn.scorer import Scorer
from serve.log.prediction_log import LogFull, PredictionLog
from serve.log.spool import Spool
from serve.log.tables import predictions
from serve.payloads import Prediction
from serve.predict import batching as module
from serve.predict.batching import MAX_GROUP, Busy, Predictor, RowRefused
from serve.predict.live import Model
from tests.factories import refuse

Customers = list[dict[str, Any]]
numbers = count()


class Opposite(Scorer):
    """Another model: whoever stays leaves."""

    def __init__(self, release: Release):
        threshold = {"threshold": {"value": 0.6}}
        super().__init__(
            Release(release.folder, release.schema, release.card | {"model_version": "opposite"} | threshold)
        )

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return 1 - super().run(inputs)


class NoAnswer(Opposite):
    """A model that gives no probability to who came today."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.where(inputs["numbers"][:, self.numbers.index("tenure")] == 0, np.nan, super().run(inputs))


@pytest.fixture(scope="module")
def champion(released: Path) -> Model:
    return Model(Scorer.open(released), "champion")


@pytest.fixture(scope="module")
def challenger(champion: Model) -> Model:
    return Model(Opposite(champion.scorer.release), "challenger")


@pytest.fixture(scope="module")
def customers(champion: Model) -> Customers:
    return [line["customer"] for line in champion.scorer.release.golden()]


@pytest.fixture(scope="module", params=[True, False], ids=["on the loop", "in a thread"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PredictionLog]:
    folder = tmp_path_factory.mktemp("log")
    log = PredictionLog(f"sqlite:///{folder / 'log.db'}", Spool(folder / "spool.jsonl", 2**20))
    log.is_file = request.param
    log.open()
    yield log
    log.close()


@pytest.fixture(scope="module")
def predictor(log: PredictionLog) -> Predictor:
    return Predictor(log)


@pytest.fixture(params=[True, False], ids=["on the loop", "in a thread"])
def spooling(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Predictor]:
    """A predictor whose log's database was never there, so that all depends on the spool."""
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", 2**20))
    log.is_file = request.param
    yield Predictor(log)
    log.engine.dispose()
    log.spool.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`; a deadlock is a TimeoutError."""
    return asyncio.run(asyncio.wait_for(work, 30))


def asked(customers: Customers, n: int) -> tuple[Customers, list[str]]:
    """n customers with names of their own, and their request ids."""
    ids = [f"r{next(numbers)}" for _ in range(n)]
    return [customers[i % len(customers)] | {ID: f"c-{id_}"} for i, id_ in enumerate(ids)], ids


async def each_turn(do: Callable[[int], Any]) -> None:
    """Call do(0), do(1), ... between turns of the event loop until one is true."""
    for turn in count():
        if do(turn):
            return
        await asyncio.sleep(0)


def together(predictor: Predictor, *calls: tuple[Customers, list[str], Model]) -> list[Any]:
    """The answers, or errors, of calls that come at the same time."""

    async def all_of_them() -> list[Any]:
        coming = (predictor.predict(*call, time.perf_counter()) for call in calls)
        return await asyncio.gather(*coming, return_exceptions=True)

    return run(all_of_them())


def logged(log: PredictionLog, ids: Sequence[str]) -> dict[str, Any]:
    """Rows of the log by request id."""
    with log.engine.connect() as connection:
        rows = connection.execute(select(predictions).where(predictions.c.request_id.in_(ids))).mappings()
        return {row["request_id"]: dict(row) for row in rows}


@given(sizes=st.lists(st.tuples(st.integers(1, 30) | st.integers(190, 450), st.booleans()), min_size=1, max_size=8))
def test_each_caller_gets_its_own_answers_as_if_alone(
    predictor: Predictor, champion: Model, challenger: Model, customers: Customers, sizes: list[tuple[int, bool]]
) -> None:
    calls = [(*asked(customers, n), challenger if other else champion) for n, other in sizes]
    found = together(predictor, *calls)
    for (given_customers, ids, model), answers in zip(calls, found, strict=True):
        assert [(a["request_id"], a["customer_id"]) for a in answers] == [(id_, f"c-{id_}") for id_ in ids]
        p = [answer["churn_probability"] for answer in answers]
        np.testing.assert_allclose(p, model.scorer.probabilities(given_customers), rtol=0, atol=1e-6)
        assert {(a["threshold"], a["model_version"], a["arm"]) for a in answers} == {
            (model.threshold, model.version, model.arm)
        }
        assert [a["prediction"] == "churn" for a in answers] == [q >= model.threshold for q in p]
        assert all(a["confidence"] == (q if q >= model.threshold else 1 - q) for a, q in zip(answers, p, strict=True))
    assert predictor.waiting == 0


def test_of_requests_answered_together_only_that_one_fails_whose_row_the_database_refuses(
    predictor: Predictor, champion: Model, customers: Customers
) -> None:
    calls = [(*asked(customers, n), champion) for n in (1, 3, 250, 1)]
    calls[1][0][2][ID] = "poison"
    refuse(predictor.log.engine, "poison")
    first, second, third, fourth = together(predictor, *calls)
    assert isinstance(second, RowRefused)
    assert second.request_id == calls[1][1][2]
    for answers, (_, ids, _) in zip((first, third, fourth), (calls[0], calls[2], calls[3]), strict=True):
        assert [answer["request_id"] for answer in answers] == ids
        assert logged(predictor.log, ids).keys() == set(ids)
    assert predictor.waiting == 0


def test_rows_of_the_log_equal_the_answers(
    predictor: Predictor, champion: Model, challenger: Model, customers: Customers
) -> None:
    calls = [(*asked(customers, n), model) for n, model in ((1, champion), (250, challenger), (3, champion))]
    for (given_customers, ids, _), answers in zip(calls, together(predictor, *calls), strict=True):
        rows = logged(predictor.log, ids)
        for customer, answer in zip(given_customers, answers, strict=True):
            row = rows[answer["request_id"]]
            same = {key: value for key, value in answer.items() if key in row}
            assert {key: row[key] for key in same} == same
            assert len(same) == len(answer) - 2  # without confidence and warnings
            assert row["features"] == {key: value for key, value in customer.items() if key != ID}
            assert row["latency_ms"] >= 0


def test_callers_who_come_one_after_the_other_share_a_commit(
    predictor: Predictor, champion: Model, customers: Customers
) -> None:
    calls = [(*asked(customers, 1), champion) for _ in range(16)]

    async def in_turn(place: int) -> None:
        await each_turn(lambda turn: turn == place)
        await predictor.predict(*calls[place], time.perf_counter())

    async def all_of_them() -> None:
        await asyncio.gather(*map(in_turn, range(len(calls))))

    run(all_of_them())
    assert len({row["at"] for row in logged(predictor.log, [ids[0] for _, ids, _ in calls]).values()}) == 1


def without(customer: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in customer.items() if key != name}


@pytest.mark.parametrize("name", ["contract", ID])
def test_whoever_makes_a_group_fail_fails_alone(
    name: str, predictor: Predictor, champion: Model, customers: Customers
) -> None:
    calls = [(*asked(customers, n), champion) for n in (2, 1, 3)]
    broken = calls[1][0]
    broken[0] = without(broken[0], name)
    first, error, last = together(predictor, *calls)
    assert isinstance(error, KeyError)
    assert [a["request_id"] for a in first + last] == calls[0][1] + calls[2][1]
    assert set(logged(predictor.log, [id_ for _, ids, _ in calls for id_ in ids])) == {*calls[0][1], *calls[2][1]}
    assert len(together(predictor, calls[0])[0]) == 2  # and the next are served


def test_what_a_scorer_raises_is_told_to_its_caller(
    predictor: Predictor, champion: Model, customers: Customers
) -> None:
    calls = [(*asked(customers, 1), champion) for _ in range(2)]
    calls[0][0][0]["tenure"] = "a year"
    error, (answer,) = together(predictor, *calls)
    assert isinstance(error, ValueError)
    assert answer["request_id"] == calls[1][1][0]


def test_what_is_no_probability_is_neither_answered_nor_logged(
    predictor: Predictor, champion: Model, customers: Customers
) -> None:
    model = Model(NoAnswer(champion.scorer.release), "challenger")
    customers = [customer for customer in customers if customer["tenure"]]
    calls = [(*asked(customers, 1), model) for _ in range(3)]
    calls[1][0][0]["tenure"] = 0.0
    _, error, _ = together(predictor, *calls)
    assert isinstance(error, ArithmeticError)
    assert set(logged(predictor.log, [ids[0] for _, ids, _ in calls])) == {calls[0][1][0], calls[2][1][0]}
    assert not predictor.log.problem


def test_a_full_log_is_told_to_the_whole_group_and_to_nobody_else(
    spooling: Predictor, champion: Model, customers: Customers
) -> None:
    spooling.log.spool.limit = 60_000  # bytes: room for 50 rows, not for 200
    calls = [(*asked(customers, n), champion) for n in (MAX_GROUP // 2, MAX_GROUP // 2, 50)]
    *full, answers = together(spooling, *calls)
    assert [type(error) for error in full] == [LogFull, LogFull]
    assert [answer["request_id"] for answer in answers] == calls[2][1]
    spooled = [json.loads(line)["request_id"] for line in spooling.log.spool.path.read_text().splitlines()]
    assert spooled == calls[2][1]
    assert spooling.waiting == 0


def test_a_batch_whose_second_part_does_not_fit_fails(
    spooling: Predictor, champion: Model, customers: Customers
) -> None:
    spooling.log.spool.limit = 200_000
    (error,) = together(spooling, (*asked(customers, 2 * MAX_GROUP), champion))
    assert isinstance(error, LogFull)
    assert spooling.waiting == 0


def test_above_the_bound_callers_are_sent_away_at_once(
    predictor: Predictor, champion: Model, customers: Customers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 500)
    calls = [(*asked(customers, n), champion) for n in (300, 201, 200, 1)]
    first, busy, second, last = together(predictor, *calls)
    assert (len(first), type(busy), len(second), type(last)) == (300, Busy, 200, Busy)
    assert not logged(predictor.log, calls[1][1] + calls[3][1])
    assert predictor.waiting == 0
    assert len(together(predictor, calls[3])[0]) == 1


@pytest.mark.parametrize("turns", range(6))
def test_a_caller_who_leaves_disturbs_nobody(
    turns: int, predictor: Predictor, champion: Model, customers: Customers
) -> None:
    calls = [(*asked(customers, n), champion) for n in (1, 450, 2)]

    async def one_leaves() -> list[Any]:
        tasks = [asyncio.create_task(predictor.predict(*call, time.perf_counter())) for call in calls]
        await each_turn(lambda turn: turn == turns)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, left, last = run(one_leaves())
    assert isinstance(left, asyncio.CancelledError)
    assert [a["request_id"] for a in first + last] == calls[0][1] + calls[2][1]
    assert predictor.waiting == 0
    assert len(together(predictor, calls[0])[0]) == 1


def test_a_large_batch_lets_others_in_between(predictor: Predictor, champion: Model, customers: Customers) -> None:
    order: list[int] = []

    async def ask(n: int) -> list[Prediction]:
        found = await predictor.predict(*asked(customers, n), champion, time.perf_counter())
        order.append(n)
        return found

    async def both() -> list[list[Prediction]]:
        return await asyncio.gather(ask(5 * MAX_GROUP), *(ask(1) for _ in range(3)))

    assert list(map(len, run(both()))) == [5 * MAX_GROUP, 1, 1, 1]
    assert order == [1, 1, 1, 5 * MAX_GROUP]


@pytest.mark.parametrize("turns", range(4))
def test_a_loop_that_ends_with_customers_in_line_ends(
    turns: int, log: PredictionLog, champion: Model, customers: Customers
) -> None:
    predictor, tasks = Predictor(log), []  # of that loop alone

    async def ends() -> None:
        for _ in range(3):
            work = predictor.predict(*asked(customers, 300), champion, time.perf_counter())
            tasks.append(asyncio.create_task(work))
        await each_turn(lambda turn: turn == turns)

    run(ends())
    assert all(task.done() for task in tasks)
    assert predictor.waiting == 0


def test_an_unseen_level_is_answered_with_a_warning_that_names_its_column(
    predictor: Predictor, champion: Model, customers: Customers
) -> None:
    (given_customers, ids) = asked(customers, 2)
    given_customers[0] |= {"contract": "Ten years", "gender": "Male"}
    strange, usual = together(predictor, (given_customers, ids, champion))[0]
    assert strange["warnings"] == ["contract: training never saw this level, so the model ignores it"]
    assert "Ten years" not in str(strange["warnings"])
    assert usual["warnings"] == []
