"""dvc.yaml says what the code does: deps are imports, files are main()'s arguments, params are the sections read.

And the service stands beside the pipeline: it imports churn alone, and no more of other packages than it pins.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, reduce
from importlib.metadata import packages_distributions
from itertools import chain
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_house import ROOT, modules, scripts, tree

PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
HOUSE = ("churn", "stages", "serve", "campaigns", "monitoring", "review", "demo", "tests", "benchmarks")


# script -> why the service is not held to what it imports
BESIDE = {
    "serve/releases/registry.py": "the command line's alone, where MLflow is; its functions import the training",
    "serve/log/scored_files.py": "for an erasure that is given folders of Parquet files, where pyarrow is",
    **dict.fromkeys(scripts("serve/releases/evidence"), "a command for people, where requirements.txt is installed"),
    **dict.fromkeys(scripts("serve/score"), "a command for files, where pandas and pyarrow are"),
}
SCRIPTS, WATCH = scripts("churn", "stages"), scripts("monitoring")
REVIEW, ACTING = scripts("review"), scripts("campaigns")
SERVICE = [path for path in scripts("serve") if path not in BESIDE]
# what the service must start without
HEAVY = {"pandas", "sklearn", "mlflow", "joblib", "scipy", "pyarrow", "xgboost", "onnx", "skl2onnx", "evidently", "dvc"}

# section -> why no stage declares it
UNDECLARED = {
    "data": "stages depend on the files it names, through ${data.path} and ${data.schema}; load declares it",
    "tracking": "it says where MLflow is told of a result and changes none",
}
# stage -> a dep it waits for and does not read
GATES = {"preprocess": "metrics/validate.json"}  # a table that failed its checks comes no further
# stage -> why its code is none of its deps
CODE_LEFT_OUT = {"extract": "an edit of our code must never ask the database again: it would bring other customers"}
# script -> why it is nobody's dep
OUTSIDE = {
    "churn/__init__.py": "empty",
    "stages/__init__.py": "empty",
    "churn/campaigns.py": "the gate's, the monitoring's and the campaigns' alone",
    "churn/experiments.py": "of reports on arms that chance has split",
    "churn/sequential.py": "of reports on arms that chance has split",
    "churn/reasons.py": "the check's and the service's alone",
    "churn/storage.py": "the service's, and that of those who read scored files",
    "churn/scored.py": "the check's, the campaigns' and python -m serve.score's alone",
    "churn/draft_schema.py": "a command for people, before there is a schema to run with",
    "churn/draft_columns.py": "a command for people, before there is a schema to run with",
    "churn/formats.py": "a command for people, before there is a schema to run with",
    "churn/expectations.py": "a schema for Great Expectations, beside the pipeline",
    "churn/draft_from_suite.py": "a schema for Great Expectations, beside the pipeline",
    "churn/read_suite.py": "a schema for Great Expectations, beside the pipeline",
    **{f"stages/{stage}.py": why for stage, why in CODE_LEFT_OUT.items()},
}


def expanded(stage: dict[str, Any], key: str) -> dict[str, Any]:
    """`stage` with ${key} and the ${dotted.names} of params.yaml filled in, as DVC does it."""

    def fill(found: re.Match[str]) -> str:
        return key if found[1] == "key" else str(reduce(getitem, found[1].split("."), PARAMS))

    filled: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{([^}]+)\}", fill, yaml.safe_dump(stage)))
    return filled


def stages() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, stage in PIPELINE["stages"].items():
        if "foreach" in stage:
            assert stage["foreach"] == f"${{{name}.models}}"  # so every model has a stage
            yield from ((f"{name}@{key}", stage["do"]) for key in PARAMS[name]["models"])
        else:
            yield name, stage


TEMPLATES = dict(stages())
STAGES = {stage: expanded(template, stage.partition("@")[2]) for stage, template in TEMPLATES.items()}


def entries(stage: str, *kinds: str) -> dict[str, dict[str, Any]]:
    """Path -> options of the stage's deps, outs, metrics or plots."""
    listed = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    return {path: options for e in listed for path, options in (e if isinstance(e, dict) else {e: {}}).items()}


def from_params(stage: str) -> dict[str, str]:
    """Those deps that params.yaml names, as ${data.path}, and what they stand for."""
    written = zip(TEMPLATES[stage]["deps"], STAGES[stage]["deps"], strict=True)
    return {template: dep for template, dep in written if template.startswith("${")}


def script(stage: str) -> str:
    return f"stages/{stage.partition('@')[0]}.py"


