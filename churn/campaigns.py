"""The section `campaigns` of params.yaml, which says what its knobs mean."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from churn.params import read_knobs


@dataclass(frozen=True, kw_only=True)
class Campaigns:
    lasts: Annotated[float, Field(gt=0, le=3650)]  # days
    outcome_after: Annotated[float, Field(ge=0, le=3650)]  # days
    effect: Annotated[float, Field(gt=0)]  # money per contact
    alpha: Annotated[float, Field(gt=0, le=0.5)]
    min_known: Annotated[int, Field(ge=2)]


def read_lasts() -> timedelta:
    """How long an offer has an effect."""
    return timedelta(days=read_knobs("campaigns", Campaigns).lasts)
