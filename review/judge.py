"""May a change land? Its metrics against those of the branch it goes to, within what each of them may lose."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from churn.script import InputError

State = Literal["better", "equal", "within tolerance", "worse", "gone", "not a number", "new"]
FAILS = frozenset({"worse", "gone", "not a number"})


@dataclass(frozen=True)
class Tolerance:
    """How much a metric may lose: so much of its own unit, or a share of its value before."""

    better: Literal["higher", "lower"]
    absolute: float | None = None
    relative: float | None = None

    def __post_init__(self) -> None:
        given = [amount for amount in (self.absolute, self.relative) if amount is not None]
        if len(given) != 1 or not given[0] >= 0:
            raise ValueError("state one of absolute and relative, 0 or more")

    def amount(self, before: float) -> float:
        return self.absolute if self.absolute is not None else (self.relative or 0.0) * abs(before)


@dataclass(frozen=True)
class Score:
    """A metric with its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2 if self.low is not None and self.high is not None else 0.0


@dataclass(frozen=True)
class Judged:
    """A metric before and after; `allowed` is what it may lose, in its own unit, NaN where there is nothing before."""

    name: str
    better: Literal["higher", "lower"]
    before: Score | None
    after: Score | None
    allowed: float
    state: State

    @property
    def fails(self) -> bool:
        return self.state in FAILS

    @property
    def change(self) -> float:
        return self.after.value - self.before.value if self.before and self.after else math.nan

    def __str__(self) -> str:
        before, after = ("none" if score is None else f"{score.value:.6g}" for score in (self.before, self.after))
        change = "" if math.isnan(self.change) else f" ({self.change:+.6g})"
        allowed = "" if math.isnan(self.allowed) else f", may lose {self.allowed:.6g}"
        return f"{self.name}: {before} -> {after}{change}{allowed}: {self.state}"


def judge(
    diff: Mapping[str, Mapping[str, Any]], same_customers: bool, *, metrics: dict[str, Tolerance]
) -> list[Judged]:
    """Each of `metrics` in `diff`, one file of `dvc metrics diff --all --json`: metric -> {"old": x, "new": y}.

    Where both revisions were scored on other customers, chance alone moves a score by the interval of a difference of
    independent samples (the root of the sum of squared half widths); no metric fails within it.
    """
    if unknown := [name for name in metrics if name not in diff]:
        raise InputError(
            "\n".join(f"params.yaml: review.metrics.{name} is no metric, before or after" for name in unknown)
        )
    return [_judged(name, diff, same_customers, tolerance) for name, tolerance in metrics.items()]


def _judged(name: str, diff: Mapping[str, Mapping[str, Any]], same_customers: bool, tolerance: Tolerance) -> Judged:
    before, after = (_score(name, diff, side) for side in ("old", "new"))
    known = before is not None and math.isfinite(before.value)
    allowed = tolerance.amount(before.value) if before and known else math.nan
    if before and after and known and not same_customers:
        allowed = max(allowed, math.hypot(before.half, after.half))
    return Judged(name, tolerance.better, before, after, allowed, _state(tolerance.better, before, after, allowed))


def _state(better: str, before: Score | None, after: Score | None, allowed: float) -> State:
    if after is None:
        return "gone"
    if not math.isfinite(after.value):
        return "not a number"
    if before is None or not math.isfinite(before.value):
        return "new"
    # rounded: metrics are written with six decimals, and .85 - .84 is a little more than .01
    loss = round((before.value - after.value) * (1 if better == "higher" else -1), 9)
    if loss > allowed:
        return "worse"
    return "better" if loss < 0 else "within tolerance" if loss else "equal"


def _score(name: str, diff: Mapping[str, Mapping[str, Any]], side: str) -> Score | None:
    value, low, high = (number(diff.get(f"{name}{end}", {}).get(side)) for end in ("", "_low", "_high"))
    return None if value is None else Score(value, low, high)


def number(value: Any) -> float | None:
    """`value` as a float, NaN where it is something else than a number; None stays None."""
    if value is None:
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