def command(module: str) -> Path:
    """The file behind `python -m MODULE`."""
    path = ROOT / module.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def closure(path: str) -> set[str]:
    """`path` and every local script it imports, directly or further on."""
    found, waiting = set(), [path]
    while waiting:
        found.add(current := waiting.pop())
        files = {f"{module.replace('.', '/')}.py" for module in modules(current)}
        waiting += sorted(files & {*SCRIPTS, *SERVICE, *WATCH, *REVIEW, *ACTING} - found)
    return found


# templates of pages: beside the module that fills them, or shared
SHARED = {str(path.relative_to(ROOT)) for path in (ROOT / "churn/templates").iterdir()}
PAGES = SHARED | {path for script in (*SCRIPTS, *WATCH) if (ROOT / (path := f"{script[:-3]}.html")).exists()}


def is_code(path: str) -> bool:
    return path.endswith(".py") or path in PAGES


def code(path: str) -> set[str]:
    """The closure of `path`, and the templates of the pages in it."""
    scripts = closure(path)
    own = {f"{script[:-3]}.html" for script in scripts} & PAGES
    return scripts | own | (SHARED if "churn/page.py" in scripts else set())


READERS = ("read_knobs", "read_params", "read_section")


def sections(path: str) -> set[str]:
    """The sections that `path` and its closure read from params.yaml."""
    calls = (node for file in closure(path) for node in ast.walk(tree(file)) if isinstance(node, ast.Call))
    read = (c for c in calls if isinstance(c.func, ast.Name) and c.func.id in READERS)
    return {c.args[0].value for c in read if isinstance(c.args[0], ast.Constant)} - {"section"}


def main_of(path: str) -> ast.FunctionDef:
    return next(node for node in tree(path).body if isinstance(node, ast.FunctionDef) and node.name == "main")


def same(declared: str, argument: str) -> bool:
    """Whether both are one file, or one is the folder, which has no suffix, that the other lies in."""
    a, b = Path(declared), Path(argument)
    return a == b or (not b.suffix and b in a.parents) or (not a.suffix and a in b.parents)


def each_stage(claim: Callable[[str], None]) -> Callable[[], None]:
    """One test of a claim for all stages, which lists those that break it."""

    def test() -> None:
        broken: dict[str, str] = {}
        for stage in STAGES:
            try:
                claim(stage)
            except AssertionError as error:
                broken[stage] = str(error)
        assert not broken

    return test


@each_stage
def test_code_deps_are_the_imports(stage: str) -> None:
    deps = entries(stage, "deps")
    assert {dep for dep in deps if is_code(dep)} == (set() if stage in CODE_LEFT_OUT else code(script(stage)))


@each_stage
def test_no_dep_is_listed_twice(stage: str) -> None:
    deps = STAGES[stage]["deps"]
    assert len(deps) == len(set(deps))


@each_stage
def test_files_are_the_arguments_of_main(stage: str) -> None:
    listed = entries(stage, "deps", "outs", "metrics", "plots")
    files = {file for file in listed if not is_code(file)} - {*from_params(stage).values(), GATES.get(stage)}
    arguments = [str(ast.literal_eval(default.args[0])) for default in main_of(script(stage)).args.defaults]  # type: ignore[attr-defined]
    assert not [file for file in files if not any(same(file, argument) for argument in arguments)]
    assert not [argument for argument in arguments if not any(same(file, argument) for file in files)]


@each_stage
def test_who_reads_a_file_of_params_yaml_depends_on_it(stage: str) -> None:
    nodes = list(ast.walk(tree(script(stage))))
    words = {node.value for node in nodes if isinstance(node, ast.Constant)}
    words |= {argument.arg for node in nodes if isinstance(node, ast.arguments) for argument in node.kwonlyargs}
    read = words & {"path", "schema"} if "data" in sections(script(stage)) else set()
    measured = {"${profit.measured}"} if "churn/measured.py" in closure(script(stage)) else set()
    reference = {"${validate.reference}"} if "churn/reference.py" in closure(script(stage)) else set()
    assert set(from_params(stage)) == {f"${{data.{key}}}" for key in read} | measured | reference


@each_stage
def test_what_a_stage_reads_another_one_writes(stage: str) -> None:
    read = {dep for dep in STAGES[stage]["deps"] if not is_code(dep)} - set(from_params(stage).values())
    written = list(chain(*(entries(other, "outs", "metrics", "plots") for other in STAGES if other != stage)))
    assert not [dep for dep in read if not any(same(dep, path) for path in written)]


@each_stage
def test_params_are_the_sections_that_are_read(stage: str) -> None:
    name, _, key = stage.partition("@")
    expected = {s for s in sections(script(stage)) if s not in UNDECLARED or name == "load"}
    if key:  # an edit of one model must not run the others
        expected |= {f"{name}.{knob}" for knob in PARAMS[name] if knob != "models"} | {f"{name}.models.{key}"}
        expected -= {name}
    assert set(STAGES[stage].get("params", [])) == expected


