"""The dashboards are what Grafana loads: placed without overlap, on the data source that is provisioned, and readable.

Whether their queries find anything is asked in tests/e2e/test_dashboards.py.
"""

import json
import re
from itertools import pairwise
from typing import Any

import pytest
import yaml

from serve.telemetry import metrics
from serve.telemetry.check_metrics import ADDED, DOCUMENTED
from tests.conftest import ROOT

GRAFANA = ROOT / "ops/grafana"
PATHS = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in PATHS}
SOURCE = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
DATASOURCE = {"type": SOURCE["type"], "uid": SOURCE["uid"]}
OPTIONS = {  # what each kind of panel must say of itself
    "stat": {"reduceOptions", "colorMode", "textMode"},
    "timeseries": {"legend", "tooltip"},
    "bargauge": {"reduceOptions", "orientation", "displayMode"},
    "heatmap": {"calculate", "color", "yAxis"},
    "state-timeline": {"showValue", "mergeValues", "legend"},
    "table": {"showHeader"},
    "text": {"mode", "content"},
    "row": set(),
}
each = pytest.mark.parametrize("name", DASHBOARDS)


def panels(name: str, *without: str) -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] not in without]


def queries(name: str) -> list[str]:
    """Every query: of panels, annotations and variables."""
    board = DASHBOARDS[name]
    asked = [target["expr"] for panel in panels(name, "row", "text") for target in panel["targets"]]
    asked += [a["expr"] for a in board["annotations"]["list"] if not a.get("builtIn")]
    return asked + [v["query"]["query"] for v in board["templating"]["list"]]


def test_every_dashboard_has_an_address_and_a_title_of_its_own() -> None:
    assert {"service", "model", "ab"} == DASHBOARDS.keys()
    for key in ("uid", "title"):
        assert len({board[key] for board in DASHBOARDS.values()}) == len(DASHBOARDS)
    provided = yaml.safe_load((GRAFANA / "provisioning/dashboards/churn.yml").read_text())["providers"]
    assert [provider["type"] for provider in provided] == ["file"]


@each
def test_a_dashboard_loads_by_the_schema_of_its_version(name: str) -> None:
    board = DASHBOARDS[name]
    assert board["schemaVersion"] == 39 and "id" not in board
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    assert re.fullmatch(r"now-\d+[hd]", board["time"]["from"]) and board["time"]["to"] == "now"
    assert {"title", "tags", "panels", "templating", "annotations", "refresh", "links"} <= board.keys()
    ids = [panel["id"] for panel in board["panels"]]
    assert sorted(set(ids)) == sorted(ids)


@each
def test_panels_fill_the_grid_and_lie_on_nobody(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(name):
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        assert x >= 0 and x + w <= 24 and w > 0 and h > 0
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len(taken) == 24 * (1 + max(line for _, line in taken))
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in panels(name)]
    assert all(first < second for first, second in pairwise(places))  # the order on a telephone


@each
def test_a_panel_says_what_it_shows_in_which_unit_from_the_provisioned_source(name: str) -> None:
    for panel in panels(name):
        assert panel["title"] and OPTIONS[panel["type"]] <= panel.get("options", {}).keys(), panel["title"]
    for panel in panels(name, "row", "text"):
        assert panel["datasource"] == DATASOURCE
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        values = [step["value"] for step in steps[1:]]
        assert values == sorted(values) and (not steps or steps[0]["value"] is None)
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE
            assert target["legendFormat"] or panel["type"] in ("stat", "table"), panel["title"]
    for annotation in DASHBOARDS[name]["annotations"]["list"]:
        assert annotation.get("builtIn") or annotation["datasource"] == DATASOURCE


@each
def test_a_legend_s_label_is_one_that_the_query_keeps(name: str) -> None:
    for panel in panels(name, "row", "text"):
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), (panel["title"], label)


def test_every_variable_is_used_and_every_used_one_is_there() -> None:
    for name, board in DASHBOARDS.items():
        used = set(re.findall(r"\$(\w+)", " ".join(queries(name)))) - {"__rate_interval"}
        assert used == {variable["name"] for variable in board["templating"]["list"]}


def test_every_name_in_a_query_is_one_that_is_exported() -> None:
    exported = {name for name in vars(metrics).values() if hasattr(name, "_name")}
    known = {f"{metric._name}{end}" for metric in exported for end in ("", "_total", "_bucket", "_sum", "_count")}
    known |= {f"churn_monitoring_{name}" for name in DOCUMENTED} | {ADDED}
    asked = " ".join(query for name in DASHBOARDS for query in queries(name))
    assert set(re.findall(r"\bchurn_\w+", asked)) - {"churn_"} <= known
    assert {f"churn_monitoring_{name}" for name in DOCUMENTED} <= set(re.findall(r"\bchurn_\w+", asked))
