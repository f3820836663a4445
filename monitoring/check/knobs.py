"""The knobs of the check: monitoring.snapshot and monitoring.report of params.yaml, which says what they mean."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(gt=0, le=1)]
Distance = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class SnapshotKnobs:
    end: datetime | Literal["now", "today"]
    days: Annotated[float, Field(gt=0, le=3650)]
    delay: Annotated[float, Field(ge=0, le=3650)]
    sample: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Limits:
    min_customers: Annotated[int, Field(ge=50)]
    min_labelled: Annotated[int, Field(ge=50)]
    number_drift: Distance
    category_drift: Distance
    drift_share: Share
    prediction_drift: Distance
    more_missing: Share
    unseen: Share
    outside: Share
    auc_loss: Share
    min_known: Share
    selected: Distance
    calibration: Share
    concept_gap: Share
    concept_calibration: Share
    alpha: Annotated[float, Field(gt=0, le=0.5)]
    resamples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
