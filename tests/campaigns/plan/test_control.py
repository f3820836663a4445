"""The control group: drawn by chance, and the same whenever it is drawn."""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from campaigns.plan.control import places

campaigns = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)


def ids(n: int) -> pa.ChunkedArray:
    return pa.chunked_array([[f"C{i}" for i in range(n)]])


@given(campaigns, st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, unique=True), st.randoms())
def test_a_customer_s_place_is_the_same_in_every_list(campaign: str, names: list[str], chance: object) -> None:
    place = dict(zip(names, places(campaign, pa.chunked_array([names])).tolist(), strict=True))
    chance.shuffle(names)  # type: ignore[attr-defined]
    halves = pa.chunked_array([names[::2], names[1::2]], pa.string())
    assert places(campaign, halves).tolist() == [place[name] for name in [*names[::2], *names[1::2]]]


def test_the_draw_can_be_drawn_again_without_us() -> None:
    digest = blake2b("spring:ä-1".encode(), digest_size=8).digest()
    assert places("spring", pa.chunked_array([["x", "ä-1"]]))[1] == int.from_bytes(digest) / 2**64


@given(campaigns, st.floats(0.01, 0.5))
def test_the_control_s_share_is_one_that_chance_brings(campaign: str, share: float) -> None:
    n = 4000
    low, high = binom.interval(0.999, n, share)
    assert low <= (places(campaign, ids(n)) < share).sum() <= high


@given(campaigns, campaigns)
def test_two_campaigns_draw_independently(one: str, other: str) -> None:
    n, share = 4000, 0.3
    both = ((places(one, ids(n)) < share) & (places(other, ids(n)) < share)).sum()
    low, high = binom.interval(0.999, n, share if one == other else share**2)
    assert low <= both <= high


def test_a_larger_share_keeps_the_control_there_is() -> None:
    place = places("spring", ids(1000))
    assert set(np.flatnonzero(place < 0.1)) < set(np.flatnonzero(place < 0.2))


def test_nobody_in_a_list_of_nobody() -> None:
    assert places("spring", pa.chunked_array([], pa.string())).shape == (0,)
