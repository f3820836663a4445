"""A real experiment: e-mails to 64,000 customers of a shop, by the commands of the product, as scipy has it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import ttest_ind

from campaigns.__main__ import main
from serve.log.database import write_lock
from serve.log.reported import keep
from serve.log.tables import outcomes
from tests.conftest import ROOT
from tests.factories import empty_log

TABLE = ROOT / "../shared/data/hillstrom_email.csv"
DAY, LATER = "2026-03-01", datetime.fromisoformat("2026-03-15T00:00:00+00:00")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TABLE.exists(), reason="Hillstrom's experiment is not there"),
]


@pytest.mark.parametrize(("mail", "effect"), [("Mens E-Mail", 0.0766), ("Womens E-Mail", 0.0452)])
def test_the_effect_of_a_mail_and_its_interval_are_those_of_scipy(
    mail: str, effect: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    customers = pd.read_csv(TABLE)
    ours = customers[customers["segment"].isin([mail, "No E-Mail"])]
    offered, stayed_away = ours["segment"] == mail, ours["visit"] == 0
    ids = "c" + ours.index.astype(str)
    engine = empty_log(tmp_path)
    monkeypatch.setenv("CHURN_LOG_URL", str(engine.url))
    told = pd.DataFrame({"customer_id": ids, "offered": offered.to_numpy(), "share": 0.5})
    told.to_parquet(tmp_path / "list.parquet", index=False)
    main(["contacted", str(tmp_path / "list.parquet"), "--campaign", "mail", "--at", DAY])
    rows: list[dict[str, Any]] = [
        {"customer_id": name, "request_id": "", "observed_at": LATER, "churned": bool(churned)}
        for name, churned in zip(ids, stayed_away, strict=True)
    ]
    with engine.connect() as connection:
        assert keep(connection, write_lock(engine), outcomes, rows) == []
    main(["result", "mail", "--json"])
    found = json.loads(capsys.readouterr().out)
    peer = ttest_ind(ours["visit"][offered], ours["visit"][~offered], equal_var=False)
    interval = peer.confidence_interval(0.95)
    assert found["churn_avoided"] == pytest.approx(effect, abs=5e-5)
    shown = [found["churn_avoided_low"], found["churn_avoided_high"]]
    assert shown == pytest.approx([interval.low, interval.high], abs=1e-6)
    assert found["checks"]["problems"] == [] and found["verdict"] != "invalid"
    assert found["churn_avoided_at_all_looks_low"] > 0
