"""A customer stays in one arm; the live follows the store, and what can't be used is refused while others answer."""

import shutil
from collections.abc import Callable
from datetime import datetime
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.script import InputError
from serve.predict import live as module
from serve.predict.live import LiveModels, Model, Reloader, bucket
from serve.releases.store import LEDGER, Store
from tests.factories import opposite_release, other_release, reseal

CHAMPION, CHALLENGER = (cast(Model, SimpleNamespace(version=name, arm=name)) for name in ("champion", "challenger"))
IDS = [f"customer-{i}" for i in range(100_000)]
Ids = st.text(min_size=1, max_size=128)
Shares = st.floats(0, 1)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("version", ["47797113fc56", "2f5480987cc2"])
def test_the_challenger_gets_its_share(version: str, share: float) -> None:
    n = sum(bucket(version, id_) < share for id_ in IDS)
    # the 99.9 % interval of a share of 100,000
    assert abs(n / len(IDS) - share) < 3.29 * sqrt(share * (1 - share) / len(IDS))


@given(Ids, Shares)
def test_the_same_customer_always_gets_the_same_arm(customer_id: str, share: float) -> None:
    first, again = (LiveModels(CHAMPION, CHALLENGER, share).model_for(customer_id) for _ in range(2))
    assert first is again


@given(Ids, Shares, Shares)
def test_a_larger_share_moves_customers_to_the_challenger_alone(customer_id: str, a: float, b: float) -> None:
    small, large = (LiveModels(CHAMPION, CHALLENGER, share).model_for(customer_id) for share in sorted((a, b)))
    assert large is CHALLENGER or small is CHAMPION


@given(Ids)
def test_no_share_and_the_whole_are_what_they_say(customer_id: str) -> None:
    assert LiveModels(CHAMPION, CHALLENGER, 0.0).model_for(customer_id) is CHAMPION
    assert LiveModels(CHAMPION, CHALLENGER, 1.0).model_for(customer_id) is CHALLENGER


def test_each_challenger_draws_other_customers() -> None:
    ours, theirs = ({id_ for id_ in IDS if bucket(version, id_) < 0.1} for version in ("a", "b"))
    assert len(ours & theirs) / len(IDS) == pytest.approx(0.01, abs=0.002)


def test_a_customer_without_an_id_is_the_champion_s() -> None:
    assert LiveModels(CHAMPION, CHALLENGER, 1.0).model_for(None) is CHAMPION


# the reloader


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "releases")


@pytest.fixture
def versions(store: Store, released: Path, tmp_path: Path) -> list[str]:
    """Three releases, of which the first is champion; the second has the opposite opinion."""
    bundles = (released, opposite_release(released, tmp_path / "a"), other_release(released, tmp_path / "b"))
    found = [store.add(bundle, "r") for bundle in bundles]
    store.promote(found[0], "r")
    return found


def roles(live: LiveModels) -> dict[str, str]:
    named = {"champion": live.champion, "challenger": live.challenger, "shadow": live.shadow}
    return {role: model.version for role, model in named.items() if model}


def test_the_lineup_follows_every_act(store: Store, versions: list[str]) -> None:
    one, two, three = versions
    reloader = Reloader(store)
    assert (roles(reloader.live), reloader.poll()) == ({"champion": one}, None)

    def after(act: Callable[..., object], *words: object) -> tuple[dict[str, str], float]:
        act(*words, "r")
        live = reloader.poll()
        assert live is reloader.live
        assert not live.problem
        assert [model.arm for model in live.models] == list(roles(live))
        return roles(live), live.share

    assert after(store.split, two, 0.3) == ({"champion": one, "challenger": two}, 0.3)
    assert after(store.shadow, three) == ({"champion": one, "challenger": two, "shadow": three}, 0.3)
    assert after(store.promote, two) == ({"champion": two, "shadow": three}, 0.0)
    assert after(store.promote, three) == ({"champion": three}, 0.0)
    assert after(store.rollback) == ({"champion": two}, 0.0)


