"""deploy: the graph is the model, the bundle is whole and repeats byte for byte, or nothing is left behind."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.semi_supervised import LabelSpreading
from threadpoolctl import threadpool_limits

from churn import release
from churn.customers import records
from churn.export import export
from churn.model import assemble, load_model
from churn.schema import TARGET, WEIGHT, Schema, read_schema
from churn.scorer import Scorer
from churn.script import InputError, run
from stages import deploy
from stages.deploy import check_requests, edge_customers, golden_customers, prove, sample
from stages.train import pipeline

REFERENCE = "models/release/reference"
FEATURES = ["total_spent", "avg_monthly_ratio", "tenure_group", "tenure_log"]
MODELS = ("logistic_regression", "random_forest", "gradient_boosting", "xgboost")
CALIBRATIONS = [
    pytest.param((1.0, 0.0), id="as it is"),
    pytest.param((1.7, -0.4), id="calibrated"),
]


@pytest.fixture(scope="module")
def schema(project: Path) -> Schema:
    return read_schema(project / "schemas/telco.yaml")


@pytest.fixture(scope="module")
def customers(project: Path, schema: Schema) -> dict[str, pd.DataFrame]:
    names = [column.name for column in schema.columns]
    read = {source: pd.read_parquet(project / f"data/{source}.parquet")[names] for source in ("train", "test")}
    return read | {"edge": edge_customers(read["train"], schema)}


@pytest.fixture(scope="module")
def fitted(project: Path, customers: dict[str, pd.DataFrame]) -> Callable[..., Pipeline]:
    """The release pipeline of a candidate of the project."""

    @cache
    def of(name: str, slope: float = 1.0, intercept: float = 0.0) -> Pipeline:
        candidate = load_model(project / f"models/candidates/{name}/model.joblib")
        return assemble(candidate, customers["train"], FEATURES, slope, intercept)

    return of


def scorer_of(model: Pipeline, schema: Schema, folder: Path) -> Scorer:
    onnx.save(export(model), folder / release.MODEL)
    add = model.named_steps["add_features"]
    inputs = {"numbers": add.numbers_, "categories": dict.fromkeys(add.categories_)}
    return Scorer(release.unsealed(folder, schema, {"features": add.names_, "inputs": inputs}))


def line_of(caplog: pytest.LogCaptureFixture, main: Callable[[], None]) -> str:
    """The one line with which a failing deploy ends."""
    with pytest.raises(SystemExit):
        run(main, "deploy")
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    return line


# the graph


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize("name", MODELS)
def test_the_graph_is_the_model_on_every_row(
    name: str,
    calibration: tuple[float, float],
    fitted: Callable[..., Pipeline],
    customers: dict[str, pd.DataFrame],
    schema: Schema,
    tmp_path: Path,
) -> None:
    model = fitted(name, *calibration)
    assert 0 <= prove(scorer_of(model, schema, tmp_path), model, customers) <= 1e-6


def test_calibration_is_part_of_the_graph(
    fitted: Callable[..., Pipeline], customers: dict[str, pd.DataFrame], schema: Schema, tmp_path: Path
) -> None:
    rows = records(customers["test"], schema)
    plain = scorer_of(fitted("gradient_boosting"), schema, tmp_path).probabilities(rows)
    moved = scorer_of(fitted("gradient_boosting", 1.7, -0.4), schema, tmp_path).probabilities(rows)
    np.testing.assert_allclose(np.log(moved / (1 - moved)), 1.7 * np.log(plain / (1 - plain)) - 0.4, atol=1e-9)


def test_another_model_s_graph_is_refused_with_source_and_row(
    fitted: Callable[..., Pipeline], customers: dict[str, pd.DataFrame], schema: Schema, tmp_path: Path
) -> None:
    scorer, model = scorer_of(fitted("random_forest"), schema, tmp_path), fitted("gradient_boosting")
    rows = customers["test"]
    gaps = np.abs(scorer.probabilities(records(rows, schema)) - model.predict_proba(rows)[:, 1])
    with pytest.raises(InputError) as error:
        prove(scorer, model, {"test": rows})
    assert str(error.value) == (
        f"the ONNX graph differs from the pipeline by {gaps.max():.2e} (allowed 1e-06) in row {gaps.argmax() + 1} "
        f"of the test customers; {(gaps > 1e-6).sum()} of {len(rows)} differ"
    )


def test_one_row_that_differs_is_enough(
    fitted: Callable[..., Pipeline], customers: dict[str, pd.DataFrame], schema: Schema, tmp_path: Path
) -> None:
    class Off(Scorer):
        def probabilities(self, customers: Any) -> np.ndarray:
            p = super().probabilities(customers)
            p[3] = np.nan
            return p

    model = fitted("gradient_boosting")
    scorer = scorer_of(model, schema, tmp_path)
    with pytest.raises(InputError, match=r"in row 4 of the edge customers; 1 of \d+ differ"):
        prove(Off(scorer.release), model, {"edge": customers["edge"]})


@pytest.mark.parametrize("columns", [["monthly_charges", "total_charges"], ["contract", "gender"]], ids=str)
def test_a_table_of_numbers_or_levels_alone_has_a_graph(
    columns: list[str], customers: dict[str, pd.DataFrame], schema: Schema, tmp_path: Path
) -> None:
    rows = customers["train"][columns]
    inputs = assemble(None, rows, [], 1, 0).named_steps["add_features"].transform(rows)
    classifier = pipeline(inputs, LogisticRegression()).fit(inputs, np.arange(len(inputs)) % 2)
    model = assemble(classifier, rows, [], 1, 0)
    assert prove(scorer_of(model, schema, tmp_path), model, {"training": rows}) <= 1e-6


# rows


def test_edge_customers_stand_at_the_end_of_every_range(customers: dict[str, pd.DataFrame], schema: Schema) -> None:
    edge = customers["edge"]
    for column in schema.columns:
        values = edge[column.name]
        if column.type == "number":
            assert {column.min, column.max} <= set(values)
        if column.type == "category":
            assert (values == "a level never seen").sum() == 2  # alone, and with all other categories
        assert column.nullable == values.isna().any()
    assert (edge.dtypes == customers["train"].dtypes).all()


def test_an_open_range_ends_at_ten_times_the_training_s(customers: dict[str, pd.DataFrame], schema: Schema) -> None:
    open_ended = [c.model_copy(update={"max": None}) if c.name == "tenure" else c for c in schema.columns]
    edge = edge_customers(customers["train"], schema.model_copy(update={"columns": tuple(open_ended)}))
    assert edge["tenure"].max() == 10 * customers["train"]["tenure"].max()


def test_golden_customers_spread_from_the_lowest_to_the_highest_risk(customers: dict[str, pd.DataFrame]) -> None:
    p = np.random.default_rng(0).random(len(customers["test"]))
    chosen = golden_customers(customers["test"], p, 5)
    ranks = p.argsort().argsort()[chosen.index]
    assert sorted(ranks) == np.linspace(0, len(p) - 1, 5).astype(int).tolist()
    assert len(golden_customers(customers["test"], p, 10_000)) == len(p)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("monthly_charges", 1e16, "the column 'monthly_charges' with 1e+16: Input should be less than or equal to "),
        ("contract", "x" * 201, "the column 'contract' with "),
        ("contract", None, "the column 'contract' with None: "),
    ],
)
def test_a_golden_customer_whom_the_service_would_refuse_stops_the_release(
    column: str, value: Any, words: str, customers: dict[str, pd.DataFrame], schema: Schema
) -> None:
    golden = records(customers["test"].head(3), schema)
    check_requests(golden, schema)
    golden[1][column] = value
    with pytest.raises(InputError, match=re.escape(f"golden customer 2: the service would refuse {words}")):
        check_requests(golden, schema)


def test_a_record_has_true_false_and_null(schema: Schema) -> None:
    table = pd.DataFrame(
        {
            "partner": pd.array([True, None], "boolean"),
            "tenure": [np.nan, 2.0],
            "contract": pd.Series(["One year", None], dtype="str"),
        }
    )
    assert records(table, schema) == [
        {"partner": True, "tenure": None, "contract": "One year"},
        {"partner": None, "tenure": 2.0, "contract": None},
    ]
    assert json.dumps(records(table, schema)[0]) == '{"partner": true, "tenure": null, "contract": "One year"}'


# the bundle


def test_equal_inputs_give_equal_bytes(released: Path) -> None:
    twin = released.with_name("again")
    files = {path.name: path.read_bytes() for path in released.iterdir()}
    assert files == {path.name: path.read_bytes() for path in twin.iterdir()}
    assert set(files) == {*release.FILES, *release.PAGES, release.MANIFEST}


def test_the_bundle_holds_what_the_contract_says(released: Path, project: Path) -> None:
    bundle = release.open_release(released)
    golden, reference = bundle.golden(), pd.read_parquet(released / release.REFERENCE)
    assert len(golden) >= 100
    assert set(golden[0]) == {"customer", "churn_probability"}
    assert "a level never seen" in golden[-2]["customer"].values()
    assert len(reference) == 200
    assert list(reference) == [*pd.read_parquet(project / "data/features/train.parquet"), "churn_probability"]
    assert (released / release.SCHEMA).read_bytes() == (project / "schemas/telco.yaml").read_bytes()


def test_the_holdout_is_the_test_customers_and_what_became_of_them(released: Path, project: Path) -> None:
    bundle, test = release.open_release(released), pd.read_parquet(project / "data/test.parquet")
    names = [column.name for column in bundle.schema.columns]
    expected = zip(records(test[names], bundle.schema), test["churned"].astype(bool), strict=True)
    assert bundle.holdout() == [{"customer": customer, "churned": churned} for customer, churned in expected]


def test_a_holdout_is_drawn_with_its_outcomes_where_there_are_too_many() -> None:
    test = pd.DataFrame({"tenure": range(1000)})
    kept = sample(test, 300, seed=1)
    assert len(kept) == 300
    assert kept.index.is_monotonic_increasing
    assert (kept["tenure"] == kept.index).all()
    assert not kept.equals(sample(test, 300, seed=2))


@pytest.fixture(scope="module")
def weighted(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with customers of whom those with fibre count five times, and a release of logistic regression."""
    from stages import evaluate, featurize, load, preprocess, select, train

    folder = tmp_path_factory.mktemp("weighted")
    table = pd.read_csv(project / "data/raw/customers.csv", dtype="str", keep_default_na=False)
    table["stands for"] = np.where(table["internet_service"] == "Fiber optic", "5", "1")
    table.to_csv(folder / "customers.csv", index=False)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["data"] |= {"path": "customers.csv", "weight": "stands for"}
    params["train"]["models"] = {"logistic_regression": params["train"]["models"]["logistic_regression"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for name in ("schemas", "requirements.txt"):
        (folder / name).symlink_to(project / name)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for stage in (load, preprocess, featurize):
            stage.main()
        train.main("logistic_regression")
        for stage in (select, evaluate, deploy):
            stage.main()
    return folder


def test_weights_reach_the_scores_the_holdout_and_the_card_and_no_request(weighted: Path, project: Path) -> None:
    bundle, plain = release.open_release(weighted / "models/release"), pd.read_parquet(project / "data/test.parquet")
    test = pd.read_parquet(weighted / "data/test.parquet")
    counted = np.where(plain["internet_service"] == "Fiber optic", 5.0, 1.0)
    assert [line["weight"] for line in bundle.holdout()] == test[WEIGHT].tolist() == counted.tolist()
    p = Scorer(bundle).probabilities([line["customer"] for line in bundle.holdout()])
    auc = roc_auc_score(test[TARGET].astype(bool), p, sample_weight=counted)
    assert bundle.card["test"]["roc_auc"] == pytest.approx(auc, abs=1e-6)
    names = {column.name for column in bundle.schema.columns}
    assert {name for line in bundle.holdout() + bundle.golden() for name in line["customer"]} <= names
    assert WEIGHT not in bundle.card["inputs"]["numbers"]
    learned = pd.read_parquet(weighted / "data/train.parquet")
    effective = learned[WEIGHT].sum() ** 2 / (learned[WEIGHT] ** 2).sum()
    assert bundle.card["data"]["effective_train_customers"] == round(effective) < len(learned)
    assert f"with weights; they tell as much as {effective:.0f}" in (bundle.folder / "README.md").read_text()


def test_the_reference_is_the_customers_for_whom_those_with_weights_stand(weighted: Path) -> None:
    """What production asks about is compared with it, and of that some were left out of the table."""
    learned, reference = (pd.read_parquet(weighted / f"{name}.parquet") for name in ("data/train", REFERENCE))
    has_fibre = learned["internet_service"] == "Fiber optic"
    share = np.average(has_fibre, weights=learned[WEIGHT])
    assert (reference["internet_service"] == "Fiber optic").mean() == pytest.approx(share, abs=0.1)
    assert share > has_fibre.mean() + 0.2 and WEIGHT not in reference


def test_the_reference_has_each_customer_s_own_out_of_fold_probability(released: Path, project: Path) -> None:
    inputs = pd.read_parquet(project / "data/features/train.parquet")
    whole = inputs.assign(churn_probability=pd.read_parquet(project / "models/selected/oof.parquet")["p"])
    reference = pd.read_parquet(released / release.REFERENCE)
    assert len(reference.merge(whole.drop_duplicates())) == len(reference)


def test_the_card_tells_the_model_and_neither_date_nor_host(released: Path, project: Path) -> None:
    card = json.loads((released / release.CARD).read_text())
    choice = json.loads((project / "metrics/select.json").read_text())
    assert list(card) == [
        "model_version", "model", "parameters", "threshold", "calibration", "cross_validation", "test",
        "fairness", "data", "features", "inputs", "samples", "libraries", "intended_use", "limits",
    ]  # fmt: skip
    assert (card["model"], card["threshold"]["value"]) == (choice["winner"], choice["threshold"])
    assert card["data"]["sha256"] == release.file_hash(project / "data/raw/customers.csv")
    assert card["data"]["train_customers"] + card["data"]["test_customers"] <= 600
    assert card["inputs"]["categories"]["contract"] == ["Month-to-month", "One year", "Two year"]
    assert card["features"] == FEATURES
    assert str(project) not in json.dumps(card)


def test_a_statement_is_in_the_card_and_a_missing_one_is_not(
    deployed: Callable[..., None], elsewhere: Callable[..., Path], released: Path
) -> None:
    here = elsewhere({"deploy.owner": "retention", "deploy.license": "apache-2.0"})
    deployed()
    card, before = (json.loads((folder / release.CARD).read_text()) for folder in (here / "models/release", released))
    assert card == before | {"owner": "retention", "license": "apache-2.0", "model_version": card["model_version"]}
    assert card["model_version"] != before["model_version"]


@pytest.mark.usefixtures("released")
def test_nothing_but_whole_bundles_is_left(project: Path) -> None:
    assert {path.name for path in (project / "models").iterdir()} == {"candidates", "selected", "release", "again"}


@pytest.fixture
def deployed(project: Path, elsewhere: Callable[..., Path]) -> Callable[..., None]:
    """deploy's main() on the project's files, but for those given, into models/release of an empty folder."""
    files = {
        "selected": "models/selected/members", "out_of_fold": "models/selected/oof.parquet",
        "candidates": "models/candidates", "inputs": "data/features/train.parquet", "train": "data/train.parquet",
        "test": "data/test.parquet", "select_metrics": "metrics/select.json",
        "evaluate_metrics": "metrics/evaluate.json", "evaluation": "metrics/evaluation.json",
        "fairness": "metrics/fairness.json",
        "trained": "metrics/train", "evaluate_plots": "metrics/plots/evaluate",
        "select_plots": "metrics/plots/select",
    }  # fmt: skip
    elsewhere()
    return lambda **other: deploy.main(**{name: project / file for name, file in files.items()} | other)


def test_a_model_without_an_onnx_form_is_one_line_and_leaves_the_last_release(
    deployed: Callable[..., None], project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.read_parquet(project / "data/features/train.parquet")
    inputs = frame.drop(columns=TARGET)
    with threadpool_limits(1):
        model = pipeline(inputs, LabelSpreading(max_iter=2)).fit(inputs, frame[TARGET])
    (tmp_path / "members").mkdir()
    joblib.dump(model, tmp_path / "members/logistic_regression.joblib")
    (tmp_path / "models/release").mkdir(parents=True)
    (tmp_path / "models/release/old").touch()
    line = line_of(caplog, lambda: deployed(selected=tmp_path / "members"))
    assert line.startswith("LabelSpreading has no ONNX form, take it out of train.models: ")
    assert [path.name for path in (tmp_path / "models").rglob("*")] == ["release", "old"]


def test_a_model_that_is_not_the_graph_leaves_nothing(
    deployed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deploy, "TOLERANCE", -1.0)
    assert "differs from the pipeline" in line_of(caplog, deployed)
    assert not list((tmp_path / "models").iterdir())


def test_a_table_that_is_gone_leaves_nothing(
    deployed: Callable[..., None], elsewhere: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    here = elsewhere({"data.path": "gone.csv"})
    assert line_of(caplog, deployed) == "gone.csv: No such file or directory"
    assert not (here / "models").exists()


def test_too_few_golden_customers_are_refused(
    deployed: Callable[..., None], elsewhere: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere({"deploy.golden": 10})
    assert line_of(caplog, deployed) == (
        "params.yaml: deploy.golden is 10: input should be greater than or equal to 100"
    )


def test_a_bundle_of_fewer_customers_than_asked_for_has_them_all(project: Path) -> None:
    frame = pd.read_parquet(project / "data/test.parquet")
    assert len(golden_customers(frame, np.linspace(0, 1, len(frame)), 10 * len(frame))) == len(frame)


def test_an_old_release_gives_way_to_the_new_one(released: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(released, tmp_path / "release")
    assert release.open_release(copy).version == release.open_release(released.with_name("again")).version
