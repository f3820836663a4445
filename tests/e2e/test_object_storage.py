"""A store in object storage: acts of several machines, a service that follows them, a bundle fetched again."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from pathlib import Path

import pytest

from churn.scorer import Scorer
from demo.processes import until
from serve.releases.store import Moved, Store
from tests.e2e.object_storage import server
from tests.e2e.servers import Service
from tests.factories import opposite_release, other_release

pytestmark = pytest.mark.e2e

numbers = count()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server of object storage, which all URLs mean from now on; fsspec keeps its connection."""
    folder = tmp_path_factory.mktemp("storage")
    with server(folder) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in {**running.variables, "TMPDIR": str(folder)}.items():
            patch.setenv(name, value)
        patch.setattr("tempfile.tempdir", None)  # it is remembered
        yield


@pytest.fixture
def url(storage: None) -> str:
    """The address of a store in a bucket of its own."""
    bucket = f"bucket-{next(numbers)}"
    Store(f"s3://{bucket}/releases").files.fs.mkdir(bucket)  # type: ignore[attr-defined]
    return f"s3://{bucket}/releases"


def test_the_same_acts_lead_to_the_same_state(url: str, reproduced: Path, tmp_path: Path) -> None:
    bundle = reproduced / "models/release"
    store, here = Store(url), Store(tmp_path / "releases")
    one, two = bundle, other_release(bundle, tmp_path / "other")
    for each in (store, here):
        a, b = each.add(one, "first"), each.add(two, "second")
        each.promote(a, "begin")
        each.split(b, 0.2, "try")
        each.promote(b, "better")
        each.rollback("worse")
        each.shadow(b, "look")
    other_machine = Store(url)
    assert other_machine.state() == here.state()
    names = ("act", "version", "reason", "state")
    told = [[{name: act[name] for name in names} for act in each.history()] for each in (other_machine, here)]
    assert told[0] == told[1]
    assert other_machine.versions == here.versions


def test_of_two_machines_that_act_at_once_one_acts_after_the_other(url: str, reproduced: Path, tmp_path: Path) -> None:
    bundle = reproduced / "models/release"
    versions = [Store(url).add(each, "r") for each in (bundle, other_release(bundle, tmp_path / "other"))]
    with ThreadPoolExecutor(4) as machines:
        for done in [machines.submit(Store(url).promote, version, "r") for version in versions * 3]:
            done.result()
    history = Store(url).history()
    for before, act in pairwise(history):
        assert act["state"]["previous"] == before["state"]["champion"]


def test_of_two_people_who_act_on_the_same_page_one_is_told_of_the_other(
    url: str, reproduced: Path, tmp_path: Path
) -> None:
    bundle = reproduced / "models/release"
    one, two = [Store(url).add(each, "r") for each in (bundle, other_release(bundle, tmp_path / "other"))]
    Store(url).promote(one, "r")
    seen = Store(url).position()

    def shadow(who: str) -> str:
        try:
            Store(url).at(seen).shadow(two, "r", who)
        except Moved as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as people:
        refusals = list(people.map(shadow, ["anna", "ben", "cleo", "dan"]))
    (act,) = Store(url).history()[3:]
    told = f"{act['who']} let {two} score in the shadow since you opened this page; look again"
    assert sorted(refusals) == ["", told, told, told]


def test_a_bundle_that_was_damaged_on_this_machine_is_fetched_again(url: str, reproduced: Path) -> None:
    store = Store(url)
    version = store.add(reproduced / "models/release", "r")
    folder = store.bundle(version)
    (folder / "model.onnx").write_bytes(b"")
    assert Scorer.open(store.bundle(version)).release.version == version


def test_a_service_serves_from_it_and_follows(url: str, reproduced: Path, tmp_path: Path) -> None:
    bundle = reproduced / "models/release"
    store = Store(url)
    one, two = store.add(bundle, "r"), store.add(opposite_release(bundle, tmp_path / "opposite"), "r")
    store.promote(one, "r")
    variables = {name: os.environ[name] for name in os.environ if name.startswith("AWS_") or name == "TMPDIR"}
    places = {"CHURN_LOG_URL": f"sqlite:///{tmp_path / 'log.db'}", "CHURN_SPOOL": str(tmp_path / "spool.jsonl")}
    with Service(tmp_path, tmp_path / "none", CHURN_RELEASES=url, **places, **variables) as service:
        customer = Scorer.open(bundle).release.golden()[0]["customer"]
        assert service.post("/predict", customer)[2]["model_version"] == one
        store.promote(two, "r")
        until(lambda: service.post("/predict", customer)[2]["model_version"] == two, 5)
