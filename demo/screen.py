"""The moving picture on a terminal: the loop with its current step, the months so far, the live releases. Elsewhere
plain lines. NO_COLOR is respected."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.story import Month, totals

STEPS = ("train", "serve", "ask", "outcomes", "check", "alert", "retrain", "gate", "shadow", "promote", "roll back")
BARS = "▁▂▃▄▅▆▇█"
WORST, BEST = 0.6, 0.88  # ROC AUC of the lowest and of the highest bar
SIGNS = {"healthy": ("✓", "green"), "warn": ("~", "yellow"), "breach": ("✗", "bold red"), "unknown": ("?", "dim")}
WORDS = ("what happened", "verdict")  # columns that hold no numbers
NAME = 20  # width of a row's name


@dataclass
class Scene:
    """What the picture shows."""

    title: str = ""
    step: str = ""
    words: str = ""
    months: Sequence[Month] = ()
    of: int = 0  # months there will be
    roles: dict[str, str] = field(default_factory=dict)


class Screen:
    """Print lines; on a terminal the picture stays below them."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(highlight=False, markup=False, emoji=False)
        self.scene, self.begin = Scene(), time.monotonic()
        self.spinner = Spinner("dots")
        # only where its signs can be written
        moves = self.console.is_terminal and not self.console.is_dumb_terminal and "utf" in self.console.encoding
        self.live = Live(console=self.console, get_renderable=self.picture, refresh_per_second=8) if moves else None

    def __enter__(self) -> "Screen":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.step("")
            self.live.stop()

    def head(self, title: str) -> None:
        self.scene.title = title
        self.say(f"\n{self.clock}  {title}", "bold", indent="")

    @property
    def clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.begin), 60)
        return f"{minutes}:{seconds:02d}"

    def say(self, words: str, style: str = "", indent: str = "  ") -> None:
        self.console.print(Text(indent + words, style=style), soft_wrap=not self.live)

    def table(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Columns, the words to the left and the numbers to the right."""
        widths = {name: max(len(name), *(len(cells[name]) for cells in rows)) for name in rows[0]}
        for cells in ({name: name.strip() for name in widths}, *rows):
            aligned = (f"{cells[name]:{'<' if name in WORDS else '>'}{width}}" for name, width in widths.items())
            self.say("  ".join(aligned).rstrip())

    def step(self, name: str, words: str = "") -> None:
        self.scene.step, self.scene.words = name, words

    def picture(self) -> Any:
        scene = self.scene
        now = Table.grid(padding=(0, 1))
        now.add_row(self.spinner if scene.step else Text(" "), line(scene.words or scene.step))
        parts: list[Any] = [Text(), loop(scene.step), now]
        if scene.months:
            parts += [Text(), *bars(scene.months, scene.of)]
        if scene.roles:
            parts.append(line("   ".join(f"{role} {version}" for role, version in scene.roles.items()), "dim"))
        return Group(*parts, line(f"{self.clock}  {scene.title}", "dim"))


def line(words: str, style: str = "") -> Text:
    return Text(f"  {words}", style=style, no_wrap=True, overflow="ellipsis")


def loop(step: str) -> Text:
    """The steps in their order; the one it is at stands out without colours, too."""
    text = Text("  ")
    for i, name in enumerate(STEPS):
        here = name == step
        text.append("─" if i else "", style="dim")
        text.append(f"▶{name}◀" if here else f" {name} ", style="bold reverse" if here else "dim")
    return text


def bars(months: Sequence[Month], of: int) -> list[Text]:
    """A row for each ROC AUC, a row of verdicts, a row of profit."""
    rest = " ·" * (of - len(months))
    rows = []
    for name, values, style in (
        ("true ROC AUC", [month.answered.auc for month in months], "cyan"),
        ("without retraining", [month.without.auc for month in months], "dim"),
        ("estimated", [month.estimated and month.estimated.value for month in months], "blue"),
        ("by outcomes", [month.realised and month.realised.value for month in months], "magenta"),
    ):
        known = [value for value in values if value]
        row = Text(f"  {name:<{NAME}}")
        row.append("".join(f" {bar(value)}" for value in values), style=style)
        row.append(rest, style="dim")
        rows.append(row.append(f"  {known[-1]:.3f}" if known else ""))
    verdicts = Text(f"  {'verdict':<{NAME}}")
    for month in months:
        verdicts.append(" ").append(*SIGNS.get(month.verdict, (" ", "")))
    gained, without = totals(months)
    profit = Text(f"  {'profit so far':<{NAME}} {gained:,.0f}, {gained - without:+,.0f} by the loop")
    return [*rows, verdicts.append(rest, style="dim"), profit]


def bar(value: float | None) -> str:
    if not value:
        return " "
    share = (value - WORST) / (BEST - WORST)
    return BARS[min(len(BARS) - 1, max(0, int(share * len(BARS))))]
