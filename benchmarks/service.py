"""How fast the service answers, as ratios against two baselines: python -m benchmarks.service [RELEASE] [--workers N]

1. benchmarks/empty_route.py: what FastAPI costs with the same request and response models and nothing in between.
2. benchmarks/obvious_service.py: the pickled pipeline on a pandas frame of one row.

Each answers `wrk` with 16 connections in turn, several rounds; a ratio is taken within a round, its median is printed.
The service runs as it ships: predictions committed before they are answered, a log line for each request, metrics. The
baselines log nothing. `wrk` is a package of Debian, Ubuntu, Fedora and Homebrew.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from churn.release import CARD, open_release, seal
from churn.urls import sqlite_url
from demo.processes import free_port, until
from serve.log.database import connect
from serve.log.tables import first_id, predictions
from serve.releases.store import Store

ROOT = Path(__file__).parents[1]
CONNECTIONS = 16
LUA = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local i = 0
wrk.headers["Content-Type"] = "application/json"
request = function()
  i = i %% #bodies + 1
  local id = '{"customer_id": "c-' .. math.random(1000000) .. '", '
  return wrk.format("POST", "/predict", nil, id .. bodies[i]:sub(2))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw of one server in one round."""

    answers: int
    rate: float  # answers a second
    p50: float  # milliseconds
    p99: float


@contextmanager
def server(app: str, workers: int, **environment: str) -> Iterator[str]:
    """`app` under uvicorn, ready; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--workers", str(workers)]
    command += [] if app.startswith("serve") else ["--no-access-log"]
    with tempfile.TemporaryFile() as lines:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=lines, stderr=lines)
        try:
            until(lambda: is_up(process, f"http://127.0.0.1:{port}/openapi.json"), 30)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def is_up(process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        sys.exit(f"{process.args} ended with exit status {process.returncode}")
    try:
        urllib.request.urlopen(url, timeout=1).close()
        return True
    except OSError:
        return False


def load(url: str, script: Path, seconds: int) -> Load:
    limits = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"]
    command = ["wrk", *limits, "--latency", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"{url} did not answer every request:\n{said}")
    answers = int(re.findall(r"(\d+) requests in", said)[0])
    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    latency = {
        share: float(value) * units[unit] for share, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)", said)
    }
    return Load(answers, rate, latency["50"], latency["99"])


def twin(bundle: Path, folder: Path, i: int) -> Path:
    """The same release under another version: its threshold differs in the ninth digit."""
    shutil.copytree(bundle, folder)
    card = json.loads((folder / CARD).read_text())
    card["threshold"]["value"] += i * 1e-9
    seal(folder, card)
    return folder


def shadow_seconds(url: str) -> float:
    """Processor time that the shadow took so far."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    return sum(map(float, re.findall(r"^churn_shadow_seconds_total (\S+)", text, re.MULTILINE)))


