"""The evidence of a release: whole, the same bytes for the same state, and what is missing is named."""

import base64
import json
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from churn.script import InputError
from serve.releases import __main__ as command
from serve.releases.evidence.collect import acts_on
from serve.releases.evidence.folder import write_evidence
from serve.releases.evidence.statement import key_id, to_sign
from serve.releases.store import Store
from tests.factories import act
from tests.serve.releases.evidence.conftest import LOADED, PAGE, RESULT, World

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FILES = {
    *("README.md", "index.html", "statement.json", "approval.json", "lineage.json", "expectations.json"),
    *(f"release/{name}" for name in ("card.json", "schema.yaml", "MANIFEST.json", "README.md", "card.html")),
    *(f"pipeline/{name}" for name in ("params.yaml", "dvc.yaml", "dvc.lock", "requirements.txt")),
    *("sbom/training.cdx.json", "sbom/service.cdx.json"),
    *("data/validate.json", "data/validation.html", "data/expectations.json"),
    *("monitoring/plan.json", "monitoring/runbook.md", "monitoring/checks.json"),
}


def written(world: World, out: Path, key: Path | None = None) -> dict[str, bytes]:
    write_evidence(world.store, world.log_url, world.version, out, key)
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_everything_is_there_and_nothing_of_a_customer(world: World, tmp_path: Path) -> None:
    files = written(world, tmp_path / "out")
    assert set(files) == FILES
    lineage = json.loads(files["lineage.json"])
    assert (lineage["commit"], lineage["model_version"]) == (world.commit, world.version)
    assert [(one["act"], one["who"]) for one in json.loads(files["approval.json"])] == [
        ("add", "ada"), ("promote", "grace"),
    ]  # fmt: skip
    assert str(tmp_path).encode() not in b"".join(files.values())


def test_the_same_state_gives_the_same_bytes(world: World, tmp_path: Path, key: Path) -> None:
    (tmp_path / "two").mkdir()  # empty
    assert written(world, tmp_path / "one", key) == written(world, tmp_path / "two", key)


def test_checks_are_those_of_the_release_since_it_went_live(world: World, tmp_path: Path) -> None:
    (check,) = json.loads(written(world, tmp_path / "out")["monitoring/checks.json"])
    assert check.keys() == {"at", "verdict", "reasons"}
    assert "a level never seen" in (tmp_path / "out/index.html").read_text()


def test_every_link_leads_to_a_file_and_every_file_is_linked(world: World, tmp_path: Path, key: Path) -> None:
    files = written(world, tmp_path / "out", key)
    links = set(re.findall(r'href="([^"#]+)"', files["index.html"].decode()))
    assert links == set(re.findall(r"\]\(([^)]+)\)", files["README.md"].decode()))
    assert links == set(files) - {"README.md", "index.html"}
    headings = re.findall(r"<h2>(\d)\. ", files["index.html"].decode())
    assert headings == list("123456789")


def test_what_is_missing_is_named_with_the_reason(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "releases")
    version = store.add(released, "r")
    write_evidence(store, f"sqlite:///{tmp_path}/none.db", version, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    for missing in (
        "pipeline: no commit of this folder's repository has the release in its dvc.lock",
        "data page: no commit",
        "bill of materials: no commit",
        "monitoring plan: params.yaml is missing",
        "checks of production: it has never answered a customer",
    ):
        assert f"- Missing: {missing}" in text
    assert "no act on it has passed the gate" in text
    assert "statement.dsse.json" not in text


def test_a_log_that_is_not_there_is_named_without_its_place(world: World, tmp_path: Path) -> None:
    written(world._replace(log_url=f"sqlite:///{tmp_path}/none.db"), tmp_path / "out")
    assert "Missing: checks of production: the prediction log can't be read" in (tmp_path / "out/README.md").read_text()


def test_a_data_page_of_other_bytes_is_not_taken(world: World, tmp_path: Path) -> None:
    Path(PAGE).write_text("of another table")
    assert "data/validation.html" not in written(world, tmp_path / "out")
    assert f"Missing: data page: {PAGE} of that commit is neither here" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (None, "is not here; write it with: make expectations"),
        ("{", "is not what make expectations writes"),
        ("[]", "is not what make expectations writes"),
        ({"md5": "1" * 32, "sha256": ""}, "is of another table"),
        ({"md5": LOADED, "sha256": "0" * 64}, "is of another suite"),
    ],
)
def test_what_great_expectations_found_elsewhere_is_not_taken(
    result: dict[str, str] | str | None, why: str, world: World, tmp_path: Path
) -> None:
    if result is None:
        RESULT.unlink()
    elif isinstance(result, str):
        RESULT.write_text(result)
    else:
        RESULT.write_text(json.dumps({"table": result, "expectations": result}))
    assert "data/expectations.json" not in written(world, tmp_path / "out")
    assert f"Missing: result of Great Expectations: {RESULT} {why}" in (tmp_path / "out/README.md").read_text()


