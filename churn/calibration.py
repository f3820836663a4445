"""Logistic calibration on log-odds: p becomes sigmoid(slope * logit(p) + intercept), after Platt (1999)."""

import numpy as np

EDGE = 1e-6  # probabilities are kept this far from 0 and 1, where log-odds end


def stretch(p: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """(n,) calibrated; p (n,) in [0, 1]."""
    return sigmoid(slope * logit(p) + intercept)


def fit_calibration(churned: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of highest likelihood, by Newton's method; churned (n,) in {0, 1}, both outcomes there."""
    x, beta = logit(p), np.array([1.0, 0.0])
    for _ in range(50):
        q = sigmoid(beta[0] * x + beta[1])
        w, off = q * (1 - q), churned - q
        curvature = np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]])
        # the ridge stops outcomes that p separates perfectly from sending the slope to infinity
        step = np.linalg.solve(curvature + 1e-6 * np.eye(2), np.array([(off * x).sum(), off.sum()]))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0]), float(beta[1])


def logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, EDGE, 1 - EDGE)
    return np.log(p / (1 - p))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
