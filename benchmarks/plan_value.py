"""What plans earn in a world whose truth is known: python -m benchmarks.plan_value [--release FOLDER] [--seeds 50]

Months of the simulated operator, in which offers keep some customers and drive others away (demo/offers.py). A customer
is worth half a year of its charges. Each way to choose spends the same budget; what it truly earns is the sum of
effect * value - cost over its offers, without chance. Differences are paired by month, with their t interval.
"""

import argparse
from decimal import Decimal
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from campaigns.plan.choice import Limit, choose
from churn.campaigns import Offer
from churn.measured import settled
from churn.params import read_knobs
from churn.profit import Profit
from churn.scorer import Scorer
from churn.text import columns
from demo.offers import effect
from demo.world import month, sent

ROOT = Path(__file__).parents[1]
CUSTOMERS, OFFERS, MONTHS = 7_043, 400, 6  # a month's customers, offers that the budget pays, months of charges
WAYS = ("plan", "highest probability", "flagged, at random", "knowing every effect")


def earned(scorer: Scorer, seed: int, offer: Offer) -> list[float]:
    """True profit of each of WAYS in one month."""
    customers = month(seed, CUSTOMERS)
    p, value = (
        scorer.probabilities(sent(scorer.release.schema, customers)),
        MONTHS * customers["monthly_charges"].to_numpy(),
    )
    truth = effect(customers) * value - offer.cost
    nobody, budget = np.zeros(CUSTOMERS, dtype=bool), Limit(budget=Decimal(str(offer.cost)) * OFFERS)
    flagged = np.flatnonzero(p >= scorer.release.card["threshold"]["value"])
    chosen = [
        choose(p * value, nobody, [offer], budget).customer,
        np.argsort(-p, kind="stable")[:OFFERS],
        np.random.default_rng(seed).choice(flagged, min(OFFERS, len(flagged)), replace=False),
        np.flatnonzero(truth > 0)[np.argsort(-truth[truth > 0], kind="stable")[:OFFERS]],
    ]
    return [float(truth[customers].sum()) for customers in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_value", description=__doc__)
    parser.add_argument("--release", type=Path, default=ROOT / "models/release")
    parser.add_argument("--seeds", type=int, default=50)
    given = parser.parse_args()
    scorer, profit = Scorer.open(given.release), settled(read_knobs("profit", Profit, ROOT / "params.yaml"))[0]
    offer = Offer(cost=profit.offer_cost, success=float(profit.offer_success))
    profits = np.array([earned(scorer, 5_000 + seed, offer) for seed in range(given.seeds)])
    rows = [("offers go to", "profit a month", "plan earns more by")]
    for way, column in zip(WAYS, profits.T, strict=True):
        more = profits[:, 0] - column
        width = student.ppf(0.975, len(more) - 1) * more.std(ddof=1) / np.sqrt(len(more))
        gained = (
            "" if way == "plan" else f"{more.mean():+,.0f} ({more.mean() - width:+,.0f} to {more.mean() + width:+,.0f})"
        )
        rows.append((way, f"{column.mean():,.0f}", gained))
    print("\n".join(columns(rows)))


if __name__ == "__main__":
    main()
