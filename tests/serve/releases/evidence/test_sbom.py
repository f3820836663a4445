"""Bills of materials: valid by CycloneDX's schema, a component for each pin, the same for the same pins."""

import json
import re
from typing import Any

import pytest

from serve.releases.evidence.sbom import bill, pinned
from tests.conftest import ROOT

MODEL = {"type": "machine-learning-model", "bom-ref": "churn@1", "name": "churn", "version": "1"}
PINS = f"""# a comment
Typing_Extensions==4.16.0 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via fastapi
moto[s3]==5.1.0
tzdata==2026.6 ; sys_platform == 'win32' \\
    --hash=sha256:{"c" * 64}
"""


@pytest.mark.parametrize("path", ["requirements.txt", "serve/requirements.txt"])
def test_a_bill_is_valid_and_whole(path: str) -> None:
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed: make setup does it")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (ROOT / path).read_text()
    made = bill(text, MODEL)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    assert len(made["components"]) == len(re.findall(r"^[a-z0-9]\S*==", text, re.MULTILINE)) > 40


def test_a_pin_becomes_a_package_with_the_hashes_of_its_files() -> None:
    packages: dict[str, Any] = {package["name"]: package for package in pinned(PINS)}
    assert packages["Typing_Extensions"]["purl"] == "pkg:pypi/typing-extensions@4.16.0"
    (files,) = packages["Typing_Extensions"]["externalReferences"]
    assert [one["content"][0] for one in files["hashes"]] == ["a", "b"]
    assert "hashes" not in packages["moto"]["externalReferences"][0]
    assert [package["scope"] for package in packages.values()] == ["required", "required", "optional"]


def test_equal_pins_have_an_equal_serial_number_and_others_another_one() -> None:
    assert bill(PINS, MODEL) == bill(PINS, MODEL)
    assert bill(PINS, MODEL)["serialNumber"] != bill(PINS.replace("4.16.0", "4.17.0"), MODEL)["serialNumber"]
