"""Months of the simulated operator as a release sees them: what the monitoring is measured on."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from churn.customers import frame_of
from churn.release import REFERENCE
from churn.scorer import Scorer
from demo.offers import after_offers, churned_after
from demo.world import BEGINS, sent
from monitoring.check.findings import Window
from monitoring.check.snapshot_files import Snapshot
from serve.log.database import write_lock
from serve.log.reported import keep_contacts
from serve.log.tables import first_id
from stages.simulate import simulate
from tests.factories import fill, prediction


def months(seed: int, customers: int, n: int) -> list[pd.DataFrame]:
    """Months in a row of the same customers, with new ones in the place of leavers."""
    world = {"months": BEGINS + n, "start": date(2026, 1, 1), "drift_month": 0, "concept_month": 0}
    drawn = pd.concat(simulate(customers=customers, seed=seed, drift=0.0, concept=0.0, **world))  # type: ignore[arg-type]
    return [part.reset_index(drop=True) for _, part in drawn.groupby("snapshot_date")][-n:]


def taken(scorer: Scorer, customers: pd.DataFrame, sample: int = 20_000) -> Snapshot:
    """A snapshot of a month whose outcomes are all known."""
    rows = sent(scorer.release.schema, customers)
    p = scorer.probabilities(rows)
    flagged = (p >= scorer.release.card["threshold"]["value"]).astype("float64")
    answers = pd.DataFrame({"p": p, "flagged": flagged})
    day = dict.fromkeys(("start", "end", "cohort_start", "cohort_end"), datetime(2026, 3, 1, tzinfo=UTC))
    return Snapshot(
        Window(model_version=scorer.release.version, **day),
        answers,
        answers.assign(churned=(customers["churned"] == "Yes").astype("float64"), offered=0.0, spared=1.0),
        frame_of(rows[:sample], scorer.release.schema, "float64").assign(churn_probability=p[:sample]),
        pd.read_parquet(scorer.release.folder / REFERENCE),
        scorer.release.card,
    )


def after_campaign(
    snapshot: Snapshot, customers: pd.DataFrame, share: float, seed: int, concept: float = 0.0
) -> Snapshot:
    """The month where all who were flagged are in a campaign: an offer is drawn with that chance, the others are held
    back."""
    flagged = (snapshot.cohort["flagged"] == 1).to_numpy()
    offered = flagged & (np.random.default_rng([seed, 16]).random(len(flagged)) < share)
    churned = churned_after(customers, offered, seed, concept).astype("float64")
    spared = np.where(flagged, 1 - share, 1.0)
    return snapshot._replace(cohort=snapshot.cohort.assign(churned=churned, offered=offered * 1.0, spared=spared))


def log_month(engine: Engine, scorer: Scorer, customers: pd.DataFrame, begin: datetime, known: bool = True) -> None:
    """Write answers to these customers, evenly spread over 28 days, and where `known` what became of them within the
    month: leavers are known on the day they leave, all others at the end of the month."""
    rows, version = sent(scorer.release.schema, customers), scorer.release.version
    step, threshold = timedelta(days=28) / len(rows), scorer.release.card["threshold"]["value"]
    answers, found = [], []
    for i, (row, p) in enumerate(zip(rows, scorer.probabilities(rows).tolist(), strict=True)):
        at, customer = begin + i * step, str(customers["customer_id"][i])
        answers.append(
            prediction(0, customer, "champion", p, at=at, id=f"{first_id(at)}{i:018x}", features=row,
                       prediction="churn" if p >= threshold else "no_churn", model_version=version)
        )  # fmt: skip
        churned = bool(customers["churned"][i] == "Yes")
        seen = at + timedelta(days=1 + 28 * (i % 97) / 97 if churned else 29)
        found.append(
            {"customer_id": customer, "request_id": "", "observed_at": seen, "churned": churned, "received_at": seen}
        )
    fill(engine, answers, found if known else [])


def log_campaign(engine: Engine, scorer: Scorer, customers: pd.DataFrame, begin: datetime, share: float) -> None:
    """The same where all who are flagged are in a campaign from an hour after their answer on: an offer is drawn with
    that chance, the others are held back."""
    flagged = scorer.probabilities(sent(scorer.release.schema, customers)) >= scorer.release.card["threshold"]["value"]
    seed = int(begin.timestamp())
    offered = flagged & (np.random.default_rng(seed).random(len(flagged)) < share)
    log_month(engine, scorer, after_offers(customers, offered, seed), begin)
    step, ids, name = timedelta(days=28) / len(customers), customers["customer_id"], f"{begin:%Y-%m-%d}"
    rows = [
        {"customer_id": str(ids[i]), "campaign": name, "at": begin + i * step + timedelta(hours=1),
         "offered": bool(offered[i]), "share": share}
        for i in np.flatnonzero(flagged)
    ]  # fmt: skip
    with engine.connect() as connection:
        assert keep_contacts(connection, write_lock(engine), rows) == []
