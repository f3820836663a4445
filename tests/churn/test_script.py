"""A command ends with one line per mistake, or with a traceback; files are written whole or not at all."""

import errno
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.script import InputError, replacing, rounded, run, write_json, write_text
from tests.conftest import ROOT

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# commands


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


@pytest.mark.parametrize("bug", [OSError("no file in it"), KeyError("x"), RuntimeError("odd")])
@pytest.mark.parametrize("mistake", [1, 2])
def test_a_crash_keeps_its_traceback_and_is_no_verdict(
    bug: Exception, mistake: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        run(failing(bug), "load", mistake)
    assert end.value.code == 2
    assert caplog.records[0].exc_info
    assert caplog.records[0].exc_info[1] is bug


@pytest.mark.parametrize("module", ["monitoring.check", "review", "review.audit", "review.verify"])
def test_a_command_whose_1_is_a_verdict_ends_with_2_where_something_is_wrong(module: str) -> None:
    path = ROOT / module.replace(".", "/")
    source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    assert re.search(r"^    run\(main, \"[a-z.]+\", mistake=2\)$", source, re.MULTILINE)


def test_a_full_disk_names_the_file_that_was_being_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def main() -> None:
        with replacing(tmp_path / "table.parquet") as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit) as end:
        run(main, "load")
    assert end.value.code == 1
    assert caplog.messages == [f"{tmp_path / 'table.parquet'}: No space left on device"]
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_succeeds_returns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(lambda: logging.getLogger("load").info("done"), "load")
    assert caplog.messages == ["done"]


# files


def test_a_failing_writer_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_under_the_name_until_the_writer_is_done(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv.gz"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.suffix == ".gz"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv.gz"]


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "é\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\n"


def test_json_keeps_key_order_and_rounds_floats(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 0.1234567, "a": [1, True, -0.0, None]})
    text = (tmp_path / "a.json").read_text()
    assert text.split() == ["{", '"b":', "0.123457,", '"a":', "[", "1,", "true,", "0.0,", "null", "]", "}"]
    assert text.endswith("}\n")


def test_a_number_that_json_lacks_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"p": float("nan")})
    assert not list(tmp_path.iterdir())


@given(JSON)
def test_rounding_is_idempotent_and_keeps_the_shape(value: object) -> None:
    once = rounded(value, 6)
    assert rounded(once, 6) == once
    assert json.loads(json.dumps(rounded(value, 400))) == value
