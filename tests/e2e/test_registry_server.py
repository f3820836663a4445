"""A registry on a server that goes away and comes back: an act is never stopped, and nothing is missing in the end."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from churn.scorer import Scorer
from churn.script import InputError
from demo.processes import free_port, until
from review.verify import environment
from serve.releases.registry import mirror, pull, tell
from tests.conftest import ROOT
from tests.serve.releases.test_registry import Bundles, another, bundles, state

pytestmark = pytest.mark.e2e

__all__ = ["bundles"]  # a fixture


class Server:
    """`mlflow server` with its database and artifacts in `folder`, started and stopped as often as wanted."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"]
        words += ["--artifacts-destination", str(self.folder / "artifacts"), "--port", str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                cwd=self.folder, env=environment(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self.is_up, 60)

    def is_up(self) -> bool:
        assert self.process and self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        try:
            return bool(urlopen(f"{self.url}/health", timeout=5).status == 200)
        except OSError:
            return False

    def send(self, number: int) -> None:
        """A signal to the server and to its worker."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        if self.process:
            self.process.wait(10)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server"))
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture
def server(started: Server, elsewhere: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and an empty folder whose MLflow it is."""
    import mlflow

    before = mlflow.get_tracking_uri()
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)  # as on the command line
    (elsewhere() / "requirements.txt").write_text("mlflow\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", started.url.replace("http://", "http://somebody:secret@"))
    yield started
    mlflow.set_tracking_uri(before)


def client_of(server: Server) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(server.url)


def numbers(server: Server) -> dict[str, str]:
    """Release -> version, each once, asked of the server."""
    found = client_of(server).search_model_versions("name = 'churn'")
    by_release = {version.tags["model_version"]: str(version.version) for version in found}
    assert len(by_release) == len(found)
    return by_release


def aliases(server: Server) -> dict[str, str]:
    """Alias -> release, asked of the server."""
    releases = {number: release for release, number in numbers(server).items()}
    pointing = client_of(server).get_registered_model("churn").aliases
    return {alias: releases[str(number)] for alias, number in pointing.items()}


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return line


def test_a_server_that_was_away_says_all_acts_when_it_is_back(
    server: Server, bundles: Bundles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = bundles
    tell(state(a), {a: bundles[a]}, a)
    assert aliases(server) == {"champion": a, "candidate": a}

    server.stop()
    tell(state(a, challenger=b), bundles, b)
    warning = one_warning(caplog)
    assert warning.startswith(f"the registry at http://***@127.0.0.1:{server.port} does not know yet of champion {a}, ")
    assert warning.endswith("`python -m serve.releases mirror` catches up")
    with pytest.raises(InputError, match="start the server"):
        pull("models:/churn@champion", tmp_path / "pulled")

    server.start()
    changes = mirror(state(b, shadow=c), bundles, c)
    number = numbers(server)[b]
    assert changes[:2] == [f"churn has a version {number} ({b})", f"churn@champion is now version {number} ({b})"]
    assert aliases(server) == {"champion": b, "shadow": c, "candidate": c}
    assert mirror(state(b, shadow=c), bundles, c) == []

    for address, version in {"models:/churn@champion": b, f"models:/churn/{numbers(server)[a]}": a}.items():
        assert Scorer.open(pull(address, tmp_path / "pulled")).release.version == version
    with pytest.raises(InputError, match="has no models:/churn@nobody; it has models:/churn@candidate, "):
        pull("models:/churn@nobody", tmp_path / "pulled")
    assert "secret" not in caplog.text


def test_a_server_that_hangs_costs_an_act_less_than_half_a_minute(
    server: Server, bundles: Bundles, caplog: pytest.LogCaptureFixture
) -> None:
    server.send(signal.SIGSTOP)
    began = time.monotonic()
    tell(state(next(iter(bundles))), bundles, None)
    waited = time.monotonic() - began
    server.send(signal.SIGCONT)
    assert waited < 30
    assert "does not know yet" in one_warning(caplog)


MIRROR = """
import sys
from pathlib import Path
from serve.releases.registry import mirror
mirror({"champion": sys.argv[1]}, {sys.argv[1]: Path(sys.argv[2])}, None)
"""


def test_two_machines_that_mirror_at_once_register_a_release_once(
    server: Server, bundles: Bundles, tmp_path: Path
) -> None:
    version = another(next(iter(bundles.values())), tmp_path, 0.97)
    processes = []
    for machine in ("one", "other"):
        (tmp_path / machine).mkdir()  # the locks lie in the temporary folder, so these two have none in common
        variables = {"TMPDIR": str(tmp_path / machine), "MLFLOW_TRACKING_URI": server.url, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-c", MIRROR, version, str(tmp_path / version)]
        processes.append(subprocess.Popen(words, env=environment(**variables)))
    assert [process.wait(60) for process in processes] == [0, 0]
    assert aliases(server)["champion"] == version  # `numbers` finds each release once


def command(*words: str, **variables: str) -> str:
    """What `python -m serve.releases` says in this folder."""
    known = {name: os.environ[name] for name in ("MLFLOW_TRACKING_URI", "CHURN_RELEASES")}
    done = subprocess.run(
        [sys.executable, "-m", "serve.releases", *words],
        env=environment(PYTHONPATH=str(ROOT), **known, **variables), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_acts_of_the_command_line_are_mirrored_and_what_is_mirrored_can_be_added_elsewhere(
    server: Server, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = bundles
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "here"))
    for version in (a, b):
        command("add", str(bundles[version]), "--reason", "r")
    command("promote", a, "--reason", "r")
    said = command("split", b, "--share", "0.1")
    assert f"churn@challenger is now version {numbers(server)[b]} ({b})" in said
    assert aliases(server)["champion"] == a
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "there"))
    assert f"added {b}: from there" in command("add", "models:/churn@challenger", "--reason", "from there")
    assert aliases(server)["champion"] == a  # a store without a champion says nothing
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "here"))
    command("split", "off")
    assert "challenger" not in aliases(server)
    assert "the registry agrees with the store" in command("mirror")
