"""A customer is erased beside a service under load: no answer is lost, doubled or refused, and the customer is gone."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from demo.processes import until
from review.verify import environment
from serve.log.database import connect
from tests.conftest import ROOT
from tests.e2e.servers import Load, Service, check, under_load

pytestmark = pytest.mark.e2e

ID = "erased-customer"


def test_beside_a_service_under_load_only_the_customer_goes(reproduced: Path, tmp_path: Path) -> None:
    with Service(tmp_path, reproduced / "models/release", workers=2) as service:
        customer = service.customers()[0] | {"customer_id": ID}
        load = Load(service.port, service.customers(), batch_every=50)
        statuses: list[int] = []

        async def erased() -> None:
            for _ in range(3):  # the customer comes back in between
                assert (await asyncio.to_thread(service.post, "/predict", customer))[0] == 200
                command = [sys.executable, "-m", "serve.log", "erase", ID]
                done = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment(**service.variables))
                statuses.append(await done.wait())

        under_load(load, erased)
        spool = tmp_path / "releases/spool.jsonl"
        until(lambda: not spool.stat().st_size)
        assert statuses == [0, 0, 0]
        assert {*load.answered.values()} == {200}
        assert not load.broken
        check(load, connect(f"sqlite:///{tmp_path / 'releases/log.db'}"))
        assert ID not in service.errors.read_text()
    files = [path for path in (tmp_path / "releases").rglob("*") if path.is_file()]
    assert not [path for path in files if ID.encode() in path.read_bytes()]
    found = [json.loads(path.read_text())["found"] for path in (tmp_path / "releases/erasures").iterdir()]
    assert [one["predictions"] + one["spool.jsonl"] > 0 for one in found] == [True] * 3
