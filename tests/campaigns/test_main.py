"""python -m campaigns plan: from a folder of scores to a folder with a plan."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from campaigns.__main__ import main
from campaigns.plan.lists import read_list
from churn.release import file_hash
from churn.schema import TARGET
from churn.scored import MANIFEST
from churn.script import InputError
from serve.log.database import write_lock
from serve.log.reported import keep_contacts
from serve.releases.store import Store
from serve.score import pieces
from serve.score.__main__ import main as score
from tests.factories import empty_log, other_release

PIECES = 3


@pytest.fixture(scope="module")
def customers(project: Path) -> pd.DataFrame:
    return pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)


def scored_into(folder: Path, frame: pd.DataFrame, store: Store, *options: str) -> Path:
    """A folder of scores, in a few pieces."""
    parquet.write_table(pa.Table.from_pandas(frame), folder / "customers.parquet", row_group_size=len(frame) // PIECES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "ROWS", 1)
        patch.setenv("CHURN_RELEASES", str(store.where))
        assert score([str(folder / "customers.parquet"), str(folder / "scores"), "--processes", "1", *options]) == 0
    return folder / "scores"


@pytest.fixture(scope="module")
def store(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("releases"))
    store.promote(store.add(released, "test"), "test")
    return store


@pytest.fixture(scope="module")
def scores(customers: pd.DataFrame, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the test customers, with the reasons of the ten riskiest; read it, do not write."""
    return scored_into(tmp_path_factory.mktemp("scored"), customers, store, "--reasons", "10")


@pytest.fixture
def plan(scores: Path, elsewhere: Callable[..., Path]) -> Iterator[Callable[..., Path]]:
    """Run the command where params.yaml is; the folder of the plan."""
    folder = elsewhere()

    def run(*options: str, out: str = "plan", folder_of: Path = scores, limit: str = "--most 20") -> Path:
        main(["plan", str(folder_of), out, "--campaign", "spring", *limit.split(), *options])
        return folder / out

    return run


def answers(scores: Path) -> pd.DataFrame:
    files = [scores / piece["file"] for piece in json.loads((scores / MANIFEST).read_text())["pieces"]]
    return pd.concat(map(pd.read_parquet, files), ignore_index=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def plan_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "plan.json").read_text()))


def test_the_customers_with_the_highest_expected_profit_are_selected(plan: Callable[..., Path], scores: Path) -> None:
    listed, all_ = read_list(plan() / "list.parquet").to_pandas(), answers(scores)
    assert listed["offered"].sum() == 20
    top = all_.sort_values("churn_probability", ascending=False, kind="stable").head(len(listed))
    assert listed["customer_id"].tolist() == top["customer_id"].tolist()
    assert listed["churn_probability"].tolist() == top["churn_probability"].tolist()
    np.testing.assert_allclose(listed["expected_profit"], listed["churn_probability"] * 0.3 * 400 - 40)
    assert set(listed["share"]) == {0.9} and set(listed["value"]) == {400.0} and set(listed["offer"]) == {"offer"}


def test_the_riskiest_bring_their_reasons(plan: Callable[..., Path], scores: Path) -> None:
    listed = read_list(plan() / "list.parquet").to_pandas().set_index("customer_id")
    told = answers(scores).set_index("customer_id").loc[listed.index, ["reason_1", "reason_2", "reason_3"]]
    assert told["reason_1"].notna().sum() == 10
    pd.testing.assert_frame_equal(listed[told.columns], told)


