"""The store keeps verified copies of bundles and says which one answers; a person's mistakes are one line each."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from churn.release import CARD, FILES, MANIFEST, ReleaseError, file_hash, open_release, seal
from churn.script import InputError
from serve.releases import STATE, Store, main
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
    assert store.add(released) == version
    assert store.versions == [version]
    assert open_release(store.folder / version).card == open_release(released).card


def test_a_copy_holds_the_bundle_alone_and_does_not_follow_it(
    store: Store, released: Path, version: str, tmp_path: Path
) -> None:
    bundle = shutil.copytree(released, tmp_path / "bundle")
    (bundle / "notes.txt").write_text("mine")
    store.add(bundle)
    (bundle / CARD).write_text("{}")
    assert {path.name for path in (store.folder / version).iterdir()} == {*FILES, MANIFEST}
    open_release(store.folder / version)


def test_adding_again_changes_nothing(store: Store, released: Path, version: str) -> None:
    store.add(released)
    before = content(store.folder)
    assert store.add(released) == version
    assert content(store.folder) == before


def test_adding_promotes_nobody(store: Store, released: Path) -> None:
    store.add(released)
    with pytest.raises(InputError, match="has no champion; make one with: make serve"):
        store.champion()


def test_the_promoted_release_is_the_champion(store: Store, released: Path, version: str, tmp_path: Path) -> None:
    versions = [store.add(released), store.add(other(released, tmp_path / "other"))]
    assert store.versions == sorted(versions)
    for version in (*versions, versions[0]):
        store.promote(version)
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
    store.add(released)
    before = content(store.folder)
    bundle = other(released, tmp_path / "bundle")
    damage(bundle)
    with pytest.raises(ReleaseError):
        store.add(bundle)
    assert content(store.folder) == before
    assert [path.name for path in store.folder.iterdir()] == [version]


def test_a_copy_that_went_wrong_is_no_release(store: Store, released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(source: Path, copy: Path) -> None:
        copy.write_bytes(source.read_bytes()[:-1])

    monkeypatch.setattr(shutil, "copyfile", cut)
    with pytest.raises(ReleaseError):
        store.add(released)
    assert list(store.folder.iterdir()) == []


def test_a_release_that_was_damaged_in_the_store_is_not_promoted(store: Store, released: Path, tmp_path: Path) -> None:
    good, bad = store.add(released), store.add(other(released, tmp_path / "other"))
    store.promote(good)
    truncated(store.folder / bad)
    with pytest.raises(ReleaseError, match=r"\['model.onnx'\] differ"):
        store.promote(bad)
    assert store.champion().name == good


def test_a_copy_that_was_killed_on_its_way_is_no_release(store: Store, released: Path, version: str) -> None:
    shutil.copytree(released, store.folder / f".{version}.1")
    assert store.versions == []
    assert store.add(released) == version
    assert store.versions == [version]


@pytest.mark.parametrize("unknown", ["nobody", "../elsewhere", "", "."])
def test_an_unknown_version_names_what_there_is(unknown: str, store: Store, released: Path, version: str) -> None:
    store.add(released)
    with pytest.raises(InputError) as error:
        store.promote(unknown)
    assert str(error.value) == f"{store.folder} has no release {unknown!r}; it has ['{version}']"
    assert not (store.folder / STATE).exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("\udcff", "is not JSON: 'utf-8' codec can't decode"),
        ("[]", r"holds \[\]; promote a release anew"),
        ('{"champion": "gone"}', r"has no release 'gone'; it has \["),
        ('{"champion": ["a"]}', r"has no release \['a'\]; it has \["),
        ("{}", "has no champion; make one with: make serve"),
    ],
    ids=ascii,
)
def test_a_state_broken_by_hand_is_one_clear_sentence(text: str, sentence: str, store: Store, released: Path) -> None:
    version = store.add(released)
    (store.folder / STATE).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=sentence) as error:
        store.champion()
    assert "\n" not in str(error.value)
    store.promote(version)
    assert store.champion().name == version


def test_the_commands_tell_what_they_did(store: Store, released: Path, version: str, tmp_path: Path) -> None:
    assert command(store, "add", str(released), "--promote", "--reason", "first run") == (
        0,
        [f"serve.releases: added {version}: first run", f"serve.releases: promoted {version}: first run"],
    )
    second = store.add(other(released, tmp_path / "other"))
    assert command(store, "promote", second, "--reason", "better") == (
        0,
        [f"serve.releases: promoted {second}: better"],
    )
    assert store.champion().name == second
    assert command(store, "list") == (0, [f"serve.releases: {v}" for v in sorted([version, second])])


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
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("words", [["add", "models/release"], ["promote", "a"]], ids=" ".join)
def test_a_change_needs_a_reason(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve.releases", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "the following arguments are required: --reason" in capsys.readouterr().err
