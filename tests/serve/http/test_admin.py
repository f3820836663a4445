"""Releases are acted on over HTTP with the admin key: the same acts, and the service follows them."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from churn.release import open_release
from churn.scorer import Scorer
from demo.processes import until
from serve.log.tables import predictions
from serve.releases.store import Store
from tests.factories import opposite_release, other_release

ADMIN = {"X-API-Key": "the admin's"}
ANNA = {"X-API-Key": "anna's"}
USER = {"X-API-Key": "a user's"}


@pytest.fixture(scope="module")
def versions(released: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The champion, its twin that decides alike, and one of the opposite opinion; in the store of `folder`."""
    folder = tmp_path_factory.mktemp("admin")
    store = Store(folder / "releases")
    twin = other_release(released, folder / "twin", open_release(released).card["threshold"]["value"] + 1e-9)
    bundles = (released, twin, opposite_release(released, folder / "opposite"))
    found = [store.add(bundle, "test") for bundle in bundles]
    store.promote(found[0], "test")
    return [str(folder), *found]


@pytest.fixture(scope="module")
def admin(versions: list[str]) -> Iterator[Any]:
    """A client of a service with keys."""
    from serve.app import create_app

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CHURN_")]:
            patch.delenv(name)
        patch.setenv("CHURN_RELEASES", f"{versions[0]}/releases")
        patch.setenv("CHURN_API_KEYS", USER["X-API-Key"])
        patch.setenv("CHURN_ADMIN_KEY", ADMIN["X-API-Key"])
        patch.setenv("CHURN_ADMIN_KEYS", f"anna={ANNA['X-API-Key']}, ben=ben's")
        with TestClient(create_app(), raise_server_exceptions=False) as opened:
            yield opened


@pytest.fixture
def service(admin: Any, versions: list[str]) -> Iterator[Any]:
    """The service, with the first release alone as champion before and after."""
    found = admin.app.state.service
    yield found
    store = found.store
    store.shadow(None, "tidy")
    store.promote(versions[1], "tidy")
    store.split(None, 0, "tidy")
    until(lambda: settled(found, versions[1]))


def settled(service: Any, champion: str) -> bool:
    live = service.live
    return bool(live.champion.version == champion and not live.challenger and not live.shadow)


