"""When a retraining is due, and which world it learns."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.params import read_knobs
from monitoring.retrain.policy import ACTOR, Policy, concept_changed_at, why_not
from serve.log.tables import Check
from serve.releases.ledger import learned_until
from tests.conftest import ROOT

NOW = datetime(2026, 6, 1, tzinfo=UTC)
POLICY = replace(read_knobs("monitoring.retrain", Policy, ROOT / "params.yaml"), checks=2, cooldown=7)
COHORT = datetime(2026, 4, 1, tzinfo=UTC)


def check(*breaches: str, level: str = "breach", day: float = 0) -> Check:
    """One so many days later, whose cohort is of 30 days."""
    reasons = [{"id": reason, "level": level, "words": ""} for reason in breaches]
    begin = COHORT + timedelta(days=day)
    window = {"cohort_start": begin.isoformat(), "cohort_end": (begin + timedelta(days=30)).isoformat()}
    return Check(NOW, "old", "", {"reasons": reasons, "window": window})


def retrained(days_ago: float, version: str = "new", since: str | None = None) -> dict[str, Any]:
    at = (NOW - timedelta(days=days_ago)).isoformat()
    return {"at": at, "act": "add", "who": ACTOR, "version": version, "lineage": {"since": since, "until": at}}


ADDED = {"at": NOW.isoformat(), "act": "add", "who": "me", "version": "old", "lineage": {"commit": "abc"}}


@pytest.mark.parametrize(
    ("checks", "acts", "why"),
    [
        ([], [], "nobody has checked it"),
        ([check("concept_drift")], [], "the last 1 checks found what calls for it; 2 in a row are asked for"),
        ([check("concept_drift")] * 2, [], ""),
        ([check("concept_drift"), check("realised_auc")], [], ""),
        ([check("concept_drift"), check(), check("concept_drift")], [], "the last 1 checks found"),
        ([check("concept_drift"), check("concept_drift"), check()], [], "the last 0 checks found"),
        ([check("more_missing")] * 2, [], "the last 0 checks found"),
        ([check("concept_drift", level="warn")] * 2, [], "the last 0 checks found"),
        (
            [check("concept_drift")] * 2,
            [retrained(6.9)],
            "the last one was at 2026-05-25 02:24; the next may be 7 days",
        ),
        ([check("concept_drift")] * 2, [retrained(7)], ""),
        ([check("concept_drift")] * 2, [retrained(-0.002)], "the last one was at 2026-06-01 00:02"),
        ([check("concept_drift")] * 2, [retrained(-3650)], ""),  # by a clock that was ten years ahead
        ([check("concept_drift")] * 2, [ADDED], ""),  # a person's release is no retraining
    ],
)
def test_a_retraining_is_due_after_enough_breaches_in_a_row_and_a_pause(
    checks: list[Check], acts: list[dict[str, Any]], why: str
) -> None:
    said = why_not(checks, acts, NOW, POLICY)
    assert said.startswith(why) and bool(said) == bool(why)


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 6))
def test_only_the_last_checks_decide(found: list[bool], asked: int) -> None:
    checks = [check(*(["concept_drift"] if is_breach else [])) for is_breach in found]
    due = not why_not(checks, [], NOW, replace(POLICY, checks=asked))
    assert due == (len(found) >= asked and all(found[-asked:]))


def test_after_concept_drift_customers_count_from_the_cohort_that_showed_it() -> None:
    assert concept_changed_at([check("input_drift")], []) is None
    assert concept_changed_at([check("concept_drift")], []) == COHORT
    assert concept_changed_at([check("concept_drift"), check("concept_drift", day=7)], []) == COHORT + timedelta(days=7)


def test_outcomes_gather_while_concept_drift_lasts() -> None:
    """A service with few outcomes a month has enough of them some day: the world's beginning does not move on."""
    days = range(0, 100, 5)
    checks = [check("input_drift"), *(check("concept_drift", "realised_auc", day=day) for day in days)]
    assert concept_changed_at(checks, []) == COHORT + timedelta(days=30)


def test_a_world_that_is_gone_does_not_come_back_with_the_next_retraining() -> None:
    acts = [ADDED, retrained(30, since="2026-02-01T00:00:00+00:00"), retrained(10)]
    assert concept_changed_at([check("input_drift")], acts) == datetime(2026, 2, 1, tzinfo=UTC)


def test_a_world_whose_release_was_refused_is_none_unless_it_was_forced() -> None:
    acts = [retrained(30, since="2026-02-01T00:00:00+00:00"), {"act": "refuse", "version": "new"}]
    assert concept_changed_at([check("input_drift")], acts) is None
    acts.append({"act": "promote", "version": "new"})
    assert concept_changed_at([check("input_drift")], acts) == datetime(2026, 2, 1, tzinfo=UTC)


def test_what_the_champion_learned_from_is_not_new() -> None:
    acts = [ADDED, retrained(30, "new"), retrained(10, "other")]
    assert learned_until(acts, "new") == NOW - timedelta(days=30)
    assert learned_until(acts, "old") is None