@each_stage
def test_a_stage_runs_as_the_module_of_its_name(stage: str) -> None:
    name, _, key = stage.partition("@")
    assert STAGES[stage]["cmd"] == f"python -m stages.{name} {key}".rstrip()
    assert STAGES[stage]["desc"]


@each_stage
def test_metrics_and_plots_are_files_of_git(stage: str) -> None:
    assert all(options.get("cache") is False for options in entries(stage, "metrics", "plots").values())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git alone knows what it tracks")
def test_what_git_tracks_dvc_does_not_cache() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [path for path in listed.splitlines() if not path.endswith(".gitignore")]
    outs = {p: o for stage in STAGES for p, o in entries(stage, "outs", "metrics", "plots").items()}
    cached = [Path(path) for path, options in outs.items() if options.get("cache", True)]
    assert not [path for path in tracked for out in cached if out == Path(path) or out in Path(path).parents]


def test_every_plot_draws_a_file_that_a_stage_writes() -> None:
    written = list(chain(*(entries(stage, "outs", "metrics", "plots") for stage in STAGES)))
    drawn = [path for plot in PIPELINE["plots"] for options in plot.values() for path in options["y"]]
    assert not [path for path in drawn if not any(same(out, path) for out in written)]


def test_every_section_is_read_by_somebody() -> None:
    read = set().union(*(sections(path) for path in [*map(script, STAGES), *SERVICE, *WATCH, *REVIEW, *ACTING]))
    assert {section.partition(".")[0] for section in read} == set(PARAMS)


def test_profit_is_checked_wherever_it_is_read() -> None:
    for path in scripts("stages", "serve", "campaigns", "monitoring", "demo"):
        for call in (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id in READERS and ast.unparse(call.args[0]) == "'profit'":
                assert ast.unparse(call) == "read_knobs('profit', Profit)", path


def test_every_script_is_a_dep_of_somebody() -> None:
    deps = set(chain(*(entries(stage, "deps") for stage in STAGES)))
    assert set(SCRIPTS) - deps == set(OUTSIDE)
    assert not [path for path, why in OUTSIDE.items() if why == "empty" and (ROOT / path).read_text()]


def service_files() -> set[str]:
    """Every script that a part of the service imports, itself too."""
    return set().union(*map(closure, SERVICE))


@cache
def packages() -> dict[str, set[str]]:
    """Top names of other people's modules that the service imports -> the distributions they come from."""
    top = {module.partition(".")[0] for path in service_files() for module in modules(path)}
    come_from = packages_distributions()
    others = top - set(HOUSE) - sys.stdlib_module_names
    return {name: {re.sub(r"[._]", "-", found.lower()) for found in come_from[name]} for name in others}


def pins(path: str) -> dict[str, str]:
    """Distribution -> version of a requirements.txt."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / path).read_text(), re.MULTILINE))


def test_the_service_imports_nothing_of_the_training() -> None:
    names = (
        "campaigns",
        "customer_model",
        "dates",
        "features",
        "git",
        "offers",
        "page",
        "params",
        "profit",
        "reasons",
        "release",
        "schema",
        "scored",
        "scorer",
        "scores",
        "script",
        "storage",
        "text",
        "urls",
    )
    shared = {f"churn/{name}.py" for name in names}
    assert {path for path in service_files() if not path.startswith("serve/")} == shared
    assert not set(packages()) & HEAVY


def test_the_service_s_image_holds_what_the_service_imports() -> None:
    copied = set(re.findall(r"churn/\w+\.py", (ROOT / "serve/Dockerfile").read_text()))
    assert copied == {path for path in service_files() if path.startswith("churn/")} | {"churn/__init__.py"}


def test_a_started_service_holds_nothing_of_the_training() -> None:
    code = f"import sys, serve.app, serve.releases.commands; print(*{HEAVY!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_what_the_service_imports_it_pins() -> None:
    pinned = set(pins("serve/requirements.txt"))
    assert not [name for name, distributions in packages().items() if not distributions & pinned]


def test_the_service_s_pins_are_the_pipeline_s() -> None:
    own, all_ = pins("serve/requirements.txt"), pins("requirements.txt")
    assert own
    assert {name: all_.get(name) for name in own} == own


def test_the_service_asks_for_nothing_without_a_use() -> None:
    # the server's, SQLAlchemy's driver, fsspec's, a folder of files
    not_imported = {"httptools", "uvloop", "psycopg", "s3fs", "fastapi-swagger"}
    asked = set(re.findall(r"^([a-z0-9-]+)", (ROOT / "serve/requirements.in").read_text(), re.MULTILINE))
    assert asked - not_imported <= set().union(*packages().values())
