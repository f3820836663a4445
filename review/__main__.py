"""review: compare the workspace with a base revision, as a pull request does: python -m review BASE [--out FOLDER]

Writes FOLDER/comment.md, charts of both revisions and the page of `dvc plots diff`. Exit status 0: no metric is worse
beyond its tolerance (`review` in params.yaml); 1: one is, is gone or is no number, each with a line of its own, or
stages are stale, so that the metrics say nothing of the workspace.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from churn.git import ProgramFailed, call, committed, git
from churn.params import read_params
from churn.script import InputError, replacing, run, write_text
from review.charts import charts, draw
from review.comment import Change, comment
from review.judge import judge

log = logging.getLogger("review")

METRICS, CHOICE = "metrics/evaluate.json", "metrics/select.json"
TEST = "data/test.parquet"


def dvc(*words: str) -> str:
    return call([sys.executable, "-m", "dvc", *words])


def commit(revision: str) -> str:
    """The short name of the commit that `revision` stands for."""
    try:
        return git("rev-parse", "--short", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except ProgramFailed:
        raise InputError(
            f"'{revision}' is no commit of this clone; fetch it (git fetch --unshallow origin) or name another"
        ) from None


def now(path: str) -> bytes | None:
    return Path(path).read_bytes() if Path(path).is_file() else None


def records(lock: bytes | None) -> dict[str, Any]:
    """The stages of a dvc.lock."""
    stages: dict[str, Any] = yaml.safe_load(lock or b"{}").get("stages", {})
    return stages


def hash_of(stages: Mapping[str, Any], path: str) -> str | None:
    """Of an output."""
    return next((out.get("md5") for s in stages.values() for out in s.get("outs", []) if out["path"] == path), None)


def stale(status: Mapping[str, Any]) -> list[str]:
    """Stages whose parameters or files differ from dvc.lock, in `dvc status --json`.

    What is not here does not count: a clone of git alone lacks the data, and its folders are not whole.
    """

    def counts(path: str, told: Any) -> bool:
        return isinstance(told, dict) or (told != "deleted" and Path(path).is_file())

    found = {
        stage
        for stage, changes in status.items()
        for change in changes
        if isinstance(change, dict)
        for path, told in change.get("changed deps", {}).items()
        if counts(path, told)
    }
    return sorted(found)


def compare(base: str) -> Change:
    before, after = records(committed(base, "dvc.lock")), records(now("dvc.lock"))
    same_customers = hash_of(before, TEST) == hash_of(after, TEST)
    metrics = json.loads(dvc("metrics", "diff", "--all", "--json", base, "--targets", METRICS, CHOICE))
    return Change(
        base=base,
        judged=judge(metrics.get(METRICS, {}), same_customers, **read_params("review", judge)),
        metrics=metrics,
        params=json.loads(dvc("params", "diff", "--json", base)),
        stages=[name for name, record in after.items() if before.get(name) != record],
        stale=stale(json.loads(dvc("status", "--json"))),
        same_customers=same_customers,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m review", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="the revision that the change goes to: origin/main, HEAD^1")
    parser.add_argument("--out", type=Path, default=Path("review-out"), metavar="FOLDER")
    parser.add_argument("--link", metavar="URL", help="where the comment says that the charts are")
    given = parser.parse_args()
    base = commit(given.base)
    change = compare(base)
    for chart in charts(yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["plots"]):
        with replacing(given.out / f"{Path(chart.path).stem}.png") as picture:
            picture.write_bytes(draw(chart, committed(base, chart.path), now(chart.path)))
    dvc("plots", "diff", "--out", str(given.out / "plots"), base)
    write_text(given.out / "comment.md", comment(change, given.link))
    for one in change.judged:
        log.log(logging.ERROR if one.fails else logging.INFO, "%s", one)
    for stage in change.stale:
        log.error("%s is stale: dvc repro and commit what it writes", stage)
    sys.exit(change.fails)


if __name__ == "__main__":
    run(main, "review", mistake=2)
