"""What python -m serve.score --log costs a service that writes to the same database: python -m benchmarks.score_log

The service (one worker) answers a steady load, as many requests a second all the while: alone, during the run, alone
again. A request's time counts from the moment at which it was due, so that a service that stands still can't hide it.
SQLite always; --log adds a PostgreSQL that is there: postgresql://USER@HOST/DATABASE, empty.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from sqlalchemy import func, select

from benchmarks.score import cost, make
from benchmarks.service import ROOT, server
from churn.git import child_environment
from churn.release import open_release
from churn.text import columns
from churn.urls import sqlite_url
from serve.log.database import connect
from serve.log.tables import predictions
from serve.releases.store import Store

CONNECTIONS = 16


@dataclass
class Load:
    """POST /predict so many times a second over keep-alive connections."""

    url: str
    bodies: Sequence[str]
    rate: float
    times: list[float] = field(default_factory=list)  # milliseconds from when a request was due to its answer
    stopped: bool = False

    async def run(self) -> None:
        begin = time.perf_counter()
        await asyncio.gather(*(self._connection(i, begin) for i in range(CONNECTIONS)))

    async def _connection(self, i: int, begin: float) -> None:
        host = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(host.hostname, host.port)
        while not self.stopped:
            due = begin + i / self.rate
            await asyncio.sleep(max(0, due - time.perf_counter()))
            body = f'{{"customer_id": "c-{i}", {self.bodies[i % len(self.bodies)][1:]}'
            head = f"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\n\r\n{body}".encode())
            received = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(received.split("content-length: ")[1].split("\r\n")[0]))
            if received.split()[1] != "200":
                sys.exit(f"{self.url} answered {received.splitlines()[0]}")
            self.times.append((time.perf_counter() - due) * 1000)
            i += CONNECTIONS
        writer.close()

    async def alone(self, seconds: float) -> list[float]:
        running = asyncio.create_task(self.run())
        await asyncio.sleep(seconds)
        return await self._end(running)

    async def during(self, *command: str, **environment: str) -> tuple[float, list[float]]:
        """Seconds that a command took, and the times meanwhile."""
        running, begin = asyncio.create_task(self.run()), time.perf_counter()
        job = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, cwd=ROOT, env=child_environment() | environment, stderr=-3
        )
        if await job.wait():
            sys.exit(f"{command} failed")
        seconds = time.perf_counter() - begin
        return seconds, await self._end(running)

    async def _end(self, running: asyncio.Task[None]) -> list[float]:
        self.stopped = True
        await running
        self.stopped, times, self.times = False, self.times, []
        return times


@dataclass(frozen=True)
class Found:
    seconds: float  # of the run
    alone: list[float]
    during: list[float]
    answered: int


async def measured(load: Load, command: Sequence[str], environment: dict[str, str], seconds: float) -> Found:
    warm_up = await load.alone(2)
    before = await load.alone(seconds / 2)
    took, during = await load.during(*command, **environment)
    after = await load.alone(seconds / 2)
    return Found(took, before + after, during, sum(map(len, (warm_up, before, during, after))))


def row(name: str, found: Found) -> list[str]:
    with_, without = (np.percentile(times, [50, 99]) for times in (found.during, found.alone))
    (p50, p99), (p50_alone, p99_alone) = with_, without
    shown = [f"{p50_alone:.1f} ms", f"{p50:.1f} ms", f"{p99_alone:.1f} ms", f"{p99:.1f} ms"]
    return [name, f"{found.seconds:.1f} s", *shown, f"{p99 / p99_alone:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score_log", description=__doc__.splitlines()[0])
    parser.add_argument("--log", help="URL of a PostgreSQL as well")
    parser.add_argument("--release", type=Path, default=ROOT / "models/release")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30, help="of the service alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, out = Store(folder / "releases"), folder / "out"
        store.promote(store.add(given.release.resolve(), "benchmark"), "benchmark")
        release = open_release(store.champion())
        bodies = [json.dumps(line["customer"]) for line in release.golden()[: release.card["samples"]["golden"]]]
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, [given.rows]))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the table could not be made")
        command = ["serve.score", str(folder / f"{given.rows}.parquet"), str(out)]
        cost(*command, CHURN_RELEASES=str(store.where))  # what follows only logs
        head = ["database", "run", "median alone", "during it", "p99 alone", "during it", "ratio"]
        lines = [head]
        urls = {"SQLite": sqlite_url(folder / "log.db")} | ({"PostgreSQL": given.log} if given.log else {})
        for database, url in urls.items():
            environment = {"CHURN_RELEASES": str(store.where), "CHURN_LOG_URL": url}
            with server("serve.app:app", 1, **environment) as service:
                load = Load(service, bodies, given.rate)
                found = asyncio.run(measured(load, [*command, "--log"], environment, given.seconds))
            with connect(url).connect() as log:
                rows = log.scalar(select(func.count()).select_from(predictions))
            if rows != found.answered + given.rows:
                sys.exit(f"{database} holds {rows} answers, expected {found.answered + given.rows}")
            lines.append(row(database, found))
        print(f"{given.rows:,} answers logged, {given.rate:g} requests a second meanwhile, {os.cpu_count()} cores")
        print("\n".join(columns(lines)))


if __name__ == "__main__":
    main()
