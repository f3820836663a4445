"""How far a table is from a release's customers: the distances of the check, and files that cannot be read."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from churn.reference import LEVELS, Levels, Numbers, Reference, main, of_levels, of_numbers, read_reference
from churn.release import REFERENCE, open_release
from churn.schema import LARGEST
from churn.script import InputError

RNG = np.random.default_rng(0)


def shares(values: pd.Series, levels: list[str]) -> list[float]:
    return [float((values == level).mean()) for level in levels]


@pytest.mark.parametrize("shift", [0, 0.1, 0.5, 3])
@pytest.mark.parametrize("draw", [RNG.normal, RNG.exponential, lambda size: RNG.integers(0, 2, size)])
def test_of_numbers_it_is_wasserstein_s_distance_in_deviations(draw: Any, shift: float) -> None:
    before, now = pd.Series(draw(size=5000)).astype(float), pd.Series(draw(size=7000)).astype(float) + shift
    true = wasserstein_distance(before, now) / before.std(ddof=0)
    assert Numbers(**of_numbers(before)).distance(now) == pytest.approx(true, abs=0.03)


@given(st.lists(st.sampled_from("abcde"), min_size=1), st.lists(st.sampled_from("abcdef"), min_size=1))
def test_of_levels_it_is_jensen_and_shannon_s(before: list[str], now: list[str]) -> None:
    a, b = pd.Series(before), pd.Series(now)
    levels = sorted({*before, *now})
    true = jensenshannon(shares(a, levels), shares(b, levels))
    assert Levels(**of_levels(a)).distance(b) == pytest.approx(0 if np.isnan(true) else true, abs=2e-3)


def test_rare_levels_of_many_count_as_one() -> None:
    before = pd.Series([f"L{i % 300:03d}" for i in range(3000)])
    made = Levels(**of_levels(before))
    assert len(made.shares) == LEVELS
    assert made.distance(before) == pytest.approx(0, abs=1e-3)
    assert made.distance(before.replace("L299", "a level of tomorrow")) == pytest.approx(0, abs=1e-3)


def test_numbers_as_large_as_they_come_have_a_distance() -> None:
    before = pd.Series([-LARGEST, LARGEST])
    assert np.isfinite(Numbers(**of_numbers(before)).distance(-before))
    assert np.isfinite(Numbers(**of_numbers(pd.Series([5.0, 5.0]))).distance(pd.Series([6.0])))


def test_a_column_of_another_type_or_without_values_is_not_compared() -> None:
    columns = {"tenure": of_numbers(pd.Series([1.0, 2.0])), "contract": of_levels(pd.Series(["a", "b"]))}
    made = Reference.model_validate({"release": "r", "table": "t", "customers": 2, "columns": columns})
    assert made.distance("tenure", pd.Series(["a"])) is None
    assert made.distance("contract", pd.Series([1.0])) is None
    assert made.distance("contract", pd.Series([None, None], dtype="str")) is None
    assert made.distance("another", pd.Series([1.0])) is None
    assert made.distance("contract", pd.Series(["a", "b"])) == 0
    assert not made.fits(["contract"])
    assert made.fits(["contract", "tenure", "more"])


def test_the_command_writes_what_validate_reads(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reference", str(released)])
    Path("params.yaml").write_text(yaml.safe_dump({"validate": {"reference": "here/reference.json"}}))
    main()
    first = Path("here/reference.json").read_bytes()
    made, release = read_reference(Path("here/reference.json")), open_release(released)
    sample = pd.read_parquet(released / REFERENCE)
    assert (made.release, made.customers) == (release.version, len(sample))
    assert made.columns.keys() == {column.name for column in release.schema.columns if column.name in sample}
    assert max(made.distance(name, sample[name]) or 0 for name in made.columns) < 0.01
    main()
    assert Path("here/reference.json").read_bytes() == first


@pytest.mark.parametrize("knobs", [{}, {"reference": None}])
def test_where_no_file_is_named_the_command_says_so(
    knobs: dict[str, None], released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reference", str(released)])
    Path("params.yaml").write_text(yaml.safe_dump({"validate": knobs}))
    with pytest.raises(InputError, match=r"names no file as validate\.reference"):
        main()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "is missing, which params.yaml names as validate.reference; python -m churn.reference"),
        ("{", "is not JSON"),
        ("[]", "input should be a valid dictionary"),
        ('{"relase": "r"}', "relase: extra inputs are not permitted"),
        ('{"release": "r", "customers": 1, "columns": {"a": {"quantiles": [1], "deviation": 1}}}', "columns.a"),
        (json.dumps({"columns": {"a": {"shares": {"x": 1}}}}), "it has columns and names no release"),
    ],
)
def test_a_file_that_is_none_is_one_line(content: str | None, why: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=why) as refused:
        read_reference(tmp_path / "r.json")
    assert "\n" not in str(refused.value)


def test_a_project_without_a_release_has_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    assert read_reference(tmp_path / "r.json").columns == {}
