"""The gate of a promotion: the candidate against the champion, on the same customers, whose outcomes are known.

These are the candidate's held-out customers, which it never saw (the champion may have, which can only help the
champion), and production's customers whose outcome came in after the candidate did. For a candidate trained on
production only customers answered since then count: it may know the others, whose next outcomes come in every month.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import TypedDict

from churn.campaigns import read_lasts
from churn.features import add_features
from churn.offers import MAX_UNCOVERED, effective
from churn.params import read_knobs, read_params, read_section
from churn.profit import Profit
from churn.scorer import Scorer
from churn.scores import LOSSES, ResampledScores, Weights, enough_to_score, resamples, total
from churn.script import InputError, as_json, rounded
from serve.log.database import connect, first_line
from serve.log.outcomes import Labelled, labelled
from serve.releases import gaps
from serve.releases.ledger import addition, learned_until, time_of
from serve.releases.replay import as_dict, replayed
from serve.releases.store import Store

ERROR = 0.05  # of a one-sided bound
REPLAYED_DAYS = 30
REPLAYED_REQUESTS = 20_000  # at most, the newest: a promotion waits for them

Positive = Annotated[float, Field(ge=0)]


class Margins(TypedDict):
    """How much worse a candidate may be."""

    roc_auc: Positive
    average_precision: Positive
    brier: Positive
    profit: Positive  # per customer


class Table(NamedTuple):
    """Customers and their outcomes."""

    columns: Mapping[str, np.ndarray]  # as Scorer.columns gives them, (n,) each
    churned: np.ndarray  # (n,) in {0, 1}
    weights: np.ndarray  # (n,) how often each counts


class Side:
    """One release's scores of a table's customers."""

    def __init__(self, scorer: Scorer, table: Table, profit: Profit):
        p = scorer.score(table.columns)
        threshold = scorer.release.card["threshold"]["value"]
        self.flagged = p >= threshold
        self.earned = profit.of(table.churned, self.flagged, profit.worth(table.columns, len(p)))
        self.weighted, self.churned, self.p = ResampledScores(table.churned, p), table.churned, p
        self.weights = table.weights

    def measures(self, w: Weights) -> dict[str, np.ndarray]:
        """(b,) each; the keys of Margins."""
        w = w * self.weights
        ranking = self.weighted.ranking(w)
        return {
            **{name: ranking[name] for name in ("roc_auc", "average_precision", "brier")},
            "profit": total(w, self.earned) / w.sum(axis=1),
        }

    def within(self, inside: np.ndarray) -> ResampledScores:
        return ResampledScores(self.churned[inside], self.p[inside])


def judge(
    champion: Scorer,
    candidate: Scorer,
    tables: Mapping[str, Table],
    profit: Profit,
    slices: Sequence[str],
    fairness: Sequence[str] = (),
    *,
    margins: Margins,
    slice_margin: Positive,
    fairness_margin: Positive | None = None,
    min_outcomes: Annotated[int, Field(ge=30)],
    resamples: Annotated[int, Field(ge=100)],
    seed: Annotated[int, Field(ge=0)],
) -> dict[str, Any]:
    """Whether the candidate passes, and every number it was asked for.

    A measure passes where the one-sided 95 % bound of its paired difference, by bootstrap, is no worse than its margin:
    non-inferiority, and as all must pass no correction for their number is called for (Berger 1982,
    "Multiparameter Hypothesis Testing and Acceptance Sampling"). A slice fails where its ROC AUC is lower by more than
    slice_margin and the difference is significant at 5 % over all slices (Bonferroni). With a fairness_margin it fails,
    too, where groups of a column of `fairness` are further apart.
    """
    found: list[dict[str, Any]] = []
    scored: list[dict[str, Any]] = []
    worse: list[dict[str, Any]] = []
    looked_at, reasons = {}, []
    by_group: list[dict[str, Any]] = []
    unknown: list[str] = []
    for name, table in tables.items():
        n, churners = len(table.churned), int(table.churned.sum())
        looked_at[name] = n
        if not enough_to_score(table.churned) or (name != "test" and effective(table.weights) < min_outcomes):
            if name == "test":
                reasons.append(f"test: {n} customers, {churners} of them churned, are too few to compare on")
            continue
        sides = Side(champion, table, profit), Side(candidate, table, profit)
        found += [{"data": name, **row} for row in differences(*sides, margins, resamples, seed)]
        groups = levels({**table.columns, **add_features(table.columns, candidate.features)}, slices)
        groups = {slice: inside for slice, inside in groups.items() if enough_to_score(table.churned[inside])}
        scored += [{"data": name, **row} for row in slice_scores(*sides, groups)]
        worse += [{"data": name, **row} for row in worse_slices(*sides, groups, slice_margin, resamples, seed)]
        if fairness_margin is not None:
            there = {**table.columns, **add_features(table.columns, candidate.features)}
            parts = {column: [*levels(there, [column]).values()] for column in fairness if column in there}
            rows = gaps.apart(decisions(*sides), parts, fairness_margin, resamples, seed)
            by_group += [{"data": name, **row} for row in rows]
            unknown = [column for column in fairness if column not in there]
    reasons += [in_words(row) for row in found if not row["passed"]]
    reasons += [
        f"{row['data']}: {row['slice']} (n = {row['n']}) ranks clearly worse, ROC AUC {row['difference']:+.4f}, "
        f"at best {row['high']:+.4f}"
        for row in worse
    ]
    reasons += [gaps.in_words(row) for row in by_group if not row["passed"]]
    return {
        "passed": not reasons,
        "champion": champion.release.version,
        "candidate": candidate.release.version,
        "customers": looked_at,
        "reasons": reasons,
        "measures": rounded(found, 6),
        "slices": rounded(scored, 6),
        "slices_worse": rounded(worse, 6),
        **({"fairness": rounded(by_group, 6), "fairness_unknown": unknown} if fairness_margin is not None else {}),
    }


def decisions(champion: Side, candidate: Side) -> gaps.Decisions:
    return gaps.Decisions(champion.churned, champion.weights, champion.flagged, candidate.flagged)


def differences(champion: Side, candidate: Side, margins: Margins, b: int, seed: int) -> Iterator[dict[str, Any]]:
    """A row for each measure; `bound` is the worse end of the difference's one-sided 95 % interval."""
    n = len(champion.churned)
    before, after = (side.measures(np.ones((1, n))) for side in (champion, candidate))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in margins}
    for w in resamples(n, b, seed):
        ours, theirs = candidate.measures(w), champion.measures(w)
        for name in margins:
            drawn[name].append(ours[name] - theirs[name])
    allowed = cast(Mapping[str, float], margins)
    for name, margin in allowed.items():
        gaps, is_loss = np.concatenate(drawn[name]), name in LOSSES
        bound = float(np.nanquantile(gaps, 1 - ERROR if is_loss else ERROR))
        yield {
            "measure": name,
            "champion": float(before[name][0]),
            "candidate": float(after[name][0]),
            "difference": float(after[name][0] - before[name][0]),
            "bound": bound,
            "margin": margin if is_loss else -margin,
            "passed": bool(bound <= margin if is_loss else bound >= -margin),
        }


