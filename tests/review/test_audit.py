"""audit: what was not looked at is not called clean, and one excuse excuses one package outside the service."""

import pytest

from review.audit import Found, allows, lines, of_licences, of_pip_audit, verdict

ALLOWED = {"MIT", "BSD-3-Clause", "ISC License (ISCL)", "Apache-2.0"}


def test_packages_that_were_skipped_are_unknown() -> None:
    told = {"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}]}
    found = of_pip_audit(told)
    assert (found.findings, found.unknown) == ([], ["b: not found"])
    assert verdict({"vulnerabilities": found}) == 2


def test_an_answer_about_no_package_is_unknown() -> None:
    assert verdict({"vulnerabilities": of_pip_audit({"dependencies": []})}) == 2


def test_a_vulnerability_is_told_with_the_version_that_mends_it() -> None:
    vulns = [{"id": "CVE-1", "fix_versions": ["2", "3"]}, {"id": "CVE-2", "fix_versions": []}]
    found = of_pip_audit({"dependencies": [{"name": "a", "version": "1", "vulns": vulns}]})
    assert found.findings == ["a 1: CVE-1, fixed in 2, 3", "a 1: CVE-2, fixed in no version"]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({"a": Found(), "b": Found()}, 0),
        ({"a": Found(), "b": Found(unknown=["x"])}, 2),
        ({"a": Found(["x"]), "b": Found(unknown=["x"])}, 1),
    ],
)
def test_a_finding_is_worse_than_not_knowing_and_that_worse_than_nothing(found: dict[str, Found], status: int) -> None:
    assert verdict(found) == status


def test_a_part_that_could_not_tell_says_so() -> None:
    assert lines("code", Found(unknown=["x"])) == ["code: could not tell", "  could not tell: x"]


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("UNKNOWN", False),
        ("", False),
        ("ISC License (ISCL)", True),
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("GPL-2.0-only OR GPL-3.0-only", False),
        ("MIT AND GPL-2.0-only", False),
        ("MIT AND (Apache-2.0 OR BSD-3-Clause)", True),
        ("MIT AND (GPL-2.0-only OR BSD-3-Clause)", False),  # not worked out: a person looks
        ("BSD-3-Clause; MIT", True),
        ("MIT\n\nPermission is hereby granted ...", True),
    ],
)
def test_a_licence_is_allowed_by_its_terms(licence: str, allowed: bool) -> None:
    assert allows(licence, ALLOWED) == allowed


def test_an_excuse_holds_outside_the_service_alone() -> None:
    installed, excuse = {"drawing": "GPL", "fine": "MIT"}, {"drawing": "draws for people"}
    assert of_licences(installed, set(), allow=ALLOWED, outside_the_service={}).findings == [
        "drawing: GPL is not allowed"
    ]
    assert of_licences(installed, set(), allow=ALLOWED, outside_the_service=excuse).findings == []
    shipped = of_licences(installed, {"drawing"}, allow=ALLOWED, outside_the_service=excuse)
    assert shipped.findings == ["drawing: GPL is not allowed"]


def test_an_excuse_that_nobody_needs_is_told() -> None:
    found = of_licences({"fine": "MIT"}, set(), allow=ALLOWED, outside_the_service={"fine": "once GPL"})
    assert found.findings == ["fine needs no excuse any more; take it out of pyproject.toml"]
