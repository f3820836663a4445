"""A container's first start fills the store, and no later one touches it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from churn.release import open_release
from churn.script import InputError
from serve.__main__ import fill, made_by
from serve.releases.store import Store
from serve.releases.trace import LOCK, directory_hash
from serve.settings import Settings
from tests.factories import other_release


@pytest.fixture
def settings(elsewhere: Callable[[], Path]) -> Settings:
    """Of an empty store, in a folder with params.yaml."""
    return Settings(releases=str(elsewhere() / "releases"))


def test_an_empty_store_gets_the_bundle_and_it_answers(settings: Settings, released: Path) -> None:
    fill(settings, released)
    store = Store(settings.releases)
    assert store.state()["champion"] == open_release(released).version
    assert [(act["act"], act["reason"]) for act in store.history()] == [
        ("add", "first start"),
        ("promote", "first start"),
    ]


def test_the_commit_of_an_image_made_the_bundle_that_its_lock_names(
    settings: Settings, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISION", "0123abc")
    assert made_by(released) == ""
    (tmp_path / LOCK).write_text(f"md5: {directory_hash(released)}.dir\n")
    assert made_by(released) == "0123abc"
    assert made_by(other_release(released, tmp_path / "other")) == ""
    fill(settings, released)
    assert Store(settings.releases).history()[0]["lineage"]["commit"] == "0123abc"


def test_a_store_with_a_champion_stays_as_it_is(settings: Settings, released: Path, tmp_path: Path) -> None:
    fill(settings, released)
    store = Store(settings.releases)
    before = store.history()
    fill(settings, other_release(released, tmp_path / "other"))
    fill(settings, tmp_path / "none")
    assert store.history() == before


def test_a_start_that_was_killed_before_the_promotion_is_made_up_for(settings: Settings, released: Path) -> None:
    store = Store(settings.releases)
    store.add(released, "first start")
    fill(settings, released)
    assert [act["act"] for act in store.history()] == ["add", "promote"]


@pytest.mark.parametrize("is_there", [True, False])
def test_with_neither_a_champion_nor_a_bundle_the_start_says_what_to_mount(
    is_there: bool, settings: Settings, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    if is_there:
        bundle.mkdir()
    with pytest.raises(InputError, match=f"has no champion and {bundle} no release; mount one: -v DIR:{bundle}:ro"):
        fill(settings, bundle)


def test_a_damaged_bundle_fills_nothing(settings: Settings, released: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(released, tmp_path / "damaged")
    (damaged / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"model.onnx"):
        fill(settings, damaged)
    assert not Store(settings.releases).versions
