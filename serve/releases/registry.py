"""The MLflow registry as a mirror of the releases' store: its aliases follow the ledger.

The ledger has the last word. A registry that is down costs a warning, and the next act brings it up to date.
It is for the command line, where MLflow is installed; the service's own image has neither MLflow nor pandas.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn.release import MANIFEST, Release, open_release
from churn.script import InputError

if TYPE_CHECKING:
    from churn.tracking import Tracker

log = logging.getLogger("serve.registry")

ALIASES = ("champion", "challenger", "shadow")  # of the registry, and the store's state has them too
ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>[0-9]+))")


def installed() -> bool:
    """Whether this machine can speak to a registry."""
    return find_spec("mlflow") is not None


def tell(state: Mapping[str, Any], folders: Mapping[str, Path], newest: str | None) -> None:
    """`mirror`, with a warning where it fails."""
    if not installed():
        log.debug("MLflow is not installed here, so no registry follows")
        return
    from churn.tracking import CANDIDATE, address, reason, shown

    try:
        for change in mirror(state, folders, newest):
            log.info(change)
    except Exception as error:
        aliases = {alias: state.get(alias) or "none" for alias in ALIASES} | ({CANDIDATE: newest} if newest else {})
        said = ", ".join(f"{alias} {version}" for alias, version in aliases.items())
        sentence = "the registry at %s does not know yet of %s: %s; `python -m serve.releases mirror` catches up"
        log.warning(sentence, shown(address()), said, reason(error))


def mirror(state: Mapping[str, Any], folders: Mapping[str, Path], newest: str | None) -> list[str]:
    """Bring the registry to the store's state; a sentence for each change. Doing it again changes nothing.

    `folders` has the store's releases by version and is asked for those alone that the registry does not know;
    `newest` becomes `candidate`. One registry mirrors one store. Without MLFLOW_TRACKING_URI and without the database
    that a training makes, there is no registry and nothing to do.
    """
    from churn.tracking import address, alone, connected, is_there, knobs

    if not is_there():
        log.debug("no registry: MLFLOW_TRACKING_URI is not set and no training made a database here")
        return []
    uri, (experiment, _) = address(), knobs()
    with alone(uri, "mirror"), connected(uri, experiment) as tracker:
        return list(_changes(tracker, state, folders, newest))


def _changes(
    tracker: "Tracker", state: Mapping[str, Any], folders: Mapping[str, Path], newest: str | None
) -> Iterator[str]:
    """Each change, once it is made. Who answers comes first, releases with no part in it last."""
    from churn.tracking import CANDIDATE, REGISTERED

    wanted = {alias: state.get(alias) for alias in ALIASES} | ({CANDIDATE: newest} if newest else {})
    known, pointing = tracker.registered(), tracker.aliases()
    for alias, version in wanted.items():
        if version is None:
            if alias in pointing:
                tracker.client.delete_registered_model_alias(REGISTERED, alias)
                yield f"{REGISTERED}@{alias} is removed"
            continue
        if version not in known:
            known[version] = _register(tracker, version, folders)
            yield f"{REGISTERED} has a version {known[version]} ({version})"
        if pointing.get(alias) != known[version]:
            tracker.client.set_registered_model_alias(REGISTERED, alias, known[version])
            yield f"{REGISTERED}@{alias} is now version {known[version]} ({version})"
    for version in folders:
        if version in known:
            continue
        try:
            number = _register(tracker, version, folders)
        except InputError as error:  # nobody waits for it
            log.warning("release %s is not registered: %s", version, error)
        else:
            yield f"{REGISTERED} has a version {number} ({version})"


def _register(tracker: "Tracker", version: str, folders: Mapping[str, Path]) -> str:
    """The version of the registered model that a bundle of the store becomes, logged as `deploy` logs its own."""
    if version not in folders:
        raise InputError(f"neither the registry nor the store has release {version}; add its bundle")
    release = open_release(folders[version])
    # the commit that is checked out here is not the one that made the release
    with tracker.run(f"release {version}", commit=False, model_version=version) as run:
        tracker.card(run, release.card)
        inputs, p = _golden(release)
        logged = tracker.model(run, "release", release.folder, inputs, p, model_version=version)
        return tracker.add(run, logged, version)


def _golden(release: Release) -> tuple[Any, Any]:
    """The golden customers as a frame (n, k) in the types of training, and their probabilities (n,).

    Among them are edge rows, so every column that may be missing is missing once: MLflow's signature needs to see it.
    """
    import numpy as np

    from churn.customers import frame_of

    golden = release.golden()
    customers = frame_of([line["customer"] for line in golden], release.schema, "boolean")
    return customers, np.array([line["churn_probability"] for line in golden])


def pull(uri: str, folder: Path) -> Path:
    """Download the release at `models:/churn@candidate` or `models:/churn/3` into `folder`; the bundle in it."""
    if not installed():
        raise InputError(f"{uri} needs MLflow; install requirements.txt, or pull it on a machine that has it")
    from churn.tracking import address, impatient, is_there, reason, shown

    if not (parts := ADDRESS.fullmatch(uri)):
        raise InputError(f"{shown(uri)} names no release; expected models:/churn@candidate or models:/churn/3")
    if not is_there():
        raise InputError(f"{uri} is in a registry, and there is none here; set MLFLOW_TRACKING_URI")
    try:
        with impatient():
            return _downloaded(uri, parts, folder)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{uri} did not come from the registry at {shown(address())}: {reason(error)}; "
            "start the server, or set MLFLOW_TRACKING_URI"
        ) from error


def _downloaded(uri: str, parts: re.Match[str], folder: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    from churn.tracking import address, client_of, shown

    client = client_of(address())
    number = _number(client, parts)
    if number is None:
        raise InputError(f"the registry at {shown(address())} has no {uri}; it has {_has(client, parts['name'])}")
    # the number, not the alias: that may move meanwhile
    inside = folder / f"{parts['name']}-{number}"
    download_artifacts(artifact_uri=f"models:/{parts['name']}/{number}", dst_path=str(inside))
    bundle = next((manifest.parent for manifest in inside.glob(f"*/{MANIFEST}")), None)
    if bundle is None:
        raise InputError(f"{uri} has no release bundle among its files; pull one that the stage deploy registered")
    return bundle


def _number(client: Any, parts: re.Match[str]) -> str | None:
    """The version that an alias or a number names, None if there is none."""
    from mlflow.exceptions import MlflowException

    name, alias, number = parts["name"], parts["alias"], parts["number"]
    try:
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except MlflowException as error:
        # the second is what an SQL registry says of an alias that it does not have
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return str(found.version)


def _has(client: Any, name: str) -> str:
    """What can be pulled of a registered model, the newest ten of its versions."""
    aliases = [f"@{alias}" for model in client.search_registered_models(f"name = '{name}'") for alias in model.aliases]
    numbers = sorted((int(v.version) for v in client.search_model_versions(f"name = '{name}'")), reverse=True)
    addresses = [f"models:/{name}{tail}" for tail in (*sorted(aliases), *(f"/{number}" for number in numbers[:10]))]
    return ", ".join(addresses) or f"no model {name!r}"
