"""A release's model card for people: as a page, and as Markdown with the metadata of Hugging Face's cards.

After Mitchell et al. (2019), "Model Cards for Model Reporting". A statement that is missing is named as missing.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from churn import charts
from churn.card_metadata import metadata
from churn.document import Section, Table, markdown, page
from churn.intervals import Interval
from churn.release import PAGE, README
from churn.report_text import label, shown
from churn.schema import Column, Schema
from churn.tracking import flat

Card = Mapping[str, Any]

# what no stage can measure: the knob of `deploy` in params.yaml -> what it has to say
STATEMENTS = {
    "owner": "the team that answers for it, and how to reach it",
    "license": "the licence of the model, as apache-2.0",
    "oversight": "how a person checks and overrules its answers",
    "risks": "the harm that a wrong answer can do to a customer, and what is done about it",
}
SCORES = (
    "roc_auc",
    "average_precision",
    "brier",
    "log_loss",
    "lift_top_decile",
    "accuracy",
    "f1",
    "precision",
    "recall",
)
MOST_COLUMNS = 10  # of those that the model relies on


@dataclass(frozen=True)
class Findings:
    """What the stages measured, beside what stands in card.json."""

    choice: Mapping[str, Any]  # metrics/select.json
    scores: Mapping[str, Any]  # metrics/evaluation.json
    candidates: Mapping[str, Mapping[str, float]]  # metrics/train/MODEL.json
    plots: Mapping[str, pd.DataFrame]  # by the name of their file

    @classmethod
    def read(
        cls, choice: Path, scores: Path, candidates: Path, plots: Sequence[Path], models: Sequence[str]
    ) -> "Findings":
        return cls(
            json.loads(choice.read_text()),
            json.loads(scores.read_text()),
            {name: json.loads((candidates / f"{name}.json").read_text()) for name in models},
            {
                path.stem: pd.read_csv(path, keep_default_na=False, na_values=[""])
                for folder in plots
                for path in sorted(folder.glob("*.csv"))
            },
        )

    def interval(self, key: str, shape: str = ".3f") -> str:
        return shown(Interval(*(self.scores[f"{key}{end}"] for end in ("", "_low", "_high"))), shape)


def pages(card: Card, schema: Schema, found: Findings) -> dict[str, str]:
    """The card's texts by the name of their file in the bundle."""
    title, parts = f"Model card: churn, release {card['model_version']}", list(sections(card, schema, found))
    return {README: markdown(title, parts, metadata(card)), PAGE: page(title, parts)}


def sections(card: Card, schema: Schema, found: Findings) -> Iterator[Section]:
    yield release(card, found)
    yield Section("Intended use", [card["intended_use"]])
    yield Section("Limits", items=card["limits"])
    yield Section("Risks", [stated(card, "risks")])
    yield Section("Human oversight", [stated(card, "oversight")])
    yield data(card, schema)
    yield Section("What it reads", tables=[columns(schema)])
    yield choice(found)
    yield scores(card, found)
    yield calibration(card, found)
    yield money(card, found)
    yield slices(found)
    yield fairness(card, found)
    yield comparison(found)
    yield importance(found)


def stated(card: Card, name: str) -> str:
    """A person's statement, or that it is missing and where it is made."""
    return str(card.get(name) or f"Missing: {STATEMENTS[name]}; state it as deploy.{name} in params.yaml")


def release(card: Card, found: Findings) -> Section:
    model = f"{label(card['model'])}, an ONNX graph from a customer's values to the probability of leaving"
    facts = [
        ("release", str(card["model_version"])),
        ("model", model),
        *((f"parameter {name}", str(value)) for name, value in flat(card["parameters"]).items()),
        ("features computed of the table's columns", ", ".join(card["features"]) or "none"),
        ("owner", stated(card, "owner")),
        ("licence", stated(card, "license")),
        *((f"made with {name}", version) for name, version in card["libraries"].items()),
    ]
    ranked = (
        f"It ranks {card['data']['test_customers']:,} held-out customers with a ROC AUC of {found.interval('roc_auc')}"
    )
    return Section(
        "What it is", [f"{ranked}, 95 % interval."], tables=[Table("The release", ("fact", "value"), facts, [1])]
    )


def data(card: Card, schema: Schema) -> Section:
    read = card["data"]
    n, effective = (read.get(f"{kind}train_customers") for kind in ("", "effective_"))
    facts = [
        ("table", read["table"]),
        ("sha256 of the table", read["sha256"]),
        (
            "customers learned from",
            f"{n:,}" + (f", with weights; they tell as much as {effective:,}" if effective else ""),
        ),
        ("customers held out", f"{read['test_customers']:,}, {'the newest' if schema.time else 'drawn at random'}"),
        ("share that left, among those learned from", f"{read['churn_rate']:.1%}"),
    ]
    left_out = [f"{', '.join(part.source)}: not read, {part.why}" for part in schema.drop]
    left_out += [f"rows by {part.source}: not learned from, {part.why}" for part in schema.leave_out]
    return Section("Data", items=left_out, tables=[Table("The table", ("fact", "value"), facts, [1])])


