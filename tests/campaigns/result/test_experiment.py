"""Which customers a campaign has, by its first contacts; which outcome and which score are theirs."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from campaigns.result.experiment import read_experiment, read_list
from churn.script import InputError
from serve.log.database import write_lock
from serve.log.reported import keep_contacts
from tests.factories import START, empty_log, fill, outcome, prediction

LASTS = timedelta(days=30)
DAY = 24.0


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


def contact(customer: str, day: float, offered: bool, campaign: str = "spring", share: float = 0.9) -> dict[str, Any]:
    at = START + timedelta(days=day)
    return {"customer_id": customer, "campaign": campaign, "at": at, "offered": offered, "share": share}


def tell(engine: Engine, rows: list[dict[str, Any]], expected: dict[str, Any] | None = None) -> None:
    with engine.connect() as connection:
        assert keep_contacts(connection, write_lock(engine), rows, expected) == []


def test_a_customer_counts_by_the_first_contact_its_score_before_and_its_outcome_in_time(engine: Engine) -> None:
    fill(
        engine,
        [
            *(prediction(hours, "a", "champion", p) for hours, p in ((1, 0.2), (2, 0.3), (3 * DAY, 0.5))),
            prediction(1, "b", "shadow", 0.9),
            prediction(1, "c", "champion", 0.6, request_id="r"),
        ],
        [
            outcome(DAY, True, customer="a"),  # before the contact
            outcome(20 * DAY, False, customer="a"),
            outcome(33 * DAY, True, customer="a"),  # after its effect
            outcome(31 * DAY, True, customer="b"),
            outcome(40 * DAY, True, request="r"),
        ],
    )
    tell(engine, [contact("a", 2, True), contact("a", 5, False), contact("b", 2, False), contact("c", 15, True)])
    found = read_experiment_of(engine)
    assert found.customer.tolist() == ["a", "b", "c"]
    assert found.offered.tolist() == [True, False, True]
    assert found.at.tolist() == [(START + timedelta(days=day)).replace(tzinfo=None) for day in (2, 2, 15)]
    np.testing.assert_array_equal(found.p, [0.3, np.nan, 0.6])
    np.testing.assert_array_equal(found.churned, [0, 1, 1])
    assert not found.hidden.any()


def read_experiment_of(engine: Engine, name: str = "spring") -> Any:
    with engine.connect() as connection:
        return read_experiment(connection, name, LASTS)


def test_who_was_held_back_and_made_an_offer_all_the_same_is_named(engine: Engine) -> None:
    tell(engine, [contact(name, 1, False) for name in "abcd"] + [contact("b", 3, True)])
    tell(engine, [contact("c", 5, True, "summer"), contact("d", 40, True, "summer"), contact("a", 5, False, "summer")])
    assert read_experiment_of(engine).hidden.tolist() == [False, True, True, False]


def test_campaigns_are_listed_with_both_sides_and_an_unknown_one_is_said(engine: Engine) -> None:
    with pytest.raises(InputError, match="it has none; send contacts"):
        read_experiment_of(engine)
    tell(engine, [contact("a", 1, True), contact("b", 1, False)], {"profit": 7.0})
    tell(engine, [contact("c", 3, True, "summer")])
    tell(engine, [contact("c", 1, True)], {"profit": 9.0})
    with engine.connect() as connection:
        listed = read_list(connection)
    assert [(one.name, one.offered, one.control) for one in listed] == [("summer", 1, 0), ("spring", 2, 1)]
    assert read_experiment_of(engine).expected == {"profit": 7.0}
    with pytest.raises(InputError, match=r"no campaign 'fall'; it has \['summer', 'spring'\]"):
        read_experiment_of(engine, "fall")
