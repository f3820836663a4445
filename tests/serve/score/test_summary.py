"""Counts and sums that add up: values that training knew share no lot with others of another meaning."""

import numpy as np

from serve.score.job import lots
from serve.score.summary import Numbers


def test_yes_and_no_are_counted_apart_and_what_lies_above_too() -> None:
    counted = Numbers(lots(np.quantile([0.0, 0.0, 0.0, 1.0, 1.0], np.linspace(0, 1, 5))))
    counted.add(np.array([0, 1, 1, 0, 1, np.nan, 2, -1], dtype="float32"))
    assert counted.edges.tolist() == [0, 1, np.nextafter(1, 2)]
    assert (counted.counts.tolist(), counted.sums.tolist()) == ([1, 2, 3, 1], [-1, 0, 3, 2])
    assert (counted.missing, counted.min, counted.max) == (1, -1, 2)
