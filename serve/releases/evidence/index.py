"""The contents of the folder, under the headings of annex IV of the EU AI Act (Regulation (EU) 2024/1689)."""

from collections.abc import Iterator

from churn.document import Section, Table
from churn.model_card import stated
from churn.report_text import day_and_hour
from churn.scores import LOSSES
from serve.releases.evidence.collect import Evidence, gate_of, live_since, roles
from serve.releases.ledger import Act

SHOWN_CHECKS = 30  # the newest; the file has all
ABOUT = (
    "Technical documentation of one release, by the headings of annex IV of Regulation (EU) 2024/1689. Whether the "
    "regulation asks for it depends on what the release is used for; these files do not say so."
)
SIGNED = "statement.dsse.json holds the same statement, signed; whose key it is, the reader has to know."
UNSIGNED = "Nobody signed it: make the folder again with --key FILE."


def title(evidence: Evidence) -> str:
    return f"Evidence of the release {evidence.release.version}"


def contents(evidence: Evidence, is_signed: bool) -> list[Section]:
    parts = (about, general, development, functioning, metrics, risks, changes, standards, post_market)
    return [section for part in parts for section in part(evidence)] + [integrity(is_signed)]


def here(evidence: Evidence, *files: tuple[str, str]) -> list[tuple[str, str]]:
    return [(name, what) for name, what in files if name in evidence.files]


def about(evidence: Evidence) -> Iterator[Section]:
    missing = [f"Missing: {what}: {why}" for what, why in evidence.gaps.items()]
    yield Section("What this is", [ABOUT], missing)


def general(evidence: Evidence) -> Iterator[Section]:
    card, since = evidence.release.card, live_since(evidence)
    facts = [
        ("intended purpose", card["intended_use"]),
        ("provider", stated(card, "owner")),
        ("version", evidence.release.version),
        ("first in production", day_and_hour(since) if since else "never"),
        ("roles now", ", ".join(roles_now(evidence)) or "none"),
        ("how it is used", "through a service (docs/serving.md) or on files (docs/batch.md)"),
    ]
    files = here(
        evidence,
        ("release/card.html", "the model card, with instructions and limits"),
        ("release/README.md", "the same as Markdown"),
        ("release/card.json", "the same for programs"),
    )
    yield Section("1. General description", files=files, tables=[Table("The release", ("fact", "value"), facts, [1])])


def roles_now(evidence: Evidence) -> list[str]:
    return roles(evidence.acts[-1]["state"], evidence.release.version) if evidence.acts else []


def development(evidence: Evidence) -> Iterator[Section]:
    card = evidence.release.card
    lines = [
        f"Made by the commit {evidence.commit}." if evidence.commit else "Missing: the commit that made it.",
        f"Learned from {card['data']['table']} with the sha256 {card['data']['sha256']}.",
        f"Human oversight. {stated(card, 'oversight')}",
    ]
    files = here(
        evidence,
        ("lineage.json", "commit, hash of the data, parameters, libraries"),
        ("pipeline/params.yaml", "every parameter of the training"),
        ("pipeline/dvc.yaml", "the stages, their code and their data"),
        ("pipeline/dvc.lock", "the hash of everything that they read and wrote"),
        ("pipeline/requirements.txt", "the packages, by version and hash"),
        ("sbom/training.cdx.json", "the packages of the training as CycloneDX"),
        ("sbom/service.cdx.json", "the packages of the service as CycloneDX"),
        ("release/schema.yaml", "the columns of the data: types, ranges, meaning"),
        ("expectations.json", "the same as a suite of Great Expectations"),
        ("data/expectations.json", "what Great Expectations found with that suite in the data table"),
        ("data/validate.json", "the result of checking the data table"),
        *(
            (name, "the data table, column by column")
            for name in evidence.files
            if name.startswith("data/") and name.endswith(".html")
        ),
        ("release/MANIFEST.json", "the sha256 of each file of the release"),
    )
    yield Section("2. Elements and development", lines, files=files)


