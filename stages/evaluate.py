"""evaluate: look once at the test customers with the selected model; write scores with intervals, slices and plots."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve
from sklearn.pipeline import Pipeline

from churn.fairness import by_group, distances, ratios
from churn.intervals import Measure, bootstrap, with_intervals
from churn.maximum_profit import MAXIMA, Offer, maximum_profits
from churn.measured import settled
from churn.model import assemble, load_model, load_selected
from churn.params import closest, read_knobs, read_params, read_section
from churn.profit import Profit
from churn.schema import MAX_LEVELS, TARGET, WEIGHT, Schema, read_schema
from churn.scores import BINS, ResampledScores, Weights, enough_to_score, total, weights_of
from churn.script import InputError, replacing, run, write_json

log = logging.getLogger("evaluate")

# what metrics/evaluate.json shows, each with its interval; metrics/evaluation.json has all the rest too
HEADLINES = (
    *("roc_auc", "average_precision", "brier", "log_loss", "ece", "lift_top_decile"),
    *("accuracy", "f1", "precision", "recall", "profit_per_customer", *MAXIMA, "roc_auc_gain"),
)
# what noise adds to, and the most that each can be
NOISY = {"ece": 1.0} | {name: 1.0 if name.endswith("_share") else np.inf for name in MAXIMA}
FEW = 0.01  # share of the customers, and of all but the others, that an offer is hardly meant for
SHUFFLED = 1000  # customers whose columns are shuffled, at most
STACKED = 30_000  # shuffled rows that are scored at once: to encode a frame costs more than the model
DISCREET = 3  # decimals of rates by group, from which no group's size is to be reckoned
POINTS = 200  # of a curve at most, so that plots stay small enough for git and for a diff


def evaluate(
    churned: np.ndarray,
    p: np.ndarray,
    p_baseline: np.ndarray,
    threshold: float,
    base_rate: float,
    profit: Profit,
    worth: np.ndarray,
    counted: np.ndarray | None = None,
    *,
    baseline: str,
    slices: list[str],
    resamples: Annotated[int, Field(ge=100)],
    seed: Annotated[int, Field(ge=0)],
    fairness: Sequence[str] = (),
    fairness_customers: Annotated[int, Field(ge=2)] = 30,
    fairness_outcomes: Annotated[int, Field(ge=1)] = 10,
) -> dict[str, float]:
    """Scores of the test customers with intervals; churned, p, p_baseline, worth and how often each customer is counted
    (n,), the training's base_rate."""
    counted = np.ones(len(p)) if counted is None else counted
    offer = Offer.of(profit, float(np.average(worth, weights=counted)))

    def measure_of(rows: np.ndarray) -> Measure:
        y, flagged = churned[rows], p[rows] >= threshold
        model, other = ResampledScores(y, p[rows]), ResampledScores(y, p_baseline[rows])
        earned = profit.of(y, flagged, worth[rows])
        from_all = profit.of(y, np.ones_like(flagged), worth[rows])
        base_losses, once = (base_rate - y) ** 2, counted[rows]

        def measure(w: Weights) -> dict[str, np.ndarray]:
            w = w * once
            n = w.sum(axis=1)
            ranking, baseline_auc = model.ranking(w), other.ranking(w)["roc_auc"]
            half = {f"{key}_at_half": value for key, value in model.flagging(w, 0.5).items()}
            policies = {
                "profit_per_customer": total(w, earned) / n,
                "profit_everybody": total(w, from_all) / n,
                "profit_random": (total(w, flagged) / n) * (total(w, from_all) / n),  # as many offers, to anybody
            }
            best_blunt = np.maximum(0, policies["profit_everybody"])  # nobody earns 0
            return {
                **ranking,
                **model.flagging(w, threshold),
                **half,
                "churn_rate": total(w, y) / n,
                # against the training's base rate for everybody
                "brier_skill": 1 - ranking["brier"] / (total(w, base_losses) / n),
                f"roc_auc_{baseline}": baseline_auc,
                "roc_auc_gain": ranking["roc_auc"] - baseline_auc,
                **policies,
                **maximum_profits(*model.tied(w), offer),
                "profit_gain": policies["profit_per_customer"] - best_blunt,
            }

        return measure

    drawn = bootstrap(measure_of, len(p), resamples, seed)
    result = with_intervals(drawn)
    for key, most in NOISY.items():  # a resample is noisier than its sample: the draws' spread counts, not their place
        value, reach = result[key], 1.96 * float(drawn[key][1:].std())
        result |= {f"{key}_low": max(0.0, value - reach), f"{key}_high": min(most, value + reach)}
    return {"threshold": threshold, **result}


