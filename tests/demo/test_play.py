"""The demo's parts: its clock moves all alike, its truth is the simulation's, what it shows can be read anywhere."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import select

from churn.intervals import Interval
from churn.profit import Profit
from demo.chart import draw, write_page, write_png
from demo.clock import moved_id, pass_time
from demo.screen import STEPS, Screen, bar, bars, loop
from demo.story import Month, Recovery, Score, Side, closing, row, totals
from demo.workspace import set_params
from demo.world import CHANGED, WORLDS, expected_auc, month
from monitoring.retrain.policy import concept_changed_at
from serve.log.checks import latest, record
from serve.log.tables import outcomes, predictions, time_of_id
from serve.releases.ledger import last_retraining, learned_until
from serve.releases.store import Store
from stages.simulate import leaving
from tests.factories import START, act, empty_log, fill, outcome, prediction, write_ledger

PROFIT = Profit(customer_value=400, offer_cost=40, offer_success=0.3)
A_MONTH = timedelta(days=30)
ids = st.builds(lambda at, rest: f"{at:014x}{rest:018x}", st.integers(10**15, 2 * 10**15), st.integers(0, 2**72 - 1))


# the clock


@given(st.lists(ids, unique=True), st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_moved_ids_stay_the_only_ones_and_in_order(names: list[str], by: timedelta) -> None:
    moved = [moved_id(name, by) for name in sorted(names)]
    assert moved == sorted(set(moved))
    assert all(time_of_id(name) - time_of_id(new) == by for name, new in zip(sorted(names), moved, strict=True))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A log and a ledger in which each kind of time stands."""
    lineage = {"since": START.isoformat(), "until": (START + A_MONTH).isoformat(), "branch": "retrain/new"}
    write_ledger(tmp_path, [act("add", 0) | {"lineage": lineage}, act("promote", 1, champion="new"), act("add", 2)])
    engine = empty_log(tmp_path)
    fill(
        engine,
        [prediction(hour, f"c{hour}", "champion") for hour in range(50)],
        [outcome(hour + 1, hour % 2 == 0, customer=f"c{hour}") for hour in range(50)],
    )
    found = {
        "verdict": "breach",
        "reasons": [{"id": "concept_drift", "level": "breach", "words": ""}],
        "window": {"model_version": "new"} | dict.fromkeys(("start", "cohort_start", "cohort_end"), START.isoformat()),
    }
    with engine.connect() as connection:
        record(connection, START, found)
    engine.dispose()
    return tmp_path


def moments(folder: Path) -> dict[str, list[datetime]]:
    """Every time in the log and the ledger, and what the policy makes of them."""
    acts = Store(folder).history()
    engine = empty_log(folder)
    with engine.connect() as connection:
        checks = latest(connection, datetime(2000, 1, 1, tzinfo=UTC))
        found = {
            "predictions": list(connection.scalars(select(predictions.c.at).order_by(predictions.c.customer_id))),
            "ids": [time_of_id(name) for name in connection.scalars(select(predictions.c.id))],
            "observed": list(connection.scalars(select(outcomes.c.observed_at).order_by(outcomes.c.customer_id))),
            "received": list(connection.scalars(select(outcomes.c.received_at).order_by(outcomes.c.customer_id))),
            "checks": [check.at for check in checks],
            "acts": [datetime.fromisoformat(act["at"]) for act in acts],
        }
    engine.dispose()
    read = last_retraining(acts), concept_changed_at(checks, acts), learned_until(acts, "new")
    return found | {"policy": [at for at in read if at]}


def test_a_month_makes_everything_a_month_older(store: Path) -> None:
    before = moments(store)
    state = (store / "state.json").read_bytes()
    pass_time(store, A_MONTH)
    assert moments(store) == {name: [at - A_MONTH for at in times] for name, times in before.items()}
    assert {len(times) for times in before.values()} == {50, 3, 1}  # there was something to move
    assert (store / "state.json").read_bytes() == state


def test_half_a_month_twice_is_a_month(store: Path) -> None:
    before = moments(store)
    for _ in range(2):
        pass_time(store, A_MONTH / 2)
    assert moments(store) == {name: [at - A_MONTH for at in times] for name, times in before.items()}


def test_what_is_no_time_stays(store: Path) -> None:
    def rest() -> list[object]:
        acts = Store(store).history()
        columns = [column for column in predictions.c if column.name not in ("id", "at")]
        engine = empty_log(store)
        with engine.connect() as connection:
            rows = connection.execute(select(*columns).order_by(predictions.c.customer_id)).all()
            checks = [check.found | {"window": ""} for check in latest(connection, START - 2 * A_MONTH)]
        engine.dispose()
        kept = [{name: act[name] for name in act if name not in ("at", "lineage")} for act in acts]
        return [*kept, acts[0]["lineage"]["branch"], *rows, *checks]

    before = rest()
    pass_time(store, A_MONTH)
    assert rest() == before


# the truth


def test_no_ranking_beats_the_chance_itself() -> None:
    customers = month(5, 2_000, *CHANGED)
    chance = leaving(customers, CHANGED.concept)
    best = expected_auc(chance, chance)
    assert best > expected_auc(chance, leaving(customers, 0.0)) > 0.5
    assert expected_auc(chance, -chance) == pytest.approx(1 - best)