def columns(schema: Schema) -> Table:
    rows = [
        (one.name, one.type, values(one), one.unit, "yes" if one.nullable else "no", one.description)
        for one in schema.columns
    ]
    head = ("column", "type", "values", "unit", "may be missing", "meaning")
    filled = [i for i in range(len(head)) if any(row[i] for row in rows)]  # no column of a table without a word
    picked = [[row[i] for i in filled] for row in rows]
    return Table("Columns of a request", [head[i] for i in filled], picked, range(1, len(filled)))


def values(column: Column) -> str:
    if column.type == "number":
        ends = (("from", column.min), ("to", column.max))
        return " ".join(f"{word} {end:,.15g}" for word, end in ends if end is not None)
    return ", ".join(column.levels or ())


def choice(found: Findings) -> Section:
    chosen, metric = found.choice, found.choice["metric"]
    compared, rows = dict.fromkeys((metric, "log_loss", "brier")), []
    for name, made in found.candidates.items():
        cells = [f"{made[score]:.4f} ± {made[f'{score}_std']:.4f}" for score in compared]
        rows.append([label(name), *cells, f"{made[f'{metric}_gap']:+.4f}", f"{chosen[f'weight_{name}']:.2f}"])
    head = ["model", *map(label, compared), f"{label(metric)}, training minus folds", "weight"]
    gain, error = (chosen[f"calibration_log_loss_gain{end}"] for end in ("", "_error"))
    blend, blend_error = (chosen[f"ensemble_log_loss_gain{end}"] for end in ("", "_error"))
    is_calibrated = "applied" if chosen["calibration_applied"] else "not applied"
    lines = [
        f"Chosen by {label(metric)} on customers that a model was not fitted on: {label(chosen['winner'])}.",
        f"A weighted mean of several models: {gained(blend, blend_error)}.",
        f"Calibration is {is_calibrated}: {gained(gain, error)}.",
    ]
    return Section(
        "How it was chosen", lines, tables=[Table("Candidates, mean and deviation over the folds", head, rows)]
    )


def gained(gain: float, error: float) -> str:
    return f"a gain of {gain:.6f} in log loss per customer, standard error {error:.6f}"


def scores(card: Card, found: Findings) -> Section:
    crossed = card["cross_validation"]
    rows = []
    for key in SCORES:
        folds = f"{crossed[key]:.3f} ± {crossed[f'{key}_std']:.3f}" if key in crossed else ""
        rows.append([label(key), found.interval(key), folds])
    lines = [
        "Held-out customers with bootstrap intervals of 95 %; mean and deviation over the folds of training.",
        f"Flagged from {card['threshold']['value']:g} on among the held-out customers, from 0.5 on among the folds.",
    ]
    return Section("Scores", lines, tables=[Table("Scores", ("score", "held out", "cross-validation"), rows)])


def calibration(card: Card, found: Findings) -> Section:
    groups = found.plots["calibration"]
    rows = [[f"{row.predicted:.3f}", f"{row.observed:.3f}", f"{row.n:,}"] for row in groups.itertuples()]
    fitted = card["calibration"]
    lines = [
        f"Expected calibration error {found.interval('ece')}.",
        f"Log odds are stretched by {fitted['slope']:.3f} and moved by {fitted['intercept']:+.3f}.",
    ]
    table = Table("Equal groups of held-out customers", ("mean probability", "share that left", "customers"), rows)
    chart = charts.calibration(groups["predicted"].to_numpy(), groups["observed"].to_numpy())
    return Section(
        "Calibration",
        lines,
        tables=[table],
        chart=chart,
        caption="A group on the dotted line leaves as often as predicted.",
    )


def money(card: Card, found: Findings) -> Section:
    threshold, by_threshold = card["threshold"], found.plots["threshold"]
    chosen_by = threshold["chosen_by"]
    by = "set in params.yaml" if chosen_by == "params" else f"chosen by {label(chosen_by)} on the folds"
    policies = {
        "profit_per_customer": "flagged customers are made an offer",
        "profit_everybody": "everybody is made an offer",
        "profit_random": "as many offers, to customers at random",
        "maximum_profit": "the best threshold for these customers, in hindsight",
    }
    assumed = ", ".join(f"{label(name)} {value}" for name, value in threshold["profit"].items())
    outcomes = [(row.outcome, f"{row.customers:,}") for row in found.plots["confusion"].itertuples()]
    tables = [
        Table(
            "Profit per held-out customer against no offers, in the currency of the charges",
            ("policy", "profit"),
            [(text, found.interval(key, ".2f")) for key, text in policies.items()],
        ),
        Table("Decisions and outcomes of held-out customers", ("outcome", "customers"), outcomes),
    ]
    lines = [f"Flagged as churn from {threshold['value']:g} on, {by}.", f"Profit assumes: {assumed}."]
    if "measured" in threshold:
        lines.append(measured(threshold["measured"], threshold["profit"]["offer_success"]))
    chart = charts.profit(by_threshold["threshold"].to_numpy(), by_threshold["profit"].to_numpy(), threshold["value"])
    return Section(
        "Threshold and money",
        lines,
        tables=tables,
        chart=chart,
        caption="Profit per customer by threshold, on the folds.",
    )


