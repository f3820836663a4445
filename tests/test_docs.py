"""What README and docs name exists: modules and their options, links and anchors, make targets, files."""

import re
from pathlib import Path

import pytest

from tests.test_house import ROOT
from tests.test_pipeline_contract import command

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
BUILT = ("data/", "models/", "metrics/", "pages/", "review-out/", "data_docs/", "demo/out/")  # what commands write
EXAMPLES = {"schemas/my.yaml", "stages/NAME.py"}  # files that are the reader's own


def anchors(page: Path) -> set[str]:
    """GitHub's names of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_command_is_one_with_these_options(page: Path) -> None:
    for module, rest in re.findall(r"python -m\s+([\w.]+)([^\n`#|&>]*)", page.read_text(encoding="utf-8")):
        if module == "stages.NAME":
            continue
        path = command(module)
        assert path.is_file(), module
        for option in re.findall(r" (--[a-z-]+)", rest):
            assert f'"{option}"' in path.read_text(encoding="utf-8"), (module, option)


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked), target


@each_page
def test_every_make_word_is_a_target(page: Path) -> None:
    assert set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", page.read_text(), re.MULTILINE)) <= {
        pair for target in TARGETS for pair in ((target, ""), ("", target))
    }


@each_page
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = re.findall(r"`([\w.-]+/[\w./-]+\.[a-z]+)`", page.read_text(encoding="utf-8"))
    missing = {name for name in named if not (ROOT / name).exists() and not name.startswith(BUILT)}
    assert missing <= EXAMPLES


def test_the_readme_is_short() -> None:
    assert 150 <= (ROOT / "README.md").read_text().count("\n") <= 200


def test_every_setting_of_the_service_is_in_the_table() -> None:
    from serve.settings import Settings

    named = re.findall(r"CHURN_[A-Z_]+", (ROOT / "docs/serving.md").read_text())
    assert set(named) == {f"CHURN_{name.upper()}" for name in Settings.model_fields}
