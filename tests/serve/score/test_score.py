"""python -m serve.score: files to a folder of scores, which counts from its manifest on and survives a kill."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from churn import release
from churn.schema import TARGET
from churn.scored import read_manifest
from churn.script import InputError
from serve.predict.live import bucket
from serve.releases.store import Store
from serve.score import engines, job, pieces, summary
from serve.score.__main__ import main

Scored = Callable[..., Path]
PIECES = 4


@pytest.fixture
def table(project: Path, tmp_path: Path) -> Path:
    """The test customers in a file of four row groups, with a column that nobody asked for."""
    frame = pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET).assign(colour="red")
    path = tmp_path / "customers.parquet"
    parquet.write_table(pa.Table.from_pandas(frame), path, row_group_size=-(-len(frame) // PIECES))
    return path


@pytest.fixture
def score(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scored:
    """Run the command in this process on a store with one release; the folder of scores."""
    monkeypatch.setattr(pieces, "ROWS", 1)
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "releases"))
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")

    def run(table: Path, *options: str, out: str = "out", status: int = 0) -> Path:
        assert main([str(table), str(tmp_path / out), "--processes", "1", *options]) == status
        return tmp_path / out

    return run


def scores(out: Path) -> pd.DataFrame:
    files = [out / piece["file"] for piece in read_manifest(out)["pieces"]]
    return pd.concat(map(pd.read_parquet, files), ignore_index=True)


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_what_a_lost_worker_left_half_written_is_gone_at_the_end(
    table: Path, score: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engines.local

    def with_losses(*given: Any, **options: Any) -> Iterator[dict[str, Any]]:
        for entry in whole(*given, **options):
            (tmp_path / f"out/.{entry['file']}.1.tmp").touch()
            yield entry

    monkeypatch.setattr(engines, "local", with_losses)
    assert not list(score(table).glob(".*"))


def test_everybody_is_scored_as_the_service_does(table: Path, score: Scored, client: Any) -> None:
    found = scores(score(table))
    frame = pd.read_parquet(table)
    assert found["customer_id"].tolist() == frame["customer_id"].tolist()
    customers = json.loads(frame.drop(columns=["customer_id", "colour"]).to_json(orient="records"))
    answers = client.post("/predict/batch", json={"customers": customers}).json()["predictions"]
    p = [answer["churn_probability"] for answer in answers]
    np.testing.assert_allclose(found["churn_probability"], p, rtol=0, atol=1e-6)
    for key in ("prediction", "threshold", "model_version"):
        assert found[key].tolist() == [answer[key] for answer in answers]


def test_the_manifest_names_each_file_and_sums_up_what_is_in_it(table: Path, score: Scored) -> None:
    out = score(table)
    manifest, found, frame = read_manifest(out), scores(out), pd.read_parquet(table)
    assert (manifest["rows"], manifest["scored"], manifest["rejected"]) == (len(frame), len(frame), 0)
    assert len(manifest["pieces"]) == PIECES
    assert {path.name for path in out.iterdir()} == {"MANIFEST.json", *(p["file"] for p in manifest["pieces"])}
    summaries = [piece["summaries"][manifest["champion"]] for piece in manifest["pieces"]]
    counts = np.sum([s["churn_probability"]["counts"] for s in summaries], axis=0)
    expected, _ = np.histogram(found["churn_probability"], summary.BINS, (0, 1))
    np.testing.assert_array_equal(counts, expected)
    tenure = [s["inputs"]["tenure"] for s in summaries]
    assert sum(sum(t["sums"]) for t in tenure) == frame["tenure"].sum()
    assert min(t["min"] for t in tenure) == frame["tenure"].min()
    counts = np.sum([t["counts"] for t in tenure], axis=0)
    edges = [-np.inf, *manifest["edges"][manifest["champion"]]["tenure"], np.inf]
    np.testing.assert_array_equal(counts, np.histogram(frame["tenure"], edges)[0])
    contracts = pd.DataFrame([s["inputs"]["contract"]["counts"] for s in summaries]).sum()
    assert contracts.to_dict() == frame["contract"].value_counts().to_dict()
    spent = sum(sum(s["inputs"]["total_spent"]["sums"]) for s in summaries)  # features too, as the model reads them
    assert spent == pytest.approx((frame["tenure"] * frame["monthly_charges"]).sum())


def test_the_same_input_gives_the_same_bytes_whatever_the_processes(table: Path, score: Scored, tmp_path: Path) -> None:
    one = score(table)
    assert main([str(table), str(tmp_path / "two"), "--processes", "2"]) == 0
    assert content(one) == content(tmp_path / "two")


def test_a_second_run_does_only_what_is_missing(table: Path, score: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = content(out := score(table))
    names = sorted(name for name in whole if name.startswith("part-"))
    (out / names[1]).unlink()
    (out / "MANIFEST.json").unlink()
    (out / f".{names[1]}.0123.tmp").write_text("half")
    read: list[int] = []
    batches = pieces.Piece.batches
    monkeypatch.setattr(pieces.Piece, "batches", lambda self, texts: read.append(self.number) or batches(self, texts))
    score(table)
    assert read == [1]
    assert content(out) == whole


def test_refused_rows_are_kept_as_they_came_with_the_reason(table: Path, score: Scored) -> None:
    frame = pd.read_parquet(table)
    frame.loc[[3, 100], "tenure"] = [-5.0, np.nan]
    parquet.write_table(pa.Table.from_pandas(frame), table, row_group_size=-(-len(frame) // PIECES))
    out = score(table, "--max-rejected", "0.05")
    manifest = read_manifest(out)
    assert (manifest["rows"], manifest["rejected"]) == (len(frame), 2)
    files = [piece["rejected_file"]["file"] for piece in manifest["pieces"] if piece["rejected_file"]]
    refused = pd.concat([pd.read_parquet(out / name) for name in files])
    assert refused["why_refused"].tolist() == ["tenure: -5 is below the minimum 0", "tenure: is missing"]
    expected = frame.loc[[3, 100]]
    pd.testing.assert_frame_equal(
        refused[list(frame)].reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False
    )
    both = [*scores(out)["customer_id"], *refused["customer_id"]]
    assert sorted(both) == sorted(frame["customer_id"])


def test_refused_rows_that_come_again_keep_one_reason(table: Path, score: Scored, tmp_path: Path) -> None:
    pd.read_parquet(table).head(3).assign(tenure=-5.0, why_refused="old").to_parquet(tmp_path / "again.parquet")
    out = score(tmp_path / "again.parquet", status=1)
    (refused,) = out.glob("rejected-*.parquet")
    assert pd.read_parquet(refused)["why_refused"].tolist() == ["tenure: -5 is below the minimum 0"] * 3


def test_a_worker_s_threads_open_a_release_once(score: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = job.carried(job.job_of(Store(tmp_path / "releases"), date(2024, 6, 30), ""))
    opened: list[str] = []
    open_model = job.open_model
    monkeypatch.setattr(job, "open_model", lambda folder, arm: opened.append(arm) or open_model(folder, arm))
    monkeypatch.setattr(job, "_live", {})
    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(id, pool.map(job.live, [carried] * 4)))) == 1
    assert opened == ["champion"]


def test_ctrl_c_is_one_line(table: Path, score: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pieces.Piece, "batches", interrupt)
    with pytest.raises(InputError, match="stopped; run the same command again: what is finished stays"):
        score(table)


@pytest.mark.parametrize("separator", [";;", "\\t", "¦", '"'])
def test_a_separator_is_one_character(separator: str, score: Scored, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        score(Path("t.csv"), "--separator", separator)
    assert "is not one ASCII character" in capsys.readouterr().err


def test_an_address_without_a_port_is_refused_at_once(score: Scored) -> None:
    with pytest.raises(InputError, match="--engine dask needs --address tcp://HOST:PORT"):
        score(Path("t.csv"), "--engine", "dask", "--address", "scheduler")


def test_too_many_refused_rows_are_exit_status_1_and_the_scores_stay(
    table: Path, score: Scored, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.read_parquet(table)
    frame.loc[:9, "tenure"] = -1.0
    frame.to_parquet(table)
    out = score(table, status=1)
    assert f"10 of {len(frame)} rows were refused, more than --max-rejected 0.01" in caplog.text
    assert len(scores(out)) == len(frame) - 10


def test_the_split_holds_for_files(table: Path, score: Scored, released: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "releases")
    other = another(released, tmp_path)
    store.split(store.add(other, "test"), 0.3, "test")
    version = release.open_release(other).version
    found = scores(score(table))
    expected = [bucket(version, name) < 0.3 for name in found["customer_id"]]
    assert (found["model_version"] == version).tolist() == expected
    assert 0.1 < np.mean(expected) < 0.5


def another(released: Path, folder: Path) -> Path:
    """The release with another threshold."""
    copy = folder / "another"
    shutil.copytree(released, copy)
    card = json.loads((copy / release.CARD).read_text())
    card["threshold"]["value"] = 0.9
    release.seal(copy, card)
    return copy


def test_a_folder_takes_one_input_and_one_release(table: Path, score: Scored, tmp_path: Path) -> None:
    out = score(table)
    before = content(out)
    other = tmp_path / "other.parquet"
    pd.read_parquet(table).head(50).to_parquet(other)
    with pytest.raises(InputError, match=r"out holds part-.+, of another input or release; choose an empty folder"):
        score(other)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out holds notes\.txt, which is none of these scores"):
        score(table)
    (out / "notes.txt").unlink()
    assert content(out) == before


def test_scores_do_not_go_where_they_would_be_scored(table: Path, score: Scored, tmp_path: Path) -> None:
    (tmp_path / "customers").mkdir()
    table.rename(tmp_path / "customers/table.parquet")
    with pytest.raises(InputError, match=r"customers/out lies in .+, whose files are scored; choose"):
        score(tmp_path / "customers", out="customers/out")
    assert not (tmp_path / "customers/out").exists()


def test_a_folder_without_a_manifest_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no MANIFEST.json: no run of python -m serve.score has ended there"):
        read_manifest(tmp_path)


def test_progress_is_told_line_by_line_where_there_is_no_terminal(
    table: Path, score: Scored, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    score(table)
    assert [line for line in caplog.messages if "pieces" in line][-1] == "4 of 4 pieces: customers.parquet"


def test_the_riskiest_of_all_pieces_get_reasons_in_the_service_s_words(
    table: Path, score: Scored, client: Any, tmp_path: Path
) -> None:
    plain, out = scores(score(table, out="plain")), score(table, "--reasons", "7")
    found = scores(out)
    pd.testing.assert_frame_equal(found[list(plain)], plain)
    reasons = found[["reason_1", "reason_2", "reason_3"]]
    explained = reasons["reason_1"].notna()
    assert set(plain[explained].index) == set(plain["churn_probability"].nlargest(7).index)
    frame = pd.read_parquet(table).drop(columns=["customer_id", "colour"])
    for row in plain.index[explained]:
        customer = json.loads(frame.loc[[row]].to_json(orient="records"))[0]
        assert reasons.loc[row].dropna().tolist() == client.post("/explain", json=customer).json()["reasons"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["MANIFEST.json", *(piece["file"] for piece in read_manifest(out)["pieces"])]
    )
    # again it finds all that it wrote; after a kill in the middle it goes on
    before = content(out)
    score(table, "--reasons", "7")
    (out / read_manifest(out)["pieces"][2]["file"]).unlink()
    (out / "MANIFEST.json").unlink()
    score(table, "--reasons", "7")
    assert content(out) == before
    with pytest.raises(InputError, match="of another input or release"):
        score(table, "--reasons", "8")


def test_a_file_without_rows_is_held_to_its_columns(table: Path, score: Scored, tmp_path: Path) -> None:
    none = pd.read_parquet(table).head(0)
    (tmp_path / "none").mkdir()
    none.to_csv(tmp_path / "none/a.csv", index=False)
    none.to_csv(tmp_path / "none/b.csv", index=False)
    assert read_manifest(score(tmp_path / "none"))["rows"] == 0
    none.drop(columns="tenure").to_csv(tmp_path / "none/b.csv", index=False)
    with pytest.raises(InputError, match=r"b\.csv lacks the column 'tenure'"):
        score(tmp_path / "none", out="other")
