"""The model card: the same facts as page and Markdown, missing statements are named, no text is taken for markup."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from churn.document import escaped, markdown
from churn.model_card import STATEMENTS, Findings, pages, sections
from churn.release import PAGE, README, Release, open_release

METRICS = ("metrics/select.json", "metrics/evaluation.json", "metrics/train")


@pytest.fixture(scope="module")
def release(released: Path) -> Release:
    return open_release(released)


@pytest.fixture(scope="module")
def found(project: Path) -> Findings:
    models = yaml.safe_load((project / "params.yaml").read_text())["train"]["models"]
    plots = [project / "metrics/plots/evaluate", project / "metrics/plots/select"]
    return Findings.read(*(project / path for path in METRICS), plots, list(models))


def front_and_body(text: str) -> tuple[dict[str, object], str]:
    _, front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), body


def test_the_bundle_holds_these_pages(release: Release, found: Findings) -> None:
    made = pages(release.card, release.schema, found)
    assert {name: (release.folder / name).read_text() for name in (README, PAGE)} == made
    assert release.page == made[PAGE]


def test_what_nobody_stated_is_named_with_its_knob(release: Release, found: Findings) -> None:
    made = pages(release.card, release.schema, found)
    for name, what in STATEMENTS.items():
        assert all(f"Missing: {what}; state it as deploy.{name} in params.yaml" in text for text in made.values())


def test_what_somebody_stated_is_shown(release: Release, found: Findings) -> None:
    stated = {"owner": "retention, retention@example.com", "license": "apache-2.0", "risks": "none", "oversight": "yes"}
    made = pages(release.card | stated, release.schema, found)
    assert all("Missing" not in text and stated["owner"] in text for text in made.values())
    assert front_and_body(made[README])[0]["license"] == "apache-2.0"


def test_the_metadata_is_that_of_hugging_face_s_cards(release: Release, found: Findings) -> None:
    front, _ = front_and_body(pages(release.card, release.schema, found)[README])
    assert "license" not in front
    assert (front["library_name"], front["pipeline_tag"]) == ("onnx", "tabular-classification")
    (model,) = front["model-index"]  # type: ignore[misc]
    (result,) = model["results"]
    assert set(result) == {"task", "dataset", "metrics"}
    scores = {score["type"]: score["value"] for score in result["metrics"]}
    assert list(scores) == front["metrics"]
    test = release.card["test"]
    assert (scores["roc_auc"], scores["brier_score"]) == (test["roc_auc"], test["brier"])


def test_every_section_of_the_page_is_in_the_markdown(release: Release, found: Findings) -> None:
    made = pages(release.card, release.schema, found)
    titles = [section.title for section in sections(release.card, release.schema, found)]
    assert re.findall("<h2>(.*?)</h2>", made[PAGE]) == titles == re.findall("^## (.*)$", made[README], re.MULTILINE)


def test_the_scores_have_their_intervals(release: Release, found: Findings) -> None:
    test = release.card["test"]
    expected = f"{test['roc_auc']:.3f} ({test['roc_auc_low']:.3f} to {test['roc_auc_high']:.3f})"
    assert all(expected in text for text in pages(release.card, release.schema, found).values())


@pytest.mark.parametrize(
    ("success", "campaigns", "says"),
    [
        (
            0.2,
            ["spring", "autumn"],
            "95 % interval 0.100 to 0.300, 1,200 outcomes of spring, autumn, shrunk towards 0.3",
        ),
        (0, ["spring"], "It is 0, as offers seem to drive away no fewer customers than they keep"),
        (0.3, [], "the one expected beforehand, 0.3 ± 0.1, as no campaign has measured it yet"),
    ],
)
def test_a_measured_success_says_what_it_rests_on(
    release: Release, found: Findings, success: float, campaigns: list[str], says: str
) -> None:
    evidence = {
        "offer_success_low": 0.1, "offer_success_high": 0.3, "outcomes": 1_200, "campaigns": campaigns,
        "prior": 0.3, "prior_deviation": 0.1,
    }  # fmt: skip
    stated = release.card["threshold"]
    threshold = stated | {"profit": stated["profit"] | {"offer_success": success}, "measured": evidence}
    made = pages(release.card | {"threshold": threshold}, release.schema, found)
    assert all(says in text for text in made.values())
    assert not any("expected beforehand" in page for page in pages(release.card, release.schema, found).values())


def test_a_page_has_no_script_and_no_style_but_its_own(release: Release) -> None:
    page = str(release.page)
    assert not re.findall(r"<script| style=| on\w+=|javascript:|<link|@import|url\((?!#)", page)
    assert page.count("<style>") == page.count("<style") == 1
    assert page.count("<svg ") == 2
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_texts_of_the_table_mean_nothing_to_a_reader_of_either(release: Release, found: Findings) -> None:
    odd = found.plots["slices"].head(1).assign(slice="plan = <b>|`x`\n[y](z)")
    made = pages(release.card, release.schema, replace(found, plots=found.plots | {"slices": odd}))
    assert "plan = &lt;b&gt;|" in made[PAGE]
    assert r"| plan = \<b\>\|\`x\` \[y\](z) |" in made[README]
    assert escaped("a & b") == "a &amp; b"


def test_slices_that_are_missing_or_small_are_named(release: Release, found: Findings) -> None:
    def texts(slices: pd.DataFrame) -> str:
        return pages(release.card, release.schema, replace(found, plots=found.plots | {"slices": slices}))[README]

    small = found.plots["slices"].head(1).assign(roc_auc=float("nan"), bias=float("nan"))
    assert "Missing: scores by slice" in texts(found.plots["slices"].head(0))
    assert "| - | - | too few customers |" in texts(small)


def test_rows_of_markdown_have_as_many_cells_as_their_head(release: Release, found: Findings) -> None:
    parts = list(sections(release.card, release.schema, found))
    text = markdown("t", parts)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == sum(len(part.tables) for part in parts)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_groups_that_are_too_small_and_columns_that_are_missing_are_named(release: Release, found: Findings) -> None:
    def text(card: dict[str, Any], groups: pd.DataFrame) -> str:
        return pages(card, release.schema, replace(found, plots=found.plots | {"fairness": groups}))[README]

    few = found.plots["fairness"].head(1).assign(column="kind", group="rare", masked=True, customers=float("nan"))
    few[[name for name in few if name not in ("column", "group", "customers", "masked")]] = float("nan")
    card = dict(release.card) | {"fairness": {"kind": dict.fromkeys(next(iter(release.card["fairness"].values())))}}
    assert "| kind = rare | too few | - | - | - | - | - | - |" in text(card, few)
    without = {key: value for key, value in release.card.items() if key != "fairness"}
    assert "Missing: rates by group" in text(without, few.head(0))
