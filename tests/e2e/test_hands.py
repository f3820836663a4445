"""The hands of the console's tests notice what a person could not use."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import hands
from tests.e2e.browser import MARKS, chromium
from tests.e2e.hands import Hand, Keyboard, Mouse

pytestmark = MARKS
BUTTON = "<main><p style='height: 3000px'>far</p><button style='height: 2rem; {}'{}>Do it</button>{}</main>"
PLAIN = BUTTON.format("", "", "")


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(2000)
        yield page


@pytest.mark.parametrize("make", [Keyboard, Mouse])
def test_a_button_far_below_is_pressed(make: type[Hand], page: Any) -> None:
    page.set_content(PLAIN.replace("<button", "<button onclick=\"this.textContent = 'Done'\""))
    make(page).press("Do it")
    make(page).sees("Done")


@pytest.mark.parametrize(
    ("make", "html", "sentence"),
    [
        (Keyboard, BUTTON.format("", " tabindex=-1", ""), "Tab does not lead to"),
        (Keyboard, BUTTON.format("outline: none", "", ""), "without an outline"),
        (Keyboard, BUTTON.format("position: fixed; left: -9rem", "", ""), "out of sight"),
        (Mouse, BUTTON.format("", "", "<div style='position: fixed; inset: 0'></div>"), "is covered by <div"),
        (Mouse, BUTTON.format("height: 20px", "", ""), "20 pixels"),
        (Mouse, BUTTON.format("position: fixed; left: -9rem", "", ""), "does not bring"),
    ],
)
def test_what_is_out_of_reach_is_an_error(
    make: type[Hand], html: str, sentence: str, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "MOST_TABS", 10)
    page.set_content(html)
    with pytest.raises(AssertionError, match=sentence):
        make(page).press("Do it")


def test_a_page_that_scrolls_sideways_is_an_error(page: Any) -> None:
    page.set_content("<main><p style='width: 3000px'>wide</p></main>")
    with pytest.raises(AssertionError, match="scrolls sideways"):
        Mouse(page).sees("wide")
