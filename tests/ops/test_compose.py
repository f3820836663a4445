"""What ops/compose.yaml promises: nobody comes in unasked, everything is pinned, healthy in order, and ends in time."""

import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve.predict.service import CLOSE_SECONDS
from serve.score.__main__ import parser
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "ops/compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "serve/Dockerfile").read_text()
each_service = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with the script that makes secrets."""
    shutil.copy(ROOT / "ops/secrets.sh", tmp_path)
    return tmp_path


def made(folder: Path) -> dict[str, str]:
    subprocess.run(["sh", folder / "secrets.sh"], check=True, capture_output=True)
    return {path.name: path.read_text() for path in (folder / "secrets").iterdir()}


def test_the_secrets_are_those_of_the_file_random_and_each_another(folder: Path) -> None:
    first = made(folder)
    assert {f"./secrets/{name}" for name in first} == {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert first.pop("churn_api_keys") == ""
    words = [re.sub(r".*:(\w+)@.*", r"\1", content) for content in first.values()]
    assert all(re.fullmatch(r"[0-9a-f]{48}", word) for word in words)
    assert len({*words}) == len(words)
    shutil.rmtree(folder / "secrets")
    assert not {*first.values()} & {*made(folder).values()}


def test_a_secret_that_is_there_stays_and_a_missing_one_is_made(folder: Path) -> None:
    first = made(folder)
    (folder / "secrets/churn_admin_key").unlink()
    second = made(folder)
    assert {name for name in first if first[name] != second[name]} == {"churn_admin_key"}
    keys = folder / "secrets/churn_api_keys"
    keys.chmod(0o644)
    keys.write_text("mine")
    assert made(folder)[keys.name] == "mine"


def test_containers_read_a_secret_and_others_on_the_machine_do_not(folder: Path) -> None:
    made(folder)
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "secrets").iterdir()} == {0o444}
    assert "/ops/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_no_password_is_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable in service.get("environment", {}):
            if re.search("PASSWORD|KEY|TOKEN|SECRET|URL", variable):
                assert variable.endswith("_FILE"), (name, variable)


@each_service
def test_a_port_is_this_machine_s_alone_until_somebody_says_otherwise(name: str) -> None:
    asks_who_it_is = name in ("proxy", "grafana")
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("${ADDRESS:-127.0.0.1}:" if asks_who_it_is else "127.0.0.1:")


@each_service
def test_an_image_is_ours_or_pinned(name: str) -> None:
    assert "build" in SERVICES[name] or re.search(r":v?\d+\.\d+", SERVICES[name]["image"])


@each_service
def test_what_another_waits_for_says_when_it_is_healthy(name: str) -> None:
    service = SERVICES[name]
    is_watched = "healthcheck" in service or (service["image"] == "churn-service" and "HEALTHCHECK" in DOCKERFILE)
    assert is_watched or "profiles" in service  # a job, which nobody waits for
    assert {wait["condition"] for wait in service.get("depends_on", {}).values()} <= {"service_healthy"}


@each_service
def test_it_starts_again_within_bounds_and_gains_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if "profiles" in service else "unless-stopped")  # a job ends
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name != "postgres":  # which becomes its user by itself
        assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_every_volume_and_secret_is_declared_and_used() -> None:
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert {mount for mount in mounts if not mount.startswith(".")} == COMPOSE["volumes"].keys()
    assert {secret for service in SERVICES.values() for secret in service.get("secrets", [])} == COMPOSE[
        "secrets"
    ].keys()
    for mount in mounts:
        assert not mount.startswith(".") or (ROOT / "ops" / mount).exists(), mount


def test_the_month_is_scored_by_options_that_are_there_into_volumes_that_the_image_s_user_may_write_to() -> None:
    job = SERVICES["score"]
    words = shlex.split(job["command"][-1].replace("$$(date -u +%Y-%m)", "2024-06"))
    assert words[:4] == ["exec", "python", "-m", "serve.score"]
    given = parser().parse_args(words[4:])
    assert (given.input, given.log) == ("/srv/customers", True)
    mounts = dict(volume.split(":")[:2] for volume in job["volumes"])
    assert str(Path(given.out).parent) == mounts["scores"]
    (owned,) = (line for line in DOCKERFILE.splitlines() if "install -d" in line and "/srv/pipeline" in line)
    assert {mounts["scores"], mounts["customers"]} <= {*owned.split()}  # a new volume belongs to whom its place does
    assert {v.split(":")[0] for v in job["volumes"] if v.endswith(":ro")} == {"churn", "customers"}


def test_the_service_is_given_the_time_that_its_end_takes() -> None:
    graceful = int(re.search(r"UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN=(\d+)", DOCKERFILE)[1])  # type: ignore[index]
    assert int(SERVICES["service"]["stop_grace_period"].removesuffix("s")) > graceful + CLOSE_SECONDS


def test_the_proxy_lets_through_what_the_service_takes_and_leads_to_its_port() -> None:
    nginx = (ROOT / "ops/nginx/nginx.conf").read_text()
    most = int(re.search(r"client_max_body_size (\d+)m;", nginx)[1]) * 2**20  # type: ignore[index]
    assert most > SERVICES["service"]["environment"]["CHURN_MAX_BODY"]
    (port,) = SERVICES["proxy"]["ports"]
    assert f"listen {port.rpartition(':')[2]} " in nginx


def test_the_readme_names_every_address_that_is_published() -> None:
    section = (ROOT / "docs/operations.md").read_text().partition("\n## All of it together\n")[2].partition("\n## ")[0]
    ports = {port.split(":")[-2] for service in SERVICES.values() for port in service.get("ports", [])}
    assert {*re.findall(r"http://127\.0\.0\.1:(\d+)", section)} == ports
