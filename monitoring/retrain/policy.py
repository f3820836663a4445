"""When to train again, and on which customers: what the checks found, when the last retraining was, what changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Annotated, Any, Literal

from pydantic import Field

from serve.log.tables import CLOCK_SKEW, Check
from serve.releases.ledger import Act, last_retraining, retrainings

ACTOR = "monitoring.retrain"
CONCEPT = "concept_drift"

Reasons = Literal["input_drift", "prediction_drift", "estimated_auc", "realised_auc", "concept_drift"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The section monitoring.retrain of params.yaml: when to train again, on what, and the release's part."""

    reasons: list[Reasons]
    checks: Annotated[int, Field(ge=1, le=100)]
    cooldown: Annotated[float, Field(ge=0, le=3650)]  # days
    min_labels: Annotated[int, Field(ge=100)]
    days: Annotated[float, Field(gt=0, le=3650)]
    customers: Annotated[int, Field(ge=100, le=10**7)]
    role: Literal["shadow", "challenger", "champion"]
    share: Annotated[float, Field(gt=0, le=1)]


def breaches(check: Check, reasons: Sequence[str]) -> list[str]:
    """Those of the reasons that are a breach in that check."""
    listed: Sequence[Mapping[str, Any]] = check.found["reasons"]
    found = {reason["id"] for reason in listed if reason["level"] == "breach"}
    return [reason for reason in reasons if reason in found]


def why_not(checks: Sequence[Check], acts: Sequence[Act], now: datetime, policy: Policy) -> str:
    """Why no retraining is due, in words, or "" where it is; the champion's checks and all acts, oldest first."""
    if not checks:
        return "nobody has checked it"
    found = [bool(breaches(check, policy.reasons)) for check in reversed(checks)]
    in_a_row = next((i for i, is_breach in enumerate(found) if not is_breach), len(found))
    if in_a_row < policy.checks:
        return f"the last {in_a_row} checks found what calls for it; {policy.checks} in a row are asked for"
    # one of the future, by a clock that was wrong, does not put off the next until then
    if (last := last_retraining(acts)) and last <= now + CLOCK_SKEW and now - last < timedelta(days=policy.cooldown):
        return f"the last one was at {last:%Y-%m-%d %H:%M}; the next may be {policy.cooldown:g} days later"
    return ""


def concept_changed_at(checks: Sequence[Check], acts: Sequence[Act]) -> datetime | None:
    """From when on customers tell how they leave now; None: as they always did.

    Where the champion's last checks found concept drift, the end of the first cohort that showed it, or the last cohort
    where that begins sooner: a moment that stays, so that outcomes gather behind it. Else what an earlier retraining
    went by. Customers of the world before would teach a model what is no longer so.
    """
    if found := list(takewhile(lambda check: breaches(check, [CONCEPT]), reversed(checks))):
        known = found[-1].found["window"]["cohort_end"], found[0].found["window"]["cohort_start"]
        return min(map(datetime.fromisoformat, known))
    versions = {name: {act["version"] for act in acts if act["act"] == name} for name in ("refuse", "promote")}
    failed = versions["refuse"] - versions["promote"]  # a world that taught a worse model was none, or has gone again
    moments = [act["lineage"].get("since") for act in retrainings(acts) if act["version"] not in failed]
    return max((datetime.fromisoformat(moment) for moment in moments if moment), default=None)
