"""Expressions over columns: what they mean, and that none of them runs."""

import numpy as np
import pyarrow as pa
import pytest

from campaigns.plan.eligibility import holds, names_in
from churn.script import InputError

TABLE = pa.table(
    {
        "contract": pa.chunked_array([["month", "year", None, "two"]]).dictionary_encode(),
        "region": ["N", "S", "N", None],
        "tenure": [1, 12, 30, None],
        "p": [0.1, 0.5, -0.9, 0.7],
        "senior": [True, False, None, True],
    }
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ('contract == "month"', [0]),
        ("contract != 'month'", [1, 3]),
        ("tenure >= 12 and p > 0", [1]),
        ("tenure < 12 or p > 0.6", [0, 3]),
        ("1 < tenure <= 30", [1, 2]),
        ('region in ("N", "W")', [0, 2]),
        ('region not in ["N"]', [1]),
        ("tenure is None", [3]),
        ("tenure is not None and not senior", [1]),
        ("senior", [0, 3]),
        ("senior == True", [0, 3]),
        ("p < -0.5", [2]),
        ("0.5 <= p", [1, 3]),
        ('not (region == "N" or p > .6)', [1]),
        (' contract == "two" ', [3]),
    ],
)
def test_an_expression_means_what_it_says_and_a_missing_value_neither(expression: str, rows: list[int]) -> None:
    assert np.flatnonzero(holds(expression, TABLE)).tolist() == rows


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("tenure >", "invalid syntax"),
        ("__import__('os').system('true')", "is no column, text, number or comparison"),
        ("tenure + 1 > 2", "tenure \\+ 1 is no column"),
        ("p.sum() > 1", "is no column"),
        ("[p for p in region]", "is no column"),
        ("tenure == 'x'", "no kernel matching|Failed to parse"),
        ("contract > 3", "no kernel matching|convert"),
        ("tenure == None", "None is no column"),
        ("region in ()", "is no comparison"),
        ("region in tenure", "is no comparison"),
        ("tenure", "is neither true nor false"),
        ("1 < 2", "is neither true nor false"),
        ("not tenure", "no kernel matching"),
        ("p\x00", "null bytes"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(expression: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        holds(expression, TABLE)
    assert "\n" not in str(refused.value) and str(refused.value).startswith("--where ")


def test_the_columns_are_the_names() -> None:
    assert names_in('a == "b" and (c > 1 or not d)') == {"a", "c", "d"}
    assert names_in("") == set()
