"""The section `campaigns` of params.yaml, which says what its knobs mean."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from churn.params import read_knobs

MAX_OFFERS = 20
Name = Annotated[str, Field(min_length=1, max_length=64)]


@dataclass(frozen=True, kw_only=True)
class Offer:
    cost: Annotated[float, Field(ge=0, le=1e9)]  # of one offer, taken or not
    success: Annotated[float, Field(gt=0, le=1)]  # share of leaving customers that it keeps


@dataclass(frozen=True, kw_only=True)
class Campaigns:
    lasts: Annotated[float, Field(gt=0, le=3650)]  # days
    outcome_after: Annotated[float, Field(ge=0, le=3650)]  # days
    effect: Annotated[float, Field(gt=0)]  # money per contact
    alpha: Annotated[float, Field(gt=0, le=0.5)]
    min_known: Annotated[int, Field(ge=2)]
    control: Annotated[float, Field(ge=0, lt=1)]  # share of the selected customers
    offers: Annotated[dict[Name, Offer], Field(max_length=MAX_OFFERS)]  # by name; none: that of the section profit
    months: Annotated[int, Field(ge=1, le=1200)]
    discount: Annotated[float, Field(ge=0, lt=1)]  # a month's


def read_lasts() -> timedelta:
    """How long an offer has an effect."""
    return timedelta(days=read_knobs("campaigns", Campaigns).lasts)
