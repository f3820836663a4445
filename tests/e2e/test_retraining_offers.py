"""A retraining on two months of the same customers, offers in the second: what it states holds for a month without."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from churn.profit import Profit
from churn.schema import WEIGHT
from churn.scorer import Scorer
from demo.world import expected_auc, month, sent
from review.verify import git
from serve.releases.store import Store
from stages.simulate import leaving
from tests.e2e.conftest import command, commit, set_knobs
from tests.factories import empty_log
from tests.simulated_months import log_campaign, log_month, months

pytestmark = pytest.mark.e2e

MODEL = "logistic_regression"
COHORT = datetime.now(UTC) - timedelta(days=59)


def test_a_release_that_learned_beside_offers_states_what_holds_without_them(clone: Path, tmp_path: Path) -> None:
    one = {MODEL: yaml.safe_load((clone / "params.yaml").read_text())["train"]["models"][MODEL]}
    wide = dict.fromkeys(("roc_auc", "average_precision", "brier", "profit"), 99.0)
    set_knobs(clone, train__models=one, gate__margins=wide)
    commit(clone, "one model, and a gate that lets it pass")
    store = Store(tmp_path / "releases")
    store.promote(store.add(clone / "models/release", "the first one"), "the first one")
    quiet, offered = months(1, 7_043, 2)
    log, champion = empty_log(tmp_path / "releases"), Scorer.open(store.champion())
    log_month(log, champion, quiet, COHORT - timedelta(days=30))
    log_campaign(log, champion, offered, COHORT, 0.9)
    variables = {"CHURN_RELEASES": str(store.where), "CHURN_LOG_URL": "", "MLFLOW_TRACKING_URI": ""}
    command(clone, sys.executable, "-m", "monitoring.retrain", timeout=300, **variables)
    (version,) = {*store.versions} - {store.state()["champion"]}
    scorer = Scorer.open(store.bundle(version))
    stated = scorer.release.card

    params = yaml.safe_load(git(clone, "show", f"retrain/{version}:params.yaml"))
    schema = yaml.safe_load(git(clone, "show", f"retrain/{version}:{params['data']['schema']}"))
    assert (params["data"]["weight"], params["preprocess"]["drop_duplicates"], schema["id"]["repeats"]) == (
        WEIGHT, False, True,
    )  # fmt: skip
    assert stated["data"]["effective_train_customers"] < stated["data"]["train_customers"]

    customers = month(77, 20_000)
    p, chance = scorer.probabilities(sent(scorer.release.schema, customers)), leaving(customers, 0.0)
    profit = Profit(**stated["threshold"]["profit"]).of(chance, p >= stated["threshold"]["value"]).mean()
    assert stated["data"]["churn_rate"] == pytest.approx(chance.mean(), abs=0.02)
    for name, truth in (("roc_auc", expected_auc(chance, p)), ("profit_per_customer", profit)):
        low, high = (stated["test"][f"{name}_{end}"] for end in ("low", "high"))
        assert low < truth < high
    assert np.mean(p) == pytest.approx(chance.mean(), abs=0.02)
