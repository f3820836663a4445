"""Releases are exchanged under load: no request fails, and nobody answers who is not in force within a second."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from demo.processes import until
from review.verify import environment
from serve.log.database import connect
from serve.releases.ledger import State
from tests.conftest import ROOT
from tests.e2e.servers import Load, Service, check, eventually, under_load
from tests.factories import opposite_release

pytestmark = pytest.mark.e2e

KEY = {"X-API-Key": "admin"}


@pytest.fixture
def service(reproduced: Path, tmp_path: Path) -> Iterator[Service]:
    """Two workers; the store also holds a release of the opposite opinion."""
    with Service(tmp_path, reproduced / "models/release", workers=2, CHURN_ADMIN_KEY="admin") as service:
        service.store.add(opposite_release(reproduced / "models/release", tmp_path / "opposite"), "the opposite")
        yield service


def in_force(service: Service) -> list[tuple[float, float, str]]:
    """Each champion's (begin, end, version); seconds since 1970."""
    acts = [act for act in service.store.history() if act["act"] in ("promote", "rollback")]
    begins = [datetime.fromisoformat(act["at"]).timestamp() for act in acts]
    versions = [act["state"]["champion"] for act in acts]
    return list(zip(begins, [*begins[1:], float("inf")], versions, strict=True))


def test_a_hundred_promotions_and_rollbacks_fail_no_request(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    first = service.store.state()["champion"]
    (second,) = set(service.store.versions) - {first}
    load = Load(service.port, service.customers(), batch_every=100)
    rolled_back: list[float] = []

    async def acts() -> None:
        await eventually(lambda: len(load.answered) > 100)
        for _ in range(50):
            await asyncio.to_thread(service.store.promote, second, "test")
            await asyncio.sleep(0.35)
            await asyncio.to_thread(service.store.rollback, "test")
            rolled_back.append(time.time())
            await asyncio.sleep(0.35)
        await asyncio.sleep(1)

    under_load(load, acts)
    assert set(load.answered.values()) == {200}
    assert not load.broken
    check(load, connect(f"sqlite:///{service.store.where / 'log.db'}"))

    spans = in_force(service)
    answered = Counter[str]()
    for request_id, (asked, received) in load.times.items():
        answer = load.answers[request_id]
        versions = {one["model_version"] for one in answer.get("predictions", [answer])}
        for version in versions:
            assert [1 for begin, end, one in spans if one == version and begin <= received and end >= asked - 1]
            answered[version] += 1
    assert min(answered[first], answered[second]) > len(load.times) / 10
    new = [asked for i, (asked, _) in load.times.items() if load.answers[i].get("model_version") == second]
    delays = [max((t - back for t in new if back <= t < back + 0.35), default=0.0) for back in rolled_back]
    with capsys.disabled():
        sys.stdout.write(f"\nfrom rollback to the last answer of the other release: {max(delays):.2f} s at most, "
                         f"{sorted(delays)[25]:.2f} s in the middle; {len(load.times)} requests\n")  # fmt: skip


def test_a_rollback_from_the_command_line_is_in_force_within_two_seconds(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    first = service.store.state()["champion"]
    (second,) = set(service.store.versions) - {first}
    load = Load(service.port, service.customers())
    times: dict[str, float] = {}

    async def act() -> None:
        service.store.promote(second, "test")
        await asyncio.sleep(1.5)
        words = [sys.executable, "-m", "serve.releases", "rollback", "--reason", "worse"]
        times["begin"] = time.time()
        variables = environment(CHURN_RELEASES=str(service.store.where))
        done = await asyncio.to_thread(subprocess.run, words, cwd=ROOT, env=variables, capture_output=True)
        assert done.returncode == 0, done.stderr
        times["act"] = datetime.fromisoformat(service.store.history()[-1]["at"]).timestamp()
        await asyncio.sleep(2)

    under_load(load, act)
    assert set(load.answered.values()) == {200}
    last = max(asked for i, (asked, _) in load.times.items() if load.answers[i]["model_version"] == second)
    with capsys.disabled():
        sys.stdout.write(f"\nrollback in force everywhere {last - times['act']:.2f} s after the act, "
                         f"{last - times['begin']:.2f} s after the command began\n")  # fmt: skip
    assert last - times["act"] < 2
    assert all(answer["model_version"] == first for i, answer in load.answers.items() if load.times[i][0] > last)


def exchanged_for(service: Service) -> list[str]:
    """The champion of each exchange in a worker; one follows an act of any kind."""
    return [line["release"]["model_version"] for line in service.lines() if line.get("message") == "exchanged"]


def test_a_release_that_can_not_be_used_is_refused_and_the_old_one_stays(service: Service) -> None:
    first = service.store.state()["champion"]
    (second,) = set(service.store.versions) - {first}
    service.store.promote(second, "test")
    until(lambda: exchanged_for(service).count(second) == 2)  # by both workers
    model = service.store.where / first / "model.onnx"
    whole = model.read_bytes()
    third = service.store.add(tampered(service, first), "another threshold")
    (service.store.where / third / "model.onnx").write_bytes(whole[:-1])
    with pytest.raises(Exception, match="differ from the checksums"):
        service.store.promote(third, "test")

    # a promotion that nobody verified, or a disk that broke after it
    def by_hand(state: State) -> State:
        return {**state, "champion": third, "previous": second}

    service.store._append_act("promote", third, "by hand", "", by_hand)
    status, _, said = until(lambda: (a := service.get("/ready"))[2]["status"] == "degraded" and a)
    assert (status, said["model_version"]) == (200, second)
    assert said["reason"] == f"champion {third} can't be used; {second} answers"
    assert "churn_release_refused 1.0" in service.get("/metrics")[2]
    assert service.post("/predict", service.customers()[0])[2]["model_version"] == second
    (service.store.where / third / "model.onnx").write_bytes(whole)
    until(lambda: service.get("/ready")[2] == {"status": "ready", "reason": "", "model_version": third})


def tampered(service: Service, version: str) -> Path:
    """The same release, to be sealed anew."""
    from tests.factories import other_release

    return other_release(service.store.where / version, service.folder / "third", 0.7)
