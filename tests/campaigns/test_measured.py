"""python -m campaigns measured: what campaigns showed, kept in a file for the pipeline."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from campaigns.__main__ import main
from churn.measured import read_effects
from churn.script import InputError
from serve.log.database import write_lock
from serve.log.reported import keep_contacts
from tests.campaigns.result.test_experiment import contact
from tests.factories import empty_log, fill, outcome


def log_campaign(engine: Engine, name: str, customers: int, kept: float, share: float = 0.5, seed: int = 1) -> None:
    """Half of the customers would leave; an offer keeps that share of them."""
    rng = np.random.default_rng(seed)
    offered = rng.random(customers) < share
    churned = rng.random(customers) < 0.5 * np.where(offered, 1 - kept, 1)
    ids = [f"{name}-{i}" for i in range(customers)]
    rows = [contact(i, 0, bool(side), name, share) for i, side in zip(ids, offered, strict=True)]
    fill(engine, [], [outcome(72, bool(left), customer=i) for i, left in zip(ids, churned, strict=True)])
    with engine.connect() as connection:
        assert keep_contacts(connection, write_lock(engine), rows, None) == []


@pytest.fixture
def measured(elsewhere: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the command on a log with three campaigns; what it wrote."""
    folder = elsewhere()
    engine = empty_log(folder)
    monkeypatch.setenv("CHURN_LOG_URL", str(engine.url))
    log_campaign(engine, "spring", 4_000, kept=0.1)
    log_campaign(engine, "summer", 40, kept=0.1, seed=2)
    log_campaign(engine, "everybody", 200, kept=0.3, share=1.0, seed=3)

    def run(*options: str, out: str = "campaigns/measured.json") -> dict[str, Any]:
        main(["measured", *options])
        content: dict[str, Any] = json.loads((folder / out).read_text())
        return content

    return run


def test_each_campaign_is_kept_with_its_interval(
    measured: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = measured()
    spring, summer = sorted(found["campaigns"], key=lambda one: -int(one["outcomes"]))
    assert (spring["campaign"], spring["outcomes"], summer["campaign"]) == ("spring", 4_000, "summer")
    assert spring["offer_success_low"] < 0.1 < spring["offer_success_high"]
    assert "nobody was held back" in found["left_out"]["everybody"]
    assert "with 0.3 ± 0.1 expected beforehand, an offer keeps 0.1" in caplog.text
    assert len(read_effects(Path("campaigns/measured.json"))) == 2


def test_the_same_log_gives_the_same_file(measured: Callable[..., dict[str, Any]]) -> None:
    assert measured() == measured()


def test_campaigns_with_other_offers_may_be_left_aside(measured: Callable[..., dict[str, Any]]) -> None:
    found = measured("summer", "--out", "calls.json", out="calls.json")
    assert [one["campaign"] for one in found["campaigns"]] == ["summer"] and not found["left_out"]
    assert not Path("campaigns/measured.json").exists()


def test_an_unknown_campaign_writes_nothing(measured: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="the log has no campaign 'fall'; it has"):
        measured("fall")
    assert not Path("campaigns/measured.json").exists()