def doubtful(flagged: float, earned: float) -> Iterator[str]:
    """Where the section profit is most likely another business's; `flagged` is a share, `earned` money per customer."""
    state = "state what an offer costs and brings under profit in params.yaml"
    if flagged < FEW or flagged > 1 - FEW:
        whom = "nobody" if not flagged else f"{flagged:.1%} of the customers"
        yield f"{whom} would be made an offer: {state}"
    if earned < 0:
        yield f"the offers would lose {-earned:.2f} per customer: {state}"


def slice_scores(
    churned: np.ndarray,
    p: np.ndarray,
    groups: pd.DataFrame,
    overall: Mapping[str, float],
    resamples: int,
    seed: int,
    counted: np.ndarray,
) -> pd.DataFrame:
    """A row for each level of each column of groups (n, .): n, churn rate, ROC AUC and calibration with intervals.

    worse: the interval of the ROC AUC lies below the one of all customers, or the mean probability is off by more than
    .05 and its interval excludes 0. A level with too few customers is counted, not scored.
    """
    rows = []
    for column in groups:
        for level in sorted(groups[column].dropna().astype(str).unique()):
            inside = (groups[column].astype(str) == level).to_numpy()
            y, q, w = churned[inside], p[inside], counted[inside]
            rate = np.average(y, weights=w)
            row = {"slice": f"{column} = {level}", "n": len(y), "churn_rate": rate, "worse": False}
            if enough_to_score(y):
                row |= with_intervals(bootstrap(slice_measure(y, q, w), len(y), resamples, seed))
                biased = abs(row["bias"]) > 0.05 and (row["bias_low"] > 0 or row["bias_high"] < 0)
                row["worse"] = bool(row["roc_auc_high"] < overall["roc_auc_low"] or biased)
            rows.append(row)
    scored = [f"{key}{end}" for key in ("roc_auc", "bias") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows).reindex(columns=["slice", "n", "churn_rate", *scored, "worse"])


def fairness_groups(customers: Mapping[str, pd.Series], names: Sequence[str], schema: Schema) -> pd.DataFrame:
    """The columns of evaluate.fairness that are there, by schema name, header, or feature; each must hold groups."""
    known = {header: part.name for part in schema.columns for header in part.headers}
    groups = {}
    for name in names:
        column = name if name in customers else known.get(name, name)
        if column not in customers:
            there = list(customers)
            log.warning(
                "params.yaml: evaluate.fairness names %r%s, which is skipped; the table has %s, of columns that no "
                "model reads those of at most %d values", name, closest(name, there), there, MAX_LEVELS,
            )  # fmt: skip
            continue
        if (levels := customers[column].nunique()) > MAX_LEVELS:
            raise InputError(
                f"params.yaml: evaluate.fairness names {name!r}, which has {levels} values; "
                f"name a column of at most {MAX_LEVELS}, or a feature that groups it"
            )
        groups[name] = customers[column]
    return pd.DataFrame(groups)


