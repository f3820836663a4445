"""Keys and rates let through what they should, and nothing else."""

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.http import rate_limit as limits
from serve.http.auth import ApiKeys
from serve.http.rate_limit import RateLimit
from serve.settings import Rate


class Clock:
    """time.monotonic() as a test sets it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module", autouse=True)
def ticking(clock: Clock) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "time", clock)
        yield


@given(count=st.integers(1, 20), seconds=st.integers(1, 60), pauses=st.lists(st.floats(0, 5), max_size=60))
def test_no_window_holds_more_than_a_burst_and_the_rate(
    clock: Clock, count: int, seconds: int, pauses: list[float]
) -> None:
    limit, accepted = RateLimit(Rate(count, seconds), None), []
    for pause in pauses:
        clock.now += pause
        if not limit.wait(b"client"):
            accepted.append(clock.now)
    for i, start in enumerate(accepted):
        for j, end in enumerate(accepted[i:], 1):
            assert j <= count + (end - start) * count / seconds + 1e-6


@given(count=st.integers(1, 50), seconds=st.integers(1, 3600))
def test_a_burst_then_the_steady_rate_is_never_refused(clock: Clock, count: int, seconds: int) -> None:
    limit = RateLimit(Rate(count, seconds), None)
    clock.now += 10_000
    assert [limit.wait(b"client") for _ in range(count)] == [0] * count
    wait = limit.wait(b"client")
    assert 0 < wait <= seconds / count + 1e-6
    for _ in range(5):
        clock.now += seconds / count
        assert limit.wait(b"client") == 0


@given(count=st.integers(1, 50), seconds=st.integers(1, 3600), pauses=st.lists(st.floats(0, 100), max_size=60))
def test_what_was_told_to_wait_is_accepted_after_it(
    clock: Clock, count: int, seconds: int, pauses: list[float]
) -> None:
    limit = RateLimit(Rate(count, seconds), None)
    for pause in [0.0] * count + pauses:
        clock.now += pause
        if wait := limit.wait(b"client"):
            assert wait <= seconds / count + 1e-6
            clock.now += wait
            assert limit.wait(b"client") == 0


def test_a_file_of_another_clock_locks_nobody_out(clock: Clock, tmp_path: Path) -> None:
    limit = RateLimit(Rate(1, 10), tmp_path)
    assert limit.wait(b"client") == 0
    clock.now -= 500  # the machine started anew
    limit = RateLimit(Rate(1, 10), tmp_path)
    assert limit.wait(b"client") == 0
    assert 0 < limit.wait(b"client") <= 10


def test_the_shared_file_has_its_place_on_the_disk(tmp_path: Path) -> None:
    RateLimit(Rate(1, 10), tmp_path)
    stat = (tmp_path / "rate-limit").stat()
    assert (stat.st_size, stat.st_mode & 0o777) == (8 * limits.SLOTS, 0o600)
    assert 512 * stat.st_blocks >= stat.st_size


def test_clients_do_not_share_a_rate() -> None:
    limit = RateLimit(Rate(1, 10), None)
    assert limit.wait(b"one") == limit.wait(b"another") == 0
    assert limit.wait(b"one") > 0


def asked(folder: Path) -> None:
    raise SystemExit(sum(not RateLimit(Rate(3, 3600), folder).wait(b"client") for _ in range(3)))


@pytest.mark.slow
def test_processes_count_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    granted = []
    for _ in range(2):
        process = context.Process(target=asked, args=(tmp_path,))
        process.start()
        process.join()
        granted.append(process.exitcode)
    assert granted == [3, 0]


def asked_at_once(folder: Path) -> int:
    limit = RateLimit(Rate(500, 3600), folder)
    return sum(not limit.wait(b"client") for _ in range(2_000))


@pytest.mark.slow
def test_processes_that_count_at_once_grant_no_request_more(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert sum(pool.map(asked_at_once, [tmp_path] * 4, chunksize=1)) == 500


KEYS = ("first-key", "zweiter-schlüssel")


@pytest.mark.parametrize("key", KEYS)
def test_each_of_several_keys_opens(key: str) -> None:
    assert ApiKeys(KEYS).accept(key.encode())


@pytest.mark.parametrize("key", [b"", b"first", b"first-key2", b"first-key,", b"FIRST-KEY", b"\xff\x00"])
def test_nothing_else_opens(key: bytes) -> None:
    assert not ApiKeys(KEYS).accept(key)


def test_without_keys_there_is_nothing_to_ask_for() -> None:
    assert not ApiKeys(())
    assert ApiKeys(KEYS)
