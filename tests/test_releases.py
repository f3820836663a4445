"""The store keeps verified copies of bundles and says which one answers; a person's mistakes are one line each."""

import getpass
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from churn.release import CARD, FILES, MANIFEST, ReleaseError, file_hash, open_release, seal
from churn.script import InputError
from serve.releases import LEDGER, LOCK, STATE, Store, main
from tests.conftest import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "releases")


@pytest.fixture
def version(released: Path) -> str:
    return open_release(released).version


def other(released: Path, folder: Path) -> Path:
    """The bundle with another threshold, so with another version."""
    shutil.copytree(released, folder)
    card = json.loads((folder / CARD).read_text())
    del card["model_version"]
    card["threshold"]["value"] = 0.99
    seal(folder, card)
    return folder


def content(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of change of every file below `folder`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (file_hash(path), path.stat().st_mtime_ns) for path in files}


def command(store: Store, *words: str, file_size: int = -1) -> tuple[int, list[str]]:
    """Exit status and lines of `python -m serve.releases` with that store."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, -1))

    done = subprocess.run(
        [sys.executable, "-m", "serve.releases", *words],
        cwd=ROOT,
        env=os.environ | {"CHURN_RELEASES": str(store.folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit,
    )
    return done.returncode, done.stdout.splitlines()


def test_an_added_bundle_is_a_copy_under_its_version(store: Store, released: Path, version: str) -> None:
    assert store.add(released, "r") == version
    assert store.versions == [version]
    assert open_release(store.folder / version).card == open_release(released).card


def test_a_copy_holds_the_bundle_alone_and_does_not_follow_it(
    store: Store, released: Path, version: str, tmp_path: Path
) -> None:
    bundle = shutil.copytree(released, tmp_path / "bundle")
    (bundle / "notes.txt").write_text("mine")
    store.add(bundle, "r")
    (bundle / CARD).write_text("{}")
    assert {path.name for path in (store.folder / version).iterdir()} == {*FILES, MANIFEST}
    open_release(store.folder / version)


def test_adding_again_changes_nothing(store: Store, released: Path, version: str) -> None:
    store.add(released, "r")
    before = content(store.folder)
    assert store.add(released, "r") == version
    assert content(store.folder) == before


def test_adding_promotes_nobody(store: Store, released: Path) -> None:
    store.add(released, "r")
    with pytest.raises(InputError, match="has no champion; make one with: make serve"):
        store.champion()


def test_the_promoted_release_is_the_champion(store: Store, released: Path, version: str, tmp_path: Path) -> None:
    versions = [store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")]
    assert store.versions == sorted(versions)
    for version in (*versions, versions[0]):
        store.promote(version, "r")
        assert store.champion() == store.folder / version


def truncated(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1])


def lying(bundle: Path) -> None:
    """Whole, but it scores a golden customer otherwise than recorded."""
    golden = (bundle / "golden.jsonl").read_text().splitlines()
    golden[0] = json.dumps(json.loads(golden[0]) | {"churn_probability": 0.123})
    (bundle / "golden.jsonl").write_text("\n".join(golden))
    card = json.loads((bundle / CARD).read_text())
    del card["model_version"]
    seal(bundle, card)


@pytest.mark.parametrize("damage", [truncated, lying])
def test_a_damaged_bundle_is_refused_and_leaves_nothing(
    damage: Callable[[Path], None], store: Store, released: Path, version: str, tmp_path: Path
) -> None:
    store.add(released, "r")
    before = content(store.folder)
    bundle = other(released, tmp_path / "bundle")
    damage(bundle)
    with pytest.raises(ReleaseError):
        store.add(bundle, "r")
    assert content(store.folder) == before
    assert store.versions == [version]


def test_a_copy_that_went_wrong_is_no_release(store: Store, released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(source: Path, copy: Path) -> None:
        copy.write_bytes(source.read_bytes()[:-1])

    monkeypatch.setattr(shutil, "copyfile", cut)
    with pytest.raises(ReleaseError):
        store.add(released, "r")
    assert [path.name for path in store.folder.iterdir()] == [LOCK]


def test_a_release_that_was_damaged_in_the_store_is_not_promoted(store: Store, released: Path, tmp_path: Path) -> None:
    good, bad = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(good, "r")
    truncated(store.folder / bad)
    with pytest.raises(ReleaseError, match=r"\['model.onnx'\] differ"):
        store.promote(bad, "r")
    assert store.champion().name == good


def test_a_copy_that_was_killed_on_its_way_is_no_release(store: Store, released: Path, version: str) -> None:
    shutil.copytree(released, store.folder / f".{version}.1")
    assert store.versions == []
    assert store.add(released, "r") == version
    assert store.versions == [version]


@pytest.mark.parametrize("unknown", ["nobody", "../elsewhere", "", "."])
def test_an_unknown_version_names_what_there_is(unknown: str, store: Store, released: Path, version: str) -> None:
    store.add(released, "r")
    with pytest.raises(InputError) as error:
        store.promote(unknown, "r")
    assert str(error.value) == f"{store.folder} has no release {unknown!r}; it has ['{version}']"
    assert store.state() == {}


def told(act: dict[str, object]) -> tuple[object, ...]:
    return act["act"], act["version"], act["reason"], act["state"]


def test_the_ledger_tells_every_act(store: Store, released: Path, tmp_path: Path) -> None:
    one = store.add(released, "first")
    two = store.add(other(released, tmp_path / "other"), "second")
    store.promote(one, "to begin")
    store.promote(two, "better")
    store.promote(two, "again")  # it answers already
    assert store.rollback("worse") == one
    assert [told(act) for act in store.history()] == [
        ("add", one, "first", {}),
        ("add", two, "second", {}),
        ("promote", one, "to begin", {"champion": one, "previous": None}),
        ("promote", two, "better", {"champion": two, "previous": one}),
        ("rollback", one, "worse", {"champion": one, "previous": None}),
    ]
    assert all(act["who"] and act["at"] for act in store.history())
    assert json.loads((store.folder / STATE).read_text()) == store.state() == {"champion": one, "previous": None}


def test_each_rollback_goes_one_champion_back(store: Store, released: Path, tmp_path: Path) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    for version in (one, two, one):
        store.promote(version, "r")
    assert [store.rollback("r"), store.rollback("r")] == [two, one]
    with pytest.raises(InputError, match="has no earlier champion; promote one of"):
        store.rollback("r")
    store.promote(two, "r")
    assert store.rollback("r") == one


def test_a_release_that_was_damaged_meanwhile_is_not_rolled_back_to(
    store: Store, released: Path, tmp_path: Path
) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(one, "r")
    store.promote(two, "r")
    truncated(store.folder / one)
    with pytest.raises(ReleaseError):
        store.rollback("r")
    assert store.champion().name == two


@pytest.mark.parametrize("text", ["{", "\udcff", "[]", '{"champion": "gone"}', "{}", None], ids=ascii)
def test_a_state_broken_by_hand_is_reported_and_the_ledger_counts(
    text: str | None, store: Store, released: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = store.add(released, "r")
    store.promote(version, "r")
    path = store.folder / STATE
    path.unlink() if text is None else path.write_bytes(text.encode(errors="surrogateescape"))
    assert store.champion().name == version
    assert "is not what the last act left; the ledger's" in caplog.text


def test_the_next_act_mends_the_state(store: Store, released: Path, tmp_path: Path) -> None:
    store.promote(store.add(released, "r"), "r")
    (store.folder / STATE).write_text("{")
    two = store.add(other(released, tmp_path / "other"), "r")
    assert json.loads((store.folder / STATE).read_text()) == store.state()
    assert two in store.versions


def test_an_act_that_a_crash_cut_short_never_was(store: Store, released: Path, tmp_path: Path) -> None:
    version = store.add(released, "r")
    store.promote(version, "r")
    ledger = store.folder / LEDGER
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b'{"at": "2026')
    assert store.champion().name == version
    store.add(other(released, tmp_path / "other"), "r")
    assert ledger.read_bytes().startswith(whole + b'{"at": "')
    assert len(store.history()) == 3


def test_a_ledger_broken_by_hand_is_one_clear_sentence(store: Store, released: Path) -> None:
    store.add(released, "r")
    (store.folder / LEDGER).write_text("nonsense\n")
    with pytest.raises(InputError, match=r"has a line that is not JSON: .+; restore the file") as error:
        store.champion()
    assert "\n" not in str(error.value)


def test_people_who_act_at_once_wait_for_each_other(store: Store, released: Path, tmp_path: Path) -> None:
    versions = [store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")]
    with ThreadPoolExecutor(4) as people:
        for done in [people.submit(Store(store.folder).promote, version, "r") for version in versions * 4]:
            done.result()
    acts = store.history()[2:]
    assert 2 <= len(acts) <= 8
    for before, act in pairwise(acts):
        assert act["state"]["previous"] == before["version"]
    assert json.loads((store.folder / STATE).read_text()) == acts[-1]["state"]


def test_the_commands_tell_what_they_did(
    store: Store,
    released: Path,
    version: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(store, "add", str(released), "--promote", "--reason", "first run") == (
        0,
        [f"serve.releases: added {version}: first run", f"serve.releases: promoted {version}: first run"],
    )
    second = store.add(other(released, tmp_path / "other"), "r")
    monkeypatch.setenv("CHURN_RELEASES", str(store.folder))

    def say(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["serve.releases", *words])
        main()
        return capsys.readouterr().out

    say("promote", second, "--reason", "better")
    say("rollback", "--reason", "worse")
    assert say("list").splitlines() == sorted([f"* {version}", f"  {second}"], key=lambda line: line[2:])
    lines = say("history").splitlines()
    assert len(lines) == 5
    assert lines[-1].endswith(f"  rollback  {version}  {getpass.getuser()}: worse")
    assert json.loads(say("history", "--json")) == store.history()
    assert {row["version"]: row["champion"] for row in json.loads(say("list", "--json"))} == {
        version: True, second: False,
    }  # fmt: skip


def test_a_mistake_is_one_line_and_exit_status_1(store: Store, tmp_path: Path) -> None:
    assert command(store, "promote", "nobody", "--reason", "r") == (
        1,
        [f"serve.releases: {store.folder} has no release 'nobody'; it has []"],
    )
    assert command(store, "add", str(tmp_path / "nothing"), "--reason", "r") == (
        1,
        [f"serve.releases: release {tmp_path / 'nothing'} has no MANIFEST.json; write one with: dvc repro"],
    )
    assert not store.folder.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(store: Store, released: Path) -> None:
    status, (line,) = command(store, "add", str(released), "--reason", "r", file_size=1_000)
    assert status == 1
    assert line.endswith(": File too large")
    assert [path.name for path in store.folder.iterdir()] == [LOCK]


@pytest.mark.parametrize("words", [["add", "models/release"], ["promote", "a"], ["rollback"]], ids=" ".join)
def test_a_change_needs_a_reason(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve.releases", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "the following arguments are required: --reason" in capsys.readouterr().err
