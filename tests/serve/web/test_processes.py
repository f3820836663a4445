"""Commands behind pages: one run for all readers, one at a time, ended with the service."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import until
from serve.http.middleware import Refused
from serve.web import processes
from serve.web.processes import MAX_WAITING, Failed, Processes, last_line

ENDLESS = ("http.server", "0", "--bind", "127.0.0.1")


@pytest.fixture
def commands() -> Iterator[Processes]:
    made = Processes({"CHURN_RELEASES": "here"})
    yield made
    made.close()


@pytest.fixture
def ask(tmp_path: Path) -> tuple[str, ...]:
    """A command that prints JSON."""
    (tmp_path / "kept.json").write_text('{"n": 1}')
    return ("json.tool", str(tmp_path / "kept.json"))


def ended(commands: Processes, ask: tuple[str, ...]) -> Any:
    return until(lambda: commands.json_of(*ask))


def test_a_command_prints_what_a_page_shows(commands: Processes, ask: tuple[str, ...]) -> None:
    assert commands.json_of(*ask) is None
    assert ended(commands, ask) == {"n": 1} and commands.state_of(ask[1]) == ("none", "")


def test_a_run_serves_all_who_ask_within_a_minute(commands: Processes, ask: tuple[str, ...]) -> None:
    assert ended(commands, ask)
    first = commands._runs[ask]
    assert commands.json_of(*ask) and commands._runs[ask] is first
    commands.start(*ask)
    second = commands._runs[ask]
    assert second is not first
    assert ended(commands, ask) and commands._runs[ask] is second
    second.until = 0.0  # a minute has passed
    assert commands.json_of(*ask) is None and commands._runs[ask] is not second


def test_a_result_is_kept_for_its_first_reader(commands: Processes, ask: tuple[str, ...]) -> None:
    commands.start(*ask).result(30)
    unread = until(lambda: (kept := commands._runs[ask].until) < math.inf and kept)
    assert commands.json_of(*ask) == {"n": 1} and commands._runs[ask].until < unread


def test_what_runs_is_not_started_again(commands: Processes) -> None:
    commands.start(*ENDLESS)
    run = commands._runs[ENDLESS]
    assert commands.start(*ENDLESS) is run.future
    assert commands._runs[ENDLESS] is run and commands.state_of(ENDLESS[0]) == ("running", "")


def test_a_command_that_fails_says_why(commands: Processes, ask: tuple[str, ...]) -> None:
    missing = (ask[0], f"{ask[1]}.none")
    with pytest.raises(Failed, match="No such file"):
        ended(commands, missing)
    state, failure = commands.state_of(missing[1])
    assert state == "failed" and "No such file" in failure
    assert last_line("campaigns: the log has no campaign 'x'\n") == "the log has no campaign 'x'"
    assert last_line("Traceback (most recent call last):\n  secret\nKeyError: 'secret'\n").startswith("a fault")
    assert last_line("") == ""


def test_a_command_takes_no_longer_than_its_limit(commands: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LIMIT_SECONDS", 0.5)
    with pytest.raises(Failed, match=r"longer than 0\.5 seconds"):
        ended(commands, ENDLESS)


def test_few_commands_wait_and_all_end_with_the_service(commands: Processes) -> None:
    for n in range(MAX_WAITING):
        commands.start(*ENDLESS, "--directory", "/" * (n + 1))
    with pytest.raises(Refused, match="wait already"):
        commands.start("calendar")
    assert commands.json_of("calendar") is None and ("calendar",) not in commands._runs  # a reader asks again
    begin = time.monotonic()
    commands.close()
    assert time.monotonic() - begin < 10
    with pytest.raises(RuntimeError):
        commands.start("calendar")