def levels(columns: Mapping[str, np.ndarray], slices: Sequence[str]) -> dict[str, np.ndarray]:
    """Name of each level of those columns -> (n,) whether a customer has it; absent columns are left out."""
    found: dict[str, np.ndarray] = {}
    for name in slices:
        if name in columns:
            texts = np.array([str(value) for value in columns[name]], dtype=object)
            found |= {f"{name} = {level}": texts == level for level in sorted({*texts} - {"None", "nan"})}
    return found


def slice_scores(champion: Side, candidate: Side, groups: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """ROC AUC of both in each slice."""
    for name, inside in groups.items():
        before, after = (
            side.within(inside).ranking(side.weights[inside][None])["roc_auc"] for side in (champion, candidate)
        )
        yield {"slice": name, "n": int(inside.sum()), "champion": float(before[0]), "candidate": float(after[0])}


def worse_slices(
    champion: Side, candidate: Side, groups: Mapping[str, np.ndarray], margin: float, b: int, seed: int
) -> Iterator[dict[str, Any]]:
    """The slices that the candidate ranks clearly worse."""
    for name, inside in groups.items():
        before, after, n = champion.within(inside), candidate.within(inside), int(inside.sum())
        once = champion.weights[inside]

        def gap(
            w: Weights, before: ResampledScores = before, after: ResampledScores = after, once: np.ndarray = once
        ) -> np.ndarray:
            return after.ranking(w * once)["roc_auc"] - before.ranking(w * once)["roc_auc"]

        difference = float(gap(np.ones((1, n)))[0])
        if difference >= -margin:
            continue
        deviation = float(np.nanstd(np.concatenate([gap(w) for w in resamples(n, b, seed)])))
        high = difference + NormalDist().inv_cdf(1 - ERROR / len(groups)) * deviation
        if high < 0 and not math.isnan(high):
            yield {"slice": name, "n": n, "difference": difference, "high": high}


def in_words(row: Mapping[str, Any]) -> str:
    return (
        f"{row['data']}: {row['measure']} {row['candidate']:.4f} against {row['champion']:.4f}, "
        f"{row['difference']:+.4f}, may be {row['bound']:+.4f}; allowed is {row['margin']:+.4f}"
    )


def check(store: Store, version: str, log_url: str, against: str = "") -> dict[str, Any]:
    """The gate's report on a release of the store, against the champion or another one; without a champion there is
    nothing to compare with."""
    champion = against or store.state()["champion"]
    candidate = Scorer.open(store.bundle(version))
    if champion in (None, version):
        return {"passed": True, "champion": champion, "candidate": version, "reasons": []}
    knobs = read_params("gate", judge)
    held_out = candidate.release.holdout()
    tables = {
        "test": Labelled(
            [line["customer"] for line in held_out],
            [line["churned"] for line in held_out],
            np.array([line.get("weight", 1.0) for line in held_out]),
            0.0,
        ),
        "production": from_production(log_url, *added(store, version)),
    }
    ready = {
        name: Table(candidate.columns(of.customers), np.array(of.churned, dtype="int64"), of.weights)
        for name, of in tables.items()
        if of.uncovered <= MAX_UNCOVERED
    }
    looked_at = read_section("evaluate")
    profit = read_knobs("profit", Profit).as_trained(lambda: candidate.release.card)
    names = {header: column.name for column in candidate.release.schema.columns for header in column.headers}
    fairness = [names.get(name, name) for name in looked_at.get("fairness", ())]
    before = Scorer.open(store.bundle(champion))
    found = judge(before, candidate, ready, profit, looked_at["slices"], fairness, **knobs)
    left_out = {
        name: f"offers went to {of.uncovered:.0%} of these customers, and nobody like them was held back"
        for name, of in tables.items()
        if name not in ready
    }
    return found | ({"not_compared": left_out} if left_out else {}) | with_replay(log_url, candidate, before)


def with_replay(log_url: str, candidate: Scorer, champion: Scorer) -> dict[str, Any]:
    """What would change for the customers asked about lately: it is told and judges nothing. Empty without requests."""
    since = datetime.now(UTC) - timedelta(days=REPLAYED_DAYS)
    try:
        made = replayed(log_url, candidate, champion, since, REPLAYED_REQUESTS)
    except (SQLAlchemyError, OSError) as error:
        return {"replay": {"problem": first_line(error)}}
    if made is None:
        return {}
    figures = as_dict(made)
    del figures["rows_per_second"]  # of this machine, not of the release
    return {"replay": json.loads(as_json(figures))}


def passed(store: Store, version: str, log_url: str, force: bool, against: str = "") -> dict[str, Any]:
    """The gate's report on a release that passes, or is forced; else an InputError with the numbers."""
    try:
        found = check(store, version, log_url, against)
    except InputError as error:
        if not force:
            raise
        champion = against or store.state()["champion"]
        found = {"passed": False, "champion": champion, "candidate": version, "reasons": [str(error)]}
    if not found["passed"] and not force:
        raise InputError("\n".join([f"{version} does not pass the gate; --force overrides it", *found["reasons"]]))
    return found | {"forced": not found["passed"]}


def added(store: Store, version: str) -> tuple[datetime, datetime | None]:
    """When the release was added, and the time before which the production customers it learned from were answered."""
    acts = store.history()
    if act := addition(acts, version):
        return time_of(act), learned_until(acts, version)
    raise InputError(f"the ledger does not know when {version} came, as its adding was cut short; add it again")


def from_production(log_url: str, since: datetime, learned: datetime | None) -> Labelled:
    engine = connect(log_url)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
        return Labelled([], [], np.ones(0), 0.0)  # there is no answer yet
    try:
        return labelled(engine, since, read_lasts(), learned)
    except SQLAlchemyError as error:
        raise InputError(f"the log's outcomes can't be read: {first_line(error)}; --force promotes unseen") from None
    finally:
        engine.dispose()
