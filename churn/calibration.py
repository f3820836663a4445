"""Logistic calibration on log-odds: p becomes sigmoid(slope * logit(p) + intercept), after Platt (1999)."""

import numpy as np

EDGE = 1e-6  # probabilities are kept this far from 0 and 1, where log-odds end


def stretch(p: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """(n,) calibrated; p (n,) in [0, 1]."""
    return sigmoid(slope * logit(p) + intercept)


def fit_calibration(churned: np.ndarray, p: np.ndarray, weights: np.ndarray | float = 1.0) -> tuple[float, float]:
    """Slope and intercept of highest likelihood, by Newton's method; churned (n,) in {0, 1}, both outcomes there."""
    x, beta = logit(p), np.array([0.0, 0.0])
    best = log_likelihood(churned, beta[0] * x + beta[1], weights)
    for _ in range(100):
        q = sigmoid(beta[0] * x + beta[1])
        w, off = weights * q * (1 - q), weights * (churned - q)
        curvature = np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]])
        # the ridge is for a constant p, and for a p that separates the outcomes and would send the slope to infinity
        step = np.linalg.solve(curvature + 1e-6 * np.eye(2), np.array([(off * x).sum(), off.sum()]))
        # a whole step can overshoot where p is far off: halve it until it is uphill
        while (found := log_likelihood(churned, (beta[0] + step[0]) * x + beta[1] + step[1], weights)) < best:
            step = step / 2
            if np.abs(step).max() < 1e-12:
                return float(beta[0]), float(beta[1])
        beta, best = beta + step, found
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0]), float(beta[1])


def log_likelihood(churned: np.ndarray, log_odds: np.ndarray, weights: np.ndarray | float = 1.0) -> float:
    return float((weights * (churned * log_odds - np.logaddexp(0, log_odds))).sum())


def logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, EDGE, 1 - EDGE)
    return np.log(p / (1 - p))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))  # 1 / (1 + exp(-x)) without overflow
