"""A service whose console has something to show: checks, a campaign, flaws, scored files, acts on releases."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serve.http import admin
from tests.e2e.servers import Service, environment
from tests.factories import empty_log, other_release
from tests.serve.web.history import keep, report
from tests.serve.web.test_campaigns import contact

READER, ANNA = "readers-key", "annas-key"
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class House:
    service: Service
    champion: str
    other: str  # was the champion for a while, by ben's act
    last: str  # customer, who stands in the scored file and was not asked about
    table: Path  # customers, of whom two are wrong
    scores: Path


@contextmanager
def opened(folder: Path, bundle: Path, table: Path) -> Iterator[House]:
    """Keys are READER and ANNA; the table's customers were scored, some were asked about."""
    scores = folder / "scores"
    keys = {"CHURN_API_KEYS": READER, "CHURN_ADMIN_KEYS": f"anna={ANNA}", "CHURN_SCORES": str(scores)}
    service = Service(folder, bundle, **keys)
    log = str(empty_log(folder / "releases").url)
    days = [NOW - timedelta(days=n) for n in range(30)]
    keep(log, *((at, report(at, reasons=(("unseen", "breach"),) if at > days[9] else ())) for at in days))
    contact(log, "spring", 300, {"offered": 150, "profit": 1_000.0})
    with service:
        words = [sys.executable, "-m", "serve.score", str(table), str(scores / "june"), "--processes", "1", "--log"]
        subprocess.run(words, check=True, env=environment(**service.variables), capture_output=True)
        ids = [row["customer_id"] for row in csv.DictReader(table.open())]
        asked = [one | {"customer_id": name} for one, name in zip(service.customers(), ids, strict=False)]
        asked = [one | {"contract": "Five years"} if n % 9 == 0 else one for n, one in enumerate(asked)]
        assert service.post("/predict/batch", {"customers": asked}, {"X-API-Key": READER})[0] == 200
        champion = str(service.store.state()["champion"])
        other = service.store.add(other_release(bundle, folder / "other", 0.326), "test")
        service.store.promote(other, "better in October", "ben", admin.passed(service.store, log, other, force=True))
        service.store.promote(champion, "complaints", "ben")
        yield House(service, champion, other, ids[-1], with_two_wrong(table, folder / "july.csv"), scores)


def with_two_wrong(table: Path, copy: Path) -> Path:
    """The first fifty customers of the table, of whom two can't be scored."""
    rows = list(csv.DictReader(table.open()))[:50]
    rows[3]["tenure"], rows[7]["tenure"] = "many", "-5"
    with copy.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return copy
