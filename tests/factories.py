"""Things to test with: altered bundles, and the log and the ledger of a service that never ran."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, insert

from churn.release import CARD, GOLDEN, MODEL, open_release, seal
from churn.scorer import Scorer
from serve.log.database import connect
from serve.log.migrate import migrate
from serve.log.tables import first_id, outcomes, predictions
from serve.releases.store import LEDGER, act_name

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
THRESHOLD = 0.33


def reseal(folder: Path, change: Callable[[dict[str, Any]], object] = lambda card: None) -> str:
    """Make an altered bundle whole again, its card changed by `change`; its version."""
    card = json.loads((folder / CARD).read_text())
    change(card)
    return seal(folder, card)


def other_release(released: Path, folder: Path, threshold: float = 0.99) -> Path:
    """The bundle with another threshold, so with another version."""
    shutil.copytree(released, folder)
    reseal(folder, lambda card: card["threshold"].update(value=threshold))
    return folder


def opposite_release(released: Path, folder: Path) -> Path:
    """The bundle with another graph: whoever stays leaves."""
    import onnx

    shutil.copytree(released, folder)
    model = onnx.load(folder / MODEL)
    last = next(node for node in model.graph.node if "churn_probability" in node.output)
    last.output[list(last.output).index("churn_probability")] = "p"
    model.graph.initializer.append(onnx.helper.make_tensor("whole", onnx.TensorProto.DOUBLE, [], [1.0]))
    model.graph.node.append(onnx.helper.make_node("Sub", ["whole", "p"], ["churn_probability"]))
    onnx.save(model, folder / MODEL)
    bundle = open_release(released)
    scorer = Scorer(type(bundle)(folder, bundle.schema, bundle.card))
    customers = [line["customer"] for line in bundle.golden()]
    scored = zip(customers, scorer.probabilities(customers).tolist(), strict=True)
    lines = [json.dumps({"customer": customer, "churn_probability": p}) + "\n" for customer, p in scored]
    (folder / GOLDEN).write_text("".join(lines))
    reseal(folder)
    return folder


def state(**parts: Any) -> dict[str, Any]:
    return {"champion": "old", "previous": None, "challenger": None, "share": 0.0, "shadow": None} | parts


def act(name: str, hours: float, **parts: Any) -> dict[str, Any]:
    """An act at START plus `hours`, and the state that it left."""
    at = (START + timedelta(hours=hours)).isoformat()
    return {"at": at, "who": "me", "act": name, "version": "new", "reason": "test", "state": state(**parts)}


def write_ledger(folder: Path, acts: Sequence[Mapping[str, Any]]) -> None:
    (folder / LEDGER).mkdir(exist_ok=True)
    for number, act in enumerate(acts, 1):
        (folder / LEDGER / act_name(number)).write_text(json.dumps(act))
    (folder / "state.json").write_text(json.dumps(acts[-1]["state"]))


def empty_log(folder: Path) -> Engine:
    engine = connect(f"sqlite:///{folder / 'log.db'}")
    migrate(engine)
    return engine


_number = iter(range(10**9))


def prediction(hours: float, customer: str | None, arm: str, p: float = 0.5, **other: Any) -> dict[str, Any]:
    at, number = START + timedelta(hours=hours), next(_number)
    row = {
        "id": f"{first_id(at)}{number:018x}",
        "request_id": f"request-{number}",
        "at": at,
        "customer_id": customer,
        "features": {},
        "churn_probability": float(p),
        "prediction": "churn" if p >= THRESHOLD else "no_churn",
        "threshold": THRESHOLD,
        "model_version": "old" if arm == "champion" else "new",
        "arm": arm,
        "latency_ms": 1.0,
    }
    return row | other


def outcome(hours: float, churned: bool, *, customer: str = "", request: str = "") -> dict[str, Any]:
    at = START + timedelta(hours=hours)
    return {
        "customer_id": customer, "request_id": request, "observed_at": at, "churned": churned, "received_at": at,
    }  # fmt: skip


def fill(engine: Engine, rows: list[dict[str, Any]], known: list[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        for table, content in ((predictions, rows), (outcomes, known)):
            if content:
                connection.execute(insert(table), content)


def refuse(engine: Engine, *customers: str) -> None:
    """Let the database take no row of these customers any more, as a constraint of its owner would."""
    for customer in customers:
        _constrain(engine, "predictions", f"refuse_{customer}", f"customer_id = '{customer}'")


def refuse_outcomes(engine: Engine, *customers: str) -> None:
    for customer in customers:
        _constrain(engine, "outcomes", f"refuse_outcomes_{customer}", f"customer_id = '{customer}'")


def refuse_all(engine: Engine) -> None:
    """Let the database take no row at all any more."""
    _constrain(engine, "predictions", "refuse_all", "id <> ''")


def _constrain(engine: Engine, table: str, name: str, refused: str) -> None:
    if engine.dialect.name == "sqlite":
        abort = "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        statement = f"CREATE TRIGGER {name} BEFORE INSERT ON {table} WHEN NEW.{refused} {abort}"
    else:
        statement = f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK (NOT ({refused})) NOT VALID"
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def allow(engine: Engine, name: str) -> None:
    """Take back what `refuse` or `refuse_all` did: of a customer, or "all"."""
    on_sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"DROP TRIGGER refuse_{name}" if on_sqlite else f"ALTER TABLE predictions DROP CONSTRAINT refuse_{name}"
        )


def customers(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) each: how likely n customers are to leave, a fifth of them, and whether they do."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 2.5, n)
    return p, rng.random(n) < p


def guessed(p: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """A model's probabilities: the true ones, off by so much on the scale of log odds."""
    odds = np.log(p / (1 - p)) + noise * np.random.default_rng(seed).standard_normal(len(p))
    return 1 / (1 + np.exp(-odds))
