"""The release bundle, the one folder that leaves the pipeline: its files, its version, the check that it is whole."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from churn.schema import Schema, read_schema
from churn.script import InputError

FORMAT = 1  # of the bundle; a reader refuses bundles that are newer than itself

MODEL = "model.onnx"  # all that was fitted: from model inputs to P(churned = 1)
SCHEMA = "schema.yaml"
CARD = "card.json"  # what the model is, how good, from which data
REFERENCE = "reference.parquet"  # model inputs of a training sample, outcomes and out-of-fold probabilities
GOLDEN = "golden.jsonl"  # customers and the probabilities they must get
HOLDOUT = "holdout.jsonl"  # test customers and what became of them: releases are compared on them
PIPELINE = "model.joblib"  # the same on a frame of schema names, offline only
README = "README.md"  # the card for people, with the metadata of Hugging Face's model cards
PAGE = "card.html"  # the same for browsers
MANIFEST = "MANIFEST.json"  # sha256 of each file

FILES = (MODEL, SCHEMA, CARD, REFERENCE, GOLDEN, HOLDOUT, PIPELINE)
# Made of the card and the metrics: verified as all files are, but no part of the version. Older bundles have none.
PAGES = (README, PAGE)


class ReleaseError(InputError):
    """A bundle that must not be used."""


@dataclass(frozen=True)
class Release:
    """A verified bundle."""

    folder: Path
    schema: Schema
    card: dict[str, Any]
    page: str | None = None  # the card as HTML

    @property
    def version(self) -> str:
        return str(self.card["model_version"])

    def golden(self) -> list[dict[str, Any]]:
        """Lines of {"customer": {...}, "churn_probability": p}."""
        return self._lines(GOLDEN)

    def holdout(self) -> list[dict[str, Any]]:
        """Lines of {"customer": {...}, "churned": true or false}: customers that training never saw."""
        return self._lines(HOLDOUT)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text(encoding="utf-8").splitlines()]


def unsealed(folder: Path, schema: Schema, card: Mapping[str, Any]) -> Release:
    """A bundle that is still being written: what proves it before it is sealed reads it as everybody will."""
    return Release(folder, schema, {"model_version": "unsealed", **card})


def seal(
    folder: Path, card: Mapping[str, Any], pages: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda card: {}
) -> str:
    """Write the card, its version, its pages and the manifest beside the other files, and return the version.

    The version is made of the content of FILES, so equal trainings get equal versions; one that the card has already
    is replaced. `pages` makes of the card with its version the texts of PAGES, by name.
    """
    content = {key: value for key, value in card.items() if key != "model_version"}
    card = json.loads(json.dumps(content, allow_nan=False))  # as it will be read: a key that is a number becomes text
    version = _version({name: file_hash(folder / name) for name in FILES if name != CARD}, card)
    card = {"model_version": version, **card}
    _write(folder / CARD, card)
    texts = pages(card)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    _write(
        folder / MANIFEST, {"format": FORMAT, "sha256": {name: file_hash(folder / name) for name in (*FILES, *texts)}}
    )
    return version


def _version(hashes: Mapping[str, str], card: Mapping[str, Any]) -> str:
    content = [(name, hashes[name]) for name in FILES if name != CARD]
    return sha256(json.dumps([content, card], sort_keys=True).encode()).hexdigest()[:12]


def open_release(folder: Path) -> Release:
    """The bundle in `folder`, its format and checksums verified; nothing in it is unpickled."""
    try:
        return _verified(folder)
    except OSError as error:
        raise ReleaseError(f"release {folder} can't be read: {error.filename}: {error.strerror}") from None


def bundle_files(folder: Path) -> tuple[str, ...]:
    """The files of the bundle in `folder`, the manifest last: a copy without it is no bundle."""
    return (*FILES, *_pages(_checksums(folder)), MANIFEST)


def _pages(recorded: Mapping[str, str]) -> list[str]:
    return [name for name in PAGES if name in recorded]


def _checksums(folder: Path) -> dict[str, str]:
    manifest = _read(folder / MANIFEST)
    if not isinstance(newer := manifest.get("format"), int) or newer > FORMAT:
        raise ReleaseError(f"release {folder} has format {newer}, this code reads up to {FORMAT}; update the code")
    if not isinstance(recorded := manifest.get("sha256"), dict):
        raise ReleaseError(f"release {folder}: {MANIFEST} has no checksums; deploy it again")
    return recorded


def _verified(folder: Path) -> Release:
    recorded = _checksums(folder)
    names = [*FILES, *_pages(recorded)]
    if missing := [name for name in names if name not in recorded or not (folder / name).is_file()]:
        raise ReleaseError(f"release {folder} lacks {missing}; deploy it again")
    if changed := [name for name in names if file_hash(folder / name) != recorded[name]]:
        raise ReleaseError(f"release {folder}: {changed} differ from the checksums of {MANIFEST}; deploy it again")
    card = _read(folder / CARD)
    version = card.get("model_version")  # a name of folders, and what every answer is traced by
    if version != _version(recorded, {key: value for key, value in card.items() if key != "model_version"}):
        raise ReleaseError(f"release {folder}: its version {version!r} is not that of its content; deploy it again")
    page = (folder / PAGE).read_text(encoding="utf-8") if PAGE in recorded else None
    return Release(folder, read_schema(folder / SCHEMA), card, page)


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReleaseError(f"release {path.parent} has no {path.name}; write one with: dvc repro") from None
    except ValueError as error:
        raise ReleaseError(f"release {path.parent}: {path.name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ReleaseError(f"release {path.parent}: {path.name} is {type(content).__name__}, expected an object")
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