def test_what_the_plan_says_adds_up(plan: Callable[..., Path], scores: Path) -> None:
    folder = plan("--where", 'prediction == "churn"', "--control", "0.3", limit="--budget 555.5")
    said, listed = plan_of(folder), read_list(folder / "list.csv").to_pandas()
    made = listed[listed["offered"]]
    assert said["scored"] == said["selected"] + sum(said["left_out"].values()) == len(answers(scores))
    assert said["left_out"]['not where prediction == "churn"'] == (answers(scores)["prediction"] != "churn").sum()
    assert said["offers"]["offer"]["offered"] == said["expected"]["offered"] == len(made) == 13
    assert said["expected"]["cost"] == 40 * 13 <= 555.5
    assert said["expected"]["churn_avoided"] == pytest.approx(0.3 * made["churn_probability"].sum(), abs=1e-5)
    assert said["expected"]["profit"] == pytest.approx(made["expected_profit"].sum(), abs=1e-5)
    assert said["control"]["customers"] == len(listed) - 13 > 0
    assert said["expected"]["upper_bound"] - said["expected"]["profit"] == said["expected"]["gap"] == 0
    assert said["inputs"]["scores"]["sha256"] == file_hash(scores / MANIFEST)
    assert said["files"] == {name: file_hash(folder / name) for name in ("list.csv", "list.parquet")}


def test_the_same_inputs_give_the_same_bytes_and_may_be_planned_again(plan: Callable[..., Path]) -> None:
    first = content(plan())
    assert content(plan(out="again")) == first
    assert content(plan()) == first
    assert sorted(path.name for path in plan().parent.iterdir()) == ["again", "params.yaml", "plan"]


