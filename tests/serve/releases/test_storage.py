"""Where the store lies: what several workers do there at once, and what is left of what went wrong."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from churn.release import open_release
from churn.scorer import Scorer
from serve.releases.storage import Objects


@pytest.fixture
def objects(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """Object storage that holds a bundle, and is a folder; bundles are fetched to another one of the test's."""
    shutil.copytree(released, tmp_path / "bucket" / open_release(released).version)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Objects(f"file://{tmp_path}/bucket")


@pytest.mark.slow
def test_workers_that_fetch_a_bundle_at_once_all_get_it_whole(objects: Objects, released: Path) -> None:
    version, workers = open_release(released).version, 3
    together = Barrier(workers)

    def work(url: str) -> str:
        mine = Objects(url)
        together.wait()
        return Scorer.open(mine.bundle(version)).release.version

    with ThreadPoolExecutor(workers) as pool:
        for _ in range(8):
            shutil.rmtree(objects.cache, ignore_errors=True)
            assert list(pool.map(work, [objects.url] * workers)) == [version] * workers
    assert [path.name for path in objects.cache.iterdir() if path.is_dir()] == [version]


def test_a_copy_that_was_damaged_here_is_fetched_again(objects: Objects, released: Path) -> None:
    version = open_release(released).version
    objects.bundle(version)
    (objects.cache / version / "model.onnx").write_bytes(b"")
    open_release(objects.bundle(version))


def test_an_act_whose_answer_was_lost_is_not_done_twice(objects: Objects) -> None:
    objects.create("act", b"mine")
    objects.create("act", b"mine")  # what a client does on its own when storage is slow
    with pytest.raises(FileExistsError):
        objects.create("act", b"another's")
    assert objects.read("act") == b"mine"
