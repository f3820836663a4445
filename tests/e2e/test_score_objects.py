"""Files are scored from and into object storage: the bytes of a local run, whatever is cut, refused or killed."""

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from churn.schema import TARGET
from churn.scored import read_manifest
from churn.script import InputError
from monitoring.check.scored import snapshot_of
from serve.releases.store import Store
from serve.score import pieces, places
from serve.score.__main__ import main
from serve.score.pieces import Format, pieces_of
from serve.score.places import Objects
from tests.conftest import ROOT
from tests.e2e.object_storage import BUSY, Proxy, Server, server
from tests.e2e.test_score_kills import Run, kill

pytestmark = pytest.mark.e2e

PIECES = 6
KILLS = 4
ONCE = {"AWS_MAX_ATTEMPTS": "1"}  # of botocore, which waits longer from one to the next; s3fs tries five times
ALONE, TWO = ("--processes", "1"), ("--processes", "2")

numbers = count()


def s3() -> Any:
    """A client that remembers no listing: others write there."""
    return fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("storage")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.variables.items():
            patch.setenv(name, value)
        s3().clear_instance_cache()  # of another module's server
        yield running
        s3().clear_instance_cache()


@pytest.fixture
def bucket(storage: Server) -> str:
    name = f"scores-{next(numbers)}"
    s3().mkdir(name)
    return f"s3://{name}"


