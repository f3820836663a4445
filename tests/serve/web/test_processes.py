"""Commands that pages wait for: one run for all readers, one at a time, ended with the service."""

import time
from collections.abc import Iterator

import pytest

from serve.http.middleware import Refused
from serve.web import processes
from serve.web.processes import MAX_WAITING, Failed, Processes, last_line

ENDLESS = ("http.server", "0", "--bind", "127.0.0.1")


@pytest.fixture
def commands() -> Iterator[Processes]:
    made = Processes({"CHURN_RELEASES": "here"})
    yield made
    made.close()


def test_a_command_prints_what_a_page_shows(commands: Processes) -> None:
    assert "2026" in str(commands.text_of("calendar", "2026", "1", patience=30))
    assert commands.text_of(*ENDLESS, patience=0.0) is None


def test_a_run_serves_all_who_ask_within_a_minute(commands: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ("calendar", "2026", "1")
    assert commands.text_of(*ask, patience=30)
    first = commands._runs[ask]
    assert commands.text_of(*ask) and commands._runs[ask] is first
    commands.forget(*ask)
    assert commands.text_of(*ask, patience=30) and commands._runs[ask] is not first
    second = commands._runs[ask]
    monkeypatch.setattr(processes, "KEPT_SECONDS", 0.0)
    assert commands.text_of(*ask, patience=30) and commands._runs[ask] is not second


def test_a_command_that_fails_says_why(commands: Processes) -> None:
    with pytest.raises(Failed):
        commands.text_of("calendar", "never", patience=30)
    assert last_line("campaigns: the log has no campaign 'x'\n") == "the log has no campaign 'x'"
    assert last_line("Traceback (most recent call last):\n  secret\nKeyError: 'secret'\n").startswith("a fault")
    assert last_line("") == ""


def test_a_command_takes_no_longer_than_its_limit(commands: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LIMIT_SECONDS", 0.5)
    with pytest.raises(Failed, match=r"longer than 0\.5 seconds"):
        commands.text_of(*ENDLESS, patience=30)


def test_few_commands_wait_and_all_end_with_the_service(commands: Processes) -> None:
    for n in range(MAX_WAITING):
        assert commands.text_of(*ENDLESS, "--directory", "/" * (n + 1), patience=0) is None
    with pytest.raises(Refused, match="wait already"):
        commands.text_of("calendar", patience=0)
    begin = time.monotonic()
    commands.close()
    assert time.monotonic() - begin < 10
    with pytest.raises(RuntimeError):
        commands.text_of("calendar", "2027", patience=30)
