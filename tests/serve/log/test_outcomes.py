"""Which outcome belongs to which answer: what the SQL says is what ten lines of Python say."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select

from serve.log.database import connect
from serve.log.migrate import migrate
from serve.log.outcomes import labelled, matched, with_outcomes
from serve.log.tables import IS_ANSWER, first_id, outcomes, predictions

START = datetime(2026, 3, 1, tzinfo=UTC)
LASTS = timedelta(days=90)
HOURS = st.integers(0, 4)
ANSWERS = st.lists(st.tuples(HOURS, st.sampled_from(["a", "b", None]), st.sampled_from("rst")), max_size=5)
NAME = st.sampled_from([("a", ""), ("b", ""), ("", "r"), ("", "s"), ("", "t")])
# by name and time, as the table's key has it: churned, hours later that it was received
OUTCOMES = st.dictionaries(st.tuples(NAME, HOURS), st.tuples(st.booleans(), HOURS), max_size=5)
Rows = list[dict[str, Any]]


def hour(n: int) -> datetime:
    return START + timedelta(hours=n)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An empty log."""
    engine = connect(url)
    migrate(engine)
    yield engine
    engine.dispose()


def answer(n: int, at: int, customer: str | None, request: str, arm: str = "champion") -> dict[str, Any]:
    return {
        "id": f"{first_id(hour(at))}{n:018x}",
        "request_id": request,
        "at": hour(at),
        "customer_id": customer,
        "features": {"n": n},
        "churn_probability": 0.5,
        "prediction": "churn",
        "threshold": 0.3,
        "model_version": "v",
        "arm": arm,
        "latency_ms": 1.0,
    }


def outcome(name: tuple[str, str], at: int, churned: bool, received: int) -> dict[str, Any]:
    customer, request = name
    return {
        "customer_id": customer,
        "request_id": request,
        "observed_at": hour(at),
        "churned": churned,
        "received_at": hour(at + received),
    }


def fill(engine: Engine, answers: Rows, known: Rows) -> None:
    with engine.begin() as connection:
        for table, rows in ((predictions, answers), (outcomes, known)):
            connection.execute(delete(table))
            if rows:
                connection.execute(insert(table), rows)


def belongs(outcome: dict[str, Any], answer: dict[str, Any]) -> bool:
    is_its = outcome["request_id"] == answer["request_id"] or outcome["customer_id"] == (answer["customer_id"] or " ")
    return is_its and outcome["observed_at"] >= answer["at"] and answer["arm"] != "shadow"


def belonging(answer: dict[str, Any], known: Rows) -> Rows:
    return [outcome for outcome in known if belongs(outcome, answer)]


def word(outcome: dict[str, Any]) -> tuple[datetime, datetime]:
    return outcome["received_at"], outcome["observed_at"]


def counting(answer: dict[str, Any], known: Rows) -> dict[str, Any] | None:
    return max(belonging(answer, known), key=lambda o: (*word(o), o["customer_id"] != ""), default=None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(answered=ANSWERS, known=OUTCOMES, since=st.integers(0, 5), shadow=st.booleans())
def test_check_gate_and_matched_go_by_one_rule(
    engine: Engine, answered: Any, known: Any, since: int, shadow: bool
) -> None:
    answers = [answer(n, *one) for n, one in enumerate(answered)]
    answers.sort(key=lambda a: str(a["id"]))
    beside = [{**answer(9, 0, "a", "r"), "arm": "shadow", "features": {}}] if shadow else []
    told = [outcome(name, at, *rest) for (name, at), rest in known.items()]

    def is_new(one: dict[str, Any]) -> bool:
        return bool(one["received_at"] > hour(since))

    fill(engine, answers + beside, told)

    rows = (
        select(*(predictions.c[n] for n in ("id", "at", "customer_id", "request_id"))).where(IS_ANSWER).cte("answers")
    )
    with engine.connect() as connection:
        of_the_check = connection.execute(with_outcomes(rows, rows.c.id)).all()
        n_matched = matched(connection, told)
    found = {a["id"]: counting(a, told) for a in answers}
    assert [(row.id, row.churned, row.observed_at) for row in of_the_check] == [
        (name, one and int(one["churned"]), one and one["observed_at"]) for name, one in found.items()
    ]
    assert n_matched == sum(any(belongs(one, a) for a in answers) for one in told)

    news = {a["id"]: o for a in answers if (o := found[a["id"]]) and any(map(is_new, belonging(a, told)))}
    units = {a["customer_id"] or a["id"] for a in answers if a["id"] in news}
    by_unit = {
        unit: max(
            (a for a in answers if (a["customer_id"] or a["id"]) == unit and a["id"] in news),
            key=lambda a: (*word(news[a["id"]]), str(a["id"])),
        )
        for unit in units
    }
    counted = [a for a in by_unit.values() if is_new(news[a["id"]])]
    by_the_gate = sorted(counted, key=lambda a: str(a["id"]))
    assert labelled(engine, hour(since), LASTS)[:2] == (
        [a["features"] for a in by_the_gate],
        [found[a["id"]]["churned"] for a in by_the_gate],  # type: ignore[index]
    )


def test_an_outcome_of_before_the_answer_says_nothing_of_it(engine: Engine) -> None:
    early, late = outcome(("", "r"), 0, True, 9), outcome(("", "r"), 2, False, 0)
    fill(engine, [answer(1, 1, "a", "r")], [early])
    assert labelled(engine, START, LASTS)[:2] == ([], [])
    with engine.connect() as connection:
        assert [matched(connection, [one]) for one in (early, late)] == [0, 1]


def test_a_correction_counts_whatever_moment_the_wrong_word_named(engine: Engine) -> None:
    wrong, right = outcome(("a", ""), 1000, True, -998), outcome(("a", ""), 2, False, 1)
    fill(engine, [answer(1, 1, "a", "r")], [wrong, right])
    assert labelled(engine, START, LASTS)[:2] == ([{"n": 1}], [False])


def test_the_gate_may_ask_for_answers_of_late_alone(engine: Engine) -> None:
    fill(engine, [answer(1, 1, "a", "r"), answer(2, 3, "b", "s")], [outcome((c, ""), 4, True, 0) for c in "ab"])
    assert labelled(engine, START, LASTS, hour(2))[:2] == ([{"n": 2}], [True])
