"""Rows a second and peak memory of python -m serve.score, as a ratio to mlflow.pyfunc on pandas frames.

python -m benchmarks.score [--release FOLDER] [--rows 100000 1000000 10000000] [--rounds 5]

Both read and write the same Parquet files, in turn, several rounds; start-up counts. A ratio is taken within a round;
medians are printed. serve.score runs in one process, and in one for each core as it does by default. The baseline runs
up to a million rows, as it holds the whole table.
"""

import argparse
import math
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow.sklearn
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from benchmarks.scale import Cost
from churn.blocks import ColumnsOf, blocks_of
from churn.git import child_environment
from churn.model import load_model
from churn.schema import ID, read_schema
from churn.table import customers, named
from churn.text import columns
from serve.releases.store import Store

ROOT = Path(__file__).parents[1]
CUSTOMERS = 1_000_000  # simulated; more rows repeat them under other ids
BASELINE = 1_000_000  # rows, at most
NAMES = ("one", "cores")  # of the processes


def cost(*command: str, cwd: Path = ROOT, **variables: str) -> Cost:
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=cwd, env=child_environment() | variables, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return Cost(time.perf_counter() - start, usage.ru_maxrss / 2**20)


def simulated(folder: Path) -> pd.DataFrame:
    """Customers in the types of the schema, as a warehouse has them."""
    script = "from pathlib import Path; from stages.simulate import main; main(Path('customers.parquet'))"
    params = (ROOT / "params.yaml").read_text().replace("customers: 7043 ", f"customers: {CUSTOMERS} ")
    (folder / "params.yaml").write_text(params)
    environment = child_environment() | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
    schema = read_schema(ROOT / "schemas/telco.yaml")
    table = ColumnsOf(folder / "customers.parquet")
    texts = named(pd.DataFrame({name: table[name] for name in table}), schema)
    return customers(texts, schema).drop(columns=schema.target.name)


def write(frame: pd.DataFrame, rows: int, path: Path) -> None:
    """`rows` rows in row groups of a block, each customer under an id of its own."""
    writer, written = None, 0
    while written < rows:
        for block in blocks_of(frame.head(rows - written)):
            ids = [f"C{number:09d}" for number in range(written, written + len(block))]
            table = pa.Table.from_pandas(block.assign(**{ID: ids}), preserve_index=False)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table.cast(writer.schema))
            written += len(block)
    if writer:
        writer.close()


def shown(found: Cost) -> str:
    return f"{found.seconds:.1f} s, {found.gigabytes:.2f} GiB"


def in_turn(commands: Mapping[str, Sequence[str]], out: Path, **variables: str) -> dict[str, Cost]:
    """Of each command, with nothing in the folder `out`."""
    took = {}
    for name, command in commands.items():
        shutil.rmtree(out, ignore_errors=True)
        took[name] = cost(*command, **variables)
    return took


def median(costs: list[Cost]) -> Cost:
    """Of the seconds and of the memory."""
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def make(folder: Path, rows: list[int]) -> None:
    frame = simulated(folder)
    for n in rows:
        write(frame, n, folder / f"{n}.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score", description=__doc__.splitlines()[0])
    parser.add_argument("--release", type=Path, default=ROOT / "models/release")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "releases")
        store.promote(store.add(given.release.resolve(), "benchmark"), "benchmark")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, kept = load_model(given.release / "model.joblib"), str(folder / "mlflow")
            mlflow.sklearn.save_model(
                model, kept, pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle"
            )
        # another process: the peak of a process that this one starts would hold the frame, too
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, given.rows))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the tables could not be made")
        lines = [["rows", "one process", "rows a second", "all cores", "mlflow.pyfunc", "ratio", "all cores"]]
        found, where = {}, {"CHURN_RELEASES": str(store.where)}
        for rows in sorted(given.rows):
            source, out = str(folder / f"{rows}.parquet"), folder / "out"
            command = ("serve.score", source, str(out))
            commands = dict(zip(NAMES, ((*command, "--processes", "1"), command), strict=True))
            if rows <= BASELINE:
                commands["baseline"] = ("benchmarks.obvious_files", kept, source, str(folder / "obvious.parquet"))
            rounds = [in_turn(commands, out, **where) for _ in range(given.rounds)]
            usual = {name: median([took[name] for took in rounds]) for name in commands}
            found[rows] = usual["one"].seconds
            line = [f"{rows:,}", shown(usual["one"]), f"{rows / found[rows]:,.0f}", shown(usual["cores"])]
            if rows <= BASELINE:
                ratios = ([took["baseline"].seconds / took[name].seconds for took in rounds] for name in NAMES)
                line += [shown(usual["baseline"]), *(f"{statistics.median(values):.1f}" for values in ratios)]
            lines.append(line + [""] * (7 - len(line)))
        few, many = min(found), max(found)
        print("\n".join(columns(lines)))
        if few < many:
            growth = math.log(found[many] / found[few]) / math.log(many / few)
            print(f"time grows as the rows to the power of {growth:.2f}")


if __name__ == "__main__":
    main()