def slice_measure(churned: np.ndarray, p: np.ndarray, counted: np.ndarray) -> Callable[[np.ndarray], Measure]:
    """ROC AUC and bias, the mean probability minus the churn rate."""

    def measure_of(rows: np.ndarray) -> Measure:
        model, off = ResampledScores(churned[rows], p[rows]), p[rows] - churned[rows]
        once = counted[rows]

        def measure(w: Weights) -> dict[str, np.ndarray]:
            w = w * once
            return {"roc_auc": model.ranking(w)["roc_auc"], "bias": total(w, off) / w.sum(axis=1)}

        return measure

    return measure_of


def curves(churned: np.ndarray, p: np.ndarray, threshold: float, counted: np.ndarray) -> dict[str, pd.DataFrame]:
    """The plots' points, by file name; curves thinned to at most 200 points. `counted` (n,) is how often."""
    fpr, tpr, _ = roc_curve(churned, p, sample_weight=counted)
    precision, recall, _ = precision_recall_curve(churned, p, sample_weight=counted)
    order = np.argsort(-p, kind="stable")
    found, contacted = (each[order].cumsum() / each.sum() for each in (counted * churned, counted))
    bins = np.array_split(np.argsort(p, kind="stable"), BINS)
    flagged = p >= threshold
    cells = {
        "churned, flagged": flagged & (churned == 1),
        "churned, not flagged": ~flagged & (churned == 1),
        "stayed, flagged": flagged & (churned == 0),
        "stayed, not flagged": ~flagged & (churned == 0),
    }
    means = [np.average([p[part], churned[part]], axis=1, weights=counted[part]) for part in bins]
    calibration = [
        {"predicted": predicted, "observed": observed, "n": len(part)}
        for (predicted, observed), part in zip(means, bins, strict=True)
    ]
    return {
        "roc": thinned(pd.DataFrame({"false_positive_rate": fpr, "true_positive_rate": tpr})),
        "precision_recall": thinned(pd.DataFrame({"recall": recall[::-1], "precision": precision[::-1]})),
        "gain": thinned(pd.DataFrame({"contacted": contacted, "churners_found": found, "lift": found / contacted})),
        "calibration": pd.DataFrame(calibration),
        "confusion": pd.DataFrame(
            {"outcome": list(cells), "customers": [round(counted[c].sum()) for c in cells.values()]}
        ),
    }


def thinned(curve: pd.DataFrame) -> pd.DataFrame:
    return curve.iloc[np.unique(np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).astype(int))]


