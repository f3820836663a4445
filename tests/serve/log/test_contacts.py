"""Which offers reached which outcomes: what the code says is what ten lines of Python say."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select

from serve.log.contacts import offers, read_contacts
from serve.log.database import connect
from serve.log.migrate import migrate
from serve.log.outcomes import labelled
from serve.log.tables import contacts, predictions
from tests.serve.log.test_outcomes import START, answer, fill, hour, outcome

LASTS = timedelta(hours=3)
CUSTOMERS, CAMPAIGNS, HOURS = st.sampled_from("abc"), st.sampled_from(["spring", "summer"]), st.integers(0, 9)
CONTACTS = st.dictionaries(
    st.tuples(CUSTOMERS, CAMPAIGNS, HOURS), st.tuples(st.booleans(), st.sampled_from([0.5, 0.9])), max_size=6
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = connect(url)
    migrate(engine)
    yield engine
    engine.dispose()


def contact(customer: str, campaign: str, at: int, offered: bool, share: float) -> dict[str, Any]:
    return {
        "customer_id": customer, "campaign": campaign, "at": hour(at), "offered": offered, "share": share,
        "received_at": hour(at),
    }  # fmt: skip


def tell(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        connection.execute(delete(contacts))
        if rows:
            connection.execute(insert(contacts), rows)


def expected(answered: int, observed: int, customer: str, rows: list[dict[str, Any]]) -> tuple[bool, float]:
    """Whether an offer reached the outcome, and the chance that none would."""
    reached = [
        row
        for row in rows
        if row["customer_id"] == customer and row["at"] <= hour(observed) and row["at"] + LASTS > hour(answered)
    ]
    first = {row["campaign"]: row["share"] for row in sorted(reached, key=lambda row: row["at"], reverse=True)}
    return any(row["offered"] for row in reached), float(np.prod([1 - share for share in first.values()]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(CONTACTS, st.lists(st.tuples(CUSTOMERS, HOURS, HOURS), min_size=1, max_size=4))
def test_a_contact_reaches_the_outcomes_seen_after_it_of_answers_given_before_its_end(
    engine: Engine, told: Any, asked: list[tuple[str, int, int]]
) -> None:
    rows = [contact(*key, *value) for key, value in told.items()]
    answers = [answer(n, at, customer, f"r{n}") for n, (customer, at, _) in enumerate(asked)]
    observed = [at + later for _, at, later in asked]
    fill(engine, answers, [])
    tell(engine, rows)
    cte = select(*(predictions.c[name] for name in ("id", "at", "customer_id"))).cte("answers")
    times = np.array([hour(n).replace(tzinfo=None) for n in observed], dtype="datetime64[us]")
    with engine.connect() as connection:
        read = read_contacts(connection, cte, START - LASTS)
    found = offers([a["id"] for a in answers], times, read, LASTS)
    truth = [expected(at, seen, customer, rows) for (customer, at, _), seen in zip(asked, observed, strict=True)]
    assert found.offered.tolist() == [offered for offered, _ in truth]
    np.testing.assert_allclose(found.spared, [spared for _, spared in truth])


def test_the_gate_counts_those_without_an_offer_and_controls_for_the_others(engine: Engine) -> None:
    names = [f"c{i}" for i in range(40)]
    answers = [answer(n, 0, name, f"r{n}") for n, name in enumerate(names)]
    fill(engine, answers, [outcome((name, ""), 2, n % 2 == 0, 0) for n, name in enumerate(names)])
    tell(engine, [contact(name, "spring", 1, n % 4 < 2, 0.5) for n, name in enumerate(names[:20])])
    found = labelled(engine, START, LASTS)
    assert [customer["n"] for customer in found.customers] == [n for n in range(40) if n >= 20 or n % 4 >= 2]
    assert found.weights.tolist() == [2.0] * 10 + [1.0] * 20
    assert found.uncovered == 0
    tell(engine, [contact(name, "spring", 1, True, 1.0) for name in names[:20]])
    assert labelled(engine, START, LASTS).uncovered == 0.5


def test_an_offer_that_has_ended_or_came_later_changes_nothing(engine: Engine) -> None:
    fill(engine, [answer(1, 5, "a", "r")], [outcome(("a", ""), 6, True, 0)])
    for at, weight in ((2, [1.0]), (3, []), (6, []), (7, [1.0])):
        tell(engine, [contact("a", "spring", at, True, 0.9)])
        assert labelled(engine, START, LASTS).weights.tolist() == weight