def test_the_expected_auc_is_the_mean_of_what_outcomes_show() -> None:
    rng = np.random.default_rng(0)
    chance, p = rng.beta(0.7, 2.5, (2, 500))
    p = (p + chance) / 2
    shown = [expected_auc((rng.random(500) < chance).astype(float), p) for _ in range(400)]
    assert expected_auc(chance, p) == pytest.approx(np.mean(shown), abs=4 * np.std(shown) / 20)


def test_other_months_are_other_customers_of_the_same_operator() -> None:
    one, other = month(1, 3_000), month(2, 3_000)
    assert not set(one["customer_id"]) & set(other["customer_id"])
    assert abs((one["churned"] == "Yes").mean() - (other["churned"] == "Yes").mean()) < 0.05


def test_a_score_counts_the_offers_and_whom_they_kept() -> None:
    churned = np.array([1, 0, 1, 0])
    score = Score.of(Side(np.array([0.9, 0.8, 0.2, 0.1]), np.array([1.0, 1, 0, 0])), churned * 1.0, churned, PROFIT)
    assert score == (pytest.approx(0.75), pytest.approx((0.3 * 400 - 2 * 40) / 4))


# what is shown


@pytest.fixture
def months() -> list[Month]:
    found = []
    for number, world in enumerate(WORLDS, 1):
        auc = 0.66 if world == CHANGED and number < 8 else 0.75 if world == CHANGED else 0.85
        estimated = Interval(auc, auc - 0.01, auc + 0.01)
        first = Score(min(auc, 0.66) if world == CHANGED else auc, 2.0)
        found.append(
            Month(number, 100, Score(auc, 5.0), first, "healthy", estimated, None if number == 10 else estimated)
        )
    found[8].events += ["bad release", "rolled back"]
    found[2].events.append("input drift: a <campaign>")
    return found


RECOVERY = Recovery(before=0.65, after=0.74, plenty=0.75)
TOLD = {"months_lost": 4, "wrong_answers": 600, "rollback": 0.1}


def test_what_is_recovered_is_a_share_of_what_was_lost(months: list[Month]) -> None:
    assert RECOVERY.share == pytest.approx(0.9)
    assert Recovery(0.65, 0.65, 0.75).share == 0 and Recovery(0.65, 0.75, 0.75).share == 1
    assert totals(months) == (5_000, 2_000)
    words = " ".join(closing(months, RECOVERY, TOLD))
    assert "90%" in words and "+3,000" in words


def test_the_chart_is_an_image_and_a_page_with_every_month(months: list[Month], tmp_path: Path) -> None:
    figure = draw(months, RECOVERY, wrong=0.67)
    write_png(figure, tmp_path / "out/demo.png")
    assert (tmp_path / "out/demo.png").read_bytes().startswith(b"\x89PNG")
    write_page(figure, months, closing(months, RECOVERY, TOLD), tmp_path / "out/demo.html")
    page = (tmp_path / "out/demo.html").read_text()
    assert page.count("<tr>") == 1 + len(months) and "<svg" in page
    assert "a &lt;campaign&gt;" in page and "<campaign>" not in page
    assert "rolled back" in page and "src=" not in page  # it needs no other file


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(months: list[Month]) -> None:
    written = StringIO()
    with Screen(Console(file=written, force_terminal=False, markup=False, width=80)) as screen:
        screen.scene.months = months
        screen.head("Month 1")
        screen.step("check")
        screen.say("a breach [red] " + "x" * 200, "bold red")
        screen.table([row(month) for month in months])
    lines = written.getvalue().splitlines()
    assert "\x1b" not in written.getvalue()
    assert lines[1].endswith("Month 1") and lines[2] == "  a breach [red] " + "x" * 200
    assert len(lines) == 3 + 1 + len(months)  # the picture is for terminals


def test_on_a_terminal_the_picture_shows_the_step_and_respects_no_color(
    months: list[Month], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=130, height=40)
    console.print(loop("check"), *bars(months, 12))
    assert "▶check◀" in written.getvalue()
    codes = [code for part in written.getvalue().split("\x1b[")[1:] for code in part.partition("m")[0].split(";")]
    assert codes and set(codes) <= {"0", "1", "2", "7"}  # bold, dim and reverse are no colours


@pytest.mark.parametrize("step", STEPS)
def test_the_loop_is_as_wide_at_every_step(step: str) -> None:
    assert len(loop(step)) == len(loop("")) <= 110


def test_a_better_auc_is_no_lower_bar() -> None:
    drawn = [bar(value) for value in np.linspace(0.5, 0.95, 50)]
    assert drawn == sorted(drawn) and len(set(drawn)) == 8
    assert bar(None) == " "


def test_turning_a_knob_leaves_the_others(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("a: {b: 1, c: '2024-01-01'}  # a comment\nd: {}\n")
    set_params(params, {"a.b": 2, "d": {"e": [1]}})
    assert yaml.safe_load(params.read_text()) == {"a": {"b": 2, "c": "2024-01-01"}, "d": {"e": [1]}}
