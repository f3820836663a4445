"""The rooms and the arrows between them: who imports what, no circle, no file that holds several ideas."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("churn", "stages", "serve", "campaigns", "monitoring", "review", "demo", "benchmarks")
# folder -> what of the house it may import
ARROWS = {
    "churn": {"churn"},
    "stages": {"churn"},
    "serve": {"churn", "serve"},
    "campaigns": {"churn", "serve", "campaigns"},
    "monitoring": {"churn", "serve", "monitoring"},
    "review": {"churn", "review"},
    "demo": {"churn", "stages", "serve", "campaigns", "monitoring", "demo"},
    "benchmarks": {"churn", "stages", "serve", "campaigns", "demo", "benchmarks"},
}
# the service's rooms and files from the top down: each may import what stands below it
SERVE = ("app", "web", "http", "score", "predict", "payloads", "releases", "log", "telemetry", "settings")
# the rooms of the service that others may import
KNOWN = {"monitoring": {"releases", "log", "settings"}, "campaigns": {"log", "settings"}}
MAX_LINES = 350
LONG = {"stages/simulate.py": "a third of it is tables of weights, which nobody else reads"}


def scripts(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


@cache
def modules(path: str) -> tuple[str, ...]:
    """Every module that `path` imports, also inside functions; for `from a import b` both a and a.b."""

    def imported() -> Iterator[str]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} imports relatively; name the package"
                yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))

    return tuple(imported())


def file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def room(path: str) -> str:
    """serve/log/tables.py -> log, serve/app.py -> app"""
    return path.split("/")[1].removesuffix(".py")


def test_the_arrows_between_folders_are_kept() -> None:
    known = {path: {module.partition(".")[0] for module in modules(path)} for path in scripts(*FOLDERS)}
    tops = {*FOLDERS, "tests"}
    assert not {
        p: tops & known[p] - ARROWS[p.partition("/")[0]] for p in known if tops & known[p] - ARROWS[p.partition("/")[0]]
    }


def test_the_rooms_of_the_service_import_downwards() -> None:
    paths = [path for path in scripts("serve") if room(path) in SERVE]
    assert set(scripts("serve")) - set(paths) == {"serve/__init__.py", "serve/__main__.py"}
    upward = [
        (path, file_of(module))
        for path in paths
        for module in modules(path)
        if module.startswith("serve.") and (ROOT / file_of(module)).is_file()
        if SERVE.index(room(file_of(module))) < SERVE.index(room(path))
    ]
    assert not upward


def test_monitoring_and_campaigns_know_rooms_of_the_service_alone() -> None:
    others = [
        (path, module)
        for folder, rooms in KNOWN.items()
        for path in scripts(folder)
        for module in modules(path)
        if module.startswith("serve.") and module.split(".")[1] not in rooms
    ]
    assert not others


def test_nobody_imports_a_command() -> None:
    assert not [path for path in scripts(*FOLDERS) if any(m.endswith("__main__") for m in modules(path))]


def test_no_imports_go_round_in_a_circle() -> None:
    paths = scripts(*FOLDERS)
    graph = {path: {file_of(module) for module in modules(path)} & set(paths) - {path} for path in paths}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_a_file_holds_one_idea() -> None:
    lines = {path: (ROOT / path).read_text().count("\n") for path in scripts(*FOLDERS)}
    assert {path for path, n in lines.items() if n > MAX_LINES} == set(LONG)


def test_ruff_keeps_the_arrows_while_one_types(tmp_path: Path) -> None:
    cases = [
        ("churn/x.py", "import stages.load", True),
        ("churn/y.py", "from serve import log", True),
        ("stages/x.py", "from stages.load import main", True),
        ("stages/y.py", "import serve.log", True),
        ("stages/z.py", "import churn.schema", False),
        ("serve/x.py", "import serve.log", False),
        ("stages/w.py", "import monitoring.ab", True),
        ("stages/v.py", "import campaigns.plan.choice", True),
        ("campaigns/x.py", "import serve.log", False),
        ("monitoring/x.py", "import serve.log", False),
        ("tests/test_x.py", "import stages.load", False),
    ]
    for path, line, _ in cases:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(f"{line}\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--output-format", "concise"]
    done = subprocess.run([*command, "."], cwd=tmp_path, capture_output=True, text=True)
    assert set(re.findall(r"^([\w/]+\.py):\d+:\d+: TID251", done.stdout, re.MULTILINE)) == {
        path for path, _, banned in cases if banned
    }
