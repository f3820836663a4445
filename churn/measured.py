"""The success of offers as past campaigns measured it, shrunk towards what params.yaml states beforehand.

A random-effects meta-analysis in Bayes's form (Higgins, Thompson, Spiegelhalter 2009, Journal of the Royal Statistical
Society A 172, 137-159): each campaign measured a relative risk of leaving whose logarithm is about normal, campaigns
differ by a standard deviation tau, and their mean has a lognormal prior with the mean and deviation that are stated.
tau is half-normal with the prior's deviation (Roever et al. 2021, Research Synthesis Methods 12, 448-474), and summed
over as in Roever 2020, Journal of Statistical Software 93(6).
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from churn.profit import MEASURED, Profit
from churn.script import InputError

log = logging.getLogger("profit")

Z = NormalDist().inv_cdf(0.975)
TAUS = (np.arange(200) + 0.5) / 50  # in deviations of the prior
STEPS = 2001  # of the grid on which the interval's ends are looked up


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one campaign measured: an entry of the file `profit.measured`."""

    campaign: str
    outcomes: Annotated[int, Field(ge=0)]  # of both sides, that counted
    offer_success: float  # share of the leavers whom the offer kept; below 0 where it drove customers away
    offer_success_low: float
    offer_success_high: Annotated[float, Field(lt=1)]

    @property
    def log_risk(self) -> float:
        return math.log(1 - self.offer_success)

    @property
    def error(self) -> float:
        """The standard error of `log_risk`."""
        return (math.log(1 - self.offer_success_low) - math.log(1 - self.offer_success_high)) / (2 * Z)


@dataclass(frozen=True, kw_only=True)
class File:
    """The content of the file `profit.measured`."""

    campaigns: list[Effect]


def read_effects(path: Path) -> list[Effect]:
    try:
        content = TypeAdapter(File).validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"{path} is missing, which params.yaml names as profit.measured; {WAY_OUT}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where} is {first['input']!r}: {first['msg'].lower()}; {WAY_OUT}") from None
    except ValueError as error:  # no JSON, or no text
        raise InputError(f"{path} is not JSON: {error}; {WAY_OUT}") from None
    for one in content.campaigns:
        if not -math.inf < one.offer_success_low < one.offer_success < one.offer_success_high:
            raise InputError(f"{path}: the interval of {one.campaign} does not hold its offer_success; {WAY_OUT}")
    return content.campaigns


WAY_OUT = "python -m campaigns measured writes it"


def shrunk(effects: Sequence[Effect], mean: float, deviation: float) -> tuple[float, float, float]:
    """Success and the ends of its 95 % interval, in [0, 1]; without effects those of the prior."""
    s2 = math.log(1 + (deviation / (1 - mean)) ** 2)  # of a lognormal with this mean and deviation
    m = math.log(1 - mean) - s2 / 2
    y, v = np.array([one.log_risk for one in effects]), np.array([one.error**2 for one in effects])
    tau = TAUS * np.sqrt(s2)
    precise = 1 / (v + tau[:, None] ** 2)  # (taus, campaigns)
    variance = 1 / (1 / s2 + precise.sum(axis=1))
    middle = variance * (m / s2 + (precise * y).sum(axis=1))
    # how likely the effects are with each tau, whatever their mean
    likely = np.log(precise).sum(axis=1) + np.log(variance) - (precise * (y - m) ** 2).sum(axis=1)
    likely += (precise * (y - m)).sum(axis=1) ** 2 * variance - TAUS**2
    share = np.exp((likely - likely.max()) / 2)
    share /= share.sum()
    risk = float(share @ np.exp(middle + variance / 2))
    wide = 6 * np.sqrt(variance)
    grid = np.linspace((middle - wide).min(), (middle + wide).max(), STEPS)
    density = share / np.sqrt(variance) @ np.exp(-((grid - middle[:, None]) ** 2) / (2 * variance[:, None]))
    below = density.cumsum() / density.sum()
    high, low = np.interp([0.025, 0.975], below, grid)
    success, least, most = (round(float(np.clip(1 - x, 0, 1)), 6) for x in (risk, np.exp(low), np.exp(high)))
    return success, least, most


def settled(profit: Profit) -> tuple[Profit, dict[str, Any]]:
    """The profit with a number as `offer_success`, and what that rests on; nothing where params.yaml states one."""
    if profit.offer_success != MEASURED:
        return profit, {}
    if profit.offer_prior is None or profit.offer_prior_deviation is None:
        raise InputError(
            "params.yaml: profit.offer_success is 'measured', which takes profit.offer_prior and "
            "profit.offer_prior_deviation too: the success expected beforehand, and how far off it may be"
        )
    effects = read_effects(Path(profit.measured))
    success, low, high = shrunk(effects, profit.offer_prior, profit.offer_prior_deviation)
    if not success:
        log.warning("offers seem to drive away no fewer customers than they keep, so none pays")
    evidence = {
        "offer_success_low": low,
        "offer_success_high": high,
        "outcomes": sum(one.outcomes for one in effects),
        "campaigns": [one.campaign for one in effects],
        "prior": profit.offer_prior,
        "prior_deviation": profit.offer_prior_deviation,
    }
    return replace(profit, offer_success=success), evidence