def importance(
    model: Pipeline, customers: pd.DataFrame, churned: np.ndarray, seed: int, counted: np.ndarray, repeats: int = 3
) -> pd.DataFrame:
    """Permutation importance (Breiman 2001): how much ROC AUC is lost when one column of the table is shuffled.

    The table's columns, not the features: total_spent would stand in for a shuffled tenure.
    """
    rng = np.random.default_rng(seed)
    kept = rng.permutation(len(customers))[:SHUFFLED]
    customers, churned, counted = customers.iloc[kept], churned[kept], counted[kept]
    whole = roc_auc_score(churned, model.predict_proba(customers)[:, 1], sample_weight=counted)
    rows, names, step = [], list(customers), max(1, STACKED // (repeats * len(customers)))
    for columns in (names[start : start + step] for start in range(0, len(names), step)):
        stacked = pd.concat([shuffled(customers, column, rng) for column in columns for _ in range(repeats)])
        p = model.predict_proba(stacked)[:, 1].reshape(len(columns), repeats, -1)
        aucs = [[roc_auc_score(churned, q, sample_weight=counted) for q in draws] for draws in p]
        lost = [whole - np.mean(values) for values in aucs]
        rows += [{"column": column, "roc_auc_lost": loss} for column, loss in zip(columns, lost, strict=True)]
    return pd.DataFrame(rows).sort_values("roc_auc_lost", ascending=False, kind="stable")


def shuffled(customers: pd.DataFrame, column: str, rng: np.random.Generator) -> pd.DataFrame:
    return customers.assign(**{column: customers[column].array[rng.permutation(len(customers))]})


def main(
    selected: Path = Path("models/selected/members"),
    candidates: Path = Path("models/candidates"),
    train: Path = Path("data/train.parquet"),
    test: Path = Path("data/test.parquet"),
    choice: Path = Path("metrics/select.json"),
    metrics: Path = Path("metrics/evaluate.json"),
    details: Path = Path("metrics/evaluation.json"),
    plots: Path = Path("metrics/plots/evaluate"),
    fairness: Path = Path("metrics/fairness.json"),
) -> None:
    knobs = read_params("evaluate", evaluate)
    profit, _ = settled(read_knobs("profit", Profit))
    customers = pd.read_parquet(test)
    churned, counted = customers.pop(TARGET).to_numpy("int64"), weights_of(customers)
    learned = pd.read_parquet(train, columns=[name for name in (TARGET, WEIGHT) if name in (TARGET, *customers)])
    base_rate = float(np.average(learned[TARGET].astype("float64"), weights=weights_of(learned)))
    schema, chosen = read_schema(Path(read_section("data")["schema"])), json.loads(choice.read_text())
    beside = customers[customers.columns.difference([*(part.name for part in schema.parts), WEIGHT], sort=False)]
    customers = customers[[column.name for column in schema.columns]]
    features, calibration = read_section("featurize")["features"], ("calibration_slope", "calibration_intercept")
    model = assemble(load_selected(selected, chosen), customers, features, *(chosen[key] for key in calibration))
    inputs = model.named_steps["add_features"].transform(customers)
    there = {**customers.to_dict("series"), **inputs[inputs.columns.difference(customers.columns)].to_dict("series")}
    groups = pd.DataFrame({name: there[name] for name in knobs["slices"] if name in there})
    if skipped := [name for name in knobs["slices"] if name not in there]:
        log.warning("skipped the slices %s: the table has not the columns; it has %s", skipped, list(there))
    fair = fairness_groups(beside.to_dict("series") | there, knobs["fairness"], schema)
    worth = profit.worth(customers.select_dtypes("number"), len(customers))
    p = model.predict_proba(customers)[:, 1]
    p_baseline = load_model(candidates / knobs["baseline"] / "model.joblib").predict_proba(inputs)[:, 1]
    threshold = chosen["threshold"]
    result = evaluate(churned, p, p_baseline.astype("float64"), threshold, base_rate, profit, worth, counted, **knobs)
    for line in doubtful(float(np.average(p >= threshold, weights=counted)), result["profit_per_customer"]):
        log.warning(line)
    by_slice = slice_scores(churned, p, groups, result, knobs["resamples"], knobs["seed"], counted)
    result["slices_worse"] = int(by_slice["worse"].sum())
    measured = ratios(churned, p >= threshold, p, profit.of(churned, p >= threshold, worth), counted)
    least = (knobs["fairness_customers"], knobs["fairness_outcomes"])
    by_fairness = by_group(measured, churned, fair, *least, knobs["seed"])
    tables = {
        **curves(churned, p, threshold, counted),
        "importance": importance(model, customers, churned, knobs["seed"], counted),
        "slices": by_slice,
        "fairness": by_fairness.round(DISCREET),
    }
    for name, table in tables.items():
        with replacing(plots / f"{name}.csv") as temporary:
            table.round(6).to_csv(temporary, index=False, lineterminator="\n")
    write_json(details, result)
    write_json(fairness, distances(by_fairness), DISCREET)
    shown = [f"{key}{end}" for key in HEADLINES for end in ("", "_low", "_high")]
    write_json(metrics, {key: result[key] for key in ["threshold", *shown, "slices_worse"]})
    log.info(
        "%d test customers: ROC AUC %.4f (%.4f to %.4f), F1 %.3f at %.3f, profit %.2f per customer, %d slices worse",
        len(p), result["roc_auc"], result["roc_auc_low"], result["roc_auc_high"], result["f1"], threshold,
        result["profit_per_customer"], result["slices_worse"],
    )  # fmt: skip


if __name__ == "__main__":
    run(main, "evaluate")
