"""Hands of a person at a page: one has a keyboard alone, the other a mouse, and keys for what is typed.

Both know the parts of a page by the names that the page gives them, as a screen reader tells them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.browser import TOO_WIDE

MOST_TABS = 200  # to a part of a page
SMALLEST = 24  # pixels, of what is hit by a pointer (WCAG 2.2, target size)
# the largest of the rectangles that hold it: a link goes over several lines
BOX = """e => { const area = r => r.width * r.height, r = [...e.getClientRects()].sort((a, b) => area(b) - area(a))[0];
    return r && [r.x, r.y, r.width, r.height] }"""
FOCUSED = """e => { if (e !== document.activeElement) return null;
    const r = e.getBoundingClientRect(), {outlineStyle} = getComputedStyle(e);
    const is_in = r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth;
    return (is_in ? "" : "out of sight ") + (outlineStyle === "none" ? "without an outline" : "") }"""
HIT = """(e, [x, y]) => { const hit = document.elementFromPoint(x, y);
    return e === hit || e.contains(hit) ? "" : hit ? hit.outerHTML.slice(0, 200) : "nothing" }"""


class Hand(ABC):
    """What both do."""

    CLOSE: tuple[str, ...] = ()  # keys that close a list of options, which is the browser's and not on the page

    def __init__(self, page: Any):
        self.page = page

    @abstractmethod
    def reach(self, part: Any) -> None:
        """Go to a part."""

    @abstractmethod
    def act(self, part: Any) -> None:
        """Follow it, or press it."""

    @abstractmethod
    def slide(self, name: str, value: int) -> None:
        """Move a slider to a step."""

    def go_to(self, link: str) -> None:
        part = self.page.get_by_role("link", name=link, exact=True).first
        address = part.evaluate("e => e.href")
        self.act(part)
        self.page.wait_for_url(address)

    def press(self, button: str) -> None:
        self.act(self.page.get_by_role("button", name=button, exact=True).first)

    def unfold(self, summary: str) -> None:
        self.act(self.page.locator("summary", has_text=summary).first)

    def type(self, label: str, text: str) -> None:
        self.reach(self.page.get_by_label(label, exact=True))
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def choose(self, label: str, option: str) -> None:
        part = self.page.get_by_label(label, exact=True)
        self.reach(part)
        options = part.locator("option").all_inner_texts()
        steps = next(i for i, text in enumerate(options) if text.startswith(option))
        for key in ("Home", *["ArrowDown"] * steps, *self.CLOSE):
            self.page.keyboard.press(key)
        assert part.evaluate("e => e.selectedOptions[0].label").startswith(option)

    def attach(self, label: str, path: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.act(self.page.get_by_label(label, exact=True))
        chooser.value.set_files(path)

    def download(self, link: str) -> str:
        with self.page.expect_download() as download:
            self.act(self.page.get_by_role("link", name=link, exact=True))
        return Path(download.value.path()).read_text()

    def sees(self, *texts: str, seconds: float = 30) -> None:
        """These are on the page, if need be after a while, and nothing of it lies beside the window."""
        for text in texts:
            self.page.locator("main").get_by_text(text).locator("visible=true").first.wait_for(timeout=1000 * seconds)
        self.page.wait_for_load_state()  # its style, too
        assert self.page.evaluate(TOO_WIDE) <= 0, f"{self.page.url} scrolls sideways"

    def has_in_sight(self, text: str) -> bool:
        """Whether it can be read without scrolling."""
        _, top, _, height = self.page.locator("main").get_by_text(text, exact=True).first.evaluate(BOX)
        return bool(top > -1 and top + height <= self.page.viewport_size["height"])


class Keyboard(Hand):
    def reach(self, part: Any) -> None:
        """Tab until it has the focus, which can be seen."""
        part.wait_for()
        for _ in range(MOST_TABS):
            fault = part.evaluate(FOCUSED)
            if fault is not None:
                assert not fault, f"{part} has the focus {fault}"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {part}")

    def act(self, part: Any) -> None:
        self.reach(part)
        self.page.keyboard.press("Enter")

    def slide(self, name: str, value: int) -> None:
        self.reach(self.page.get_by_label(name, exact=True))
        for key in ("Home", *["ArrowRight"] * value):
            self.page.keyboard.press(key)


class Mouse(Hand):
    CLOSE = ("Enter",)

    def reach(self, part: Any) -> None:
        """Click near its left end, where a field begins."""
        self.click(part, lambda left, width: left + min(width / 2, SMALLEST / 2))

    def act(self, part: Any) -> None:
        self.click(part, lambda left, width: left + width / 2)

    def slide(self, name: str, value: int) -> None:
        part = self.page.get_by_label(name, exact=True)
        share = value / float(part.get_attribute("max"))
        thumb = 16  # pixels, of Chromium's slider
        self.click(part, lambda left, width: left + thumb / 2 + share * (width - thumb))

    def click(self, part: Any, across: Callable[[float, float], float]) -> None:
        """Scroll by the wheel until it is in sight, and click it; across gives the place by left and width."""
        part.wait_for()
        left, top, width, height = self.in_sight(part)
        assert min(width, height) >= SMALLEST, f"{part} is {width:g} x {height:g} pixels"
        x, y = across(left, width), top + height / 2
        above = part.evaluate(HIT, [x, y])
        assert not above, f"{part} is covered by {above}"
        self.page.mouse.click(x, y)

    def in_sight(self, part: Any) -> list[float]:
        """Its box, once the wheel has brought its middle into the window; a table scrolls sideways by it too."""
        wide, high = self.page.viewport_size["width"], self.page.viewport_size["height"]
        for _ in range(20):
            box: list[float] = self.settled(part)
            x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
            if not 0 <= y < high:
                self.page.mouse.wheel(0, y - high / 2)
            elif not 0 <= x < wide:
                self.page.mouse.move(wide / 2, y)
                self.page.mouse.wheel(x - wide / 2, 0)
            else:
                return box
        raise AssertionError(f"the wheel does not bring {part} into sight")

    def settled(self, part: Any) -> Any:
        """Its box, once it moves no more."""
        before, box = None, part.evaluate(BOX)
        while box != before:
            self.page.wait_for_timeout(50)
            before, box = box, part.evaluate(BOX)
        return box
