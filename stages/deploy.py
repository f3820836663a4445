"""deploy: write the release bundle models/release/ and prove that its graph is the model; register it in MLflow."""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from churn import model_card, release
from churn.customer_model import customer_model
from churn.customers import records
from churn.export import export
from churn.measured import settled
from churn.model import AddFeatures, assemble, dump_model, load_selected, members_of
from churn.offers import effective
from churn.params import read_knobs, read_params, read_section
from churn.profit import Profit
from churn.query import table_file
from churn.schema import LARGEST, TARGET, WEIGHT, Schema, read_schema
from churn.scorer import Scorer
from churn.scores import scores
from churn.script import InputError, run
from churn.track_release import read_inputs, track_release
from churn.tracking import track

log = logging.getLogger("deploy")

FARTHEST = 100_000  # days before or after a customer's day, of an edge customer's date
PROVED = 100_000  # customers of each split, at most
BLOCK = 5_000  # of them at once
TOLERANCE = 1e-6  # between the graph and the scikit-learn pipeline, on every row of them
LIBRARIES = ("numpy", "pandas", "scikit-learn", "xgboost-cpu", "onnx", "onnxruntime")


def edge_customers(train: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Rows at the ends: each number at its range's ends, each level never seen, and all that may be missing missing.

    Where the schema leaves a range open, ten times the training customers' stands in.
    """
    usual = train.iloc[[0]]
    rows = []
    for column in schema.columns:
        values: list[Any] = []
        if column.type == "number":
            low, high = train[column.name].min(), train[column.name].max()
            ends = (low * 10 if column.min is None else column.min, high * 10 if column.max is None else column.max)
            values = [min(max(end, -LARGEST), LARGEST) for end in ends]
        elif column.type == "date":
            ends = train[column.name].min(), train[column.name].max()
            values = [min(max(10 * end, -FARTHEST), FARTHEST) for end in ends]
        elif column.type == "category":
            values = ["a level never seen"]
        if column.nullable:
            values.append(None)
        rows += [usual.assign(**{column.name: pd.Series([v], usual.index, train[column.name].dtype)}) for v in values]
    for kind, value in (("category", "a level never seen"), ("nullable", None)):
        chosen = [c.name for c in schema.columns if (c.type == kind or (kind == "nullable" and c.nullable))]
        rows.append(usual.assign(**{n: pd.Series([value], usual.index, train[n].dtype) for n in chosen}))
    return pd.concat(rows, ignore_index=True)


def prove(scorer: Scorer, model: Pipeline, customers: Mapping[str, pd.DataFrame]) -> float:
    """The largest gap between the graph and the pipeline over all customers; above 1e-6 it is an InputError."""
    largest, schema = 0.0, scorer.release.schema
    for source, rows in customers.items():
        # block by block: as records, wide customers take far more memory than in a frame
        blocks = [rows.iloc[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        scored = np.concatenate([scorer.probabilities(records(block, schema)) for block in blocks])
        gaps = np.abs(scored - model.predict_proba(features_of(rows, schema))[:, 1])
        if not (gaps <= TOLERANCE).all():
            worst = int(np.argmax(np.where(np.isnan(gaps), np.inf, gaps)))
            raise InputError(
                f"the ONNX graph differs from the pipeline by {gaps[worst]:.2e} (allowed {TOLERANCE:.0e}) "
                f"in row {worst + 1} of the {source} customers; {(~(gaps <= TOLERANCE)).sum()} of {len(gaps)} differ"
            )
        largest = max(largest, float(gaps.max()))
    return largest


def features_of(rows: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """What the pipeline reads of customers."""
    names = {column.name for column in schema.columns}
    return rows[[name for name in rows if name in names]]


def check_requests(golden: list[dict[str, Any]], schema: Schema) -> None:
    """An InputError where the service would refuse a golden customer, by the model of its own requests."""
    requests = TypeAdapter(customer_model(schema, {}))
    for number, customer in enumerate(golden, 1):
        try:
            requests.validate_python(dict(customer))
        except ValidationError as error:
            first = error.errors()[0]
            column, value = ".".join(map(str, first["loc"])), first["input"]
            words = f"golden customer {number}: the service would refuse the column '{column}' with {value!r}"
            raise InputError(f"{words}: {first['msg']}; correct the schema or the table") from None


def golden_customers(test: pd.DataFrame, p: np.ndarray, golden: int) -> pd.DataFrame:
    """`golden` test customers spread evenly over the ranks of their probabilities."""
    order = np.argsort(p, kind="stable")
    return test.iloc[np.sort(order[np.linspace(0, len(order) - 1, min(golden, len(order))).astype(int)])]


def card(
    model: Pipeline,
    found: Mapping[str, Any],
    data: Mapping[str, Any],
    parameters: Mapping[str, Any],
    *,
    intended_use: str,
    limits: list[str],
    golden: Annotated[int, Field(ge=100)],
    reference: Annotated[int, Field(ge=100)],
    holdout: Annotated[int, Field(ge=100)],
    seed: Annotated[int, Field(ge=0)],
    owner: str | None = None,
    license: str | None = None,
    oversight: str | None = None,
    risks: str | None = None,
) -> dict[str, Any]:
    """What a reader of the bundle must know. No date, host or run id: equal inputs give equal bytes."""
    statements = {"owner": owner, "license": license, "oversight": oversight, "risks": risks}
    add_features: AddFeatures = model.named_steps["add_features"]
    levels = learned_levels(model)
    return {
        "model": found["select"]["winner"],
        "parameters": dict(parameters),
        "threshold": {
            "value": found["select"]["threshold"],
            "chosen_by": found["select"]["threshold_by"],
            "profit": found["profit"],
            **({"measured": found["measured"]} if found["measured"] else {}),
        },
        "calibration": {key: found["select"][f"calibration_{key}"] for key in ("slope", "intercept")},
        "cross_validation": dict(found["cross_validation"]),
        "test": dict(found["evaluate"]),
        **({"fairness": dict(found["fairness"])} if found["fairness"] else {}),
        "data": dict(data),
        "features": add_features.names_,
        "inputs": {
            "numbers": add_features.numbers_,
            "categories": {name: levels[name] for name in add_features.categories_},
        },
        "samples": {"golden": golden, "reference": reference, "holdout": holdout, "seed": seed},
        "libraries": {name: version(name) for name in LIBRARIES},
        "intended_use": intended_use,
        "limits": limits,
        **{name: text for name, text in statements.items() if text},
    }


def cross_validation(churned: np.ndarray, oof: pd.DataFrame, counted: np.ndarray) -> dict[str, float]:
    """Each score's mean over the folds and its standard deviation (k - 1), of the probabilities that are released."""
    p = oof["p"].to_numpy()
    parts = [(oof["fold"] == fold).to_numpy() for fold in sorted(oof["fold"].unique())]
    folds = pd.DataFrame([scores(churned[part], p[part], weights=counted[part]) for part in parts])
    return {
        key: float(value)
        for name in folds
        for key, value in {name: folds[name].mean(), f"{name}_std": folds[name].std()}.items()
    }


def learned_levels(model: Pipeline) -> dict[str, list[str]]:
    """The levels of each category that training saw, the rare ones too."""
    encode = next(iter(members_of(model.named_steps["model"]).values())).named_steps["encode"]
    names = model.named_steps["add_features"].get_feature_names_out()
    return {
        names[column]: [str(level) for level in levels]
        for _, step, columns in encode.transformers_
        if isinstance(step, OneHotEncoder) and len(columns)
        for column, levels in zip(columns, step.categories_, strict=True)
    }


def sample(customers: pd.DataFrame, n: int, seed: int, counted: np.ndarray | None = None) -> pd.DataFrame:
    """n of them at random, or all, in their order; where some are counted more often, as often as they are drawn."""
    again = counted is not None and (counted != 1).any()
    weights = counted if again else None
    return customers.sample(min(n, len(customers)), random_state=seed, replace=again, weights=weights).sort_index()


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_release(
    building: Path, model: Pipeline, schema_file: Path, card: Mapping[str, Any], customers: Mapping[str, pd.DataFrame],
    outcomes: pd.DataFrame, reference: pd.DataFrame, found: model_card.Findings,
) -> tuple[str, float]:  # fmt: skip
    """Fill the folder `building`, prove what it holds and seal it; the version, and the largest gap that was found."""
    onnx.save(export(model), building / release.MODEL)
    dump_model(model, building / release.PIPELINE)
    shutil.copy(schema_file, building / release.SCHEMA)
    samples = card["samples"]
    reference.to_parquet(building / release.REFERENCE, index=False)
    scorer = Scorer(release.unsealed(building, read_schema(building / release.SCHEMA), card))
    gap = prove(scorer, model, customers)
    schema = scorer.release.schema
    p = model.predict_proba(features_of(customers["test"], schema))[:, 1]
    golden = records(pd.concat([golden_customers(customers["test"], p, samples["golden"]), customers["edge"]]), schema)
    check_requests(golden, schema)
    scored = zip(golden, scorer.probabilities(golden).tolist(), strict=True)
    write_lines(building / release.GOLDEN, [{"customer": customer, "churn_probability": q} for customer, q in scored])
    kept = sample(customers["test"], samples["holdout"], samples["seed"])
    became = outcomes.loc[kept.index].to_dict("records")
    held_out = [{"customer": customer, **what} for customer, what in zip(records(kept, schema), became, strict=True)]
    write_lines(building / release.HOLDOUT, held_out)
    sealed = release.seal(building, card, partial(model_card.pages, schema=schema, found=found))
    Scorer.open(building)
    return sealed, gap


def main(
    selected: Path = Path("models/selected/members"),
    out_of_fold: Path = Path("models/selected/oof.parquet"),
    candidates: Path = Path("models/candidates"),
    inputs: Path = Path("data/features/train.parquet"),
    train: Path = Path("data/train.parquet"),
    test: Path = Path("data/test.parquet"),
    select_metrics: Path = Path("metrics/select.json"),
    evaluate_metrics: Path = Path("metrics/evaluate.json"),
    evaluation: Path = Path("metrics/evaluation.json"),
    fairness: Path = Path("metrics/fairness.json"),
    trained: Path = Path("metrics/train"),
    evaluate_plots: Path = Path("metrics/plots/evaluate"),
    select_plots: Path = Path("metrics/plots/select"),
    extracted: Path = Path("data/extracted.parquet"),
    folder: Path = Path("models/release"),
) -> None:
    data, choice = read_section("data"), json.loads(select_metrics.read_text())
    schema = read_schema(Path(data["schema"]))
    splits = {"training": pd.read_parquet(train), "test": pd.read_parquet(test)}
    names = [column.name for column in schema.columns] + ([schema.time.name] if schema.time and schema.dates else [])
    # a graph that differs does so for many; of millions a sample is looked at, and kept in memory
    kept = {source: sample(rows, PROVED, 0) for source, rows in splits.items()}
    customers = {source: rows[names] for source, rows in kept.items()}
    customers["edge"] = edge_customers(customers["training"], schema)
    features, calibration = read_section("featurize")["features"], ("calibration_slope", "calibration_intercept")
    model = assemble(
        load_selected(selected, choice),
        features_of(customers["training"], schema),
        features,
        *(choice[key] for key in calibration),
    )
    (frame, counted), oof = read_inputs(inputs), pd.read_parquet(out_of_fold)
    known = oof["fold"] >= 0  # the others were fitted, not cross-validated
    profit, evidence = settled(read_knobs("profit", Profit))
    found = {
        "cross_validation": cross_validation(frame.loc[known, TARGET].to_numpy(), oof[known], counted[known]),
        "select": choice,
        "evaluate": json.loads(evaluate_metrics.read_text()),
        "fairness": json.loads(fairness.read_text()),
        "profit": profit.in_card(profit.worth(splits["training"].select_dtypes("number"), len(frame)), counted),
        "measured": evidence,
    }
    facts = {
        "table": Path(data["path"]).name,
        "sha256": release.file_hash(table_file(Path(data["path"]), extracted)),
        "train_customers": len(splits["training"]),
        "test_customers": len(splits["test"]),
        "churn_rate": round(float(np.average(frame[TARGET], weights=counted)), 6),
        **({"effective_train_customers": round(effective(counted))} if (counted != 1).any() else {}),
    }
    specs = read_section("train.models")
    weights = {name: choice[f"weight_{name}"] for name in specs if choice[f"weight_{name}"]}
    spec = (
        {name: {"weight": weight, **specs[name]} for name, weight in weights.items()}
        if len(weights) > 1
        else specs[choice["winner"]]
    )
    described = card(model, found, facts, spec, **read_params("deploy", card))
    samples, everybody = described["samples"], frame.assign(churn_probability=oof["p"])
    reference = sample(everybody[known], samples["reference"], samples["seed"], counted[known])
    shown = model_card.Findings.read(select_metrics, evaluation, trained, [evaluate_plots, select_plots], list(specs))
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    building.mkdir(parents=True)
    try:
        outcomes = kept["test"][[TARGET]].astype(bool)
        if WEIGHT in kept["test"]:
            outcomes["weight"] = kept["test"][WEIGHT]
        sealed, gap = write_release(
            building, model, Path(data["schema"]), described, customers, outcomes, reference, shown
        )
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    rows = sum(map(len, customers.values()))
    log.info("wrote %s: version %s, the graph equals the pipeline within %.1e on %d rows", folder, sealed, gap, rows)
    whole = release.open_release(folder).card
    track(f"release {sealed}", lambda tracker: track_release(tracker, whole, folder, candidates, inputs, train))


if __name__ == "__main__":
    run(main, "deploy")
