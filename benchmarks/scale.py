"""Time and peak memory of each stage by the number of customers: python -m benchmarks.scale [--rows 10000 1000000]

The simulated operator's table, with --columns made wider by columns that mean nothing. The last column is the exponent
of growth between the smallest and the largest table: 1 where time grows as the rows do.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from churn.git import child_environment
from churn.text import columns

ROOT = Path(__file__).parents[1]


class Cost(NamedTuple):
    seconds: float
    gigabytes: float  # resident at most


def cost(folder: Path, command: str) -> Cost:
    start = time.perf_counter()
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(command.split(), cwd=folder, env=child_environment(), stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed with {folder}:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return Cost(time.perf_counter() - start, usage.ru_maxrss / 2**20)


def commands(folder: Path) -> list[tuple[str, str]]:
    """(stage, command) in the order of dvc.yaml."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    models = yaml.safe_load((folder / "params.yaml").read_text())["train"]["models"]
    named = []
    for name, stage in stages.items():
        if "foreach" in stage:
            named += [(f"{name} {model}", f"{stage['do']['cmd'].partition('$')[0]}{model}") for model in models]
        else:
            named.append((name, stage["cmd"]))
    return [(name, f"{sys.executable}{command.removeprefix('python')}") for name, command in named]


def widen(folder: Path, width: int) -> None:
    """Add columns until the table has `width`: two numbers and a category by turns."""
    path, schema_path = folder / "data/raw/customers.csv", folder / "schemas/telco.yaml"
    schema = yaml.safe_load(schema_path.read_text())
    rng, chunks = np.random.default_rng(0), pd.read_csv(path, dtype="str", keep_default_na=False, chunksize=100_000)
    wide = path.with_name("wide.csv")
    for i, chunk in enumerate(chunks):
        added = {}
        for j in range(width - chunk.shape[1]):
            drawn = rng.integers(0, 12, len(chunk)) if j % 3 == 2 else rng.normal(size=len(chunk)).round(3)
            added[f"extra_{j}"] = np.char.add("level ", drawn.astype(str)) if j % 3 == 2 else drawn
        pd.concat([chunk.reset_index(drop=True), pd.DataFrame(added)], axis=1).to_csv(
            wide, mode="a", header=i == 0, index=False
        )
    wide.replace(path)
    schema["columns"] += [{"name": name, "type": "category" if int(name[6:]) % 3 == 2 else "number"} for name in added]
    schema_path.write_text(yaml.safe_dump(schema, sort_keys=False))


def measured(folder: Path, rows: int, width: int) -> dict[str, Cost]:
    for name in ("churn", "stages", "schemas", "dvc.yaml", "requirements.txt"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["simulate"]["customers"] = rows
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in ("git init -q", "git -c user.name=b -c user.email=b@b commit -q --allow-empty -m b"):
        subprocess.run(command.split(), cwd=folder, check=True)
    found = {}
    for name, command in commands(folder):
        found[name] = cost(folder, command)
        print(f"{rows} rows: {name}: {found[name].seconds:.1f} s, {found[name].gigabytes:.2f} GiB", file=sys.stderr)
        if name == "simulate" and width:
            widen(folder, width)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--columns", type=int, default=0, help="of the table; the operator's has 21")
    given = parser.parse_args()
    found = {}
    for rows in sorted(given.rows):
        with tempfile.TemporaryDirectory() as folder:
            found[rows] = measured(Path(folder), rows, given.columns)
    few, many = min(found), max(found)
    lines = [["stage", *(f"{rows:,} rows" for rows in found), "exponent"]]
    for name in found[few]:
        costs = [found[rows][name] for rows in found]
        growth = math.log(costs[-1].seconds / costs[0].seconds) / math.log(many / few) if many > few else math.nan
        lines.append([name, *(f"{c.seconds:.1f} s, {c.gigabytes:.2f} GiB" for c in costs), f"{growth:.2f}"])
    sums = [(sum(c.seconds for c in f.values()), max(c.gigabytes for c in f.values())) for f in found.values()]
    growth = math.log(sums[-1][0] / sums[0][0]) / math.log(many / few) if many > few else math.nan
    lines.append(["all", *(f"{seconds:.0f} s, {most:.2f} GiB" for seconds, most in sums), f"{growth:.2f}"])
    print("\n".join(columns(lines)))


if __name__ == "__main__":
    main()
