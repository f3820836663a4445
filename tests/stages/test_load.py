"""load: a table comes in under schema names as text, or nothing is written and one line says why."""

from pathlib import Path

import pandas as pd
import pytest

from churn.schema import WEIGHT
from churn.script import run
from stages.load import main

SCHEMA = """
id: {name: customer_id, source: customerID}
target: {name: churned, source: Churn, positive: "Yes", negative: "No"}
columns:
  - {name: tenure, source: Tenure, type: number}
"""
CSV = "customerID,Tenure,Churn,extra\nA1, 3 ,Yes,x\nA2,,No,y\n"
LOADED = Path("data/loaded.parquet")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, a schema and a table, which is the current one."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("data: {path: t.csv, schema: my.yaml}\n")
    Path("my.yaml").write_text(SCHEMA)
    Path("t.csv").write_text(CSV)
    return tmp_path


def refused(caplog: pytest.LogCaptureFixture) -> str:
    """The one line with which load ends, with exit status 1 and nothing written."""
    with pytest.raises(SystemExit) as end:
        run(main, "load")
    assert end.value.code == 1
    assert not LOADED.exists()
    (line,) = caplog.messages
    return line


@pytest.mark.usefixtures("repo")
def test_cells_come_in_as_stripped_text_under_schema_names() -> None:
    main()
    table = pd.read_parquet(LOADED)
    assert list(table) == ["customer_id", "churned", "tenure", "extra"]
    assert table.fillna("null").to_numpy().tolist() == [["A1", "Yes", "3", "x"], ["A2", "No", "null", "y"]]


@pytest.mark.usefixtures("repo")
def test_the_same_table_gives_the_same_bytes() -> None:
    main(Path("one.parquet"))
    main(Path("two.parquet"))
    assert Path("one.parquet").read_bytes() == Path("two.parquet").read_bytes()


@pytest.mark.usefixtures("repo")
def test_the_column_of_weights_has_one_name_from_here_on() -> None:
    Path("params.yaml").write_text("data: {path: t.csv, schema: my.yaml, weight: extra}")
    main()
    assert pd.read_parquet(LOADED)[WEIGHT].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("weight", "header", "line"),
    [
        ("extr", "extra", "params.yaml: data.weight is 'extr' (did you mean 'extra'?); t.csv has no such column beside "
                          "those of the schema, but ['extra']"),
        ("Tenure", "extra", "params.yaml: data.weight is 'Tenure'; t.csv has no such column beside those of the schem"),
        ("null", WEIGHT, f"t.csv has a column '{WEIGHT}'; name it as data.weight in params.yaml, or rename it"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("repo")
def test_weights_are_named_or_none(weight: str, header: str, line: str, caplog: pytest.LogCaptureFixture) -> None:
    Path("params.yaml").write_text(f"data: {{path: t.csv, schema: my.yaml, weight: {weight}}}")
    Path("t.csv").write_text(CSV.replace("extra", header))
    assert refused(caplog).startswith(line)


CUT = "t.csv: 1 rows have not the header's 4 fields, first line 4 with 2; it ends in '4', column 'Tenure'"
BROKEN = {
    "empty": ("t.csv", "", "t.csv is empty; expected a header and one row per customer"),
    "header only": ("t.csv", "customerID,Tenure,Churn\n", "t.csv has a header of 3 columns but no rows"),
    "separator": (
        "t.csv",
        CSV.replace(",", ";"),
        "t.csv has none of the schema's columns; set data.options to {sep: ';'}, which finds 3 of them",
    ),
    "binary": (
        "t.csv",
        CSV.replace("A1", "\0"),
        "t.csv is not text: it holds zero bytes; is it of another format than its suffix says?",
    ),
    "cut off": ("t.csv", CSV + "A3,4", f"{CUT}; the file seems to be cut off"),
    "schema": ("my.yaml", "id: [", "schema my.yaml is not YAML: while parsing a flow node"),
    "section": ("params.yaml", "dta: {}", "params.yaml has no section 'data'; it has ['dta']"),
    "missing": (
        "params.yaml",
        "data: {path: none.csv, schema: my.yaml}",
        "none.csv is missing; set data.path to a table",
    ),
    "folder": ("params.yaml", "data: {path: x.csv/.., schema: my.yaml}", "x.csv/..: no reader for this suffix;"),
    "no schema": ("params.yaml", "data: {path: t.csv, schema: no.yaml}", "schema no.yaml is missing; draft one with"),
}


@pytest.mark.parametrize(("file", "content", "line"), BROKEN.values(), ids=BROKEN)
@pytest.mark.usefixtures("repo")
def test_a_broken_input_is_refused_in_one_line(
    file: str, content: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path(file).write_text(content)
    assert refused(caplog).startswith(line)


@pytest.mark.usefixtures("repo")
def test_a_misspelt_key_is_named_with_the_one_that_was_meant(caplog: pytest.LogCaptureFixture) -> None:
    Path("params.yaml").write_text("data: {path: t.csv, schema: my.yaml, optoins: {}}")
    assert refused(caplog) == (
        "params.yaml: data has no knob 'optoins' (did you mean 'options'?); "
        "it has ['path', 'schema', 'options', 'weight']"
    )


@pytest.mark.usefixtures("repo")
def test_a_refused_table_leaves_the_last_good_one(caplog: pytest.LogCaptureFixture) -> None:
    main()
    before = LOADED.read_bytes()
    Path("t.csv").write_text("")
    with pytest.raises(SystemExit):
        run(main, "load")
    assert LOADED.read_bytes() == before
    assert [path.name for path in LOADED.parent.iterdir()] == [LOADED.name]
