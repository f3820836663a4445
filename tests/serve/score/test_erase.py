"""An erased customer leaves folders of scores as if scored without them; what is there stays there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import select

from churn.release import file_hash
from churn.schema import TARGET
from churn.scored import read_manifest
from churn.script import InputError
from serve.log.customer_rows import remove_rows as remove_from_log
from serve.log.database import connect
from serve.log.scored_files import count_rows, remove_rows, reserved
from serve.log.tables import predictions
from serve.releases.store import Store
from serve.score.__main__ import main

SCORED, REFUSED = "scored-customer", "refused-customer"


@pytest.fixture
def score(released: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Score two files with the command into tmp_path/out; the exit status."""
    frame = pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)
    frame["customer_id"] = frame["customer_id"].astype(object)
    frame.loc[[5, 7], "customer_id"] = SCORED, REFUSED
    frame.loc[[7, 9], "tenure"] = -1.0
    (tmp_path / "customers").mkdir()
    named = frame.rename(columns={"customer_id": "customerID"})
    parquet.write_table(pa.Table.from_pandas(named[:20]), tmp_path / "customers/a.parquet", row_group_size=6)
    parquet.write_table(pa.Table.from_pandas(named[20:]), tmp_path / "customers/b.parquet")
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "releases"))
    monkeypatch.setenv("CHURN_LOG_URL", f"sqlite:///{tmp_path / 'log.db'}")
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    words = [str(tmp_path / "customers"), str(tmp_path / "out"), "--processes", "1", "--max-rejected", "1"]
    return lambda *more: main([*words, *more])


def content(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.name: parquet.read_table(path).to_pylist() for path in sorted(folder.rglob("*.parquet"))}


def check_manifest(folder: Path) -> None:
    """It says what the files hold."""
    manifest = read_manifest(folder)
    for piece in manifest["pieces"]:
        assert piece["sha256"] == file_hash(folder / piece["file"])
        assert piece["scored"] == parquet.read_metadata(folder / piece["file"]).num_rows
        if piece["rejected_file"]:
            assert piece["rejected_file"]["sha256"] == file_hash(folder / piece["rejected_file"]["file"])
            assert piece["rejected"] == parquet.read_metadata(folder / piece["rejected_file"]["file"]).num_rows
        assert piece["rows"] == piece["scored"] + piece["rejected"]
    for key in ("rows", "scored", "rejected"):
        assert manifest[key] == sum(piece[key] for piece in manifest["pieces"])


@pytest.mark.parametrize("customer", [SCORED, REFUSED])
def test_a_customer_goes_and_all_others_stay(score: Callable[..., int], tmp_path: Path, customer: str) -> None:
    out = tmp_path / "out"
    score()
    before, manifest = content(out), read_manifest(out)
    untouched = {path: path.read_bytes() for path in out.glob("part-00001*")}
    (out / ".part-00000-00.parquet.1.tmp").write_text(customer)  # of a run that was killed
    assert count_rows(out, customer) == 1
    remove_rows(out, customer)
    assert count_rows(out, customer) == 0
    assert content(out) == {
        name: [row for row in rows if customer not in row.values()] for name, rows in before.items()
    }
    check_manifest(out)
    assert read_manifest(out)["rows"] == manifest["rows"] - 1
    assert not [path for path in out.rglob("*") if customer.encode() in path.read_bytes()]
    assert all(path.read_bytes() == there for path, there in untouched.items())
    files = {path: path.read_bytes() for path in out.iterdir()}
    remove_rows(out, customer)
    score()  # it finds its files whole, and leaves them as they are
    assert {path: path.read_bytes() for path in out.iterdir()} == files


def test_what_was_killed_between_two_files_is_completed(
    score: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score()

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("serve.log.scored_files.renew_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_rows(tmp_path / "out", REFUSED)
    remove_rows(tmp_path / "out", REFUSED)
    check_manifest(tmp_path / "out")


def test_a_folder_that_a_run_writes_to_is_left_alone(score: Callable[..., int], tmp_path: Path) -> None:
    score()
    with reserved(tmp_path / "out"), pytest.raises(InputError, match="a run is writing to it; wait for its end"):
        remove_rows(tmp_path / "out", SCORED)
    with pytest.raises(InputError, match="nowhere is no folder"):
        count_rows(tmp_path / "nowhere", SCORED)
    (tmp_path / "out/x.parquet").write_text("no such file")
    with pytest.raises(InputError, match=r"x\.parquet can't be read"):
        count_rows(tmp_path / "out", SCORED)


def test_ids_that_are_numbers_are_found_and_numbers_that_are_none_stay(tmp_path: Path) -> None:
    frame = pd.DataFrame({"customer_id": [7, 12, 7.0], "tenure": [12, 7, 1], "tags": [["a"], ["7"], []]})
    parquet.write_table(pa.Table.from_pandas(frame), tmp_path / "list.parquet")
    remove_rows(tmp_path, "7")
    assert parquet.read_table(tmp_path / "list.parquet").column("tenure").to_pylist() == [7]
    refused = pd.DataFrame({"Customer": [7, 8, 9], "tags": [["a"], ["7"], []]})
    parquet.write_table(pa.Table.from_pandas(refused), tmp_path / "rejected-1.parquet")
    assert count_rows(tmp_path, "7") == 2


def test_a_scored_customer_who_was_erased_from_the_log_does_not_come_back(
    score: Callable[..., int], tmp_path: Path
) -> None:
    def logged() -> list[str]:
        with engine.connect() as connection:
            return list(connection.scalars(select(predictions.c.customer_id).order_by(predictions.c.id)))

    score("--log")
    engine = connect(f"sqlite:///{tmp_path / 'log.db'}")
    before = logged()
    remove_from_log(engine, SCORED)
    score("--log")
    assert logged() == [name for name in before if name != SCORED]
