"""monitoring/dvc.yaml says what the code does, as tests/test_pipeline_contract.py has it for the first pipeline."""

import ast
from os.path import normpath
from typing import Any

import pytest
import yaml

from tests.test_pipeline_contract import PIPELINE, ROOT, code, is_code, main_of, same, sections

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "monitoring/dvc.yaml").read_text())["stages"]
each_stage = pytest.mark.parametrize("stage", STAGES)


def script(stage: str) -> str:
    return f"monitoring/check/{stage}.py"


def paths(stage: str, *kinds: str) -> dict[str, Any]:
    """Path from the root -> options of the stage's deps, outs or metrics."""
    listed = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    options_of = {path: options for e in listed for path, options in (e if isinstance(e, dict) else {e: {}}).items()}
    return {normpath(f"monitoring/{path}"): options for path, options in options_of.items()}


@each_stage
def test_code_deps_are_the_imports(stage: str) -> None:
    assert {dep for dep in paths(stage, "deps") if is_code(dep)} == code(script(stage))


@each_stage
def test_files_are_the_arguments_of_main(stage: str) -> None:
    files = {path for path in paths(stage, "deps", "outs", "metrics") if not is_code(path)}
    arguments = {ast.literal_eval(default.args[0]) for default in main_of(script(stage)).args.defaults}  # type: ignore[attr-defined]
    assert files == arguments


@each_stage
def test_params_are_the_sections_that_are_read(stage: str) -> None:
    (params,) = STAGES[stage]["params"]
    assert {path: set(named) for path, named in params.items()} == {"../params.yaml": sections(script(stage))}


@each_stage
def test_a_stage_runs_from_the_repository_s_root_as_the_module_of_its_name(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"cd .. && python -m monitoring.check.{stage}"
    assert STAGES[stage]["desc"]


@each_stage
def test_production_goes_to_no_remote_and_into_no_commit(stage: str) -> None:
    written = paths(stage, "outs", "metrics")
    assert all(options.get("cache") is False for options in written.values())
    ignored = (ROOT / "monitoring/.gitignore").read_text().split()
    assert not [path for path in written if not any(same(f"monitoring{line.rstrip('/')}", path) for line in ignored)]


def test_what_the_report_reads_the_snapshot_writes_whenever_it_is_asked() -> None:
    assert "monitoring/data" in paths("snapshot", "outs") and "monitoring/data" in paths("report", "deps")
    assert STAGES["snapshot"]["always_changed"]


def test_the_first_pipeline_does_without_the_second() -> None:
    assert not [dep for stage in PIPELINE["stages"].values() for dep in stage.get("deps", []) if "monitoring" in dep]