def act(admin: Any, name: str, **content: Any) -> Any:
    answer = admin.post(f"/admin/{name}", json=content, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def customers(service: Any) -> list[dict[str, Any]]:
    golden = service.live.champion.release.golden()[:100]
    return [line["customer"] | {"customer_id": f"c{i}"} for i, line in enumerate(golden)]


@pytest.mark.parametrize("name", ["promote", "rollback", "split", "shadow"])
def test_without_the_admin_key_nobody_acts(name: str, admin: Any, service: Any) -> None:
    before = service.store.history()
    for headers in ({}, USER, {"X-API-Key": "the admin'"}):
        answer = admin.post(f"/admin/{name}", json={}, headers=headers)
        assert (answer.status_code, answer.json()) == (
            401, {"detail": "the header X-API-Key is missing or not the admin key"},
        )  # fmt: skip
    assert service.store.history() == before


def test_behind_a_proxy_s_path_the_same_keys_are_asked_for(admin: Any, service: Any, versions: list[str]) -> None:
    behind = TestClient(admin.app, raise_server_exceptions=False, root_path="/churn")  # as uvicorn --root-path does
    assert behind.get("/churn/health").status_code == 200
    for headers, status in (({}, 401), (USER, 401), (ADMIN, 200)):
        shadow = {"version": versions[2]}
        assert behind.post("/churn/admin/shadow", json=shadow, headers=headers).status_code == status
        assert behind.post("/admin/shadow", json=shadow, headers=headers).status_code == status


def test_without_an_admin_key_in_the_settings_there_is_no_admin(client: Any) -> None:
    answer = client.post("/admin/rollback", json={"reason": "r"}, headers={"X-API-Key": ""})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "/admin/* is off: the service has no CHURN_ADMIN_KEY"


def test_the_admin_key_opens_the_rest_too(admin: Any, service: Any) -> None:
    for headers, status in ((ADMIN, 200), (USER, 200), ({}, 401)):
        assert admin.post("/predict", json=customers(service)[0], headers=headers).status_code == status
        assert admin.get("/releases", headers=headers).status_code == status


def test_the_ledger_names_the_owner_of_the_key_that_acted(admin: Any, service: Any, versions: list[str]) -> None:
    for key, owner in ((ANNA, "anna"), ({"X-API-Key": "ben's"}, "ben"), (ADMIN, "admin key")):
        for version in (versions[2], None):
            answer = admin.post("/admin/shadow", json={"version": version}, headers=key)
            assert answer.status_code == 200
            assert service.store.history()[-1]["who"] == owner


def test_a_promotion_that_passes_the_gate_is_followed_at_once(admin: Any, service: Any, versions: list[str]) -> None:
    said = act(admin, "promote", version=versions[2], reason="another threshold")
    assert said["state"]["champion"] == versions[2]
    assert (said["gate"]["passed"], said["gate"]["champion"]) == (True, versions[1])
    until(lambda: admin.get("/ready").json()["model_version"] == versions[2], 1.5)
    answer = admin.post("/predict", json=customers(service)[0], headers=USER).json()
    assert answer["model_version"] == versions[2]
    assert admin.get("/model", headers=USER).json()["model_version"] == versions[2]
    last = service.store.history()[-1]
    assert (last["who"], last["gate"]) == ("admin key", said["gate"])
    assert act(admin, "rollback", reason="back")["state"]["champion"] == versions[1]
    until(lambda: service.live.champion.version == versions[1], 1.5)


@pytest.mark.slow
def test_a_promotion_that_the_gate_refuses_says_why_and_can_be_forced(
    admin: Any, service: Any, versions: list[str]
) -> None:
    wanted = {"version": versions[3], "reason": "r"}
    answer = admin.post("/admin/promote", json=wanted, headers=ADMIN)
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(
        f"{versions[3]} does not pass the gate; --force overrides it; test: roc_auc"
    )
    assert service.store.state()["champion"] == versions[1]
    forced = act(admin, "promote", **wanted, force=True)
    assert (forced["state"]["champion"], forced["gate"]["forced"]) == (versions[3], True)


def test_a_comparison_that_takes_too_long_is_one_sentence(
    admin: Any, service: Any, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.http.admin.GATE_SECONDS", 0.01)
    answer = admin.post("/admin/promote", json={"version": versions[2], "reason": "r"}, headers=ADMIN)
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("the comparison takes longer than")


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("promote", {"version": "0" * 12, "reason": "r"}, 404, "has no release '000000000000'"),
        ("rollback", {"reason": "r"}, 409, "has no earlier champion"),
        ("split", {"version": "0" * 12, "share": 0.1}, 404, "has no release '000000000000'"),
        ("shadow", {"version": "0" * 12}, 404, "has no release '000000000000'"),
    ],
)
def test_an_act_that_can_not_be_is_one_sentence(
    name: str, content: dict[str, Any], status: int, words: str, released: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from serve.app import create_app

    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "r"), "r")
    monkeypatch.setenv("CHURN_RELEASES", str(store.where))
    monkeypatch.setenv("CHURN_ADMIN_KEY", ADMIN["X-API-Key"])
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        answer = client.post(f"/admin/{name}", json=content, headers=ADMIN)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("promote", {"version": "../../etc", "reason": "r"}, "version"),
        ("promote", {"version": "--help", "reason": "r"}, "version"),
        ("promote", {"version": "0" * 12, "reason": ""}, "reason"),
        ("promote", {"version": "0" * 12, "reason": "r", "force": "yes"}, "force"),
        ("rollback", {}, "reason"),
        ("rollback", {"reason": "r", "version": "0" * 12}, "version"),
        ("split", {"version": "0" * 12, "share": 1.5}, "share"),
        ("shadow", {}, "version"),
    ],
)
def test_a_wrong_field_is_named(name: str, content: dict[str, Any], field: str, admin: Any) -> None:
    answer = admin.post(f"/admin/{name}", json=content, headers=ADMIN)
    assert answer.status_code == 422
    assert [mistake["loc"] for mistake in answer.json()["detail"]] == [["body", field]]


