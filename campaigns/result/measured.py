"""What campaigns measured of an offer's success, for the file that the pipeline reads."""

from collections.abc import Iterable
from math import isfinite

from campaigns.result.report import Report
from churn.measured import Effect


def effects_of(reports: Iterable[Report]) -> tuple[list[Effect], dict[str, str]]:
    """The effect of each campaign that measured one, and why others did not, by name.

    However few its outcomes are, a campaign counts by its interval: to leave it out for them would choose by chance.
    """
    effects, left_out = [], {}
    for one in reports:
        success = one.offer_success
        if one.checks.problems:
            left_out[one.campaign] = "; ".join(one.checks.problems)
        elif not isfinite(success.value):
            left_out[one.campaign] = "no leaver is known on both sides yet"
        else:
            effects.append(
                Effect(
                    campaign=one.campaign,
                    outcomes=one.control.known + one.offered.known,
                    **success.named("offer_success"),
                )
            )
    return effects, left_out