def test_a_release_without_a_known_commit_lists_the_folder_s_packages_and_says_so(
    released: Path, world: World, tmp_path: Path
) -> None:
    store = Store(tmp_path / "others")
    version = store.add(released, "r")
    files = written(world._replace(store=store, version=version), tmp_path / "out")
    assert "sbom/training.cdx.json" in files
    assert b"it lists this folder's serve/requirements.txt, as no commit" in files["README.md"]


def test_the_statement_names_every_other_file_by_its_hash(world: World, tmp_path: Path) -> None:
    files = written(world, tmp_path / "out")
    statement = json.loads(files.pop("statement.json"))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    hashes = {name: sha256(content).hexdigest() for name, content in files.items()}
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == hashes
    assert statement["predicate"]["release"] == world.version
    assert b"Nobody signed it" in files["README.md"]


def test_the_signature_is_the_key_s_and_of_the_statement(world: World, tmp_path: Path, key: Path) -> None:
    files = written(world, tmp_path / "out", key)
    envelope = json.loads(files["statement.dsse.json"])
    (signature,) = envelope["signatures"]
    payload, sig = (base64.b64decode(text) for text in (envelope["payload"], signature["sig"]))
    assert payload == files["statement.json"]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert to_sign(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"
    KEY.public_key().verify(sig, to_sign(payload))
    assert signature["keyid"] == key_id(KEY.public_key())
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(sig, to_sign(payload + b" "))


def test_a_key_that_cannot_sign_is_refused_before_anything_is_written(world: World, tmp_path: Path) -> None:
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    for content in (b"", b"no key", locked):
        (tmp_path / "bad.pem").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.pem is no private Ed25519 key in PEM .*; make one with: openssl"):
            written(world, tmp_path / "out", tmp_path / "bad.pem")
    with pytest.raises(FileNotFoundError):
        written(world, tmp_path / "out", tmp_path / "none.pem")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_as_it_is(world: World, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    for out in (tmp_path / "out", tmp_path / "out/mine"):
        with pytest.raises(InputError, match="is not empty; name a new folder"):
            written(world, out)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_written_leaves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        written(world, tmp_path / "place/out")
    assert not list((tmp_path / "place").iterdir())


def test_acts_on_a_release_are_its_own_and_those_that_changed_its_role() -> None:
    history = [
        act("add", 0, champion="old"),
        act("promote", 1, champion="new"),
        act("add", 2, champion="new") | {"version": "third"},
        act("promote", 3, champion="third") | {"version": "third"},
        act("rollback", 4, champion="new"),
    ]
    assert [one["at"] for one in acts_on(history, "new")] == [history[i]["at"] for i in (0, 1, 3, 4)]


def test_the_command_writes_it(world: World, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_RELEASES", str(world.store.where))
    monkeypatch.setenv("CHURN_LOG_URL", world.log_url)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["serve.releases", "evidence", world.version, str(out), "--key", str(key)])
    command.main()
    assert (out / "statement.dsse.json").is_file()
    shutil.rmtree(out)
    monkeypatch.setitem(sys.modules, "serve.releases.evidence.folder", None)  # as in the service's image
    with pytest.raises(InputError, match=r"evidence needs serve\.releases\.evidence.*requirements\.txt is installed"):
        command.main()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing")
def test_openssl_verifies_the_signature(world: World, tmp_path: Path, key: Path) -> None:
    envelope = json.loads(written(world, tmp_path / "out", key)["statement.dsse.json"])
    (tmp_path / "signed").write_bytes(to_sign(base64.b64decode(envelope["payload"])))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = ["openssl", "pkeyutl", "-verify", "-inkey", str(key), "-rawin", "-in", "signed", "-sigfile", "sig"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
