"""Ten tasks of the console's visitors, each done by keyboard alone, and by mouse on a phone and at a desk.

Of a retention manager: this month's list, why a customer is on it, what a campaign brought, a file. Of a data
scientist: two releases, the customers behind a bad input, a what-if. Of an owner: what was done and why, a promotion
taken back, what wants attention.
"""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from demo.processes import until
from tests.e2e.browser import MARKS, chromium
from tests.e2e.console_house import ANNA, NOW, House, opened
from tests.e2e.hands import Hand, Keyboard, Mouse

pytestmark = MARKS
HANDS: dict[str, tuple[type[Hand], int, int]] = {
    "keyboard": (Keyboard, 1280, 900),
    "mouse-phone": (Mouse, 360, 800),
    "mouse-desk": (Mouse, 1280, 900),
}


@pytest.fixture(scope="module")
def house(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("console")
    with opened(folder, reproduced / "models/release", reproduced / "data/raw/customers.csv") as house:
        yield house


def sign_in(hand: Hand) -> None:
    hand.type("API key", ANNA)
    hand.press("Sign in")
    hand.sees("What wants attention")


def plan_the_months_list(hand: Hand, house: House) -> None:
    campaign = f"july-{type(hand).__name__.lower()}-{hand.page.viewport_size['width']}"
    hand.go_to("Campaigns")
    hand.go_to("Plan a campaign")
    hand.choose("Scored files", "june")
    hand.type("Name of the campaign", campaign)
    hand.press("Show what budgets would bring")
    hand.sees("What each budget would bring", "Expected profit", seconds=120)
    hand.slide("Move along the curve", 5)
    assert hand.has_in_sight("Expected profit")
    budget = float(hand.page.locator("#budget").input_value())
    assert hand.page.locator("[data-fact='0']").inner_text() == f"{budget:,.2f}"
    hand.press(f"Make the plan of {campaign}")
    hand.sees("Profit, expected", seconds=120)
    customers = hand.download("Download the list (CSV)").splitlines()
    plan = json.loads((house.scores / "plans" / campaign / "plan.json").read_text())
    assert 0 < plan["expected"]["cost"] == budget
    assert len(customers) == plan["selected"] + 1


def see_why_a_customer_is_on_it(hand: Hand, house: House) -> None:
    hand.go_to("Customers")
    hand.type("Customer id", house.last)
    hand.press("Look up in the log")
    hand.sees(f"Customer {house.last}", "Why", "What each value adds", "In the log")
    assert house.last not in hand.page.url
    assert house.last not in house.service.errors.read_text()


def follow_a_campaign_over_its_days(hand: Hand, house: House) -> None:
    hand.go_to("Campaigns")
    hand.go_to("spring")
    hand.sees("What it brought", "Sides", seconds=120)
    hand.unfold("As a table")
    hand.sees("churn avoided")


def have_a_file_scored_and_come_back_for_it(hand: Hand, house: House) -> None:
    hand.go_to("Files")
    hand.attach("File with the columns of the schema, a customer in each row", house.table)
    hand.press("Score this file")
    hand.sees("Rows without a score", "tenure", seconds=120)
    hand.press("Sign out")
    hand.type("API key", "forgotten")
    hand.press("Sign in")
    hand.sees("This is none of the keys.")
    sign_in(hand)
    hand.go_to("Files")
    hand.go_to(house.table.name)
    assert len(hand.download("Download the scores").splitlines()) == 49
    assert "many" in hand.download("Download the refused rows")
    hand.press("Remove the file and its scores")
    hand.sees("None is kept.")


def compare_two_releases(hand: Hand, house: House) -> None:
    hand.go_to("Releases")
    hand.go_to("Compare two of them")
    hand.choose("This release", house.champion)
    hand.choose("and this one beside it", house.other)
    hand.press("Compare")
    hand.page.wait_for_url(f"**a={house.champion}&b={house.other}")
    hand.press("Ask the gate")
    hand.sees(f"{house.other} passes against {house.champion}", "The same customers, scored by both", seconds=120)


def find_the_customers_behind_a_bad_input(hand: Hand, house: House) -> None:
    hand.go_to("Production")
    first = NOW - timedelta(days=12)
    hand.type("From (UTC)", f"{first:%m%d%Y}")
    hand.press("Show")
    hand.page.wait_for_url(f"**from={first:%Y-%m-%d}**")
    hand.go_to("10.0 % of contract unseen")
    hand.sees("The newest answers with the flaw", "Five years")
    customer = hand.page.get_by_role("button", name="Customer ").first.text_content()
    hand.press(customer)
    hand.sees(customer, "In the log")
    assert customer.removeprefix("Customer ") not in hand.page.url


def ask_what_if(hand: Hand, house: House) -> None:
    hand.go_to("Customers")
    hand.choose("Contract", "Month-to-month")
    hand.sees("Changed: Contract")
    assert hand.has_in_sight(hand.page.locator("#now").inner_text())
    hand.type("Tenure", "-1")
    hand.sees("No answer: values are not as the schema has them.")
    assert hand.page.get_by_label("Tenure", exact=True).get_attribute("aria-invalid") == "true"
    hand.type("Tenure", "60")
    hand.sees("Changed: Tenure, Contract")


def read_who_promoted_what_and_why(hand: Hand, house: House) -> None:
    hand.go_to("Releases")
    hand.sees("History", "better in October")
    hand.go_to(house.other)
    hand.sees("Acts on it", f"ben promoted {house.other}")
    hand.unfold("The gate's report: ben promoted")
    hand.sees(f"{house.other} passes against {house.champion}")


def promote_and_go_back(hand: Hand, house: House) -> None:
    hand.go_to("Releases")
    hand.go_to(house.other)
    hand.go_to("Promote …")
    hand.sees("What will change")
    hand.press("Ask the gate")
    hand.sees(f"{house.other} passes against {house.champion}", seconds=120)
    assert hand.page.get_by_text("this takes up to a minute").is_hidden()
    hand.type("Reason", "better in November")
    hand.press(f"Promote {house.other}")
    hand.sees("better in November")
    until(lambda: house.service.get("/ready")[2]["model_version"] == house.other)
    hand.go_to("Roll back …")
    hand.type("Reason", "complaints")
    hand.press(f"Roll back to {house.champion}")
    hand.sees("anna rolled back")
    until(lambda: house.service.get("/ready")[2]["model_version"] == house.champion)


def do_what_wants_attention(hand: Hand, house: House) -> None:
    house.service.store.split(house.other, 0.1, "try it", "ben")
    hand.go_to("Overview")
    hand.go_to("What to do about <i>unseen</i> & more")
    assert hand.has_in_sight("ChurnUnseenLevels")
    hand.go_to("Releases")
    hand.go_to("End the split …")
    hand.type("Reason", "the inputs are bad")
    hand.press(f"End the split with {house.other}")
    hand.sees("the inputs are bad")
    assert house.service.store.state()["challenger"] is None


TASKS: list[Callable[[Hand, House], None]] = [
    plan_the_months_list,
    see_why_a_customer_is_on_it,
    follow_a_campaign_over_its_days,
    have_a_file_scored_and_come_back_for_it,
    compare_two_releases,
    find_the_customers_behind_a_bad_input,
    ask_what_if,
    read_who_promoted_what_and_why,
    promote_and_go_back,
    do_what_wants_attention,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("kind", HANDS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_a_task_is_done(task: Callable[[Hand, House], None], kind: str, browser: Any, house: House) -> None:
    """From the sign-in on; what the policy of the pages forbids is an error."""
    make, wide, high = HANDS[kind]
    address = f"http://127.0.0.1:{house.service.port}"
    context = browser.new_context(base_url=address, viewport={"width": wide, "height": high})
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto("/")
    hand = make(page)
    sign_in(hand)
    task(hand, house)
    context.close()
    assert not [text for text in complaints if "Content Security Policy" in text]
