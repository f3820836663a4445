"""Through the real commands: a bad table, schema or parameter ends with exit status 1 and one line that names it."""

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT
from tests.e2e.conftest import command, ran, set_knobs

pytestmark = pytest.mark.e2e

TABLE = "data/raw/customers.csv"
ROWS = 300


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with params, schemas and a small table, and nothing else."""
    folder = tmp_path_factory.mktemp("good")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "schemas", folder / "schemas")
    set_knobs(folder, simulate__customers=ROWS)
    stage(folder, "simulate")
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy of the good one, to be spoilt."""
    return shutil.copytree(good, tmp_path / "folder")


def stage(folder: Path, name: str, status: int = 0) -> list[str]:
    """The lines that `python -m stages.NAME` tells in `folder`."""
    return command(folder, "python", "-m", f"stages.{name}", status=status, PYTHONPATH=str(ROOT)).splitlines()


def written(folder: Path) -> list[str]:
    """Everything in the folder but the table, params and schemas; temporary files too."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [path for path in found if path not in {TABLE, "params.yaml"} and not path.startswith("schemas/")]


Change = Callable[[bytes], bytes]


def cells(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """A change of the table's cells, as a change of the file."""

    def changed(content: bytes) -> bytes:
        table = pd.read_csv(BytesIO(content), dtype="str", keep_default_na=False)
        return change(table).to_csv(index=False, lineterminator="\n").encode()

    return changed


def with_cell(header: str, row: int, value: str) -> Change:
    """Another value in one cell; row counts from 1."""
    return cells(lambda table: table.assign(**{header: table[header].where(table.index != row - 1, value)}))


UNREADABLE: dict[str, tuple[Change, list[str]]] = {
    "empty file": (lambda _: b"", [TABLE, "is empty"]),
    "header only": (lambda content: content.splitlines(keepends=True)[0], ["header of 21 columns but no rows"]),
    "truncated last line": (
        lambda content: content[: content.rindex(b",")],
        ["1 rows have not the header's 21 fields", f"line {ROWS + 1} with 20", "column 'total_charges'", "cut off"],
    ),
    "wrong separator": (
        lambda content: content.replace(b",", b";"),
        ["none of the schema's columns", "set data.options to {sep: ';'}, which finds 21 of them"],
    ),
    "latin-1": (
        lambda content: content.replace(b"Mailed check", "Mailed chéck".encode("latin-1")),
        ["is not utf-8", "0xe9", "column 'payment_method'", "'Mailed chéck'", "data.options.encoding"],
    ),
    "binary junk": (lambda _: bytes(range(256)) * 20, ["is not text"]),
    "binary junk without zeros": (lambda _: bytes(range(128, 256)) * 20, ["is not utf-8"]),
    "another table": (lambda _: b"a,b\n1,2\n", ["none of the schema's columns", "['a', 'b']"]),
}