@pytest.fixture
def releases(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    monkeypatch.setenv("CHURN_RELEASES", str(store.where))
    monkeypatch.setattr(pieces, "ROWS", 1)
    return tmp_path / "releases"


@pytest.fixture
def table(project: Path, tmp_path: Path) -> Path:
    """Customers in two files of many row groups, some of whom are refused."""
    frame = pd.concat([pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)] * 8, ignore_index=True)
    frame["customer_id"] = [f"C{i}" for i in range(len(frame))]
    frame.loc[::1000, "tenure"] = -1.0
    for name, rows in (("month=1/a", frame.iloc[::2]), ("month=2/a", frame.iloc[1::2])):
        (tmp_path / "customers" / name).parent.mkdir(parents=True)
        rows = pa.Table.from_pandas(rows, preserve_index=False)
        parquet.write_table(rows, tmp_path / f"customers/{name}.parquet", row_group_size=2 * len(rows) // PIECES + 1)
    return tmp_path / "customers"


@pytest.fixture
def there(table: Path, bucket: str) -> str:
    """The same customers in object storage, with what does not count there."""
    storage = s3()
    storage.put(f"{table}/", f"{bucket}/customers/", recursive=True)
    for name in ("_SUCCESS", "month=1/.part.tmp", "month=3/"):  # the last stands for an empty folder
        storage.pipe_file(f"{bucket}/customers/{name}", b"")
    return f"{bucket}/customers"


@pytest.fixture
def expected(table: Path, releases: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a run on this machine writes."""
    assert main([str(table), str(tmp_path / "here"), *ALONE]) == 0
    return {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}


def content(url: str) -> dict[str, bytes]:
    storage = s3()
    root = url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/"): storage.cat_file(path) for path in storage.find(root)}


def begun(url: str) -> list[str]:
    """The keys of uploads in parts that nobody ended."""
    name = url.removeprefix("s3://").partition("/")[0]
    uploads = s3().call_s3("list_multipart_uploads", Bucket=name).get("Uploads", [])
    return [upload["Key"] for upload in uploads]


def test_input_and_output_there_or_here_give_the_same_bytes(
    table: Path, there: str, bucket: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    for source, out in (
        (there, f"{bucket}/a"),
        (f"{there}/month=*/*.parquet", f"{bucket}/deeper/b/"),
        (str(table), f"{bucket}/c"),
    ):
        assert main([source, out, *ALONE]) == 0
        assert content(out.rstrip("/")) == expected
    assert main([there, str(tmp_path / "d"), "--processes", "2"]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == expected


def test_the_check_reads_the_manifest_there(
    there: str, bucket: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert main([there, f"{bucket}/out", *ALONE]) == 0
    one, other = snapshot_of(f"{bucket}/out"), snapshot_of(tmp_path / "here")
    pd.testing.assert_frame_equal(one.answers, other.answers)
    with pytest.raises(InputError, match=r"none has no MANIFEST.json: no run of python -m serve.score has ended"):
        snapshot_of(f"{bucket}/none")


def test_reasons_are_written_there_and_leave_nothing_else(
    table: Path, there: str, bucket: str, releases: Path, tmp_path: Path
) -> None:
    for source, out in ((there, f"{bucket}/out"), (str(table), str(tmp_path / "out"))):
        assert main([source, out, *ALONE, "--reasons", "5"]) == 0
    assert content(f"{bucket}/out") == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_answers_are_logged_from_there_once(there: str, bucket: str, releases: Path) -> None:
    for _ in range(2):
        assert main([there, f"{bucket}/out", *ALONE, "--log"]) == 0
    assert logged(releases) == sorted(scored(f"{bucket}/out"))


def logged(releases: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(releases / "log.db")) as log:
        return sorted(name for (name,) in log.execute("SELECT customer_id FROM predictions"))


def scored(url: str) -> list[str]:
    """The customers in the files that the manifest names."""
    files = [f"{url}/{piece['file']}" for piece in read_manifest(url)["pieces"]]
    return [name for file in files for name in pd.read_parquet(file)["customer_id"]]


def test_a_rerun_writes_what_is_missing_and_nothing_else(
    there: str, bucket: str, expected: dict[str, bytes], releases: Path, storage: Server
) -> None:
    out, written = f"{bucket}/out", set[str]()
    assert main([there, out, *ALONE]) == 0
    lost = sorted(name for name in expected if name.startswith("part-"))[3]
    for name in (lost, "MANIFEST.json"):
        s3().rm_file(f"{out}/{name}")

    def note(sent: bytes) -> None:
        if sent.startswith(b"PUT "):
            written.add(sent.split()[1].decode().rpartition("/")[2].partition("?")[0])

    with Proxy(storage.port, note) as proxy:
        status, said = Run(there, out, releases, *ALONE, **proxy.variables).end()
    assert status == 0, said
    assert {lost, "MANIFEST.json"} <= written <= {lost, lost.replace("part", "rejected"), "MANIFEST.json"}
    assert content(out) == expected


def of_scores(sent: bytes) -> bool:
    return sent.startswith(b"PUT ") and b"/part-" in sent.partition(b"\r\n")[0]


class Cut:
    """Uploads end in the middle: some bytes of them arrive, and then the connection is gone."""

    def __init__(self, times: float):
        self.left, self.open = times, False

    def __call__(self, sent: bytes) -> bytes | None:
        if self.open:
            self.open = False
            return b""
        if self.left > 0 and of_scores(sent):
            self.left -= 1
            self.open = True
        return None


def busy(times: float) -> Callable[[bytes], bytes | None]:
    """The first so many requests are answered 503."""
    left = iter(range(int(times)))
    return lambda sent: BUSY if sent[:4] in (b"GET ", b"PUT ", b"HEAD") and next(left, None) is not None else None


@pytest.mark.parametrize("fault", [Cut(3), busy(8)], ids=["uploads that are cut", "503 for a while"])
def test_what_passes_is_tried_again_and_nothing_is_missing(
    fault: Any, there: str, bucket: str, expected: dict[str, bytes], releases: Path, storage: Server
) -> None:
    with Proxy(storage.port, fault) as proxy:
        status, said = Run(there, f"{bucket}/out", releases, *ALONE, **proxy.variables).end()
    assert status == 0, said
    assert content(f"{bucket}/out") == expected


@pytest.mark.parametrize("fault", [Cut(1e9), busy(1e9)], ids=["every upload is cut", "503 for ever"])
def test_what_stays_is_one_line_with_nothing_half_there_and_a_rerun_completes(
    fault: Any, there: str, bucket: str, expected: dict[str, bytes], releases: Path, storage: Server
) -> None:
    out = f"{bucket}/out"
    with Proxy(storage.port, fault) as proxy:
        status, said = Run(there, out, releases, *ALONE, **proxy.variables, **ONCE).end()
    assert status == 2, said
    assert "Traceback" not in said
    assert " can't be reached: " in said.splitlines()[-1]
    left = content(out)
    assert left == {name: expected[name] for name in left}
    assert "MANIFEST.json" not in left
    assert main([there, out, *ALONE]) == 0
    assert content(out) == expected


def test_kills_at_any_moment_leave_each_customer_once(
    there: str, bucket: str, expected: dict[str, bytes], releases: Path
) -> None:
    chance, out, killed = random.Random(0), f"{bucket}/out", 0
    began = time.monotonic()
    assert Run(there, f"{bucket}/undisturbed", releases, *TWO).end()[0] == 0
    usual = time.monotonic() - began
    while killed < KILLS:
        run = Run(there, out, releases, *TWO)
        time.sleep(chance.uniform(0.4, 1.1) * usual)
        if run.process.poll() is None:
            kill(*run.members())
            killed += 1
        run.end()
        left = content(out)
        assert left == {name: expected[name] for name in left}
        if "MANIFEST.json" in left:
            assert left == expected
            s3().rm(out, recursive=True)
    assert Run(there, out, releases, *TWO).end()[0] == 0
    assert content(out) == expected
    frame = pd.concat([pd.read_parquet(f"{there}/month={n}/a.parquet") for n in (1, 2)])
    assert sorted(scored(out)) == sorted(frame.loc[frame["tenure"] >= 0, "customer_id"])


def test_uploads_that_a_killed_run_began_are_ended_and_others_are_not(there: str, bucket: str, releases: Path) -> None:
    storage = s3()
    name = bucket.removeprefix("s3://")
    for key in ("out/part-00000-0123456789abcdef.parquet", "out/.scores/part-00000-0123456789abcdef.parquet"):
        storage.call_s3("create_multipart_upload", Bucket=name, Key=key)
    for key in ("out/deeper/part-00000-0123456789abcdef.parquet", "outer/table.parquet"):
        storage.call_s3("create_multipart_upload", Bucket=name, Key=key)
    assert main([there, f"{bucket}/out", *ALONE]) == 0
    assert sorted(begun(bucket)) == ["out/deeper/part-00000-0123456789abcdef.parquet", "outer/table.parquet"]


def test_a_large_file_goes_in_parts_once_and_is_whole(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PART", 5 * 2**20)  # the least that S3 takes
    place, large = Objects(f"{bucket}/out"), random.Random(0).randbytes(12 * 2**20)
    for is_first in (True, False):
        draft = place.draft("large")
        draft.file.write(large)
        if is_first:
            draft.commit()
        else:
            with pytest.raises(FileExistsError):
                draft.commit()
        draft.abandon()
    assert place.read("large") == large
    assert begun(bucket) == []


def test_two_runs_at_once_write_each_file_and_log_each_customer_once(
    there: str, bucket: str, expected: dict[str, bytes], releases: Path
) -> None:
    runs = [Run(there, f"{bucket}/out", releases, *ALONE, "--log") for _ in range(2)]
    assert [run.end()[0] for run in runs] == [0, 0]
    assert content(f"{bucket}/out") == expected
    assert logged(releases) == sorted(scored(f"{bucket}/out"))


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_pieces_are_those_of_the_same_file_here(
    name: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, value in {"ROWS": 25, "BYTES": 2000, "SCANNED": 512}.items():
        monkeypatch.setattr(pieces, limit, value)
    frame = pd.DataFrame({"id": [f"C{i}" for i in range(300)], "text": [f'say "{i}",\nthen go' for i in range(300)]})
    if name == "t.parquet":
        frame.to_parquet(tmp_path / name, row_group_size=30)
    else:
        frame.to_csv(tmp_path / name, index=False, sep="\t" if name == "t.tsv" else ",")
    s3().put_file(str(tmp_path / name), f"{bucket}/{name}")
    here, there = pieces_of(str(tmp_path / name), Format()), pieces_of(f"{bucket}/{name}", Format())
    assert len(here) == len(there) and (len(here) > 3 or name == "t.csv.gz")
    for one, other in zip(here, there, strict=True):
        assert one.content() == other.content()
        assert list(one.batches()) == list(other.batches())


def test_a_table_that_changes_during_the_run_is_refused(bucket: str) -> None:
    storage = s3()
    storage.pipe_file(f"{bucket}/t.csv", b"id\n1\n")
    (piece,) = pieces_of(f"{bucket}/t.csv", Format())
    storage.pipe_file(f"{bucket}/t.csv", b"id\n2\n")
    with pytest.raises(InputError, match=r"t\.csv changed since the run began; run the command again"):
        list(piece.batches())


def test_a_place_takes_one_input_and_what_is_not_of_it_is_refused(
    table: Path, there: str, bucket: str, releases: Path
) -> None:
    assert main([there, f"{bucket}/out", *ALONE]) == 0
    before = content(f"{bucket}/out")
    with pytest.raises(InputError, match=r"out holds part-.+, of another input or release; choose an empty folder"):
        main([f"{there}/month=1", f"{bucket}/out", *ALONE])
    with pytest.raises(InputError, match=r"customers/out lies in s3://.+/customers, whose files are scored"):
        main([there, f"{there}/out"])
    assert content(f"{bucket}/out") == before


def test_bad_addresses_are_one_line(table: Path, bucket: str, storage: Server, releases: Path) -> None:
    cases = {
        ("s3://no-such-bucket/x", f"{bucket}/out"): r"s3://no-such-bucket/x: there is no such bucket; make it",
        (str(table), "s3://no-such-bucket/x"): r"s3://no-such-bucket/x: there is no such bucket; make it",
        (f"{bucket}/nothing", f"{bucket}/out"): r"nothing is missing, or empty; name a file, a folder or a pattern",
        (f"{bucket}/*.csv", f"{bucket}/out"): r"\*\.csv is missing, or empty",
        (str(table), "s3://"): r"s3:// names no bucket; write it as s3://BUCKET/PATH",
        (str(table), "oss3://bucket/x"): r"oss3://bucket/x: Protocol not known: oss3",
    }
    for (source, out), words in cases.items():
        with pytest.raises(InputError, match=words) as error:
            main([source, out, *ALONE])
        assert len(str(error.value).splitlines()) == 1
    storage.deny(True)
    try:
        for source, out in ((f"{bucket}/customers", "out"), (str(table), f"{bucket}/out")):
            with pytest.raises(InputError, match=rf"{bucket}/.+ can't be reached: no rights: "):
                main([source, out, *ALONE])
    finally:
        storage.deny(False)


def test_an_endpoint_that_does_not_answer_is_one_line(bucket: str, releases: Path) -> None:
    words = ("serve.score", f"{bucket}/customers", f"{bucket}/out")
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"} | ONCE,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{bucket}/customers can't be reached: EndpointConnectionError: " in line
