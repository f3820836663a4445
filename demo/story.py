"""What is written down of each month, and what it comes to in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from churn.intervals import Interval
from churn.profit import Profit
from demo.world import expected_auc


class Side(NamedTuple):
    """Answers: probabilities (n,) and decisions (n,) in {0, 1}."""

    p: np.ndarray
    flagged: np.ndarray


class Score(NamedTuple):
    """How good answers were."""

    auc: float  # the true one
    profit: float  # per customer, by what became of them

    @classmethod
    def of(cls, side: Side, chance: np.ndarray, churned: np.ndarray, profit: Profit) -> "Score":
        """chance (n,) with which the customers leave, churned (n,) in {0, 1}."""
        return cls(expected_auc(chance, side.p), float(profit.of(churned, side.flagged).mean()))


@dataclass
class Month:
    number: int  # from 1
    customers: int
    answered: Score
    without: Score  # of the first release, had nothing been done
    verdict: str = ""
    estimated: Interval | None = None  # by this month's check
    realised: Interval | None = None  # by the next month's
    events: list[str] = field(default_factory=list)


class Recovery(NamedTuple):
    """True ROC AUC of three models on the same customers of the new world."""

    before: float  # the first release
    after: float  # the retrained one
    plenty: float  # one that was trained on as many customers as one likes

    @property
    def share(self) -> float:
        """Of what the change cost, how much the retraining brought back."""
        return (self.after - self.before) / (self.plenty - self.before)


def totals(months: Sequence[Month]) -> tuple[float, float]:
    """Profit over all months with and without the retraining."""
    return (
        sum(month.answered.profit * month.customers for month in months),
        sum(month.without.profit * month.customers for month in months),
    )


def row(month: Month) -> dict[str, str]:
    """A month in words, for the tables."""
    return {
        "month": str(month.number),
        "what happened": "; ".join(month.events) or "nothing",
        "true ROC AUC": f"{month.answered.auc:.3f}",
        "first release": f"{month.without.auc:.3f}",
        "estimated": f"{month.estimated.value:.3f}" if month.estimated else "-",
        "by outcomes": f"{month.realised.value:.3f}" if month.realised else "-",
        "verdict": month.verdict,
        "profit": f"{month.answered.profit:.2f}",
        "first release ": f"{month.without.profit:.2f}",
    }


def as_json(
    months: Sequence[Month], recovery: Recovery, acts: Sequence[Mapping[str, Any]], told: Mapping[str, Any]
) -> dict[str, Any]:
    """For programs: all of it in numbers, and the acts of the ledger."""
    gained, without = totals(months)
    return {
        "profit": {"with": gained, "without": without},
        "recovery": {**recovery._asdict(), "share": recovery.share},
        "told": dict(told),
        "months": [asdict(month) for month in months],
        "acts": list(acts),
    }


def closing(months: Sequence[Month], recovery: Recovery, told: Mapping[str, Any]) -> list[str]:
    """The story in sentences."""
    gained, without = totals(months)
    return [
        f"The change of who leaves cost the first release {recovery.plenty - recovery.before:.3f} of ROC AUC "
        f"({recovery.before:.3f}; trained on plenty of the new customers a model reaches {recovery.plenty:.3f}).",
        f"The retraining brought back {recovery.share:.0%} of it ({recovery.after:.3f}), "
        f"{told['months_lost']} months after the change: outcomes take a month, and two checks in a row must see it.",
        f"Profit over {len(months)} months: {gained:,.0f} with the loop, {without:,.0f} without, "
        f"{gained - without:+,.0f}.",
        f"The bad release answered {told['wrong_answers']} customers; the rollback reached the answers "
        f"{told['rollback']:.2f} seconds after it was asked for.",
    ]
