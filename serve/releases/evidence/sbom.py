"""Pinned requirements as a software bill of materials: JSON of CycloneDX 1.6 (ECMA-424)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

# name==version ; marker, and the hashes of its files behind
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)([^\n]*)\n((?:[ \t]+[^\n]*\n?)*)", re.MULTILINE)


def bill(requirements: str, component: Mapping[str, Any]) -> dict[str, Any]:
    """What `component` is made with: a package for each pin of a requirements.txt, with the hashes of its files."""
    packages = list(pinned(requirements))
    references = [package["bom-ref"] for package in packages]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, f"{component['bom-ref']} {requirements}").urn,
        "version": 1,
        "metadata": {"component": dict(component)},
        "components": packages,
        "dependencies": [{"ref": component["bom-ref"], "dependsOn": references}],
    }


def pinned(requirements: str) -> Iterator[dict[str, Any]]:
    for name, version, rest, below in PIN.findall(requirements):
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", below)
        purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
        files: dict[str, Any] = {"type": "distribution", "url": purl}  # whichever registry they come from
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "scope": "optional" if ";" in rest else "required",  # a marker: of some platforms alone
            "externalReferences": [
                files | ({"hashes": [{"alg": "SHA-256", "content": text} for text in hashes]} if hashes else {})
            ],
        }