def measured(evidence: Mapping[str, Any], success: float) -> str:
    """What the success of offers rests on, where it is not stated."""
    low, high = evidence["offer_success_low"], evidence["offer_success_high"]
    prior = f"{evidence['prior']:g} ± {evidence['prior_deviation']:g}"
    if not evidence["campaigns"]:
        return f"The offer success is the one expected beforehand, {prior}, as no campaign has measured it yet."
    names = ", ".join(evidence["campaigns"])
    at_least = "" if success else " It is 0, as offers seem to drive away no fewer customers than they keep."
    return (
        f"The offer success was measured: 95 % interval {low:.3f} to {high:.3f}, {evidence['outcomes']:,} outcomes "
        f"of {names}, shrunk towards {prior}.{at_least}"
    )


def slices(found: Findings) -> Section:
    rows = []
    for row in found.plots["slices"].itertuples():
        auc, bias = (
            Interval(*(getattr(row, f"{key}{end}") for end in ("", "_low", "_high"))) for key in ("roc_auc", "bias")
        )
        judged = "too few customers" if pd.isna(row.roc_auc) else "worse" if row.worse else ""
        rows.append([row.slice, f"{row.n:,}", f"{row.churn_rate:.1%}", shown(auc, ".3f"), shown(bias, "+.3f"), judged])
    if not rows:
        return Section("Slices", ["Missing: scores by slice; name columns as evaluate.slices in params.yaml"])
    head = ("slice", "customers", "left", "ROC AUC", "mean probability minus share that left", "verdict")
    lines = ["Worse: ROC AUC below that of all customers by the intervals, or probabilities off by more than .05."]
    return Section("Slices", lines, tables=[Table("Held-out customers by slice", head, rows, [5])])


def fairness(card: Card, found: Findings) -> Section:
    """By group of the columns of evaluate.fairness; a group that is too small is named alone."""
    if not card.get("fairness"):
        return Section("Fairness", ["Missing: rates by group; name columns as evaluate.fairness in params.yaml"])
    rates = {"selection_rate": "flagged", "recall": "recall", "precision": "precision"}
    rates |= {"false_positive_rate": "false positive rate", "bias": "mean probability minus share that left"}
    rates |= {"profit_per_customer": "profit"}

    def cell(row: Mapping[Any, Any], key: str) -> str:
        shape = ".2f" if key == "profit_per_customer" else "+.3f" if key == "bias" else ".3f"
        return shown(Interval(*(row[f"{key}{end}"] for end in ("", "_low", "_high"))), shape)

    rows, apart = [], []
    for row in found.plots["fairness"].to_dict("records"):
        size = "too few" if row["masked"] else "-" if pd.isna(row["customers"]) else f"{row['customers']:,.0f}"
        rows.append([f"{row['column']} = {row['group']}", size, *(cell(row, key) for key in rates)])
    for column, gaps in card["fairness"].items():
        known = {key: math.nan if value is None else value for key, value in gaps.items()}
        apart.append([column, *(cell(known, f"{key}_difference") for key in ("selection_rate", "recall"))])
        apart[-1] += [cell(known, f"{key}_ratio") for key in ("selection_rate", "recall")]
    lines = [
        "Flagged customers are those who would be made an offer. The 95 % intervals of all groups hold at once.",
        "Groups of too few customers are named only; then the sizes of the column's other groups are left out.",
    ]
    differences = ("column", "flagged, difference", "recall, difference", "flagged, ratio", "recall, ratio")
    tables = [
        Table("Held-out customers by group", ("group", "customers", *rates.values()), rows),
        Table("Largest difference and least ratio between groups", differences, apart),
    ]
    return Section("Fairness", lines, tables=tables)


def comparison(found: Findings) -> Section:
    baseline = next(name for name in found.candidates if f"roc_auc_{name}" in found.scores)
    rows = [
        [f"ROC AUC of the baseline, {label(baseline)}", found.interval(f"roc_auc_{baseline}")],
        ["ROC AUC gained over the baseline", found.interval("roc_auc_gain")],
        ["Brier score, share removed against the same probability for everybody", found.interval("brier_skill")],
        [
            "profit gained per customer over the better of no offers and offers to everybody",
            found.interval("profit_gain", ".2f"),
        ],
    ]
    return Section("What it was compared with", tables=[Table("On the held-out customers", ("measure", "value"), rows)])


def importance(found: Findings) -> Section:
    rows = [
        [row.column, f"{row.roc_auc_lost:.3f}"] for row in found.plots["importance"].head(MOST_COLUMNS).itertuples()
    ]
    lines = [
        "ROC AUC that is lost when a column is shuffled among the held-out customers.",
        "It says what the model uses, not why customers leave.",
    ]
    return Section("What it relies on", lines, tables=[Table("Columns", ("column", "ROC AUC lost"), rows)])
