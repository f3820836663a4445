"""Campaigns whose effect is known, as the result's report takes them."""

from datetime import UTC, datetime

import numpy as np

from campaigns.result.experiment import Experiment

BEGIN, NOW = np.datetime64("2026-02-01T00:00:00.000000"), datetime(2026, 6, 1, tzinfo=UTC)
DAY = np.timedelta64(1, "D")


def campaign(
    seed: int, n: int = 3_000, kept: float = 0.3, share: float = 0.9, days: int = 20, is_scored: bool = True
) -> Experiment:
    """n customers contacted over some days; the offer keeps a share of those who would leave, half of all."""
    rng = np.random.default_rng(seed)
    p, offered = rng.beta(4, 4, n), rng.random(n) < share
    at = BEGIN + (np.sort(rng.random(n)) * days * 86_400_000_000).astype("timedelta64[us]")
    return Experiment(
        name="spring",
        expected=None,
        customer=np.array([f"c{i}" for i in range(n)], dtype=object),
        at=at,
        offered=offered,
        share=np.full(n, share),
        p=p if is_scored else np.full(n, np.nan),
        churned=(rng.random(n) < p * np.where(offered, 1 - kept, 1)) * 1.0,
        observed=at + 5 * DAY,
        hidden=np.zeros(n, dtype=bool),
    )
