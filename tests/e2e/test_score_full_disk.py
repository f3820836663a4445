"""A disk that is full ends the scoring in one line with nothing half-written, and a rerun completes it."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.schema import TARGET
from churn.scored import read_manifest
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.e2e.test_durability import enlarge, small_disk
from tests.e2e.test_score_dask import command

pytestmark = pytest.mark.e2e


def test_a_full_disk_is_one_line_and_a_rerun_completes(project: Path, released: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)
    frame = pd.concat([frame] * 3000, ignore_index=True).assign(customer_id=np.arange(3000 * len(frame)))
    frame.to_parquet(tmp_path / "customers.parquet", row_group_size=60_000)
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    environment = os.environ | {"CHURN_RELEASES": str(store.where)}
    with small_disk() as disk:
        run = command(tmp_path / "customers.parquet", disk / "out", "--processes", "2")
        done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "No space left on device" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        left = [path.name for path in (disk / "out").iterdir()]
        assert not [name for name in left if name.startswith(".") or name == "MANIFEST.json"]
        enlarge(disk)
        subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, check=True)
        assert read_manifest(disk / "out")["scored"] == len(frame)
