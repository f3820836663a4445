"""verify: equal bytes are identical, other last digits are equal within the tolerance, all else is told by name."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.script import InputError
from review.verify import Difference, bring_rows, bring_tables, compare, compare_hashed, compare_locks, verdict

METRICS = {
    "winner": "ensemble",
    "roc_auc": 0.85,
    "applied": True,
    "gain": None,
    "rows": 7043,
    "folds": [{"f1": 0.5}, 1],
}
LOCK: dict[str, Any] = {
    "train": {
        "cmd": "python -m stages.train",
        "deps": [{"path": "stages/train.py", "md5": "1"}, {"path": "data/train.parquet", "md5": "2"}],
        "params": {"params.yaml": {"train": {"seed": 42}}},
        "outs": [{"path": "models/m", "md5": "3.dir"}],
    },
    "select": {
        "cmd": "python -m stages.select",
        "deps": [{"path": "models", "md5": "4.dir"}, {"path": "../shared/t.csv", "md5": "5"}],
        "outs": [{"path": "data/train.parquet", "md5": "2"}],
    },
}


def in_json(metrics: dict[str, Any]) -> bytes:
    return json.dumps(metrics).encode()


def difference(theirs: dict[str, Any]) -> Difference:
    found = compare("m.json", in_json(METRICS), in_json(METRICS | theirs))
    assert found
    return found


def lock(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """A copy of LOCK after `change`."""
    other: dict[str, Any] = json.loads(json.dumps(LOCK))
    change(other)
    return other


def test_equal_bytes_are_no_difference() -> None:
    assert compare("m.json", in_json(METRICS), in_json(METRICS)) is None
    assert verdict([], 0) == ("identical", 0)


def test_the_largest_difference_is_named_with_both_values() -> None:
    found = difference({"roc_auc": 0.8502, "folds": [{"f1": 0.5001}, 1]})
    assert found.words == "roc_auc differs by 0.0002 (0.85, rebuilt 0.8502); 2 of 7 values differ"
    assert found.largest == pytest.approx(2e-4)


@pytest.mark.parametrize("theirs", [{"winner": "forest"}, {"applied": False}, {"gain": 0.0}, {"rows": None}])
def test_what_is_no_number_is_beyond_any_tolerance(theirs: dict[str, Any]) -> None:
    found = difference(theirs)
    assert found.largest == math.inf
    assert found.words.startswith(f"{next(iter(theirs))} differs (")
    assert verdict([found], 1e9) == ("beyond 1e+09: m.json", 1)


def test_other_keys_are_named_and_beyond_any_tolerance() -> None:
    found = compare("m.json", b'{"a": 1, "b": 2}', b'{"b": 2, "c": {"d": 3}}')
    assert found == Difference("m.json", "other keys: a gone, c.d new")


def test_the_same_numbers_in_other_bytes_differ_by_nothing() -> None:
    found = compare("m.json", b'{"a": 1}', b'{"a": 1.0}\n')
    assert found == Difference("m.json", "the same values in other bytes", 0.0)
    assert verdict([found], 0) == ("equal within 0, not identical", 0)


def test_cells_of_a_plot_are_compared_by_column_and_row() -> None:
    found = compare("roc.csv", b"x,y,name\n0,1,a\n1,2,b\n", b"x,y,name\n0,1.0,a\n1,2.5,b\n", judged=False)
    assert found == Difference(
        "roc.csv", "y in row 2 differs by 0.5 ('2', rebuilt '2.5'); 2 of 6 values differ", 0.5, False
    )
    assert verdict([found], 1e-3) == ("equal within 0.001, not identical", 0)


def test_another_number_of_rows_is_told() -> None:
    found = compare("roc.csv", b"x\n1\n2\n", b"x\n1\n")
    assert found == Difference("roc.csv", "2 rows, rebuilt 1")


def test_columns_of_parquet_are_compared_and_missing_cells_are_equal(tmp_path: Path) -> None:
    def stored(p: list[float | None]) -> bytes:
        pd.DataFrame({"name": ["a", "b"], "p": p}).to_parquet(tmp_path / "t.parquet")
        return (tmp_path / "t.parquet").read_bytes()

    found = compare("oof.parquet", stored([0.5, None]), stored([0.75, None]))
    assert found == Difference(
        "oof.parquet", "p in row 1 differs by 0.25 (0.5, rebuilt 0.75); 1 of 4 values differ", 0.25
    )


def test_json_lines_are_compared_by_line() -> None:
    found = compare("golden.jsonl", b'{"p": 0.5}\n{"p": 0.25}\n', b'{"p": 0.5}\n{"p": 0.375}\n')
    assert found == Difference(
        "golden.jsonl", "line 2.p differs by 0.12 (0.25, rebuilt 0.375); 1 of 2 values differ", 0.125
    )


def test_of_other_formats_the_bytes_are_told() -> None:
    assert compare("model.onnx", b"a", b"b") == Difference("model.onnx", "the bytes differ")


def test_a_file_that_is_on_one_side_alone_is_told() -> None:
    assert compare("a.json", None, b"{}") == Difference("a.json", "was not committed")
    assert compare("a.json", b"{}", None) == Difference("a.json", "was not rebuilt")


def test_a_broken_file_is_told_not_raised() -> None:
    found = compare("a.json", b"{", b"{}")
    assert found
    assert found.words.startswith("cannot be read: ")


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1))
def test_the_verdict_is_the_size_of_the_difference_against_the_tolerance(a: float, b: float, tolerance: float) -> None:
    found = compare("m.json", in_json({"a": a}), in_json({"a": b}))
    assert verdict([found] if found else [], tolerance)[1] == int(abs(a - b) > tolerance)


def test_a_lock_of_the_same_code_and_parameters_is_the_same_whatever_the_outputs_hashes() -> None:
    def other_hashes(stages: dict[str, Any]) -> None:
        stages["train"]["outs"][0]["md5"] = stages["select"]["deps"][0]["md5"] = "other.dir"
        stages["train"]["deps"][1]["md5"] = "other"

    assert compare_locks(LOCK, lock(other_hashes)) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda stages: stages["train"]["deps"][0].update(md5="x"), "train was recorded with other stages/train.py;"),
        (lambda stages: stages["select"]["deps"][1].update(md5="x"), "select was recorded with other ../shared/t.csv;"),
        (
            lambda stages: stages["train"]["params"]["params.yaml"].update(train=1),
            "train was recorded with other train;",
        ),
        (lambda stages: stages["train"].update(cmd="x"), "train was recorded with other command;"),
        (lambda stages: stages.pop("train"), "train is in one of the two alone"),
    ],
)
def test_a_lock_of_other_code_or_parameters_fails(change: Callable[[dict[str, Any]], object], named: str) -> None:
    (found,) = compare_locks(LOCK, lock(change))
    assert str(found).startswith(f"dvc.lock: {named}")
    assert verdict([found], 1e9)[1] == 1


def test_an_output_is_compared_with_what_the_cache_has_under_its_hash(tmp_path: Path) -> None:
    cache, clone = tmp_path / "cache", tmp_path / "clone"
    (clone / "m").mkdir(parents=True)

    def cached(content: bytes, suffix: str = "") -> str:
        md5 = hashlib.md5(content).hexdigest() + suffix
        path = cache / "files/md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return md5

    recorded = {"p.csv": cached(b"p\n0.5\n"), "same": cached(b"s"), "lost": "0" * 32, "gone": cached(b"g")}
    folder = cached(json.dumps([{"relpath": k, "md5": v} for k, v in recorded.items()]).encode(), ".dir")
    for name, content in {"p.csv": b"p\n0.75\n", "same": b"s", "lost": b"l", "new": b"n"}.items():
        (clone / "m" / name).write_bytes(content)
    assert [str(found) for found in compare_hashed(clone, "m", folder, cache) if found] == [
        "m/gone: was not rebuilt",
        "m/lost: the bytes differ; the committed ones are not in DVC's cache",
        "m/new: was not committed",
        "m/p.csv: p differs by 0.25 ('0.5', rebuilt '0.75'); 1 of 1 values differ",
    ]


def test_the_rows_of_a_query_are_those_that_were_recorded_or_there_are_none(tmp_path: Path) -> None:
    root, clone = tmp_path / "root", tmp_path / "clone"
    md5 = hashlib.md5(b"rows", usedforsecurity=False).hexdigest()
    out = {"path": "data/extracted.parquet", "md5": md5}
    asked = {"extract": {"deps": [{"path": "customers.sql"}], "outs": [out]}}
    assert not bring_rows({"extract": {"deps": [{"path": "customers.csv"}], "outs": [out]}}, root, clone)
    (root / "data").mkdir(parents=True)
    (root / "data/extracted.parquet").write_bytes(b"other rows")
    with pytest.raises(InputError, match=r"data/extracted.parquet, the rows of customers.sql, is not here as dvc.lock"):
        bring_rows(asked, root, clone)
    cached = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"rows")
    assert bring_rows(asked, root, clone)
    assert (clone / "data/extracted.parquet").read_bytes() == b"rows"


def test_a_table_that_neither_git_nor_a_stage_brings_is_copied(tmp_path: Path) -> None:
    root, clone = tmp_path / "root", tmp_path / "temporary" / "clone"
    clone.mkdir(parents=True)
    for path in ("shared/t.csv", "root/stages/train.py", "root/data/train.parquet"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    bring_tables({"select": LOCK["select"], "load": {"deps": [{"path": "data/train.parquet"}]}}, root, clone)
    assert [str(p.relative_to(clone.parent)) for p in clone.parent.rglob("*") if p.is_file()] == ["shared/t.csv"]
