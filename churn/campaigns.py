"""The section `campaigns` of params.yaml, which says what its knobs mean."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from churn.params import read_knobs


@dataclass(frozen=True, kw_only=True)
class Campaigns:
    lasts: Annotated[float, Field(gt=0, le=3650)]  # days that an offer has an effect on the customer


def read_lasts() -> timedelta:
    """How long an offer has an effect."""
    return timedelta(days=read_knobs("campaigns", Campaigns).lasts)