@pytest.mark.parametrize(("change", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_table_is_refused_by_load(change: Change, words: list[str], folder: Path) -> None:
    (folder / TABLE).write_bytes(change((folder / TABLE).read_bytes()))
    (line,) = stage(folder, "load", status=1)
    assert line.startswith("load: ")
    assert not [word for word in words if word not in line], line
    assert written(folder) == []


def test_a_folder_in_place_of_the_table_is_refused_by_load(folder: Path) -> None:
    (folder / TABLE).unlink()
    (folder / TABLE).mkdir()
    assert stage(folder, "load", status=1) == [f"load: {TABLE} is a folder; set data.path to a table"]
    assert written(folder) == []


def test_a_table_that_is_not_there_is_refused_by_load(folder: Path) -> None:
    (folder / TABLE).unlink()
    assert stage(folder, "load", status=1) == [f"load: {TABLE} is missing; set data.path to a table"]


def test_a_refused_table_leaves_the_last_good_one_whole(folder: Path) -> None:
    stage(folder, "load")
    before = (folder / "data/loaded.parquet").read_bytes()
    (folder / TABLE).write_bytes((folder / TABLE).read_bytes()[:-9])
    stage(folder, "load", status=1)
    assert written(folder) == ["data/loaded.parquet", "metrics/load.json"]
    assert (folder / "data/loaded.parquet").read_bytes() == before


UNFIT: dict[str, tuple[Change, list[str]]] = {
    "missing column": (cells(lambda table: table.drop(columns="tenure")), ["column 'tenure'", "no header 'tenure'"]),
    "extra target value": (
        with_cell("churned", 7, "Maybe"),
        ["column 'churned'", f"1 of {ROWS} values", "neither positive ('Yes') nor negative ('No')", "'Maybe' in row 7"],
    ),
    "text in a number column": (
        with_cell("monthly_charges", 9, "dear"),
        ["column 'monthly_charges'", f"1 of {ROWS} values are no finite numbers", "'dear' in row 9"],
    ),
    "out of range": (
        with_cell("tenure", 3, "-1"),
        ["column 'tenure'", f"1 of {ROWS} values are below the minimum 0", "-1 in row 3"],
    ),
    "all missing": (
        cells(lambda table: table.assign(tenure="")),
        ["column 'tenure'", f"all {ROWS} values are missing"],
    ),
    "one class only": (
        cells(lambda table: table.assign(churned="No")),
        ["column 'churned'", f"all {ROWS} readable values are negative ('No')"],
    ),
    "duplicated id": (
        cells(
            lambda table: table.assign(
                customer_id=table["customer_id"].where(table.index != 4, table["customer_id"][0])
            )
        ),
        ["column 'customer_id'", f"1 of {ROWS} values stand in an earlier row that differs", "in row 5"],
    ),
}


@pytest.mark.parametrize(("change", "words"), UNFIT.values(), ids=UNFIT)
def test_an_unfit_table_is_refused_by_validate(change: Change, words: list[str], folder: Path) -> None:
    (folder / TABLE).write_bytes(change((folder / TABLE).read_bytes()))
    stage(folder, "load")
    *told, line = stage(folder, "validate", status=1)
    assert not [word for word in ["validate: ", *words] if word not in line], line
    assert [text for text in told if "1 errors" in text] == told[-1:]  # so this line is the only one
    assert written(folder) == [
        *("data/loaded.parquet", "data/validation.json"),
        *("metrics/load.json", "metrics/validate.json", "metrics/validation.html"),
    ]


def test_a_misspelt_key_of_the_schema_is_named(folder: Path) -> None:
    path = folder / "schemas/telco.yaml"
    path.write_text(path.read_text().replace("nullable: true", "nulable: true"))
    (line,) = stage(folder, "load", status=1)
    assert line.startswith("load: schema schemas/telco.yaml: columns[18] (total_charges) has no key 'nulable'")
    assert "(did you mean 'nullable'?)" in line
    assert written(folder) == []


def test_a_misspelt_parameter_is_named(folder: Path) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["data"]["optoins"] = params["data"].pop("options")
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (line,) = stage(folder, "load", status=1)
    assert line.startswith("load: params.yaml: data has no knob 'optoins' (did you mean 'options'?)")
    assert written(folder) == []


@pytest.mark.parametrize(
    ("change", "last", "word"),
    [
        (UNREADABLE["binary junk"][0], "load", "is not text"),
        (UNFIT["out of range"][0], "validate", "below the minimum 0"),
    ],
    ids=["unreadable", "unfit"],
)
def test_dvc_stops_at_the_bad_table_and_nothing_is_trained(
    change: Change, last: str, word: str, good: Path, original: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(original, tmp_path / "repository")
    (folder / "my.csv").write_bytes(change((good / TABLE).read_bytes()))
    set_knobs(folder, data__path="my.csv")
    output = command(folder, "dvc", "repro", "deploy", status=None)
    assert ran(output) in (["extract", "load"], ["extract", "load", "validate"])
    assert ran(output)[-1] == last
    assert [line.partition(": ")[0] for line in output.splitlines() if word in line] == [last]
    assert "Traceback" not in output
    assert not [path for path in (folder / "models").rglob("*") if path.name != ".gitignore" and path.is_file()]
    assert not (folder / "mlflow.db").exists()
