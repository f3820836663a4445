"""The store keeps verified copies of bundles and says which one answers; a person's mistakes are one line each."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pytest

from churn.release import CARD, MANIFEST, ReleaseError, bundle_files, file_hash, open_release
from churn.script import InputError
from serve.releases.ledger import EMPTY
from serve.releases.storage import LOCK
from serve.releases.store import LEDGER, STATE, Moved, Store
from tests.factories import other_release as other
from tests.factories import reseal


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "releases")


@pytest.fixture
def version(released: Path) -> str:
    return open_release(released).version


def content(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of change of every file below `folder`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (file_hash(path), path.stat().st_mtime_ns) for path in files}


def test_an_added_bundle_is_a_copy_under_its_version(store: Store, released: Path, version: str) -> None:
    assert store.add(released, "r") == version
    assert store.versions == [version]
    assert open_release(store.where / version).card == open_release(released).card


def test_a_copy_holds_the_bundle_alone_and_does_not_follow_it(
    store: Store, released: Path, version: str, tmp_path: Path
) -> None:
    bundle = shutil.copytree(released, tmp_path / "bundle")
    (bundle / "notes.txt").write_text("mine")
    store.add(bundle, "r")
    (bundle / CARD).write_text("{}")
    assert {path.name for path in (store.where / version).iterdir()} == set(bundle_files(released))
    open_release(store.where / version)


def test_adding_again_changes_nothing(store: Store, released: Path, version: str) -> None:
    store.add(released, "r")
    before = content(store.where)
    assert store.add(released, "r") == version
    assert content(store.where) == before


def test_adding_promotes_nobody(store: Store, released: Path) -> None:
    store.add(released, "r")
    with pytest.raises(InputError, match="has no champion; make one with: make serve"):
        store.champion()


def test_the_promoted_release_is_the_champion(store: Store, released: Path, version: str, tmp_path: Path) -> None:
    versions = [store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")]
    assert store.versions == sorted(versions)
    for version in (*versions, versions[0]):
        store.promote(version, "r")
        assert store.champion() == store.where / version


def truncated(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1])


def lying(bundle: Path) -> None:
    """Whole, but it scores a golden customer otherwise than recorded."""
    golden = (bundle / "golden.jsonl").read_text().splitlines()
    golden[0] = json.dumps(json.loads(golden[0]) | {"churn_probability": 0.123})
    (bundle / "golden.jsonl").write_text("\n".join(golden))
    reseal(bundle)


def named(name: str) -> Callable[[Path], None]:
    def rename(bundle: Path) -> None:
        """It calls itself otherwise, and its checksums are right."""
        (bundle / CARD).write_text(json.dumps(json.loads((bundle / CARD).read_text()) | {"model_version": name}))
        manifest = json.loads((bundle / MANIFEST).read_text())
        manifest["sha256"][CARD] = file_hash(bundle / CARD)
        (bundle / MANIFEST).write_text(json.dumps(manifest))

    return rename


@pytest.mark.parametrize("damage", [truncated, lying, named(LEDGER), named("../elsewhere"), named("0" * 12)])
def test_a_damaged_bundle_is_refused_and_leaves_nothing(
    damage: Callable[[Path], None], store: Store, released: Path, version: str, tmp_path: Path
) -> None:
    store.add(released, "r")
    before = content(store.where)
    bundle = other(released, tmp_path / "bundle")
    damage(bundle)
    with pytest.raises(ReleaseError):
        store.add(bundle, "r")
    assert content(store.where) == before
    assert store.versions == [version]


def test_a_copy_that_went_wrong_is_no_release(store: Store, released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(source: Path, copy: Path) -> None:
        copy.write_bytes(source.read_bytes()[:-1])

    monkeypatch.setattr(shutil, "copyfile", cut)
    with pytest.raises(ReleaseError):
        store.add(released, "r")
    assert [path.name for path in store.where.iterdir()] == [LOCK]


def test_a_bundle_that_another_takes_the_place_of_meanwhile_is_not_added(
    store: Store, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, late = shutil.copytree(released, tmp_path / "bundle"), other(released, tmp_path / "late")
    put = store.files.put
    monkeypatch.setattr(store.files, "put", lambda _, name, check: put(late, name, check))
    with pytest.raises(ReleaseError, match="changed while it was copied; add it again"):
        store.add(bundle, "r")
    assert store.versions == []


def test_a_release_that_was_damaged_in_the_store_is_not_promoted(store: Store, released: Path, tmp_path: Path) -> None:
    good, bad = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(good, "r")
    truncated(store.where / bad)
    with pytest.raises(ReleaseError, match=r"\['model.onnx'\] differ"):
        store.promote(bad, "r")
    assert store.champion().name == good


def test_a_copy_that_was_killed_on_its_way_is_no_release(store: Store, released: Path, version: str) -> None:
    shutil.copytree(released, store.where / f".{version}.1")
    assert store.versions == []
    assert store.add(released, "r") == version
    assert store.versions == [version]


@pytest.mark.parametrize("unknown", ["nobody", "../elsewhere", "", "."])
def test_an_unknown_version_names_what_there_is(unknown: str, store: Store, released: Path, version: str) -> None:
    store.add(released, "r")
    with pytest.raises(InputError) as error:
        store.promote(unknown, "r")
    assert str(error.value) == f"{store.where} has no release {unknown!r}; it has ['{version}']"
    assert store.state() == EMPTY


def state(champion: str | None, previous: str | None = None, **others: object) -> dict[str, object]:
    return {**EMPTY, "champion": champion, "previous": previous, **others}


def told(act: dict[str, object]) -> tuple[object, ...]:
    return act["act"], act["version"], act["reason"], act["state"]


def test_the_ledger_tells_every_act(store: Store, released: Path, tmp_path: Path) -> None:
    one = store.add(released, "first")
    two = store.add(other(released, tmp_path / "other"), "second")
    store.promote(one, "to begin")
    store.shadow(two, "look")
    store.shadow(None, "seen")
    store.split(two, 0.2, "try")
    store.split(two, 0.2, "again")  # it is so already
    store.abort("harm", "somebody")
    store.abort("harm")
    store.promote(two, "better", gate={"champion": one, "passed": True})
    store.promote(two, "again")
    store.split(one, 0.5, "")
    store.split(one, 0, "enough")
    assert store.rollback("worse") == state(one)
    assert [told(act) for act in store.history()] == [
        ("add", one, "first", EMPTY),
        ("add", two, "second", EMPTY),
        ("promote", one, "to begin", state(one)),
        ("shadow", two, "look", state(one, shadow=two)),
        ("shadow", two, "seen", state(one)),
        ("split", two, "try", state(one, challenger=two, share=0.2)),
        ("abort", two, "harm", state(one)),
        ("promote", two, "better", state(two, one)),
        ("split", one, "", state(two, one, challenger=one, share=0.5)),
        ("split", one, "enough", state(two, one)),
        ("rollback", one, "worse", state(one)),
    ]
    assert all(act["who"] and act["at"] for act in store.history())
    assert [act["who"] for act in store.history() if act["act"] == "abort"] == ["somebody"]
    assert [act["gate"] for act in store.history() if "gate" in act] == [{"champion": one, "passed": True}]
    assert json.loads((store.where / STATE).read_text()) == store.state() == state(one)


def test_whatever_a_reason_holds_an_answer_can_hold_it_too(store: Store, released: Path) -> None:
    store.add(released, "caf\udce9 caf\u00e9", "caf\udce9")
    (act,) = store.history()
    assert (act["reason"], act["who"]) == ("caf? caf\u00e9", "caf?")
    json.dumps(act, ensure_ascii=False).encode()


@pytest.mark.parametrize("act", ["promote", "rollback"])
def test_a_new_champion_ends_the_split_and_leaves_other_shadows(
    act: str, store: Store, released: Path, tmp_path: Path
) -> None:
    one, two, three, four = (
        store.add(other(released, tmp_path / str(threshold), threshold), "r") for threshold in (0.1, 0.2, 0.3, 0.4)
    )
    store.promote(one, "r")
    store.promote(two, "r")
    store.split(three, 0.5, "r")
    store.shadow(four, "r")
    after = store.promote(three, "r") if act == "promote" else store.rollback("r")
    assert after == (state(three, two, shadow=four) if act == "promote" else state(one, shadow=four))
    assert store.promote(four, "r")["shadow"] is None


def test_a_shadow_that_becomes_challenger_is_no_shadow_any_more(store: Store, released: Path, tmp_path: Path) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(one, "r")
    store.shadow(two, "r")
    assert store.split(two, 0.1, "r") == state(one, challenger=two, share=0.1)
    with pytest.raises(InputError, match=f"{two} is the challenger; end that first: split off"):
        store.shadow(two, "r")


def test_an_abort_that_comes_late_spares_the_next_challenger(store: Store, released: Path, tmp_path: Path) -> None:
    one, two, three = (
        store.add(other(released, tmp_path / str(threshold), threshold), "r") for threshold in (0.1, 0.2, 0.3)
    )
    store.promote(one, "r")
    running = store.split(three, 0.5, "r")
    assert store.abort("harm", challenger=two) == running
    assert store.abort("harm", challenger=three) == state(one)


@pytest.mark.parametrize("act", ["split", "shadow"])
def test_who_goes_beside_the_champion_is_another_release_that_holds(
    act: str, store: Store, released: Path, tmp_path: Path
) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")

    def beside(version: str) -> None:
        store.split(version, 0.1, "r") if act == "split" else store.shadow(version, "r")

    with pytest.raises(InputError, match="the champion is None; it takes another release to go with it"):
        beside(one)
    store.promote(one, "r")
    with pytest.raises(InputError, match=f"the champion is {one}; it takes another"):
        beside(one)
    with pytest.raises(InputError, match="has no release 'nobody'"):
        beside("nobody")
    truncated(store.where / two)
    with pytest.raises(ReleaseError):
        beside(two)
    assert store.state() == state(one)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share: float, store: Store) -> None:
    with pytest.raises(InputError, match=r"the share is .+; expected 0 to 1"):
        store.split("a", share, "r")


def test_a_gate_passed_against_another_champion_does_not_count(store: Store, released: Path, tmp_path: Path) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(one, "r")
    with pytest.raises(InputError, match=f"{one} became champion meanwhile; try again"):
        store.promote(two, "r", gate={"champion": None, "passed": True})
    assert store.state() == state(one)


def test_a_release_that_takes_other_customers_is_refused(store: Store, released: Path, tmp_path: Path) -> None:
    version = store.add(released, "r")
    bundle = other(released, tmp_path / "bundle")
    schema = (bundle / "schema.yaml").read_text()
    assert "max: 1200" in schema
    (bundle / "schema.yaml").write_text(schema.replace("max: 1200", "max: 1000"))
    reseal(bundle)
    wider = store.add(bundle, "another range is no other customer")
    (bundle / "schema.yaml").write_text(schema.replace("nullable: true", "nullable: false"))
    reseal(bundle)
    with pytest.raises(
        ReleaseError, match=r"takes other customers than .+number, may be missing, now number\); keep it"
    ):
        store.add(bundle, "r")
    assert store.versions == sorted([version, wider])


def test_a_release_can_be_added_beside_a_champion_that_was_damaged(
    store: Store, released: Path, tmp_path: Path
) -> None:
    one = store.add(released, "r")
    store.promote(one, "r")
    (store.where / one / "golden.jsonl").write_text("")
    two = store.add(other(released, tmp_path / "other"), "r")
    assert store.promote(two, "r")["champion"] == two


def test_a_copy_that_was_damaged_in_the_store_is_replaced(
    store: Store, released: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.promote(store.add(released, "r"), "r")
    acts = store.history()
    truncated(store.where / version)
    assert store.add(released, "r") == version
    assert "differ from the checksums" in caplog.text
    open_release(store.champion())
    assert store.history() == acts
    assert not list(store.where.glob(".*.building"))


def test_each_rollback_goes_one_champion_back(store: Store, released: Path, tmp_path: Path) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    for version in (one, two, one):
        store.promote(version, "r")
    assert [store.rollback("r")["champion"] for _ in range(2)] == [two, one]
    with pytest.raises(InputError, match="has no earlier champion; promote one of"):
        store.rollback("r")
    store.promote(two, "r")
    assert store.rollback("r")["champion"] == one


def test_a_release_that_was_damaged_meanwhile_is_not_rolled_back_to(
    store: Store, released: Path, tmp_path: Path
) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(one, "r")
    store.promote(two, "r")
    truncated(store.where / one)
    with pytest.raises(ReleaseError):
        store.rollback("r")
    assert store.champion().name == two


@pytest.mark.parametrize("text", ["{", "\udcff", "[]", '{"champion": "gone"}', "{}", None], ids=ascii)
def test_a_state_broken_by_hand_is_reported_and_the_ledger_counts(
    text: str | None, store: Store, released: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = store.add(released, "r")
    store.promote(version, "r")
    path = store.where / STATE
    path.unlink() if text is None else path.write_bytes(text.encode(errors="surrogateescape"))
    assert store.champion().name == version
    assert "is not what the last act left; the ledger's" in caplog.text


def test_an_act_whose_state_file_can_not_be_written_is_done_and_says_so(
    store: Store, released: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    for version in (one, two, one, two):
        store.promote(version, "r")
    (store.where / STATE).unlink()
    (store.where / STATE).mkdir()
    assert store.rollback("r") == store.state() == Store(store.where).state() == state(one, two)
    assert "can't be written, the ledger counts" in caplog.text
    (store.where / STATE).rmdir()
    assert store.state() == json.loads((store.where / STATE).read_text())


def test_the_next_act_mends_the_state(store: Store, released: Path, tmp_path: Path) -> None:
    store.promote(store.add(released, "r"), "r")
    (store.where / STATE).write_text("{")
    two = store.add(other(released, tmp_path / "other"), "r")
    assert json.loads((store.where / STATE).read_text()) == store.state()
    assert two in store.versions


def test_an_act_that_a_crash_cut_short_never_was(store: Store, released: Path, tmp_path: Path) -> None:
    version = store.add(released, "r")
    store.promote(version, "r")
    (store.where / LEDGER / ".00000003.json.1").write_bytes(b'{"at": "2026')
    assert store.champion().name == version
    store.add(other(released, tmp_path / "other"), "r")
    assert len(store.history()) == 3


def test_an_act_whose_state_file_a_crash_kept_back_counts(
    store: Store, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(one, "r")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "_write", lambda *_: None)
        store.promote(two, "r")
    assert json.loads((store.where / STATE).read_text())["champion"] == one
    assert Store(store.where).state()["champion"] == two
    assert json.loads((store.where / STATE).read_text())["champion"] == two


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda ledger: (ledger / "00000002.json").write_text("nonsense"), "00000002.json is not JSON: .+; restore"),
        (lambda ledger: (ledger / "00000002.json").write_text("[]"), "00000002.json is no act; restore"),
        (lambda ledger: (ledger / "00000002.json").write_text('{"act": "add"}'), "00000002.json is no act; restore"),
        (lambda ledger: (ledger / "00000001.json").unlink(), "lacks 00000001.json; restore the file"),
    ],
)
def test_a_ledger_broken_by_hand_is_one_clear_sentence(
    harm: Callable[[Path], object], words: str, store: Store, released: Path
) -> None:
    store.promote(store.add(released, "r"), "r")
    harm(store.where / LEDGER)
    with pytest.raises(InputError, match=words) as error:
        Store(store.where).history()
    assert "\n" not in str(error.value)


def test_what_lies_in_the_ledger_and_is_no_act_neither_counts_nor_leaves_a_gap(store: Store, released: Path) -> None:
    version = store.add(released, "r")
    for name in ("00000001.json~", "00000001.json.orig", "notes.txt"):
        (store.where / LEDGER / name).write_text("mine")
    store.promote(version, "r")
    assert [act["act"] for act in Store(store.where).history()] == ["add", "promote"]
    assert Store(store.where).champion().name == version


@pytest.mark.slow
def test_people_who_act_at_once_wait_for_each_other(store: Store, released: Path, tmp_path: Path) -> None:
    versions = [store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")]
    with ThreadPoolExecutor(4) as people:
        for done in [people.submit(Store(store.where).promote, version, "r") for version in versions * 4]:
            done.result()
    acts = store.history()[2:]
    assert 2 <= len(acts) <= 8
    for before, act in pairwise(acts):
        assert act["state"]["previous"] == before["version"]
    assert json.loads((store.where / STATE).read_text()) == acts[-1]["state"]


# an act is decided on at a position of the ledger


def test_an_act_that_was_decided_on_before_another_one_is_refused_and_names_it(
    store: Store, released: Path, tmp_path: Path
) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.at(store.position()).promote(one, "r", "ben")
    seen = store.position()
    store.split(two, 0.25, "r", "anna")
    before = store.history()
    told = f"^anna let {two} answer 25 % of the customers since you opened this page; look again$"
    for act in (store.at(seen).shadow, store.at(seen).promote):
        with pytest.raises(Moved, match=told):
            act(two, "r", "ben")
    with pytest.raises(Moved, match=told):
        store.at(seen).rollback("r")
    with pytest.raises(Moved, match=told):  # it is so already, but not by this act
        store.at(seen).split(two, 0.25, "r")
    for share in (0.3, 0.4, 0.5):
        store.split(two, share, "r", "anna")
    with pytest.raises(Moved, match=r"25 % .*, anna .* 30 % .*, anna .* 40 % .* and 1 more acts since"):
        store.at(seen).promote(two, "r")
    assert store.history()[: len(before)] == before
    assert store.at(store.position()).promote(two, "r")["champion"] == two


def shadowed_by(where: Path, seen: str, version: str, who: str) -> str:
    """The refusal of an act, or nothing."""
    try:
        Store(where).at(seen).shadow(version, "r", who)
    except Moved as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "people",
    [
        lambda: ThreadPoolExecutor(4),
        pytest.param(lambda: ProcessPoolExecutor(4, get_context("spawn")), marks=pytest.mark.slow),
    ],
)
def test_of_people_who_act_on_the_same_page_at_once_one_does_and_the_others_are_told(
    people: Callable[[], Executor], store: Store, released: Path, tmp_path: Path
) -> None:
    one, two = store.add(released, "r"), store.add(other(released, tmp_path / "other"), "r")
    store.promote(one, "r")
    seen, names = store.position(), ["anna", "ben", "cleo", "dan"]
    with people() as pool:
        tried = [pool.submit(shadowed_by, Path(store.where), seen, two, name) for name in names]
        refusals = [each.result() for each in tried]
    (act,) = store.history()[3:]
    assert [name for name, refusal in zip(names, refusals, strict=True) if not refusal] == [act["who"]]
    told = f"{act['who']} let {two} score in the shadow since you opened this page; look again"
    assert sorted(refusals) == ["", told, told, told]
