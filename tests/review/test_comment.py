"""review: a metric fails when it lost more than it may; the comment says all that counts, and nothing in it acts."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.params import read_params
from churn.script import InputError
from review.__main__ import stale
from review.charts import charts
from review.comment import LONGEST, MARK, Change, comment
from review.judge import Judged, Tolerance, judge
from tests.test_pipeline_contract import PIPELINE, ROOT

HIGHER, LOWER = Tolerance("higher", absolute=0.01), Tolerance("lower", absolute=0.01)
numbers = st.floats(-1e3, 1e3)


def one(
    before: Any, after: Any, tolerance: Tolerance = HIGHER, half: float = 0.0, same_customers: bool = True
) -> Judged:
    """A metric judged, with intervals of that half width around it."""
    diff = {"m": {"old": before, "new": after}}
    if half:
        diff |= {f"m_{end}": {"old": before + by, "new": after + by} for end, by in (("low", -half), ("high", half))}
    (found,) = judge(diff, same_customers, metrics={"m": tolerance})
    return found


def change(**other: Any) -> Change:
    usual: dict[str, Any] = {"base": "abc1234", "judged": [one(0.8, 0.8)], "metrics": {}, "params": {}, "stages": []}
    return Change(**usual | {"stale": [], "same_customers": True} | other)


@pytest.mark.parametrize(
    ("before", "after", "tolerance", "state"),
    [
        (0.85, 0.84, HIGHER, "within tolerance"),  # .85 - .84 is a little more than .01 in floating point
        (0.85, 0.839, HIGHER, "worse"),
        (0.85, 0.9, HIGHER, "better"),
        (0.85, 0.85, HIGHER, "equal"),
        (0.12, 0.13, LOWER, "within tolerance"),
        (0.12, 0.131, LOWER, "worse"),
        (0.12, 0.1, LOWER, "better"),
        (10.0, 9.0, Tolerance("higher", relative=0.1), "within tolerance"),
        (10.0, 8.9, Tolerance("higher", relative=0.1), "worse"),
        (-10.0, -11.0, Tolerance("higher", relative=0.1), "within tolerance"),
        (0.85, None, HIGHER, "gone"),
        (0.85, math.nan, HIGHER, "not a number"),
        (0.85, math.inf, HIGHER, "not a number"),
        (0.85, "high", HIGHER, "not a number"),
        (0.85, True, HIGHER, "not a number"),
        (None, 0.85, HIGHER, "new"),
        (math.nan, 0.85, HIGHER, "new"),
        (None, math.nan, HIGHER, "not a number"),
    ],
)
def test_a_metric_is_judged_by_what_it_lost(before: Any, after: Any, tolerance: Tolerance, state: str) -> None:
    found = one(before, after, tolerance)
    assert found.state == state
    assert found.fails == (state in {"worse", "gone", "not a number"})
    assert str(found).endswith(f": {state}")


@given(numbers, numbers, st.floats(0, 10), st.floats(0, 10))
def test_a_wider_tolerance_never_fails_what_a_narrower_one_passes(x: float, y: float, a: float, b: float) -> None:
    narrow, wide = (one(x, y, Tolerance("higher", absolute=amount)).fails for amount in sorted((a, b)))
    assert narrow >= wide


@given(numbers, numbers, st.floats(0, 10))
def test_a_loss_is_the_negative_of_a_score(x: float, y: float, amount: float) -> None:
    higher = one(x, y, Tolerance("higher", absolute=amount))
    lower = one(-x, -y, Tolerance("lower", absolute=amount))
    assert higher.state == lower.state


@given(numbers, numbers)
def test_of_two_directions_one_change_fails_at_most_one(x: float, y: float) -> None:
    assert not (one(x, y).fails and one(y, x).fails)


def test_other_test_customers_may_bring_what_chance_brings() -> None:
    assert one(0.85, 0.83, half=0.02).fails  # of the same customers no interval excuses a loss
    assert one(0.85, 0.83, half=0.02, same_customers=False).allowed == pytest.approx(0.02 * math.sqrt(2))
    assert not one(0.85, 0.83, half=0.02, same_customers=False).fails
    assert one(0.85, 0.82, half=0.02, same_customers=False).fails
    assert one(0.85, 0.845, half=0.001, same_customers=False).allowed == 0.01  # never less than what people set


def test_a_metric_that_nobody_writes_is_a_typing_error() -> None:
    with pytest.raises(InputError, match=r"review\.metrics\.rocauc is no metric"):
        judge({"roc_auc": {"old": 1, "new": 1}}, True, metrics={"rocauc": HIGHER})


@pytest.mark.parametrize("amounts", [{}, {"absolute": 1, "relative": 1}, {"absolute": -1}, {"absolute": math.nan}])
def test_a_tolerance_is_one_amount(amounts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="one of absolute and relative"):
        Tolerance("higher", **amounts)


def test_the_repository_s_tolerances_are_read_from_its_parameters() -> None:
    metrics = read_params("review", judge)["metrics"]
    assert metrics["brier"] == Tolerance("lower", absolute=0.004)
    with pytest.raises(ValidationError):
        from pydantic import TypeAdapter

        TypeAdapter(Tolerance).validate_python({"better": "more", "absolute": 1})


def test_the_comment_shows_each_metric_with_its_interval() -> None:
    text = comment(change(judged=[one(0.85, 0.83, half=0.02), one(0.7, 0.71)]), "https://host/run")
    assert text.startswith(f"{MARK}\n")
    assert "### ❌ Worse than may be: `m`" in text
    assert "| 0.85 [0.83, 0.87] | 0.83 [0.81, 0.85] | ▼ 0.02 | 0.01 | **worse** |" in text
    assert "| 0.7 | 0.71 | ▲ 0.01 | 0.01 | better |" in text
    assert "(https://host/run)" in text


def test_metrics_of_an_older_state_fail_whatever_they_say() -> None:
    behind = change(stale=["select"])
    assert behind.fails
    assert "### ❌ The metrics are not those of this change" in comment(behind, None)
    assert not change().fails
    assert "### ✅ The metrics are the same" in comment(change(), None)


def test_the_comment_says_what_makes_its_numbers_hard_to_compare() -> None:
    said = {"params.yaml": {"profit.offer_cost": {"old": 40, "new": 30}, "review.metrics.m.absolute": {"new": 9}}}
    text = comment(change(params=said, same_customers=False), None)
    for words in ("Money is counted otherwise", "sets its own tolerances:** `review.metrics.m.absolute`", "are others"):
        assert words in text
    assert "| `profit.offer_cost` | `40` | `30` |" in text


def test_nothing_in_the_comment_acts() -> None:
    evil = {"old": "`</code><img src=x>` | @everyone", "new": "a\n\n# heading"}
    text = comment(change(params={"params.yaml": {"x": evil}}), None)
    (row,) = [line for line in text.splitlines() if line.startswith("| `x`")]
    assert row == "| `x` | `'</code><img src=x>' ¦ @everyone` | `a # heading` |"


@given(st.integers(0, 3000))
def test_a_comment_fits_whatever_changed(n: int) -> None:
    many = {f"section.{i}": {"old": "x" * 500, "new": i} for i in range(n)}
    assert len(comment(change(params={"params.yaml": many}, stages=["s" * 50] * n), None)) <= LONGEST + 20


def test_the_charts_are_plots_of_the_pipeline() -> None:
    found = charts(PIPELINE["plots"])
    assert [chart.path for chart in found] == [
        "metrics/plots/evaluate/roc.csv",
        "metrics/plots/evaluate/calibration.csv",
        "metrics/plots/select/threshold.csv",
    ]
    for chart in found:
        assert {chart.x, chart.y} <= set((ROOT / chart.path).read_text().splitlines()[0].split(","))


def test_what_a_clone_lacks_is_not_stale(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "code.py").touch()
    status = {
        "load": [
            {"changed deps": {"data/raw": "deleted", "models": "modified"}},
            {"changed outs": {"o": "not in cache"}},
        ],
        "edited": [{"changed deps": {"code.py": "modified"}}],
        "turned": [{"changed deps": {"params.yaml": {"train.seed": "modified"}}}],
        "always": ["always changed"],
    }
    assert stale(status) == ["edited", "turned"]
