"""The manifests in ops/k8s fit their schemas, each other, and the service."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from serve.score.__main__ import parser
from serve.settings import Settings
from tests.conftest import ROOT
from tests.test_pipeline_contract import command

FOLDER = ROOT / "ops/k8s"
OTHERS = {"Kustomization", "ServiceMonitor"}  # of tools that bring their own schemas
DOCUMENTS: list[dict[str, Any]] = [
    document for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]
(KUSTOMIZATION,) = (document for document in DOCUMENTS if document["kind"] == "Kustomization")


def all_of(kind: str) -> list[dict[str, Any]]:
    return [document for document in DOCUMENTS if document["kind"] == kind]


def one(kind: str) -> dict[str, Any]:
    (found,) = all_of(kind)
    return found


POD = one("Deployment")["spec"]["template"]
JOBS = [job["spec"]["jobTemplate"]["spec"]["template"] for job in all_of("CronJob")]


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each pod's spec with each of its containers."""
    return ((pod["spec"], container) for pod in (POD, *JOBS) for container in pod["spec"]["containers"])


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_each_fits_its_schema(version: str) -> None:
    for document in DOCUMENTS:
        if document["kind"] not in OTHERS:
            validate(document, version, strict=True)


def test_every_file_is_applied() -> None:
    assert {*KUSTOMIZATION["resources"], "kustomization.yaml"} == {path.name for path in FOLDER.iterdir()}


def test_every_image_is_one_whose_tag_is_set_in_one_place() -> None:
    assert {container["image"] for _, container in containers()} == {image["name"] for image in KUSTOMIZATION["images"]}
    assert not [image for image in KUSTOMIZATION["images"] if image["newTag"] == "latest"]


def test_no_secret_is_in_a_file() -> None:
    assert "Secret" not in {document["kind"] for document in DOCUMENTS}
    given = [line.split("=")[0] for made in KUSTOMIZATION["configMapGenerator"] for line in made["literals"]]
    given += [variable["name"] for _, container in containers() for variable in container["env"]]
    assert not [name for name in given if "KEY" in name or name == "CHURN_LOG_URL"]


def test_every_variable_is_one_of_the_service() -> None:
    known = {f"CHURN_{name.upper()}" for name in Settings.model_fields}
    words = {word for path in FOLDER.iterdir() for word in path.read_text().replace("=", " ").replace(",", " ").split()}
    assert {word.strip(";") for word in words if word.startswith("CHURN_") and word != "CHURN_"} <= known


def test_selectors_find_the_pods_and_ports_have_their_names() -> None:
    labels, ports = POD["metadata"]["labels"], {"http"}
    service, monitor = one("Service"), one("ServiceMonitor")
    for selector in (
        one("Deployment")["spec"]["selector"]["matchLabels"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
    ):
        assert selector == labels
    (port,) = POD["spec"]["containers"][0]["ports"]
    assert {port["name"], service["spec"]["ports"][0]["targetPort"]} == ports
    (allowed,) = one("NetworkPolicy")["spec"]["podSelector"]["matchExpressions"]
    assert set(allowed["values"]) == {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in (POD, *JOBS)}
    assert one("NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"port": port["containerPort"]}]
    assert one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == one("Deployment")["metadata"]["name"]
    # of the operator's schema, monitoring.coreos.com/v1
    assert (monitor["apiVersion"], set(monitor["spec"])) == ("monitoring.coreos.com/v1", {"selector", "endpoints"})
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (service["spec"]["ports"][0]["name"], "/metrics")


def test_every_pod_fits_the_restricted_standard_and_writes_on_volumes_alone() -> None:
    for pod, container in containers():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
        assert "/tmp" in mounted.values()


def test_probes_ask_routes_that_need_no_key(client: Any) -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = POD["spec"]["containers"][0][probe]["httpGet"]
        assert asked["port"] == "http"
        assert client.get(asked["path"]).status_code == 200
    assert POD["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_the_jobs_run_modules_that_are_there() -> None:
    words = [" ".join(job["spec"]["containers"][0]["args"]).split() for job in JOBS]
    modules = [[line[i + 1] for i, word in enumerate(line) if word == "-m"] for line in words]
    assert modules == [["serve.score"], ["monitoring.check", "monitoring.retrain"]]
    assert all(command(module).is_file() for line in modules for module in line)


def test_the_monthly_scores_are_asked_for_with_options_that_are_there() -> None:
    (line,) = (job["spec"]["containers"][0]["args"][-1] for job in JOBS if "serve.score" in str(job))
    given = parser().parse_args(shlex.split(line)[4:])
    mounted = {mount["mountPath"] for mount in JOBS[0]["spec"]["containers"][0]["volumeMounts"]}
    assert {given.input, str(Path(given.out).parent)} < mounted
