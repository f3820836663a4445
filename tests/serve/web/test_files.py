"""Files sent to be scored: the command's scores, what was refused and why, seen by their sender alone, and removed."""

import csv
import io
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from demo.processes import until
from serve.releases.store import Store
from serve.score import files as scored
from serve.web.files import kept as kept_files
from serve.web.files import uploads
from serve.web.files import view as files
from tests.serve.web.conftest import ANNA, READER, post, token_of

pytestmark = pytest.mark.slow  # commands import Arrow
LIMIT = 1_000_000  # bytes


@pytest.fixture(scope="module")
def settings(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The environment of a service that takes files; their folder."""
    folder = tmp_path_factory.mktemp("files")
    store = Store(folder / "releases")
    store.promote(store.add(released, "test"), "test")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CHURN_")]:
            patch.delenv(name)
        patch.setenv("CHURN_RELEASES", str(store.where))
        patch.setenv("CHURN_API_KEYS", READER)
        patch.setenv("CHURN_ADMIN_KEYS", f"anna={ANNA}")
        patch.setenv("CHURN_MAX_UPLOAD", str(LIMIT))
        patch.setenv("CHURN_MAX_BODY", "20000")
        yield folder / "releases/files"


@pytest.fixture(scope="module")
def service(settings: Path) -> Iterator[Any]:
    from serve.app import create_app

    with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as opened:
        yield opened


@pytest.fixture
def browser(service: Any) -> Iterator[Callable[[str], Any]]:
    def sign_in(key: str) -> Any:
        service.cookies.clear()
        post(service, "/console/sign-in", of=service.get("/console/sign-in").text, key=key)
        return service

    yield sign_in
    service.cookies.clear()


@pytest.fixture(scope="module")
def table(project: Path) -> str:
    """Real customers as CSV, of whom two are wrong."""
    rows = list(csv.DictReader((project / "data/raw/customers.csv").open()))[:50]
    number = next(name for name, text in rows[0].items() if text.replace(".", "", 1).isdigit())
    rows[3][number] = "<b>many</b>"
    rows[7][number] = "-5"
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def send(client: Any, content: str | bytes, name: str = "june.csv", **headers: str) -> Any:
    token = token_of(client.get("/console/files").text) if client.cookies else ""
    return client.post(
        "/console/upload.json", content=content, headers={"x-file-name": name, "x-form": token, **headers}
    )


def ended(client: Any, sent: Any, **headers: str) -> Any:
    assert sent.status_code == 201, sent.text
    address = f"/console/files/{sent.json()['id']}/file.json"

    def result() -> Any:
        content = client.get(address, headers=headers).json()
        return content if content["state"] in ("scored", "failed") else None

    return until(result, 120)


def test_a_file_is_scored_as_customers_are_and_what_was_refused_is_shown(
    browser: Callable[[str], Any], table: str, settings: Path
) -> None:
    reader = browser(READER)
    content = ended(reader, send(reader, table, "caf%C3%A9%20%3Cb%3E.csv"))
    assert content["state"] == "scored", content
    assert (content["rows"], content["scored"], content["rejected"]) == (50, 48, 2)
    assert list(content["refused_for"].values()) == [2] and len(content["first_refused"]) == 2
    address = f"/console/files/{content['id']}"
    got = reader.get(f"{address}/scores.csv")
    assert "attachment" in got.headers["content-disposition"] and got.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(got.text)))
    assert len(rows) == 48 and all(0 <= float(row["churn_probability"]) <= 1 for row in rows)
    refused = list(csv.DictReader(io.StringIO(reader.get(f"{address}/rejected.csv").text)))
    assert len(refused) == 2 and all(row["why_refused"] for row in refused)
    page = reader.get(address).text
    assert "café &lt;b&gt;.csv" in page and "&lt;b&gt;many&lt;/b&gt;" in page and "<b>" not in page
    assert "café &lt;b&gt;.csv" in reader.get("/console/files").text
    kept = sorted(path.name for path in (settings / content["id"]).iterdir())
    assert kept == ["asked.json", "rejected.csv", "result.json", "said.txt", "scores.csv"]  # no copy of the customers
    modes = [stat.S_IMODE(path.stat().st_mode) for path in settings.rglob("*")]
    assert {oct(mode) for mode in modes} <= {"0o600", "0o700"}


def test_a_file_is_its_key_s_alone_in_whatever_session(browser: Callable[[str], Any], table: str) -> None:
    sent = send(browser(READER), table)
    address = f"/console/files/{sent.json()['id']}"
    client = browser(ANNA)
    assert sent.json()["id"] not in client.get("/console/files").text
    for what in ("", "/file.json", "/scores.csv"):
        assert client.get(address + what).status_code == 404
    assert post(client, f"{address}/remove", of=client.get("/console/files").text).status_code == 404
    client.cookies.clear()
    assert client.get(address).status_code == 303 and client.get(f"{address}/file.json").status_code == 401
    assert client.get(f"{address}/file.json", headers={"x-api-key": READER}).status_code == 200
    assert sent.json()["id"] in browser(READER).get("/console/files").text


def test_a_file_is_removed_only_by_a_form_of_its_session(browser: Callable[[str], Any], table: str) -> None:
    client = browser(READER)
    address = f"/console/files/{send(client, table).json()['id']}"
    for fields in ({"form": ""}, {"form": "of-another-session"}):
        assert client.post(f"{address}/remove", data=fields).status_code == 403
    assert client.get(address).status_code == 200
    assert post(client, f"{address}/remove", of=client.get("/console/files").text).status_code == 303


def test_a_program_sends_and_removes_by_its_key(service: Any, table: str, settings: Path) -> None:
    key = {"x-api-key": READER}
    content = ended(service, send(service, table, **key), **key)
    assert content["state"] == "scored"
    gone = service.post(
        f"/console/files/{content['id']}/remove",
        headers=key | {"content-type": "application/x-www-form-urlencoded"},
    )
    assert gone.status_code == 303 and not (settings / content["id"]).exists()
    assert READER not in "".join(path.read_text() for path in settings.rglob("asked.json"))


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ("a,b\n1,2\n", "other.csv", "none of the release's columns"),
        (b"\x00\xff\xfe" * 2000, "picture.csv", "picture.csv"),
    ],
    ids=["headers", "bytes"],
)
def test_a_file_that_is_no_table_gets_a_sentence(
    content: str | bytes, name: str, sentence: str, browser: Callable[[str], Any], settings: Path
) -> None:
    reader = browser(READER)
    failed = ended(reader, send(reader, content, name))
    assert failed["state"] == "failed" and sentence in failed["failure"], failed
    assert str(settings) not in failed["failure"] and failed["id"] not in failed["failure"]
    assert "No customer is scored." in reader.get(f"/console/files/{failed['id']}").text


def test_what_is_no_file_to_score_is_refused_and_leaves_nothing(
    browser: Callable[[str], Any], service: Any, table: str, settings: Path
) -> None:
    reader = browser(READER)
    before = sorted(settings.iterdir()) if settings.exists() else []
    assert send(reader, table, "june.exe").status_code == 422
    assert send(reader, table, "").status_code == 422
    assert send(reader, "").status_code == 422
    assert send(reader, b"x" * (LIMIT + 1)).status_code == 413
    chunked = reader.post(
        "/console/upload.json",
        content=iter([b"x" * 600_000] * 2),
        headers={"x-file-name": "a.csv", "x-form": token_of(reader.get("/console/files").text)},
    )
    assert chunked.status_code == 413
    assert send(reader, table, **{"x-form": "another"}).status_code == 403
    assert send(reader, table, **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert reader.post("/console/upload.json?reasons=-1", content=table).status_code == 422
    reader.cookies.clear()
    assert send(reader, table).status_code == 401
    assert reader.post("/console/plans", content=b"x" * 30_000).status_code == 413  # it alone may be so large
    assert (sorted(settings.iterdir()) if settings.exists() else []) == before


def test_a_full_folder_takes_no_more(
    browser: Callable[[str], Any], table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_files, "MAX_KEPT", 0)
    refused = send(browser(READER), table)
    assert refused.status_code == 503 and "remove a file" in refused.json()["detail"]


def test_a_file_that_waits_at_a_stop_is_scored_after_the_next_start(
    service: Any, table: str, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve.app import create_app

    key = {"x-api-key": READER}
    kept = service.app.state.console.files
    monkeypatch.setattr(kept, "work", lambda: None)  # this worker ends before it could
    sent = send(service, table, **key).json()
    assert sent["state"] == "waiting"
    with TestClient(create_app()) as again:
        upload = uploads.upload_in(settings / sent["id"])
        assert upload and until(lambda: not upload.is_waiting, 120)  # though nobody looks
        assert again.get(f"/console/files/{sent['id']}/file.json", headers=key).json()["state"] == "scored"


def is_free(root: Path) -> bool:
    with uploads.locked(root) as lock:
        return lock is not None


def test_a_stop_of_the_service_stops_the_queue_and_loses_nothing(table: str, settings: Path, tmp_path: Path) -> None:
    root = tmp_path / "files"
    folder = uploads.begin(root)
    (folder / "table.csv").write_text(table)
    upload = uploads.arrived(folder, uploads.Asked("", "a.csv", len(table), time.time(), "", "utf-8", 0))
    places = {"CHURN_RELEASES": os.environ["CHURN_RELEASES"]}
    kept = kept_files.KeptFiles(root, LIMIT, 1, places)
    until(lambda: upload.said is not None, 30)
    kept.close()
    until(lambda: is_free(root), 10)  # nothing works there any more
    assert upload.is_waiting and upload.table.exists()
    later = kept_files.KeptFiles(root, LIMIT, 1, places)
    until(lambda: not upload.is_waiting, 120)
    later.close()
    assert upload.result and upload.result["scored"] == 48


def test_many_workers_have_one_queue(table: str, settings: Path, tmp_path: Path) -> None:
    root = tmp_path / "files"
    made = []
    for _ in range(3):
        folder = uploads.begin(root)
        (folder / "table.csv").write_text(table)
        made.append(uploads.arrived(folder, uploads.Asked("", "a.csv", 1, time.time(), "", "utf-8", 0)))
    places = {"CHURN_RELEASES": os.environ["CHURN_RELEASES"]}
    workers = [kept_files.KeptFiles(root, LIMIT, 1, places) for _ in range(4)]
    until(lambda: not any(upload.is_waiting for upload in made), 120)
    for worker in workers:
        worker.close()
    for upload in made:
        assert (upload.result or {}).get("scored") == 48
        assert (upload.said or "").count("serve.score: wrote") == 1  # by one alone


def test_what_is_old_is_removed(tmp_path: Path) -> None:
    def asked(hours: float) -> uploads.Asked:
        return uploads.Asked("", "a.csv", 1, time.time() - 3600 * hours, "", "utf-8", 0)

    old, new = (uploads.arrived(uploads.begin(tmp_path), asked(hours)) for hours in (3, 1))
    arriving, abandoned = uploads.begin(tmp_path), uploads.begin(tmp_path)
    os.utime(abandoned, (0, 0))
    uploads.remove_old(tmp_path, 2)
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {new.folder, arriving}
    assert not old.folder.exists()


def test_what_a_visitor_removed_does_not_come_back(tmp_path: Path) -> None:
    folder = uploads.begin(tmp_path)
    upload = uploads.arrived(folder, uploads.Asked("", "a.csv", 1, time.time(), "", "utf-8", 0))
    upload.remove()
    upload.end({"status": 2})
    assert not folder.exists()


def test_the_slim_image_says_what_is_missing(
    browser: Callable[[str], Any], table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = browser(READER)
    monkeypatch.setattr(files, "is_there", lambda module: False)
    page = reader.get("/console/files").text
    assert "python -m serve.score IN OUT" in page and 'type="file"' not in page
    assert json.loads(reader.get("/console/files.json").text)["problem"]
    refused = reader.post("/console/upload.json", content=table, headers={"x-file-name": "a.csv"})
    assert refused.status_code in (403, 404)


def test_names_end_as_the_command_reads_them() -> None:
    assert set(uploads.SUFFIXES) == set(scored.SUFFIXES) - {".csv.gz"}