def compare(name: str, ours: list[Load], other: list[Load]) -> None:
    rates = sorted(a.rate / b.rate for a, b in zip(ours, other, strict=True))
    p99 = sorted(a.p99 / b.p99 for a, b in zip(ours, other, strict=True))
    print(
        f"service against {name}: requests a second {statistics.median(rates):.2f} times ({rates[0]:.2f} to "
        f"{rates[-1]:.2f}), p99 {statistics.median(p99):.2f} times ({p99[0]:.2f} to {p99[-1]:.2f}), "
        f"{len(rates)} rounds"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service")
    parser.add_argument("release", type=Path, nargs="?", default=ROOT / "models/release")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=35, help="of the champion alone and with each act, 1.5 s each")
    given = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing; install it, for instance: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        store, script, bodies = Store(Path(folder, "releases")), Path(folder, "post.lua"), Path(folder, "bodies")
        store.promote(store.add(given.release, "benchmark"), "benchmark")
        others = [store.add(twin(given.release, Path(folder, str(i)), i), "benchmark") for i in (1, 2)]
        release = open_release(store.champion())
        ordinary = release.golden()[: release.card["samples"]["golden"]]
        bodies.write_text("".join(json.dumps(line["customer"]) + "\n" for line in ordinary))
        script.write_text(LUA % bodies)
        baseline = {"RELEASE": str(release.folder)}
        with (
            server("serve.app:app", given.workers, CHURN_RELEASES=str(store.where)) as service,
            server("benchmarks.empty_route:app", given.workers, **baseline) as empty,
            server("benchmarks.obvious_service:app", given.workers, **baseline) as obvious,
        ):
            urls = {"the service": service, "an empty route": empty, "the obvious service": obvious}
            found: dict[str, list[Load]] = {name: [load(url, script, 2)] for name, url in urls.items()}  # warm-up
            for _ in range(given.rounds):
                for name, url in urls.items():
                    found[name].append(load(url, script, given.seconds))
            rates, of_shadow = with_acts(store, others, service, script, given.turns)
        with connect(sqlite_url(Path(store.where, "log.db"))).connect() as log:
            rows = log.scalar(select(func.count()).select_from(predictions).where(predictions.c.arm != "shadow"))
    answered = sum(one.answers for one in found["the service"])
    if rows < answered:
        sys.exit(f"only {rows} predictions are in the log, of {answered} answered")
    for name, loads in found.items():
        del loads[0]
        rate, p50, p99 = (statistics.median(getattr(one, key) for one in loads) for key in ("rate", "p50", "p99"))
        print(f"{name}: {rate:.0f} requests a second, median {p50:.2f} ms, p99 {p99:.2f} ms")
    for name in list(urls)[1:]:
        compare(name, found["the service"], found[name])
    for name in list(rates)[1:]:
        ratios = [a / b for a, b in zip(rates[name], rates["alone"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"the champion {name} against it alone: requests a second {middle:.2f} times "
              f"(middle half {low:.2f} to {high:.2f} of {len(ratios)} turns)")  # fmt: skip
    print(f"the shadow's own computing: {of_shadow:.1%} of a core")
    print(f"{rows} predictions are in the log, of {answered} answered in the rounds, the rest in turns")


def with_acts(
    store: Store, others: list[str], url: str, script: Path, turns: int
) -> tuple[dict[str, list[float]], float]:
    """Answers a second in turn, a second each: alone, with a split, with a shadow, with both; and the shadow's share of
    a core. Turns are short and the load goes on all the while, since the machine itself is now faster, now slower."""
    acts = {
        "alone": (None, None),
        "with a split": (others[0], None),
        "with a shadow": (None, others[1]),
        "with a split and a shadow": (others[0], others[1]),
    }
    windows: dict[str, list[datetime]] = {name: [] for name in acts}
    before = shadow_seconds(url)
    wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{turns * len(acts) * 2}s", "-s", str(script), url]
    with subprocess.Popen(wrk, stdout=subprocess.DEVNULL) as running:
        for _ in range(turns):
            for name, (challenger, shadow) in acts.items():
                store.shadow(None, "benchmark")
                store.split(challenger, 0.2 if challenger else 0, "benchmark")
                store.shadow(shadow, "benchmark")
                time.sleep(0.5)  # until it is in force
                windows[name].append(datetime.now(UTC))
                time.sleep(1)
        running.terminate()
    store.shadow(None, "benchmark")
    rates = {name: [answers(store, at) for at in begins] for name, begins in windows.items()}
    return rates, (shadow_seconds(url) - before) / turns / 2 / 1.5


def answers(store: Store, at: datetime) -> float:
    """How many in the second from that moment on."""
    with connect(sqlite_url(Path(store.where, "log.db"))).connect() as log:
        inside = predictions.c.id.between(first_id(at), first_id(at + timedelta(seconds=1)))
        return float(log.scalar(select(func.count()).where(inside, predictions.c.arm != "shadow")))


if __name__ == "__main__":
    main()
