"""Seconds and peak memory of python -m campaigns plan on scored files: python -m benchmarks.campaigns

python -m benchmarks.campaigns [--release FOLDER] [--rows 1000000 10000000]

The simulated operator's customers are scored by python -m serve.score, each row under an id of its own. A plan is made
with the one offer of params.yaml; with values and an expression over columns of the customers' table; and with three
offers that pay for everybody. Start-up counts.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.score import ROOT, cost, make, shown
from churn.text import columns
from serve.releases.store import Store

OFFERS = {
    "mail": {"cost": 2, "success": 0.05},
    "call": {"cost": 15.5, "success": 0.2},
    "discount": {"cost": 60, "success": 0.4},
}


def knobs(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> Path:
    """A folder with a params.yaml of its own."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in changes.items():
        params[section] |= values
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns", description=__doc__.splitlines()[0])
    parser.add_argument("--release", type=Path, default=ROOT / "models/release")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "releases")
        store.promote(store.add(given.release.resolve(), "benchmark"), "benchmark")
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, given.rows))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the tables could not be made")
        plain = knobs(folder / "plain", {})
        dear = knobs(folder / "dear", {"campaigns": {"offers": OFFERS}, "profit": {"customer_value": 40_000}})
        lines = [["rows", "one offer", "values and an expression", "three offers, most of all selected"]]
        for rows in sorted(given.rows):
            table, scores = folder / f"{rows}.parquet", folder / f"scores-{rows}"
            cost("serve.score", str(table), str(scores), CHURN_RELEASES=str(store.where))
            budget = ["--budget", str(2 * rows)]
            beside = ["--table", str(table), "--margin", "monthly_charges", "--where", 'contract != "Two year"']
            runs = [(plain, budget), (plain, [*budget, *beside]), (dear, ["--budget", str(32 * rows)])]
            line = [f"{rows:,}"]
            for number, (where, options) in enumerate(runs):
                command = ["campaigns", "plan", str(scores), f"plan-{rows}-{number}", "--campaign", "benchmark"]
                line.append(shown(cost(*command, *options, cwd=where, PYTHONPATH=str(ROOT))))
            lines.append(line)
        print("\n".join(columns(lines)))


if __name__ == "__main__":
    main()
