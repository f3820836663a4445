"""The comment below a pull request, in Markdown: verdict, metrics, parameters, stages. It holds no customers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from review.judge import FAILS, Judged, Score, number

MARK = "<!-- churn-review -->"  # by which the comment is found again and updated
ROWS = 40  # of a table; more are counted
LONGEST = 60_000  # characters; a comment holds 65,536

Diff = Mapping[str, Mapping[str, Mapping[str, Any]]]  # file -> name -> {"old": x, "new": y}, as DVC tells it


@dataclass(frozen=True)
class Change:
    """What differs between the base and the workspace."""

    base: str
    judged: Sequence[Judged]
    metrics: Diff
    params: Diff
    stages: Sequence[str]  # whose record in dvc.lock differs
    stale: Sequence[str]  # whose code or parameters differ from dvc.lock: the metrics belong to another state
    same_customers: bool  # both revisions were scored on the same test customers

    @property
    def fails(self) -> bool:
        return bool(self.stale) or any(one.fails for one in self.judged)


def comment(change: Change, link: str | None) -> str:
    """The whole text; `link` is where the charts are."""
    sections = [
        MARK,
        f"### {verdict(change)}",
        f"Before: `{change.base}`. In brackets: 95 % bootstrap intervals over the test customers.",
        "\n".join(scores(change.judged)),
        customers(change),
        *parameters(change.params),
        *stages(change),
        *others(change),
        *([f"[Charts of both revisions, and `dvc plots diff` as a page]({link}) (artifact `review`)"] if link else []),
    ]
    text = "\n\n".join(sections) + "\n"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n\n… cut off\n"


def verdict(change: Change) -> str:
    if change.stale:
        return "❌ The metrics are not those of this change: run `dvc repro` and commit what it writes"
    if failed := [one.name for one in change.judged if one.fails]:
        return f"❌ Worse than may be: {', '.join(map(code, failed))}"
    moved = any(one.state != "equal" for one in change.judged)
    return "✅ No metric is worse beyond its tolerance" if moved else "✅ The metrics are the same"


def scores(judged: Sequence[Judged]) -> Iterator[str]:
    yield "| metric | before | after | change | may lose | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in judged:
        allowed = "" if math.isnan(one.allowed) else f"{one.allowed:.4g}"
        state = f"**{one.state}**" if one.state in FAILS else one.state
        good = "higher" if one.better == "higher" else "lower"
        yield (
            f"| {code(one.name)}, {good} is better | {shown(one.before)} | {shown(one.after)} | {arrow(one.change)} "
            f"| {allowed} | {state} |"
        )


def shown(score: Score | None) -> str:
    if score is None:
        return "none"
    interval = "" if score.low is None or score.high is None else f" [{score.low:.4g}, {score.high:.4g}]"
    return f"{score.value:.4g}{interval}"


def arrow(change: float) -> str:
    if math.isnan(change):
        return ""
    return "=" if not change else f"{'▲' if change > 0 else '▼'} {abs(change):.4g}"


def customers(change: Change) -> str:
    if change.same_customers:
        return (
            "Both are scores of the same test customers, so a difference is steadier than the intervals are wide; "
            "`review` in `params.yaml` says what may be lost."
        )
    return (
        "The test customers are others than before: what may be lost is at least the 95 % interval of a difference "
        "between independent samples, for chance alone brings that much."
    )


def parameters(diff: Diff) -> Iterator[str]:
    changed = dict(sorted(pair for of_file in diff.values() for pair in of_file.items()))
    if changed:
        yield table("| parameter | before | after |", [f"| {code(name)} | {sides(v)} |" for name, v in changed.items()])
    if any(name.startswith("profit.") for name in changed):
        yield "Money is counted otherwise than before, so the change in profit is not the model's alone."
    if loosened := [name for name in changed if name.startswith("review.")]:
        yield f"**This change sets its own tolerances:** {', '.join(map(code, loosened))}."


def stages(change: Change) -> Iterator[str]:
    if change.stages:
        yield f"Ran anew (their records in `dvc.lock` are others): {', '.join(map(code, change.stages))}."
    if change.stale:
        yield f"Stale (other code or parameters than in `dvc.lock`): {', '.join(map(code, change.stale))}."


def others(change: Change) -> Iterator[str]:
    """Every other number that moved, folded away."""
    known = {one.name for one in change.judged}
    rows = [
        f"| {code(f'{path}: {name}')} | {sides(values)} | {moved(values)} |"
        for path, of_file in sorted(change.metrics.items())
        for name, values in sorted(of_file.items())
        if values.get("old") != values.get("new") and name not in known and not name.endswith(("_low", "_high"))
    ]
    if rows:
        inner = table("| metric | before | after | change |", rows)
        yield f"<details><summary>Other metrics that changed: {len(rows)}</summary>\n\n{inner}\n\n</details>"


def moved(values: Mapping[str, Any]) -> str:
    before, after = (number(values.get(side)) for side in ("old", "new"))
    return "" if before is None or after is None else arrow(after - before)


def sides(values: Mapping[str, Any]) -> str:
    return f"{cell(values.get('old'))} | {cell(values.get('new'))}"


def table(head: str, rows: Sequence[str]) -> str:
    more = [f"\n… and {len(rows) - ROWS} more"] if len(rows) > ROWS else []
    return "\n".join([head, "| --- " * head.count(" |") + "|", *rows[:ROWS], *more])


def cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "none" if value is None else code(text if len(text) <= 80 else f"{text[:80]}…")


def code(text: str) -> str:
    """As code, so that no text acts as Markdown, HTML or the mention of a person."""
    plain = " ".join(text.replace("`", "'").replace("|", "¦").split())
    return f"`{plain}`"