def test_a_rollback_loads_nothing(store: Store, versions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store.promote(versions[1], "r")
    reloader = Reloader(store)
    store.rollback("r")
    store.files.bundle = lambda version: pytest.fail("it was loaded")  # type: ignore[method-assign]
    live = reloader.poll()
    assert live
    assert live.champion.version == versions[0]


def test_a_release_that_changes_its_arm_is_not_loaded_again(store: Store, versions: list[str]) -> None:
    store.split(versions[1], 0.5, "r")
    reloader = Reloader(store)
    challenger = reloader.live.challenger
    store.promote(versions[1], "r")
    live = reloader.poll()
    assert live
    assert challenger
    assert live.champion.scorer is challenger.scorer
    assert (live.champion.arm, challenger.arm) == ("champion", "challenger")


def damage(store: Store, version: str) -> Callable[[], object]:
    """Cut the release's graph short; how to mend it."""
    graph = Path(store.where, version, "model.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    return lambda: graph.write_bytes(whole)


def by_force(store: Store, **state: Any) -> None:
    """An act that nobody verified."""
    store._append_act("promote", "by hand", "r", "", lambda before: {**before, **state})  # type: ignore[typeddict-item]


def test_a_champion_that_can_not_be_used_is_refused_until_it_can(
    store: Store, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reloader = Reloader(store)
    mend = damage(store, versions[2])
    by_force(store, champion=versions[2], previous=versions[0])
    live = reloader.poll()
    assert live
    assert live.champion.version == versions[0]
    assert live.problem == f"champion {versions[2]} can't be used; {versions[0]} answers"
    assert reloader.poll() is None
    monkeypatch.setattr(module, "RETRY_SECONDS", -1.0)
    mend()
    live = reloader.poll()
    assert live
    assert (live.champion.version, live.problem) == (versions[2], "")


def test_a_challenger_that_can_not_be_used_leaves_its_customers_to_the_champion(
    store: Store, versions: list[str]
) -> None:
    damage(store, versions[1])
    by_force(store, challenger=versions[1], share=0.5, shadow=versions[2])
    live = Reloader(store).live
    assert roles(live) == {"champion": versions[0], "shadow": versions[2]}
    assert (live.share, live.problem) == (0.0, f"challenger {versions[1]} can't be used")


def test_at_the_start_the_champion_before_stands_in(store: Store, versions: list[str]) -> None:
    store.promote(versions[1], "r")
    damage(store, versions[1])
    live = Reloader(store).live
    assert live.champion.version == versions[0]
    assert live.problem == f"champion {versions[1]} can't be used; {versions[0]} answers"


def test_without_any_release_that_holds_there_is_no_start(store: Store, versions: list[str]) -> None:
    damage(store, versions[0])
    with pytest.raises(InputError, match="differ from the checksums"):
        Reloader(store)


def test_without_a_champion_the_start_says_what_to_do(store: Store) -> None:
    with pytest.raises(InputError, match="has no champion; make one with: make serve"):
        Reloader(store)


def test_a_bundle_that_is_gone_is_a_refusal(store: Store, versions: list[str]) -> None:
    reloader = Reloader(store)
    store.shadow(versions[2], "r")
    shutil.rmtree(Path(store.where, versions[2]))
    live = reloader.poll()
    assert live
    assert live.problem == f"shadow {versions[2]} can't be used"


def test_a_bundle_sealed_with_nonsense_inside_is_a_refusal(store: Store, released: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "golden.jsonl"):
        bundle = shutil.copytree(released, tmp_path / name)
        (bundle / name).write_text('{"nonsense": 1}')
        reseal(bundle)
        with pytest.raises(InputError, match=f"release {bundle} can't be used: "):
            store.add(bundle, "r")
    assert store.versions == []


def test_an_act_that_can_not_be_read_at_once_is_followed_as_soon_as_it_can(store: Store, versions: list[str]) -> None:
    reloader = Reloader(Store(store.where))
    store.promote(versions[1], "r")
    act = Path(store.where, LEDGER, store.position())
    content = act.read_bytes()
    act.write_bytes(b"")
    with pytest.raises(InputError, match="is not JSON"):
        reloader.poll()
    act.write_bytes(content)
    live = reloader.poll()
    assert live
    assert live.champion.version == versions[1]


def test_a_release_without_what_an_answer_needs_is_refused_and_who_answers_stays(
    store: Store, versions: list[str], released: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(released, tmp_path / "bundle")
    reseal(bundle, lambda card: card.pop("threshold"))
    reloader = Reloader(store)
    bad = store.add(bundle, "r")
    by_force(store, champion=bad, previous=versions[0])
    live = reloader.poll()
    assert live
    assert live.problem == f"champion {bad} can't be used; {versions[0]} answers"
    assert Reloader(store).live.champion.version == versions[0]


def test_a_champion_before_that_was_removed_is_no_trouble_of_who_answers(store: Store, versions: list[str]) -> None:
    store.promote(versions[1], "r")
    shutil.rmtree(Path(store.where, versions[0]))
    live = Reloader(store).live
    assert (live.champion.version, live.previous, live.problem) == (versions[1], None, "")


def test_the_lineup_knows_when_its_releases_were_added(store: Store, versions: list[str]) -> None:
    acts = {act["version"]: act["at"] for act in store.history() if act["act"] == "add"}
    times = {version: datetime.fromisoformat(acts[version]).timestamp() for version in versions}
    reloader = Reloader(store)
    assert reloader.live.added == {versions[0]: times[versions[0]]}
    store.split(versions[1], 0.5, "r")
    store.shadow(versions[2], "r")
    assert (live := reloader.poll()) and live.added == times


def test_a_ledger_that_does_not_say_when_stops_nobody(store: Store, versions: list[str]) -> None:
    first = store.files.names(LEDGER)[0]
    (Path(store.where) / LEDGER / first).write_text("torn")
    assert Reloader(Store(store.where)).live.added == {}
