"""The keyword-only arguments of a function are the schema of its section in params.yaml."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from churn.params import closest, read_params, read_section
from churn.script import InputError


def train(rows: list[int], *, depth: Annotated[int, Field(ge=1)], rate: float = 0.1, schema: Path = Path("a")) -> None:
    """Takes a positional argument that is no knob, a knob with a range and two with defaults."""


def params(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def sentences(tmp_path: Path, text: str, section: str = "train") -> list[str]:
    with pytest.raises(InputError) as error:
        read_params(section, train, params(tmp_path, text))
    return str(error.value).replace(f"{tmp_path}/", "").splitlines()


def test_knobs_are_read_in_their_types_and_defaults_fill_in(tmp_path: Path) -> None:
    read = read_params("train", train, params(tmp_path, "train: {depth: 3, schema: b.yaml}"))
    assert read == {"depth": 3, "rate": 0.1, "schema": Path("b.yaml")}


def test_a_knob_may_be_called_like_an_attribute_of_pydantic(tmp_path: Path) -> None:
    def knobs(*, schema: int, copy: int, model_config: int) -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_params("a", knobs, params(tmp_path, "a: {schema: 1, copy: 2, model_config: 3}"))
    assert read == {"schema": 1, "copy": 2, "model_config": 3}


def test_the_knobs_of_a_dataclass_are_its_fields(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Data:
        path: Path

    assert Data(**read_params("data", Data, params(tmp_path, "data: {path: a.csv}"))) == Data(path=Path("a.csv"))


def test_a_misspelt_knob_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    assert sentences(tmp_path, "train: {depth: 3, rat: 0.2}") == [
        "params.yaml: train has no knob 'rat' (did you mean 'rate'?); it has ['depth', 'rate', 'schema']"
    ]


def test_every_mistake_of_a_section_is_told_at_once(tmp_path: Path) -> None:
    lines = sentences(tmp_path, "train: {rate: fast, speed: 1}")
    assert len(lines) == 3
    assert lines[0] == "params.yaml: train is missing the knob 'depth'; add it"
    assert lines[1].startswith("params.yaml: train.rate is 'fast': input should be a valid number")
    assert lines[2].startswith("params.yaml: train has no knob 'speed'")


def test_a_value_outside_the_range_is_refused(tmp_path: Path) -> None:
    assert sentences(tmp_path, "train: {depth: 0}") == [
        "params.yaml: train.depth is 0: input should be greater than or equal to 1"
    ]


@pytest.mark.parametrize(
    ("text", "section", "sentence"),
    [
        ("{train: {}}", "trian", "params.yaml has no section 'trian'; it has ['train']"),
        ("{train: {}}", "train.models", "params.yaml has no section 'models' under 'train'; it has []"),
        ("{train: 3}", "train", "params.yaml: 'train' is 3; expected a mapping of knobs"),
        ("train", "train", "params.yaml has no section 'train'; it has train"),
        ("a: [", "train", "params.yaml is not YAML: while parsing"),
    ],
)
def test_a_section_that_is_not_there_is_named(tmp_path: Path, text: str, section: str, sentence: str) -> None:
    (line,) = sentences(tmp_path, text, section)
    assert line.startswith(sentence)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run from the repository's root"):
        read_section("train", tmp_path / "params.yaml")


def test_a_dotted_section_is_walked(tmp_path: Path) -> None:
    content: dict[str, Any] = read_section("a.b", params(tmp_path, "a: {b: {c: 1}}"))
    assert content == {"c": 1}


def test_closest_says_nothing_where_nothing_is_near() -> None:
    assert closest("tenur", ["tenure", "gender"]) == " (did you mean 'tenure'?)"
    assert closest("zzz", ["tenure"]) == ""
