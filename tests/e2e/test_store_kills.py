"""A store whose user is killed in the middle of an act opens again: state and ledger agree, every bundle is whole."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from churn.scorer import Scorer
from review.verify import environment
from serve.releases.ledger import EMPTY
from serve.releases.store import STATE, Store
from tests.conftest import ROOT
from tests.factories import other_release

pytestmark = pytest.mark.e2e

ACTS = """
import itertools, random, shutil, sys
from pathlib import Path
from churn.script import InputError
from serve.releases.store import Store

store, bundles, chance = Store(Path(sys.argv[1])), sorted(Path(sys.argv[2]).iterdir()), random.Random(int(sys.argv[3]))
print("ready", flush=True)
for turn in itertools.count():
    versions = store.versions
    one = chance.choice(versions) if versions else ""
    acts = [store.promote, store.promote, store.rollback, store.split, store.shadow, store.abort, store.add]
    act = chance.choice(acts)
    words = {
        "promote": [one], "split": [one, chance.random()], "shadow": [chance.choice([one, None])],
        "add": [chance.choice(bundles)],
    }.get(act.__name__, [])
    try:
        act(*words, f"turn {turn}")
    except InputError:
        pass  # there is no such act now
    if turn % 7 == 0 and len(versions) > 2 and one not in store.state().values():
        (store.where / one / "MANIFEST.json").unlink()  # without it, it is no bundle
        shutil.rmtree(store.where / one)  # so that it is added again
"""


def test_fifty_kills_in_the_middle_of_acts_leave_the_state_before_or_after(reproduced: Path, tmp_path: Path) -> None:
    bundles, where = tmp_path / "bundles", tmp_path / "releases"
    bundles.mkdir()
    for i in range(5):
        other_release(reproduced / "models/release", bundles / str(i), 0.1 + i / 10)
    chance = random.Random(7)
    cut, acts = Counter[str](), 0
    for kill in range(50):
        words = [sys.executable, "-c", ACTS, str(where), str(bundles), str(kill)]
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.random() * 0.4)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()

        leftovers = [path.name for path in where.rglob(".*") if path.name != ".lock"]
        cut.update({"file": bool(leftovers)} if leftovers else {})
        store = Store(where)
        history, state = store.history(), store.state()
        cut["state"] += bool(history) and json.loads((where / STATE).read_text()) != history[-1]["state"]
        assert state == (history[-1]["state"] if history else EMPTY)
        assert not history or json.loads((where / STATE).read_text()) == state
        assert len(history) >= acts
        acts = len(history)
        for version in store.versions:
            Scorer.open(store.bundle(version))
        for role in ("champion", "challenger", "shadow"):
            assert state[role] in (None, *store.versions)  # type: ignore[literal-required]
    assert acts > 50
    assert cut["file"]  # some were in the middle of writing


def test_people_on_two_machines_act_in_turn(reproduced: Path, tmp_path: Path) -> None:
    """Four processes at once: every act is in the ledger, none is there twice, and each builds on the one before."""
    bundles, where = tmp_path / "bundles", tmp_path / "releases"
    bundles.mkdir()
    for i in range(3):
        other_release(reproduced / "models/release", bundles / str(i), 0.1 + i / 10)
        Store(where).add(bundles / str(i), "test")
    script = ACTS.replace("itertools.count()", "range(60)").replace("if turn % 7 == 0", "if False")
    words = [sys.executable, "-c", script, str(where), str(bundles)]
    people = [subprocess.Popen([*words, str(i)], cwd=ROOT, env=environment(), stdout=-3) for i in range(4)]
    assert [person.wait(120) for person in people] == [0] * 4
    history = Store(where).history()
    assert len(history) > 60
    champions: list[str] = []
    for act in history:
        if act["act"] == "promote":
            champions.append(act["version"])
        elif act["act"] == "rollback":
            champions.pop()
            assert act["version"] == champions[-1]
        before = champions[-1] if champions else None
        assert act["state"]["champion"] == before
        assert act["state"]["previous"] == (champions[-2] if len(champions) > 1 else None)
    assert json.loads((where / STATE).read_text()) == history[-1]["state"]
