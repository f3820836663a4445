"""What a retention offer does to the simulated operator's customers: both outcomes of each, which no real table shows.

An offer multiplies the hazard of leaving (stages/simulate.py) by exp(OFFER), so that

    P(churned | offer) = 1 - (1 - P(churned | no offer)) ** exp(OFFER)

The table without offers stays as `simulate` draws it. One more coin for each customer decides what the offer changes,
and makes each one of four kinds (Radcliffe & Surry 2011, "Real-World Uplift Modelling with Significance-Based Uplift
Trees"; Devriendt, Berrevoets & Verbeke 2021, "Why you should stop predicting customer churn and start using uplift
models", Information Sciences 548:497-515). Who responds is another question than who leaves, as in the field (Ascarza
2018, "Retention Futility", Journal of Marketing Research 55(1):80-98): customers of the first months leave most and are
hardly held, an offer holds those who have been there longer and pay each bill by hand, and it reminds customers whose
contract or automatic payment runs on by itself (Ascarza, Iyengar & Schleicher 2016, "The Perils of Proactive Churn
Prevention Using Plan Recommendations", Journal of Marketing Research 53(1):46-60: 10 % left, without the offer 6.4 %).

While `concept` is 0, offers to all for whom they pay by the section `profit` keep 30 % of those who would leave, less
those whom they drive away: its `offer_success`. Of all customers 8 % are persuadables, 3 sleeping dogs, 18 lost causes.
"""

from typing import Any

import numpy as np
import pandas as pd
from pandas.util import hash_array

from stages.simulate import Array, leaving, weighted

OFFER = {  # log of the hazard's factor; the keys are those of HAZARD
    "base": -0.15, "log_tenure": -0.35, "contract=One year": 1.2, "contract=Two year": 1.5,
    "payment_method=Bank transfer (automatic)": 1.2, "payment_method=Credit card (automatic)": 1.2,
}  # fmt: skip
# whether the customer leaves without the offer, and with it
KINDS = {
    (True, False): "persuadable",
    (False, False): "sure thing",
    (True, True): "lost cause",
    (False, True): "sleeping dog",
}


def leaving_if_offered(customers: pd.DataFrame, concept: float = 0.0) -> Array:
    """P(churned | offer), (n,), of customers drawn by simulate() with this concept."""
    factor = np.exp(weighted(OFFER, {**customers, "log_tenure": np.log1p(customers["tenure"])}))
    return np.asarray(-np.expm1(factor * np.log1p(-leaving(customers, concept))))


def effect(customers: pd.DataFrame, concept: float = 0.0) -> Array:
    """P(churned | no offer) - P(churned | offer), (n,): below 0 where the offer drives customers away."""
    return leaving(customers, concept) - leaving_if_offered(customers, concept)


def churned_if_offered(customers: pd.DataFrame, seed: int, concept: float = 0.0) -> Array:
    """Who churns, (n,) of bool, where all are made an offer; a customer's fate hangs on its id and the seed alone."""
    p, left = leaving(customers, concept), (customers["churned"] == "Yes").to_numpy()
    ids = customers["customer_id"].to_numpy(object)
    coin = hash_array(ids, hash_key=f"{seed % 10**16:016d}") / 2.0**64
    fate = np.where(left, coin * p, p + coin * (1 - p))  # drawn again where `simulate` can have drawn it
    return np.asarray(fate < leaving_if_offered(customers, concept))


def churned_after(customers: pd.DataFrame, offered: Any, seed: int, concept: float = 0.0) -> Array:
    """Who churned, (n,) of bool, where `offered`, (n,) of bool, got an offer; all others as `simulate` has it."""
    left = (customers["churned"] == "Yes").to_numpy()
    return np.where(np.asarray(offered, bool), churned_if_offered(customers, seed, concept), left)


def after_offers(customers: pd.DataFrame, offered: Any, seed: int, concept: float = 0.0) -> pd.DataFrame:
    """The customers with the column `churned` as it is after these offers."""
    churned = churned_after(customers, offered, seed, concept)
    return customers.assign(churned=pd.Categorical.from_codes(churned.astype(np.int64), pd.Index(["No", "Yes"])))


def kinds(customers: pd.DataFrame, seed: int, concept: float = 0.0) -> list[str]:
    """Of each customer one of KINDS."""
    both = zip(customers["churned"] == "Yes", churned_if_offered(customers, seed, concept).tolist(), strict=True)
    return [KINDS[outcomes] for outcomes in both]
