"""A replay tells what a release would have answered, for every request of the last days, each customer once."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sqlalchemy import Engine, insert

from churn.release import SCHEMA, open_release
from churn.scorer import Scorer
from churn.script import InputError
from serve.log.database import connect
from serve.log.migrate import migrate
from serve.log.tables import first_id, predictions
from serve.releases import gate
from serve.releases import replay as module
from serve.releases.__main__ import main
from serve.releases.replay import as_dict, in_words, replay, replayed
from serve.releases.store import Store
from tests.factories import opposite_release, other_release, reseal

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = connect(url)
    migrate(made)
    yield made
    made.dispose()


@pytest.fixture
def champion(released: Path) -> Scorer:
    return Scorer.open(released)


@pytest.fixture
def customers(champion: Scorer) -> list[dict[str, Any]]:
    return [line["customer"] for line in champion.release.golden()[:60]]


@pytest.fixture
def log(engine: Engine, champion: Scorer, customers: list[dict[str, Any]]) -> Callable[..., None]:
    """Log the champion's answers to customers, some hours ago; those with a number are one customer each."""

    def write(hours: float = 1, named: bool = True, arm: str = "champion", **change: Any) -> None:
        at, sent = NOW - timedelta(hours=hours), [customer | change for customer in customers]
        p, threshold = champion.probabilities(customers), champion.release.card["threshold"]["value"]
        rows = [
            {
                "id": f"{first_id(at)}{arm[:1]}{n:017x}", "request_id": f"r{n}", "at": at,
                "customer_id": f"c{n}" if named else None, "features": customer if arm != "shadow" else {},
                "churn_probability": q, "prediction": "churn" if q >= threshold else "no_churn",
                "threshold": threshold, "model_version": champion.release.version, "arm": arm, "latency_ms": 1.0,
            }
            for n, (customer, q) in enumerate(zip(sent, p.tolist(), strict=True))
        ]  # fmt: skip
        with engine.begin() as connection:
            connection.execute(insert(predictions), rows)

    return write


def test_the_answers_of_a_release_are_its_own(engine: Engine, champion: Scorer, log: Callable[..., None]) -> None:
    log()
    for against in (None, champion):
        made = replay(engine, champion, against, NOW - DAY)
        assert made and (made.requests, made.refused, made.agreement.customers) == (60, 0, 60)
        assert (made.agreement.changed, made.agreement.drift) == (0, 0)
        assert made.agreement.difference_max < 1e-9


