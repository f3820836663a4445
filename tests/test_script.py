"""A command ends with one line per mistake and exit status 1; a bug keeps its traceback."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from churn.script import InputError, run


def failing(error: Exception) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def test_an_input_error_is_a_line_per_mistake_and_exit_status_1(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        run(failing(InputError("tenure is missing\ncontract is missing")), "validate")
    assert end.value.code == 1
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("validate", "tenure is missing"),
        ("validate", "contract is missing"),
    ]


def test_a_percent_sign_in_a_mistake_is_no_format(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run(failing(InputError("30 %s of it")), "validate")
    assert caplog.messages == ["30 %s of it"]


def test_a_file_that_cannot_be_opened_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        run(lambda: Path("no/such/file").open().close(), "load")
    assert end.value.code == 1
    assert caplog.messages == ["no/such/file: No such file or directory"]


@pytest.mark.parametrize("bug", [OSError("no file in it"), KeyError("x")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)):
        run(failing(bug), "load")


def test_a_command_that_succeeds_returns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(lambda: logging.getLogger("load").info("done"), "load")
    assert caplog.messages == ["done"]