def test_releases_are_told_with_state_and_ledger(admin: Any, service: Any, versions: list[str]) -> None:
    said = admin.get("/releases", headers=USER).json()
    assert said["state"] == service.store.state()
    assert said["history"] == service.store.history()
    assert {row["version"] for row in said["releases"]} == set(versions[1:])


# the split


def test_a_split_answers_each_customer_in_its_arm(admin: Any, service: Any, versions: list[str]) -> None:
    act(admin, "split", version=versions[3], share=0.4)
    until(lambda: service.live.challenger)
    batch = customers(service)
    alone = [admin.post("/predict", json=customer, headers=USER).json() for customer in batch]
    together = admin.post("/predict/batch", json={"customers": batch}, headers=USER).json()["predictions"]
    assert [answer["customer_id"] for answer in together] == [customer["customer_id"] for customer in batch]
    named = {"champion": versions[1], "challenger": versions[3]}
    scorers = {arm: Scorer.open(service.store.bundle(version)) for arm, version in named.items()}
    for customer, one, other in zip(batch, alone, together, strict=True):
        arm = service.live.model_for(customer["customer_id"]).arm
        (p,) = scorers[arm].probabilities([customer])
        for answer in (one, other):
            assert (answer["arm"], answer["model_version"]) == (arm, named[arm])
            assert answer["churn_probability"] == pytest.approx(p, abs=1e-6)
    arms = Counter(answer["arm"] for answer in together)
    assert min(arms.values()) > 20
    text = admin.get("/metrics").text
    assert "churn_challenger_share 0.4" in text
    assert f'churn_model_info{{arm="challenger",model_version="{versions[3]}"}} 1.0' in text
    with service.log.engine.connect() as connection:
        ids = [answer["request_id"] for answer in [*alone, *together]]
        rows = connection.execute(select(predictions).where(predictions.c.request_id.in_(ids)))
        assert {row.request_id: row.arm for row in rows} == {a["request_id"]: a["arm"] for a in [*alone, *together]}


def test_a_challenger_explains_by_its_own_model(admin: Any, service: Any, versions: list[str]) -> None:
    batch = customers(service)
    bases = set()
    service.store.split(versions[3], 0.5, "r")
    until(lambda: service.live.challenger)
    for customer in batch[:24]:  # the chance that one arm gets none of them: 1 in 8 million
        said = admin.post("/explain", json=customer, headers=USER).json()
        gap = said["churn_probability"] - said["base_probability"]
        assert sum(c["contribution"] for c in said["contributions"]) == pytest.approx(gap, abs=1e-6)
        bases.add((said["arm"], said["base_probability"]))
    assert {arm for arm, _ in bases} == {"champion", "challenger"}
    assert len(bases) == 2


class Broken(Scorer):
    def run(self, inputs: Any) -> np.ndarray:
        raise ArithmeticError("it does not add up")