def test_whom_another_campaign_has_contacted_lately_is_left_out(
    plan: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = empty_log(tmp_path)
    monkeypatch.setenv("CHURN_LOG_URL", str(engine.url))
    ids = read_list(plan(out="first") / "list.parquet")["customer_id"].to_pylist()
    now = datetime.now(UTC)
    rows = [
        {"customer_id": name, "campaign": campaign, "at": now - timedelta(days=days), "offered": True, "share": 1.0}
        for name, campaign, days in ((ids[0], "other", 5), (ids[1], "other", 50), (ids[2], "spring", 5))
    ]
    with engine.connect() as connection:
        keep_contacts(connection, write_lock(engine), rows)
    folder = plan("--cool-down", "30")
    (reason,) = (words for words in plan_of(folder)["left_out"] if words.startswith("contacted since "))
    assert plan_of(folder)["left_out"][reason] == 1
    assert set(ids[1:]) <= set(read_list(folder / "list.parquet")["customer_id"].to_pylist()) - {ids[0]}


def test_a_customer_stays_on_its_side_in_a_larger_list(plan: Callable[..., Path]) -> None:
    few, many = (read_list(plan(out=n, limit=f"--most {n}") / "list.csv").to_pandas() for n in ("9", "25"))
    side = many.set_index("customer_id")["offered"]
    assert few["offered"].tolist() == side[few["customer_id"]].tolist()


def test_values_come_from_a_table_beside_the_scores(
    plan: Callable[..., Path], customers: pd.DataFrame, tmp_path: Path
) -> None:
    worth = customers.assign(value=np.arange(len(customers)) * 10)[["customer_id", "value"]]
    worth.rename(columns={"customer_id": "ID"}).to_csv(tmp_path / "worth.csv", index=False)
    folder = plan("--value", "value", "--table", "worth.csv", "--id", "ID", limit="--most 10")
    listed = read_list(folder / "list.parquet").to_pandas()
    assert listed["value"].tolist() == worth.set_index("customer_id")["value"][listed["customer_id"]].tolist()
    np.testing.assert_allclose(listed["expected_profit"], listed["churn_probability"] * 0.3 * listed["value"] - 40)
    assert plan_of(folder)["value"] == {"column": "value"}


def test_a_margin_is_earned_while_the_customer_stays(
    plan: Callable[..., Path], customers: pd.DataFrame, tmp_path: Path
) -> None:
    customers.assign(margin=500.0).to_parquet(tmp_path / "all.parquet")
    listed = read_list(plan("--margin", "margin", "--table", "all.parquet") / "list.parquet").to_pandas()
    kept = (1 - listed["churn_probability"]) / 1.01
    np.testing.assert_allclose(listed["value"], 500 * (1 - kept**24) / (1 - kept))


def test_several_offers_share_the_budget(elsewhere: Callable[..., Path], scores: Path) -> None:
    offers = {"mail": {"cost": 2, "success": 0.05}, "call": {"cost": 20, "success": 0.3}}
    folder = elsewhere({"campaigns.offers": offers})
    main(["plan", str(scores), "plan", "--campaign", "spring", "--budget", "101"])
    said = plan_of(folder / "plan")
    assert {name: offer["offered"] > 0 for name, offer in said["offers"].items()} == {"mail": True, "call": True}
    assert 99 < said["expected"]["cost"] <= 101
    assert 0 <= said["expected"]["gap"] < 20


def test_listed_customers_are_left_out(plan: Callable[..., Path], tmp_path: Path) -> None:
    first = read_list(plan(out="first") / "list.parquet").to_pandas()["customer_id"]
    (tmp_path / "no.txt").write_text(f"{first[0]}\nsomebody else\n{first[1]}\n")
    folder = plan("--exclude", "no.txt", "--exclude", "first/list.parquet", limit="--budget 1e6")
    assert not set(first) & set(read_list(folder / "list.parquet")["customer_id"].to_pylist())
    left_out = plan_of(folder)["left_out"]
    assert (left_out["listed in no.txt"], left_out["listed in list.parquet"]) == (2, len(first) - 2)


def test_a_customer_who_was_scored_twice_is_listed_once_with_the_later_score(
    plan: Callable[..., Path], customers: pd.DataFrame, store: Store, tmp_path: Path
) -> None:
    twice = pd.concat([customers.assign(tenure=1.0), customers.head(50)])
    twice.iloc[5, twice.columns.get_loc("customer_id")] = None
    scores = scored_into(tmp_path, twice, store)
    folder = plan(folder_of=scores, limit="--budget 100000")
    listed = read_list(folder / "list.parquet").to_pandas().set_index("customer_id")["churn_probability"]
    last = answers(scores).dropna(subset="customer_id").groupby("customer_id")["churn_probability"].last()
    assert listed.index.is_unique
    pd.testing.assert_series_equal(listed, last[listed.index])
    assert plan_of(folder)["left_out"]["scored again in a later row"] == 49
    assert plan_of(folder)["left_out"]["no customer_id"] == 1


def test_scores_of_two_releases_are_not_ranked_as_one(
    plan: Callable[..., Path], customers: pd.DataFrame, released: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    challenger = store.add(other_release(released, tmp_path / "other"), "test")
    store.split(challenger, 0.3, "test")
    scores = scored_into(tmp_path, customers, store)
    with pytest.raises(InputError, match=r"has scores of two releases, .* customers.*; plan for .* with --release"):
        plan(folder_of=scores)
    folder, own = plan("--release", challenger, folder_of=scores), answers(scores)
    theirs = own[own["model_version"] == challenger]
    assert set(read_list(folder / "list.parquet")["customer_id"].to_pylist()) <= set(theirs["customer_id"])
    assert plan_of(folder)["left_out"]["scored by another release"] == len(own) - len(theirs)
    assert plan_of(folder)["model_version"] == challenger
    with pytest.raises(InputError, match="has no scores of release 'nobody'"):
        plan("--release", "nobody", folder_of=scores)


def altered(scores: Path, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """The folder with its first piece changed, and a manifest that says so."""
    shutil.copytree(scores, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    path = folder / manifest["pieces"][0]["file"]
    change(pd.read_parquet(path)).to_parquet(path)
    manifest["pieces"][0]["sha256"] = file_hash(path)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_ids_that_a_spreadsheet_takes_for_formulas_are_listed_whole(
    plan: Callable[..., Path], scores: Path, tmp_path: Path
) -> None:
    ids = altered(scores, tmp_path / "s", lambda frame: frame.assign(customer_id="=1+" + frame["customer_id"]))
    folder = plan(folder_of=ids, limit="--budget 100000")
    assert b"\n\"'=1+" in (folder / "list.csv").read_bytes()
    assert read_list(folder / "list.csv").equals(read_list(folder / "list.parquet"))


@pytest.mark.parametrize("p", [None, float("nan"), 1.1, -0.1], ids=str)
def test_a_probability_that_is_none_is_refused(
    plan: Callable[..., Path], scores: Path, tmp_path: Path, p: float | None
) -> None:
    frame = altered(
        scores, tmp_path / "s", lambda frame: frame.assign(churn_probability=p).astype({"churn_probability": float})
    )
    with pytest.raises(InputError, match="churn probabilities are missing or not from 0 to 1, the first of customer"):
        plan(folder_of=frame)


def break_file(folder: Path) -> None:
    path = next(folder.glob("part-*"))
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda folder: (folder / MANIFEST).unlink(),
            "has no MANIFEST.json: no run of python -m serve.score has ended",
        ),
        (lambda folder: (folder / MANIFEST).write_text("{"), "MANIFEST.json is not JSON"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "is no manifest of scores of format 1"),
        (lambda folder: next(folder.glob("part-*")).unlink(), "part-.* is missing; score the files again"),
        (break_file, "part-.* is not what the manifest says; score the files again"),
        (shutil.rmtree, "has no MANIFEST.json"),
    ],
)
def test_a_folder_that_is_not_what_its_manifest_says_is_refused(
    plan: Callable[..., Path], scores: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    shutil.copytree(scores, tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(InputError, match=reason):
        plan(folder_of=tmp_path / "s")
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--value", "clv"], "has no column 'clv'; it has .*: name a table with it by --table"),
        (["--value", "clv", "--table", "few.csv"], "few.csv has no column 'clv'; it has 'customer_id', 'worth'"),
        (["--value", "worth", "--table", "few.csv"], "column 'worth' has no finite number for .* or leave out those"),
        (["--value", "prediction"], "column 'prediction' holds string, not numbers"),
        (["--where", "tenure > 3"], "has no column 'tenure'"),
        (["--exclude", "gone.txt"], "gone.txt"),
    ],
    ids=str,
)
def test_what_cannot_be_planned_with_is_named(
    plan: Callable[..., Path], tmp_path: Path, options: list[str], reason: str
) -> None:
    (tmp_path / "few.csv").write_text("customer_id,worth\nnobody,3\n")
    with pytest.raises((InputError, FileNotFoundError), match=reason):
        plan(*options)
    assert not (tmp_path / "plan").exists()


def test_a_folder_with_another_plan_or_other_files_is_left_alone(plan: Callable[..., Path], tmp_path: Path) -> None:
    before = content(plan())
    with pytest.raises(InputError, match="holds another plan; choose another folder or remove it"):
        plan(limit="--most 21")
    assert content(tmp_path / "plan") == before
    (tmp_path / "plan/list.csv").write_text("edited\n")
    with pytest.raises(InputError, match=r"holds this plan with another list\.csv"):
        plan()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(InputError, match=r"mine holds notes\.txt, which is no part of a plan"):
        plan(out="mine")
    with pytest.raises(InputError, match=r"params\.yaml is a file"):
        plan(out="params.yaml")
    (tmp_path / "empty").mkdir()
    assert set(content(plan(out="empty"))) == {"list.csv", "list.parquet", "plan.json"}


def test_where_nothing_pays_the_list_is_empty(elsewhere: Callable[..., Path], scores: Path) -> None:
    folder = elsewhere({"profit.offer_cost": 4000})
    main(["plan", str(scores), "plan", "--campaign", "spring", "--budget", "1e6"])
    said = plan_of(folder / "plan")
    assert (said["selected"], said["expected"]["cost"]) == (0, 0)
    assert len(read_list(folder / "plan/list.csv")) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--campaign", "Spring 2026", "--most", "3"], "'Spring 2026' is no name: expected at most 64 of a-z"),
        (["--campaign", "a" * 65, "--most", "3"], "is no name"),
        (["--campaign", "a/b", "--most", "3"], "is no name"),
        (["--campaign", "a", "--budget", "-1"], "argument --budget: -1 is no amount of money"),
        (["--campaign", "a", "--budget", "nan"], "nan is no amount of money"),
        (["--campaign", "a", "--most", "-3"], "-3 is no number of offers"),
        (["--campaign", "a", "--most", "3", "--budget", "3"], "not allowed with argument"),
        (["--campaign", "a"], "one of the arguments --budget --most is required"),
        (["--campaign", "a", "--most", "3", "--control", "1"], "1 is no share from 0 to below 1"),
        (["--campaign", "a", "--most", "3", "--value", "x", "--margin", "y"], "not allowed with argument"),
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_ends_with_exit_status_2(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "scores", "plan", *options])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"campaigns.offers": {"call": {"cost": 3}}}, "campaigns is missing the knob 'offers.call.success'; add it"),
        ({"campaigns.offers": {"call": {"cost": -3, "success": 0.1}}}, "greater than or equal to 0"),
        ({"campaigns.offers": {"call": {"cost": 3, "success": 0.1, "reach": 1}}}, "offers.call.reach"),
        ({"campaigns.control": 1}, "campaigns.control is 1"),
    ],
    ids=str,
)
def test_knobs_are_checked(elsewhere: Callable[..., Path], scores: Path, knobs: dict[str, Any], reason: str) -> None:
    elsewhere(knobs)
    with pytest.raises(InputError, match=reason):
        main(["plan", str(scores), "plan", "--campaign", "a", "--most", "3"])


