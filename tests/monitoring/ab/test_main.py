"""`python -m monitoring.ab` on a log and a ledger: what it prints, writes and ends."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from churn.script import InputError
from monitoring.ab import __main__ as command_line
from monitoring.ab.report import Report, report
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.factories import act, empty_log, write_ledger
from tests.monitoring.ab.experiments import SPLIT, fill_experiment


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


@pytest.fixture
def command(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call the command on the log and the ledger in tmp_path."""
    monkeypatch.chdir(ROOT)  # params.yaml
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path))
    monkeypatch.delenv("CHURN_LOG_URL", raising=False)

    return lambda *arguments: command_line.main(arguments)


@pytest.mark.slow
def test_the_command_ends_the_split_of_a_worse_challenger_alone(
    command: Callable[..., None], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ledger(tmp_path, [act("promote", -1), act("split", 0, **SPLIT)])
    fill_experiment(engine, 3000, (0.1, 3.0))
    command("--json")
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (printed["verdict"], Store(tmp_path).state()["challenger"]) == ("worse", "new")
    command("--abort", "--html", str(tmp_path / "ab.html"))
    assert printed["words"] in capsys.readouterr().out
    last = Store(tmp_path).history()[-1]
    assert (last["act"], last["who"], last["state"]["challenger"]) == ("abort", "monitoring.ab", None)
    assert printed["words"] in last["reason"]
    written = (tmp_path / "ab.html").read_text()
    assert "<svg" in written
    assert not re.findall(r'(?:src|href)="(?!#)', written)  # nothing to fetch
    with pytest.raises(InputError, match="no split is running"):
        command("--abort")


def test_the_command_lets_a_better_challenger_go_on(
    command: Callable[..., None], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ledger(tmp_path, acts := [act("promote", -1), act("split", 0, **SPLIT)])
    fill_experiment(engine, 3000, (3.0, 0.1))
    command("--abort", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert (printed["verdict"], printed["aborted"]) == ("better", False)
    assert Store(tmp_path).history() == acts


def test_a_split_that_was_changed_meanwhile_is_not_ended(
    command: Callable[..., None], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = [act("promote", -1), act("split", 0, **SPLIT)]
    write_ledger(tmp_path, acts)
    fill_experiment(engine, 2000, (0.1, 3.0))

    def slowly(*arguments: Any) -> Report:
        write_ledger(tmp_path, [*acts, act("split", 1, challenger="third", share=0.5)])
        return report(*arguments)

    monkeypatch.setattr(command_line, "report", slowly)
    with pytest.raises(InputError, match="was changed while it was looked at"):
        command("--abort")
    assert Store(tmp_path).state()["challenger"] == "third"


def test_where_there_is_no_log_the_command_says_so(
    command: Callable[..., None], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ledger(tmp_path, [act("split", 0, **SPLIT)])
    monkeypatch.setenv("CHURN_LOG_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    with pytest.raises(InputError, match="there is no log"):
        command()
    (tmp_path / "elsewhere.db").touch()
    with pytest.raises(InputError, match="no such table"):
        command()
