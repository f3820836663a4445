"""What a campaign of a simulated month measured moves the threshold of the next release, and its card says so."""

import json
from pathlib import Path

import numpy as np
import pytest

from demo.world import month
from serve.log.database import write_lock
from serve.log.reported import keep_contacts
from serve.releases.gate import check
from serve.releases.store import Store
from stages.simulate import leaving
from tests.e2e.conftest import command, ran, set_knobs
from tests.factories import START, empty_log, fill, outcome

pytestmark = pytest.mark.e2e

KEPT = 0.12  # of those who would leave
CAMPAIGNS = ("2026-03", "2026-04")


def card_of(folder: Path) -> dict[str, dict[str, float]]:
    card: dict[str, dict[str, float]] = json.loads((folder / "models/release/card.json").read_text())
    return card


def log_months(folder: Path) -> str:
    """Months in which the riskiest half was made an offer, but a fifth of them; the log's URL."""
    engine = empty_log(folder)
    for seed, name in enumerate(CAMPAIGNS):
        customers, rng = month(3_000 + seed, 7_043), np.random.default_rng(seed)
        chance = leaving(customers, 0.0)
        chosen = np.flatnonzero(chance > np.median(chance))
        offered = rng.random(len(chosen)) < 0.8
        churned = rng.random(len(chosen)) < chance[chosen] * np.where(offered, 1 - KEPT, 1)
        ids = [f"{name}-{i}" for i in chosen]
        rows = [
            {"customer_id": i, "campaign": name, "at": START, "offered": bool(side), "share": 0.8}
            for i, side in zip(ids, offered, strict=True)
        ]
        fill(engine, [], [outcome(72, bool(left), customer=i) for i, left in zip(ids, churned, strict=True)])
        with engine.connect() as connection:
            assert keep_contacts(connection, write_lock(engine), rows, None) == []
    return str(engine.url)


def test_a_measured_success_moves_the_threshold_and_the_card_says_so(
    restored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, before = log_months(tmp_path), card_of(restored)
    store = Store(tmp_path / "releases")
    store.promote(store.add(restored / "models/release", "stated"), "stated")
    set_knobs(restored, profit__offer_success="measured")
    said = command(restored, "python", "-m", "campaigns", "measured", CHURN_LOG_URL=url)
    assert "wrote campaigns/measured.json from 2 campaigns" in said
    assert ran(command(restored, "dvc", "repro")) == ["select", "evaluate", "deploy"]

    card = card_of(restored)
    profit, evidence = card["threshold"]["profit"], card["threshold"]["measured"]  # type: ignore[index]
    assert evidence["campaigns"] == list(CAMPAIGNS)
    assert evidence["offer_success_low"] < KEPT < evidence["offer_success_high"]
    assert KEPT / 2 < profit["offer_success"] < 0.25
    assert card["threshold"]["value"] > before["threshold"]["value"] + 0.05
    assert "The offer success was measured: 95 % interval" in (restored / "models/release/README.md").read_text()
    assert not command(restored, "dvc", "status", "--quiet").strip()

    monkeypatch.chdir(restored)  # the gate counts by the number of the release it judges
    judged = check(store, store.add(restored / "models/release", "measured"), url)
    assert any(one["measure"] == "profit" for one in judged["measures"])