def test_a_challenger_that_errs_fails_no_request_and_is_taken_out(
    admin: Any, service: Any, versions: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    service.store.split(versions[3], 1.0, "r")
    until(lambda: service.live.challenger)
    service.live.challenger.scorer = Broken(service.live.challenger.release)
    for customer in customers(service)[:5]:
        answer = admin.post("/predict", json=customer, headers=USER)
        assert (answer.status_code, answer.json()["arm"]) == (200, "champion")
    assert service.live.challenger is None
    lines = map(json.loads, filter(lambda line: '"/predict"' in line, capfd.readouterr().err.splitlines()))
    assert {(line["arm"], line["model_version"]) for line in lines} == {("champion", versions[1])}
    until(lambda: service.store.state()["challenger"] is None)
    until(lambda: not service.reloader.live.challenger)
    last = service.store.history()[-1]
    assert (last["act"], last["version"], last["who"]) == ("abort", versions[3], "serve")
    assert last["reason"].startswith(f"{versions[3]} failed 3 requests: ArithmeticError in run")


class BrokenForSome(Scorer):
    def run(self, inputs: Any) -> np.ndarray:
        if (inputs["numbers"][:, self.numbers.index("tenure")] == 1199).any():
            raise ArithmeticError("too long")
        return super().run(inputs)


def test_a_batch_that_the_challenger_fails_in_part_is_logged_once(
    admin: Any, service: Any, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.store.split(versions[3], 0.9, "r")
    until(lambda: service.live.challenger)
    challenger = service.live.challenger
    monkeypatch.setattr(challenger, "scorer", BrokenForSome(challenger.release))
    batch = [customer | {"customer_id": f"b{i}"} for i, customer in enumerate(customers(service) * 6)]
    wrong = next(i for i in range(500, 600) if service.live.model_for(f"b{i}") is challenger)
    batch[wrong] = batch[wrong] | {"tenure": 1199.0}
    answer = admin.post("/predict/batch", json={"customers": batch}, headers=USER | {"X-Request-ID": "in-part"})
    arms = Counter(one["arm"] for one in answer.json()["predictions"])
    assert arms["challenger"] >= 400
    assert arms["champion"] > 150  # its own tenth, and the challenger's last part
    with service.log.engine.connect() as connection:
        rows = list(connection.execute(select(predictions).where(predictions.c.request_id.startswith("in-part-"))))
    assert {row.request_id: row.arm for row in rows} == {
        one["request_id"]: one["arm"] for one in answer.json()["predictions"]
    }
    assert len(rows) == 600


# the shadow


def test_the_shadow_scores_behind_the_answers(admin: Any, service: Any, versions: list[str]) -> None:
    act(admin, "shadow", version=versions[3])
    until(lambda: service.live.shadow)
    batch = customers(service)
    said = admin.post("/predict/batch", json={"customers": batch}, headers=USER).json()["predictions"]
    assert {answer["model_version"] for answer in said} == {versions[1]}
    ids = [answer["request_id"] for answer in said]
    shadow = predictions.select().where(predictions.c.request_id.in_(ids), predictions.c.arm == "shadow")

    def rows() -> list[Any]:
        with service.log.engine.connect() as connection:
            return list(connection.execute(shadow))

    until(lambda: len(rows()) == len(ids))
    p = {answer["request_id"]: answer["churn_probability"] for answer in said}
    for row in rows():
        assert row.model_version == versions[3]
        assert row.churn_probability == pytest.approx(1 - p[row.request_id], abs=1e-6)
    until(lambda: "churn_shadow_rank_correlation -0.9" in admin.get("/metrics").text, 3)
    text = admin.get("/metrics").text
    assert f'churn_model_info{{arm="shadow",model_version="{versions[3]}"}} 1.0' in text


def test_another_range_in_the_next_champion_s_schema_holds_for_requests(
    admin: Any, service: Any, versions: list[str], released: Path, tmp_path: Path
) -> None:
    bundle = other_release(released, tmp_path / "wider", 0.44)
    schema = (bundle / "schema.yaml").read_text()
    (bundle / "schema.yaml").write_text(schema.replace("max: 1200", "max: 2400"))
    wider = service.store.add(other_release(bundle, tmp_path / "sealed", 0.45), "wider")
    customer = customers(service)[0] | {"tenure": 2000.0}
    assert admin.post("/predict", json=customer, headers=USER).status_code == 422
    service.store.promote(wider, "wider")
    until(lambda: service.live.champion.version == wider)
    assert admin.post("/predict", json=customer, headers=USER).status_code == 200
    document = admin.get("/openapi.json").json()
    assert document["components"]["schemas"]["Customer"]["properties"]["tenure"]["maximum"] == 2400
    assert "/predict/batch" in document["paths"]
