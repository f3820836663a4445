"""What a plan says: the list of its customers, and plan.json, which says what it expects and why."""

from collections.abc import Mapping
from hashlib import sha256
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from campaigns.plan.choice import UNIT, units
from campaigns.plan.run import Plan
from campaigns.plan.scores import reasons_of
from churn.release import file_hash

FORMAT = 1  # of plan.json
PROFIT = "churn_probability * success * value - cost; an offer that is made costs, taken or not"
DRAW = "control where the first 8 bytes of BLAKE2b of 'CAMPAIGN:CUSTOMER_ID', over 2**64, are below the share"


def list_of(plan: Plan) -> pa.Table:
    """A row for each selected customer."""
    names = pa.DictionaryArray.from_arrays(pa.array(plan.choice.offer), list(plan.offers))
    columns = {
        "customer_id": plan.ids,
        "offer": names.cast(pa.string()),
        "offered": ~plan.is_control,
        "share": np.full(len(plan.rows), offered_share(plan)),
        "churn_probability": plan.p,
        "expected_profit": plan.choice.expected_profit,
        "value": plan.value,
    }
    reasons = reasons_of(plan.pieces, plan.rows)
    return pa.table(columns | {name: reasons[name] for name in reasons.column_names})


def content_of(plan: Plan, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """plan.json without the hashes of the lists; `inputs` are the files that were read."""
    request, choice, made = plan.request, plan.choice, ~plan.is_control
    is_of = [choice.offer == i for i in range(len(plan.offers))]
    n_made = [int((is_one & made).sum()) for is_one in is_of]
    cost = sum(n * units(offer.cost) for n, offer in zip(n_made, plan.offers.values(), strict=True)) * UNIT
    success = np.array([offer.success for offer in plan.offers.values()])[choice.offer]
    profit = fsum(choice.expected_profit[made])
    bound = max(choice.upper_bound, profit)  # they are added in another order
    limit = {"most": request.limit.most} if request.limit.budget is None else {"budget": float(request.limit.budget)}
    return {
        "format": FORMAT,
        "campaign": request.campaign,
        "model_version": plan.model_version,
        "inputs": {name: {"file": path.name, "sha256": content_hash(path)} for name, path in inputs.items()},
        "limit": limit,
        "where": request.where,
        "value": plan.value_from.as_json(),
        "profit": PROFIT,
        "offers": {
            name: {"cost": offer.cost, "success": offer.success, "offered": n, "control": int(is_one.sum()) - n}
            for (name, offer), n, is_one in zip(plan.offers.items(), n_made, is_of, strict=True)
        },
        "scored": plan.scored,
        "left_out": plan.left_out,
        "selected": len(plan.rows),
        "control": {
            "share": request.control,
            "customers": int(plan.is_control.sum()),
            "profit_forgone": fsum(choice.expected_profit[plan.is_control]),
            "draw": DRAW,
        },
        "expected": {
            "offered": int(made.sum()),
            "cost": float(cost),
            "churn_avoided": fsum((plan.p * success)[made]),
            "profit": profit,
            "upper_bound": bound,
            "gap": bound - profit,
            "shadow_price": choice.shadow_price,
        },
    }


def offered_share(plan: Plan) -> float:
    """The chance with which an offer was drawn, of a selected customer."""
    return round(1 - plan.request.control, 12)


def content_hash(path: Path) -> str:
    """sha256 of a file; of a folder, of the names and contents of its files."""
    if not path.is_dir():
        return file_hash(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256(repr([(str(file.relative_to(path)), file_hash(file)) for file in files]).encode()).hexdigest()
