"""A release bundle is whole, of a format this code reads and known by its content, or it is refused in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from churn import release
from churn.release import (
    CARD,
    FILES,
    FORMAT,
    GOLDEN,
    MANIFEST,
    PAGE,
    PAGES,
    ReleaseError,
    bundle_files,
    open_release,
    seal,
)
from churn.script import InputError

SCHEMA = """
target: {name: churned, positive: "Yes", negative: "No"}
columns: [{name: tenure, type: number}]
"""


def bundle(folder: Path, card: dict[str, object] | None = None, **contents: str) -> str:
    """A sealed bundle whose files hold their names, but for `contents`; its version."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_text(contents.get(name.partition(".")[0], SCHEMA if name.endswith(".yaml") else name))
    return seal(folder, {"model": "m"} if card is None else card)


def test_a_sealed_bundle_opens(tmp_path: Path) -> None:
    golden = '{"customer": {"tenure": 1}, "churn_probability": 0.5}\n'
    version = bundle(tmp_path / "r", golden=golden)
    opened = open_release(tmp_path / "r")
    assert (opened.version, opened.card) == (version, {"model_version": version, "model": "m"})
    assert opened.golden() == [{"customer": {"tenure": 1}, "churn_probability": 0.5}]
    assert [column.name for column in opened.schema.columns] == ["tenure"]


def edited(name: str, content: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(content)

    return edit


def cut(folder: Path) -> None:
    (folder / GOLDEN).write_bytes((folder / GOLDEN).read_bytes()[:-1])


def newer(folder: Path) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(content | {"format": FORMAT + 1}))


def unlisted(folder: Path) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    del content["sha256"][CARD]
    (folder / MANIFEST).write_text(json.dumps(content))


def renamed(folder: Path) -> None:
    """Whole, but it calls itself by a name that is not its content's."""
    (folder / CARD).write_text('{"model_version": "../elsewhere", "model": "m"}')
    hashes = {name: release.file_hash(folder / name) for name in FILES}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "sha256": hashes}))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "tampered": (edited(CARD, "{}"), ": ['card.json'] differ from the checksums of MANIFEST.json; deploy it again"),
    "truncated": (cut, ": ['golden.jsonl'] differ from the checksums of MANIFEST.json; deploy it again"),
    "pickle changed": (edited("model.joblib", "x"), ": ['model.joblib'] differ from the checksums of MANIFEST.json; "),
    "file gone": (lambda folder: (folder / "model.onnx").unlink(), " lacks ['model.onnx']; deploy it again"),
    "not in the manifest": (unlisted, " lacks ['card.json']; deploy it again"),
    "no manifest": (
        lambda folder: (folder / MANIFEST).unlink(), " has no MANIFEST.json; write one with: dvc repro",
    ),
    "no bundle": (shutil.rmtree, " has no MANIFEST.json; write one with: dvc repro"),
    "newer": (newer, f" has format {FORMAT + 1}, this code reads up to {FORMAT}; update the code"),
    "no format": (edited(MANIFEST, "{}"), f" has format None, this code reads up to {FORMAT}; update the code"),
    "renamed": (renamed, ": its version '../elsewhere' is not that of its content; deploy it again"),
    "manifest cut": (edited(MANIFEST, '{"format": 1'), ": MANIFEST.json is not JSON: Expecting"),
    "manifest a list": (edited(MANIFEST, "[]"), ": MANIFEST.json is list, expected an object"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_bundle_is_refused_with_what_is_wrong(
    damage: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    bundle(tmp_path / "r")
    damage(tmp_path / "r")
    with pytest.raises(ReleaseError) as error:
        open_release(tmp_path / "r")
    assert str(error.value).startswith(f"release {tmp_path / 'r'}{sentence}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ['{"format": 1, "sha256": null}', '{"format": true, "sha256": {}}', "\udcff"], ids=ascii
)
def test_a_strange_manifest_is_refused_too(content: str, tmp_path: Path) -> None:
    bundle(tmp_path / "r")
    (tmp_path / "r" / MANIFEST).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ReleaseError):
        open_release(tmp_path / "r")


def test_equal_content_has_an_equal_version_wherever_it_lies(tmp_path: Path) -> None:
    assert bundle(tmp_path / "a") == bundle(tmp_path / "b" / "c")
    for name in (CARD, MANIFEST):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / "c" / name).read_bytes()


@pytest.mark.parametrize("name", [name for name in FILES if name != CARD])
def test_the_version_changes_with_every_file(name: str, tmp_path: Path) -> None:
    version = bundle(tmp_path / "r")
    with (tmp_path / "r" / name).open("a") as file:
        file.write(" ")
    assert seal(tmp_path / "r", {"model": "m"}) != version


def test_the_version_changes_with_the_card_but_not_with_its_order(tmp_path: Path) -> None:
    version = bundle(tmp_path / "r", {"model": "m", "threshold": 0.5})
    assert bundle(tmp_path / "s", {"threshold": 0.5, "model": "m"}) == version
    assert bundle(tmp_path / "t", {"model": "m", "threshold": 0.51}) != version


def test_a_card_whose_keys_are_numbers_opens_too(tmp_path: Path) -> None:
    version = bundle(tmp_path / "r", {"weights": {10: 0.1, 9: 1e-300}})
    assert open_release(tmp_path / "r").version == version


def test_a_card_with_what_json_lacks_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        bundle(tmp_path / "r", {"model": float("nan")})


def test_a_refusal_is_an_input_error() -> None:
    assert issubclass(ReleaseError, InputError)


def test_a_file_s_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert release.file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea")


def with_pages(folder: Path) -> str:
    bundle(folder)
    return seal(folder, {"model": "m"}, lambda card: dict.fromkeys(PAGES, f"release {card['model_version']}\n"))


def test_pages_are_of_the_card_and_no_part_of_the_version(tmp_path: Path) -> None:
    assert with_pages(tmp_path / "r") == bundle(tmp_path / "without")
    opened = open_release(tmp_path / "r")
    assert opened.page == f"release {opened.version}\n"
    assert bundle_files(tmp_path / "r") == (*FILES, *PAGES, MANIFEST)


def test_a_bundle_without_pages_opens_and_a_page_that_it_does_not_name_is_not_its_own(tmp_path: Path) -> None:
    bundle(tmp_path / "r")
    (tmp_path / "r" / PAGE).write_text("another's")
    assert open_release(tmp_path / "r").page is None
    assert bundle_files(tmp_path / "r") == (*FILES, MANIFEST)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_verified_like_every_file(name: str, tmp_path: Path) -> None:
    with_pages(tmp_path / "r")
    (tmp_path / "r" / name).write_text("another's")
    with pytest.raises(ReleaseError, match=f"{name}'] differ from the checksums"):
        open_release(tmp_path / "r")
    (tmp_path / "r" / name).unlink()
    with pytest.raises(ReleaseError, match=f"lacks \\['{name}']"):
        open_release(tmp_path / "r")
