"""Experiments in a log: customers of two arms, and what became of them."""

from datetime import timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from monitoring.ab.experiment import Experiment, read_customers
from tests.factories import START, customers, fill, guessed, outcome, prediction

SPLIT = {"challenger": "new", "share": 0.5}
EXPERIMENT = Experiment("old", "new", 0.5, START)


def read(engine: Engine, experiment: Experiment = EXPERIMENT) -> pd.DataFrame:
    with engine.connect() as connection:
        return read_customers(connection, experiment, timedelta(days=90))


def fill_experiment(engine: Engine, n: int, noise: tuple[float, float], share: float = 0.5, days: int = 30) -> None:
    """n customers, one after another; both arms' models are off by their noise, outcomes come a day later."""
    p, churned = customers(n, seed=1)
    at = np.sort(np.random.default_rng(2).uniform(0.1, 24 * days, n))
    is_challenger = np.random.default_rng(3).random(n) < share
    q = np.where(is_challenger, guessed(p, noise[1], 4), guessed(p, noise[0], 5))
    arms = np.where(is_challenger, "challenger", "champion")
    rows = [prediction(h, f"c{i}", str(arm), x) for i, (h, arm, x) in enumerate(zip(at, arms, q, strict=True))]
    outcomes = [outcome(h + 24, bool(y), customer=f"c{i}") for i, (h, y) in enumerate(zip(at, churned, strict=True))]
    fill(engine, rows, outcomes)
