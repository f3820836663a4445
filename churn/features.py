"""Features: one numpy function each, named after its column; its arguments are the columns it needs.

Numbers and booleans come as float64 (n,) with NaN where missing, categories as object (n,) with None where missing.
A function looks at one row at a time, so that one customer and a whole table give the same numbers.
This module imports numpy alone: training, batch scoring and the service run the same lines.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import numpy as np

Array = np.ndarray
MISSING = "missing"  # the level of a category that is missing, in training and in scoring


def total_spent(tenure: Array, monthly_charges: Array) -> Array:
    """What all months so far cost at today's price."""
    return tenure * monthly_charges


def avg_monthly_ratio(tenure: Array, monthly_charges: Array) -> Array:
    """Today's bill spread over the months so far; month 0 counts as one, as do months below it, for a ratio of all."""
    return monthly_charges / (np.maximum(tenure, 0) + 1)


def tenure_group(tenure: Array) -> Array:
    """new: up to 12 months, month 0 too; developing: (12, 24]; mature: (24, 48]; loyal: above 48."""
    groups = np.full(len(tenure), None, dtype=object)
    for above, group in ((-np.inf, "new"), (12, "developing"), (24, "mature"), (48, "loyal")):
        groups[tenure > above] = group
    return groups


def tenure_log(tenure: Array) -> Array:
    """log(1 + months): the risk of leaving falls fast in the first year and slowly after; 0 below month 0."""
    return np.log1p(np.maximum(tenure, 0))


def filled(levels: Array) -> Array:
    """`levels`, of any shape, with the level "missing" where None."""
    return np.where(levels == None, MISSING, levels)  # noqa: E711, each of them


FEATURES: dict[str, Callable[..., Array]] = {
    function.__name__: function for function in (total_spent, avg_monthly_ratio, tenure_group, tenure_log)
}
CATEGORIES = {"tenure_group"}  # the features that are levels; all others are numbers
NUMBERS = {"tenure", "monthly_charges"}  # the columns that features compute with; as levels they are no use to them


@cache  # a signature costs more than the feature of one customer
def needs(name: str) -> list[str]:
    """The columns that the feature `name` is made of."""
    return list(inspect.signature(FEATURES[name]).parameters)


def available(columns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Those of the features `names` whose columns are there, in order; a feature may build on an earlier one."""
    there, found = set(columns), []
    for name in names:
        if there.issuperset(needs(name)):
            found.append(name)
            there.add(name)
    return found


def add_features(columns: Mapping[str, Array], names: Iterable[str]) -> dict[str, Array]:
    """`columns` and the features `names`, all of length n; a feature whose columns are absent is a KeyError."""
    added = dict(columns)
    for name in names:
        added[name] = FEATURES[name](*(added[column] for column in needs(name)))
    return added
