"""How much an outcome counts where offers are made: weights that stand for all, and kinds for whom nobody stands."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from churn.offers import MAX_UNCOVERED, effective, no_offers, uncovered, weights

SEEDS = st.integers(0, 10_000)


def month(seed: int, share: float = 0.9, n: int = 4_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p, offered and spared of n customers, where all above .4 are in a campaign."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, n)
    listed = p > 0.4
    return p, listed & (rng.random(n) < share), np.where(listed, 1 - share, 1.0)


def test_without_offers_every_outcome_counts_once() -> None:
    assert (no_offers(3).weights == 1).all()
    assert uncovered(np.array([0.1, 0.2]), *no_offers(2)) == 0


@given(SEEDS, st.floats(0.05, 0.95))
def test_an_offered_customer_does_not_count_and_a_control_counts_for_those_like_it(seed: int, share: float) -> None:
    _, offered, spared = month(seed, share)
    w = weights(offered, spared)
    assert (w[offered] == 0).all() and (w[spared == 1] == 1).all()
    np.testing.assert_allclose(w[(spared < 1) & ~offered], 1 / (1 - share))


def test_the_weights_sum_up_to_the_customers_and_their_mean_is_everybody_s() -> None:
    months = [month(seed) for seed in range(300)]
    sums = [weights(offered, spared).sum() / len(p) for p, offered, spared in months]
    gaps = [np.average(p, weights=weights(offered, spared)) - p.mean() for p, offered, spared in months]
    for off in (np.array(sums) - 1, np.array(gaps)):
        assert abs(off.mean()) < 3 * off.std() / np.sqrt(len(off))


def test_unequal_weights_tell_less() -> None:
    assert effective(np.ones(7)) == 7
    assert effective(np.array([10.0, 1.0, 1.0])) < 2
    assert effective(np.ones(0)) == 0


def test_a_campaign_with_a_control_group_covers_its_customers() -> None:
    alarms = [uncovered(*month(seed)) for seed in range(200)]
    assert sum(missed > MAX_UNCOVERED for missed in alarms) <= 1


def test_offers_to_everybody_of_a_kind_leave_it_uncovered_whatever_share_was_stated() -> None:
    p, listed, _ = month(1, share=1.0)
    for stated in (1.0, 0.9, 0.5):
        spared = np.where(listed, 1 - stated, 1.0)
        assert abs(uncovered(p, listed, spared) - listed.mean()) < 0.05
    assert uncovered(p, listed, np.where(listed, 0.0, 1.0)) == listed.mean()