@pytest.mark.parametrize("page", [1, 7, 10_000])
def test_all_requests_count_and_each_customer_once(
    engine: Engine, champion: Scorer, log: Callable[..., None], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", page)
    log(hours=30)  # before the window: they make no later answer a second one
    log(hours=2)
    log(hours=1, arm="challenger")
    log(hours=1, arm="shadow")
    log(hours=0.5, named=False)
    made = replay(engine, champion, None, NOW - DAY)
    assert made and (made.requests, made.agreement.customers) == (180, 120)
    assert made.since == NOW - timedelta(hours=2)


def test_only_the_newest_are_replayed_where_that_is_asked_for(
    engine: Engine, champion: Scorer, log: Callable[..., None]
) -> None:
    log(hours=2)
    log(hours=1)
    for most, requests in ((1, 1), (70, 70), (120, 120), (500, 120)):
        made = replay(engine, champion, None, NOW - DAY, most)
        assert made and made.requests == requests


def test_other_decisions_and_other_probabilities_are_told_apart(
    engine: Engine, champion: Scorer, customers: list[dict[str, Any]], log: Callable[..., None], released: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    log()
    p = champion.probabilities(customers)
    flagged = p >= champion.release.card["threshold"]["value"]
    strict = replay(engine, Scorer.open(other_release(released, tmp_path / "strict", 0.5)), champion, NOW - DAY)
    assert strict and strict.agreement.difference_max == 0
    assert strict.agreement.changed == (flagged != (p >= 0.5)).mean() > 0
    opposite = Scorer.open(opposite_release(released, tmp_path / "opposite"))
    made = replay(engine, opposite, None, NOW - DAY)
    assert made
    assert made.agreement.mean_difference == pytest.approx((1 - 2 * p).mean())
    assert made.agreement.difference_max == pytest.approx(np.abs(1 - 2 * p).max())
    assert any(line.startswith("decisions that differ ") for line in in_words(made))


def narrower(released: Path, folder: Path) -> Scorer:
    """A release that takes a tenure of at most 10 months."""
    other_release(released, folder)
    schema = yaml.safe_load((folder / SCHEMA).read_text())
    for column in schema["columns"]:
        if column["name"] == "tenure":
            column["max"] = 10
    (folder / SCHEMA).write_text(yaml.safe_dump(schema))
    reseal(folder)
    return Scorer(open_release(folder))


def test_what_the_candidate_s_schema_refuses_is_counted_by_the_reason(
    engine: Engine, champion: Scorer, customers: list[dict[str, Any]], log: Callable[..., None], released: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    log(hours=2)
    log(hours=1, unheard_of=1)
    candidate, longer = narrower(released, tmp_path / "narrower"), sum(c["tenure"] > 10 for c in customers)
    made = replay(engine, candidate, None, NOW - DAY)
    assert made and 0 < longer < 60
    assert (made.requests, made.refused, made.agreement.customers) == (120, 60 + longer, 60 - longer)
    assert sum(made.reasons.values()) == made.refused
    assert made.reasons["tenure: Input should be less than or equal to 10"] == 2 * longer
    other = replay(engine, champion, candidate, NOW - DAY)
    assert other and (other.refused, other.refused_by_champion) == (60, 60 + longer)
    assert "refused by the champion's schema, and not compared" in "\n".join(in_words(other))


def test_a_log_without_requests_is_none(url: str, champion: Scorer, engine: Engine, log: Callable[..., None]) -> None:
    assert replayed(url, champion, None, NOW - DAY) is None
    log(arm="shadow")
    assert replayed(url, champion, None, NOW - DAY) is None
    assert replayed("sqlite:////nowhere/log.db", champion, None, NOW - DAY) is None


@pytest.fixture
def store(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "releases"))
    made = Store(tmp_path / "releases")
    made.promote(made.add(released, "first"), "first")
    return made


def test_the_command_prints_lines_or_json(
    store: Store, engine: Engine, log: Callable[..., None], released: Path, tmp_path: Path, url: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("CHURN_LOG_URL", url)
    version = store.add(other_release(released, tmp_path / "other", 0.5), "second")

    def said(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["serve.releases", "replay", version, *words])
        main()
        return capsys.readouterr().out

    with pytest.raises(InputError, match=r"the log has no answer of the last 30 days; look further back with --days"):
        said()
    with pytest.raises(InputError, match=r"--days is 0; expected more than 0"):
        said("--days", "0")
    log()
    content = json.loads(said("--json", "--against", "champion", "--days", "2"))
    assert (content["candidate"], content["against"]) == (version, store.state()["champion"])
    assert content["customers"] == sum(content["decisions"].values()) == 60
    assert json.loads(said("--json", "--against", version, "--days", "2"))["changed"] == 0
    with pytest.raises(InputError, match="has no release '0'"):
        said("--json", "--against", "0")
    assert json.loads(capsys.readouterr().out)["error"]["unknown_release"]
    assert said().startswith(f"{version} beside what was answered: 60 requests since ")


def test_the_gate_tells_of_the_replay_and_judges_without_it(
    store: Store, engine: Engine, log: Callable[..., None], released: Path, tmp_path: Path, url: str,
    elsewhere: Callable[[], Path],
) -> None:  # fmt: skip
    elsewhere()
    version = store.add(opposite_release(released, tmp_path / "opposite"), "second")
    without = gate.check(store, version, url)
    log()
    found = gate.check(store, version, url)
    assert "replay" not in without
    told = found.pop("replay")
    assert found == without
    assert json.loads(json.dumps(told)) == told
    champion, candidate = (Scorer.open(store.bundle(str(found[side]))) for side in ("champion", "candidate"))
    made = replayed(url, candidate, champion, NOW - DAY)
    assert made and told == {
        key: value for key, value in json.loads(gate.as_json(as_dict(made))).items() if key != "rows_per_second"
    } | {"until": told["until"]}
