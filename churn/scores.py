"""How good probabilities of churn are: the scores that training, selection and evaluation share."""

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

RANKING = ("roc_auc", "average_precision")  # depend on the order of the probabilities alone
LOSSES = ("brier", "log_loss")  # the lower the better


def scores(churned: np.ndarray, p: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Eight scores; churned (n,) in {0, 1}, p (n,) = P(churned = 1), flagged as churn where p >= threshold."""
    flagged = p >= threshold
    return {
        "roc_auc": float(roc_auc_score(churned, p)),
        "average_precision": float(average_precision_score(churned, p)),
        "brier": float(brier_score_loss(churned, p)),
        "log_loss": float(log_loss(churned, p, labels=[0, 1])),
        "accuracy": float(accuracy_score(churned, flagged)),
        "f1": float(f1_score(churned, flagged, zero_division=0)),
        "precision": float(precision_score(churned, flagged, zero_division=0)),
        "recall": float(recall_score(churned, flagged, zero_division=0)),
    }