@pytest.fixture
def bucket(scores: Path) -> Iterator[str]:
    """The scores in storage that fsspec keeps in memory."""
    storage, url = fsspec.filesystem("memory"), "memory://bucket/scores"
    storage.put(str(scores), "/bucket/scores", recursive=True)
    yield url
    storage.rm("/bucket", recursive=True)


def test_scores_in_object_storage_give_the_same_plan(plan: Callable[..., Path], bucket: str) -> None:
    main(["plan", bucket, "stored", "--campaign", "spring", "--most", "20"])
    assert content(Path("stored")) == content(plan())


def test_what_storage_lacks_is_named_by_its_url(plan: Callable[..., Path], bucket: str) -> None:
    storage, arguments = fsspec.filesystem("memory"), ["stored", "--campaign", "spring", "--most", "20"]
    with pytest.raises(InputError, match=r"^memory://bucket/none has no MANIFEST\.json: no run"):
        main(["plan", "memory://bucket/none", *arguments])
    with pytest.raises(InputError, match=r"^memory://bucket/scores has no column 'clv'"):
        main(["plan", bucket, *arguments, "--value", "clv"])
    part = next(path for path in storage.ls("/bucket/scores", detail=False) if "part-" in path)
    storage.pipe_file(part, b"torn")
    with pytest.raises(InputError, match=r"^memory://bucket/scores/part-.* is not what the manifest says"):
        main(["plan", bucket, *arguments])
    storage.rm_file(part)
    with pytest.raises(InputError, match=r"^memory://bucket/scores/part-.* is missing; score the files again"):
        main(["plan", bucket, *arguments])
    manifest = json.loads(storage.cat_file("/bucket/scores/MANIFEST.json"))
    manifest["pieces"][0]["file"] = "../part.parquet"
    storage.pipe_file("/bucket/scores/MANIFEST.json", json.dumps(manifest).encode())
    with pytest.raises(InputError, match=r"names '\.\./part\.parquet', no file of its folder"):
        main(["plan", bucket, *arguments])
    assert not Path("stored").exists()