def functioning(evidence: Evidence) -> Iterator[Section]:
    files = here(
        evidence,
        ("monitoring/plan.json", "limits of the check, alerts, retraining, gate"),
        ("monitoring/runbook.md", "what to do about each alert"),
    )
    limits = Table("Limits of use", ("limit",), [[limit] for limit in evidence.release.card["limits"]])
    lines = ["Every answer is logged; every act on a release is in the ledger, with the person and the reason."]
    yield Section("3. Monitoring, functioning and control", lines, files=files, tables=[limits])


def metrics(evidence: Evidence) -> Iterator[Section]:
    lines = [
        "ROC AUC and average precision measure the ranking, Brier score and calibration the probabilities, profit what "
        "acting on them earns; the model card has them with intervals and by slice.",
    ]
    gate = gate_of(evidence)
    rows = [
        [row["data"], f"{row['measure']}{', a loss' if row['measure'] in LOSSES else ''}"]
        + [f"{row[key]:.4f}" for key in ("champion", "candidate", "difference", "bound", "margin")]
        + ["yes" if row["passed"] else "no"]
        for row in gate.get("measures", ())
    ]
    head = ("data", "measure", "champion", "candidate", "difference", "bound", "allowed", "passed")
    caption = f"The gate: compared with {gate.get('champion')} on the same customers"
    if not rows:
        lines.append(
            "The gate compared it with no other release." if gate else "Missing: no act on it has passed the gate."
        )
    yield Section(
        "4. Appropriateness of the metrics",
        lines,
        gate.get("reasons", ()),
        tables=[Table(caption, head, rows, [1])] if rows else [],
    )


def risks(evidence: Evidence) -> Iterator[Section]:
    yield Section("5. Risk management", [stated(evidence.release.card, "risks")])


def changes(evidence: Evidence) -> Iterator[Section]:
    rows = [[act["at"][:19].replace("T", " "), what(act, evidence), act["who"], act["reason"]] for act in evidence.acts]
    table = Table("Acts on the release", ("when, UTC", "act", "who", "why"), rows, [1, 2, 3])
    files = [("approval.json", "each act with the numbers of its gate")]
    yield Section("6. Changes through the lifecycle", files=files, tables=[table])


def what(act: Act, evidence: Evidence) -> str:
    about = "" if act["version"] == evidence.release.version else f" {act['version']}"
    forced = ", although the gate refused it" if act.get("gate", {}).get("forced") else ""
    return f"{act['act']}{about}{forced}"


def standards(evidence: Evidence) -> Iterator[Section]:
    yield Section("7. Standards applied", ["Missing: nothing here knows which harmonised standards were applied."])
    yield Section("8. Declaration of conformity", ["Missing: the provider draws it up, where one is due."])


def post_market(evidence: Evidence) -> Iterator[Section]:
    checks = evidence.checks[-SHOWN_CHECKS:]
    rows = [
        [day_and_hour(check.at), check.verdict, "; ".join(reason["words"] for reason in check.found.get("reasons", ()))]
        for check in reversed(checks)
    ]
    counts = (
        [f"{len(evidence.checks):,} checks since it went live."] if "checks of production" not in evidence.gaps else []
    )
    files = here(evidence, ("monitoring/checks.json", "what each check found"))
    limits = [[name, str(value)] for name, value in evidence.plan.get("report", {}).items()]
    alerts = [
        [alert["alert"], alert["severity"], alert["for"], alert["summary"]] for alert in evidence.plan.get("alerts", ())
    ]
    tables = [
        Table("The newest checks", ("when", "verdict", "reasons"), rows, [1, 2]),
        Table("Limits of the check", ("limit", "value"), limits),
        Table("Alerts", ("alert", "severity", "after", "what it means"), alerts, [1, 2, 3]),
    ]
    yield Section("9. Post-market monitoring", counts, files=files, tables=[table for table in tables if table.rows])


def integrity(is_signed: bool) -> Section:
    files = [("statement.json", "the sha256 of each file, as an in-toto Statement v1")]
    files += (
        [("statement.dsse.json", "the statement in a DSSE envelope with an Ed25519 signature")] if is_signed else []
    )
    return Section("Integrity", [SIGNED if is_signed else UNSIGNED], files=files)
