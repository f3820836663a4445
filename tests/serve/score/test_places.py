"""Where scores lie: what holds in a folder and in object storage, here a folder behind fsspec."""

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from churn.schema import TARGET
from churn.scored import read_manifest
from churn.script import InputError
from serve.releases.store import Store
from serve.score import pieces
from serve.score.__main__ import main
from serve.score.places import Place, place_at


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    (tmp_path / "out").mkdir()
    return place_at(tmp_path / "out" if request.param == "folder" else f"file://{tmp_path}/out")


def write(place: Place, name: str, content: bytes) -> None:
    draft = place.draft(name)
    draft.file.write(content)
    draft.commit()
    draft.abandon()


def test_a_file_is_there_from_its_commit_on_and_not_before(place: Place) -> None:
    draft = place.draft("part")
    draft.file.write(b"whole")
    assert not place.has("part")
    draft.commit()
    draft.abandon()
    assert place.has("part")
    assert place.read("part") == b"whole"
    assert place.names() == ["part"]


def test_an_abandoned_draft_leaves_nothing(place: Place) -> None:
    draft = place.draft("part")
    draft.file.write(b"half")
    draft.abandon()
    assert place.names() == []
    with pytest.raises(FileNotFoundError):
        place.read("part")


def test_files_are_read_from_any_point(place: Place) -> None:
    content = random.Random(0).randbytes(100_000)
    write(place, "part", content)
    with place.open("part") as file:
        for start, stop in ((50_000, 50_010), (10, 99_999), (99_990, 100_000)):
            file.seek(start)
            assert file.read(stop - start) == content[start:stop]
            assert file.tell() == stop


def test_a_folder_is_copied_from_and_cleared(place: Place, tmp_path: Path) -> None:
    (tmp_path / "out/.scores").mkdir()  # which object storage needs not
    write(place, ".scores/part", b"1")
    place.copy(".scores/part", "part")
    assert place.names(".scores") == ["part"]
    place.clear(".scores")
    assert place.names(".scores") == []
    assert place.read("part") == b"1"
    place.remove("part")
    assert not place.has("part")
    place.clear(".scores")  # where there is none


def test_a_manifest_of_the_same_content_is_written_again(place: Place) -> None:
    for _ in range(2):
        place.commit("MANIFEST.json", b"{}")
    assert place.read("MANIFEST.json") == b"{}"


def test_a_manifest_of_other_scores_stays_where_no_lock_keeps_others_away(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    place = place_at(f"file://{tmp_path}/out")
    place.commit("MANIFEST.json", b"{}")
    with pytest.raises(InputError, match=r"out/MANIFEST\.json is there, of other scores; remove it, or choose another"):
        place.commit("MANIFEST.json", b"[]")
    assert place.read("MANIFEST.json") == b"{}"


def test_a_file_that_another_run_wrote_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    place = place_at(f"file://{tmp_path}/out")
    draft = place.draft("part")
    draft.file.write(b"mine")
    write(place, "part", b"another's")
    with pytest.raises(FileExistsError):
        draft.commit()
    draft.abandon()
    assert place.read("part") == b"another's"


@pytest.fixture
def score(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(pieces, "ROWS", 1)
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "releases"))
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    return lambda *words: main([*words, "--processes", "1"])


def test_the_bytes_are_the_same_through_any_door(project: Path, tmp_path: Path, score: Callable[..., int]) -> None:
    frame = pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)
    frame.loc[3, "tenure"] = -1.0
    (tmp_path / "in/x").mkdir(parents=True)
    for name, rows in (("x/a", frame.iloc[:500]), ("x-b", frame.iloc[500:])):
        rows.to_parquet(tmp_path / f"in/{name}.parquet", row_group_size=200)
    (tmp_path / "in/_SUCCESS").touch()
    here, there = str(tmp_path / "in"), f"file://{tmp_path}/in"
    (tmp_path / "b").mkdir()
    for source, out in ((here, "a"), (there, "b")):
        assert score(source, f"file://{tmp_path}/b" if out == "b" else str(tmp_path / out)) == 0
    contents = [{path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in "ab"]
    assert contents[0] == contents[1]
    first, *_ = read_manifest(tmp_path / "a")["pieces"]
    assert first["source"] == "x/a.parquet"  # in the order of paths, in which x/ comes before x-b
