"""The graph on codes says what the graph on texts says, digit for digit; one that can't be coded stays as it is."""

from datetime import date
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
from onnx import helper

from churn.release import MODEL
from churn.schema import TARGET
from churn.scorer import Scorer
from serve.score import graph
from serve.score.columns import Checked, check
from serve.score.graph import CodedScorer, on_codes


@pytest.fixture
def scorer(released: Path) -> Scorer:
    return Scorer.open(released)


@pytest.fixture
def customers(project: Path, scorer: Scorer) -> Checked:
    """The test customers, every seventh with a level that nobody saw, every fifth without one."""
    frame = pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)
    frame.loc[::7, "contract"] = "Ten years"
    frame.loc[::5, "payment_method"] = None
    return check(pa.Table.from_pandas(frame), scorer.release.schema, date(2024, 1, 1))


def test_codes_and_texts_give_the_same_digits(scorer: Scorer, customers: Checked) -> None:
    coded = CodedScorer(scorer)
    assert coded.is_coded
    p = coded.probabilities(coded.inputs(customers))
    np.testing.assert_array_equal(p, scorer.score(customers.columns))
    assert np.ptp(p) > 0.3


def test_a_graph_that_reads_texts_otherwise_keeps_them(
    scorer: Scorer, customers: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(scorer.release.folder / MODEL)
    model.graph.node.insert(0, helper.make_node("Identity", ["categories"], ["texts"]))
    before = model.SerializeToString()
    assert not on_codes(model, [{} for _ in scorer.categories])
    assert model.SerializeToString() == before
    monkeypatch.setattr(graph, "on_codes", lambda *_: False)
    coded = CodedScorer(scorer)
    np.testing.assert_array_equal(coded.probabilities(coded.inputs(customers)), scorer.score(customers.columns))
