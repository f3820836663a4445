"""How long the pipeline takes, as ratios against baselines that run in between: python -m benchmarks.pipeline TABLE.csv

1. `dvc repro -f` of the IBM table, against benchmarks/tutorial.py, which only trains three models on it.
2. `dvc repro` with nothing to do, against `dvc status` of a repository with one stage; and what `dvc repro` of that
   one stage costs against the same, which is the least that any pipeline could.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from churn.git import child_environment

ROOT = Path(__file__).parents[1]


def seconds(folder: Path, *command: str) -> float:
    """The wall time of one run of the command in `folder`."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=child_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed in {folder}:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start


def compare(name: str, ours: tuple[Path, list[str]], baseline: tuple[Path, list[str]], repeats: int) -> None:
    """Run both in turn and print the medians and the median of the ratios of neighbours."""
    pairs = [(seconds(ours[0], *ours[1]), seconds(baseline[0], *baseline[1])) for _ in range(repeats)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"{name}: {mine:.2f} s against {other:.2f} s, ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {repeats} pairs)"
    )


def main() -> None:
    table = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "../shared/data/telco_customer_churn.csv").resolve()
    if not table.is_file():
        sys.exit(f"{table} is missing; name the IBM Telco table: python -m benchmarks.pipeline TABLE.csv")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        clone, single = Path(folder, "clone"), Path(folder, "single")
        seconds(ROOT, "git", "clone", "--quiet", str(ROOT), str(clone))
        params = yaml.safe_load((clone / "params.yaml").read_text())
        params["data"]["path"] = str(table)
        (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        single.mkdir()
        (single / "dvc.yaml").write_text("stages: {copy: {cmd: cp a b, deps: [a], outs: [b]}}\n")
        (single / "a").write_text("a\n")
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
            seconds(single, *command)
        seconds(clone, "dvc", "repro")  # makes mlflow.db and warms the caches of both
        tutorial = [sys.executable, str(ROOT / "benchmarks/tutorial.py"), str(table)]
        compare("dvc repro -f", (clone, ["dvc", "repro", "-f"]), (clone, tutorial), 5)
        compare("dvc repro, nothing to do", (clone, ["dvc", "repro"]), (single, ["dvc", "status"]), 15)
        compare("the same of one stage", (single, ["dvc", "repro"]), (single, ["dvc", "status"]), 15)


if __name__ == "__main__":
    main()
