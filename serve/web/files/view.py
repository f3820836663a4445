"""A visitor's files: sent, scored by python -m serve.score, what was refused and why, the scores to download.

A file belongs to the key that sent it, in whatever session. Its name may be personal, so addresses have a number by
chance.
"""

import os
import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, RedirectResponse, Response

from serve.http.middleware import UPLOAD, Refused, too_large
from serve.payloads import Mistakes, Refusal
from serve.web.console import (
    Console,
    Reader,
    TheConsole,
    is_there,
    read_fields,
    reader_of,
    refuse_foreign,
    refuse_stale,
)
from serve.web.files.uploads import SUFFIXES, TABLE, Asked, Upload, arrived, begin, suffix_of
from serve.web.pages import TWIN, PageRoute, TwinRoute, root_of
from serve.web.processes import last_line
from serve.web.sessions import Visitor

CHUNK = 2**20  # bytes that are written at once
PIECES = re.compile(r"(\d+) of (\d+) pieces")
MISSING = (
    "This image lacks serve/score or its packages: where they are, python -m serve.score IN OUT scores a file and "
    "python -m serve.score.export OUT FOLDER writes the CSV."
)

State = Literal["waiting", "running", "scored", "failed"]
Id = Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)
twins = APIRouter(prefix="/console", route_class=TwinRoute, tags=["console"], dependencies=[Depends(reader_of)])


@dataclass(frozen=True)
class File:
    """A file and how it goes with it; rows that were refused or left out count once for each column that is wrong."""

    id: str
    name: str
    size: int  # bytes
    at: datetime
    kept_until: datetime
    state: State
    progress: float | None  # share of its pieces
    failure: str
    model_version: str | None
    rows: int
    scored: int
    rejected: int
    left_out: int
    refused_for: dict[str, int]
    head: list[str]  # columns of the first refused rows
    first_refused: list[list[str | None]]

    @property
    def megabytes(self) -> str:
        return f"{self.size / 1e6:,.2f}" if self.size < 1e7 else f"{self.size / 1e6:,.0f}"


@dataclass(frozen=True)
class Files:
    problem: str  # why no file can be scored here, "" where it can
    files: list[File]
    limit: int  # bytes of a file
    hours: int
    is_shared: bool  # sent and seen without a key

    @property
    def suffixes(self) -> str:
        return ",".join(SUFFIXES)


def list_files(console: TheConsole, visitor: Reader) -> Files:
    """The files of the visitor's key; without one, those that were sent without one."""
    kept = console.files
    problem = "" if is_there("pyarrow") and is_there("serve.score") else MISSING
    if not problem:
        kept.work()
    files = [state_of(upload, kept.hours) for upload in kept.of(visitor.owner)]
    return Files(problem, files, kept.limit, kept.hours, not visitor.owner)


def one_file(console: TheConsole, visitor: Reader, id: Id) -> File:
    """How it goes with a file: its rows, those that were refused and why."""
    upload = the_upload(console, visitor, id)
    console.files.work()
    return state_of(upload, console.files.hours)


def the_upload(console: Console, visitor: Visitor, name: str) -> Upload:
    if upload := console.files.one(visitor.owner, name):
        return upload
    raise Refused(404, "file", "there is no such file of this key; it was removed, or kept long enough")


def state_of(upload: Upload, hours: int) -> File:
    asked, result, said = upload.asked, upload.result, upload.said
    state: State = "waiting" if said is None else "running"
    if result is not None:
        state = "failed" if result["status"] else "scored"
    done: dict[str, Any] = result or {}
    return File(
        id=upload.id,
        name=asked.name,
        size=asked.size,
        at=moment(asked.at),
        kept_until=moment(asked.at + hours * 3600),
        state=state,
        progress=progress_in(said or ""),
        failure=failure_in(upload, said or "", done["status"]) if state == "failed" else "",
        model_version=done.get("champion"),
        rows=done.get("rows", 0),
        scored=done.get("scored", 0),
        rejected=done.get("rejected", 0),
        left_out=done.get("left_out", 0),
        refused_for=done.get("reasons", {}),
        head=done.get("head", []),
        first_refused=done.get("first", []),
    )


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def progress_in(said: str) -> float | None:
    counts = PIECES.findall(said)
    return int(counts[-1][0]) / int(counts[-1][1]) if counts else None


def failure_in(upload: Upload, said: str, status: int) -> str:
    """What the command says, with the visitor's name of the file."""
    if status < 0:
        return "The process was killed, perhaps for want of memory; score the file by python -m serve.score."
    text = last_line(said) or f"It ended with exit status {status}."
    return re.sub(rf"\S*{upload.id}/{TABLE}\.\w+", lambda _: upload.asked.name, text).replace(f"{upload.folder}/", "")


@twins.post(
    UPLOAD[1].removeprefix("/console"),
    status_code=201,
    responses={
        **TWIN,
        403: {"model": Refusal, "description": "Not from a page of this session"},
        413: {"model": Refusal, "description": "The file is too large"},
        422: {"model": Refusal | Mistakes, "description": "No file, or a name that does not say how it is read"},
    },
    summary="Score this file",
)
async def take(
    request: Request,
    console: TheConsole,
    visitor: Reader,
    separator: Annotated[Literal["", ",", ";", "\t", "|"], Query(description="of CSV; a comma, in .tsv a tab")] = "",
    encoding: Annotated[Literal["utf-8", "windows-1252", "utf-16"], Query(description="of CSV")] = "utf-8",
    reasons: Annotated[int, Query(ge=0, le=10_000, description="riskiest customers who get reasons")] = 0,
) -> File:
    """The body is the file as it is, the header X-File-Name its name with percent-encoding."""
    refuse_foreign(request)
    if visitor.form:
        refuse_stale(visitor, request.headers.get("x-form", ""))
    if not (is_there("pyarrow") and is_there("serve.score")):
        raise Refused(404, "scoring_off", MISSING)
    name = name_in(request.headers.get("x-file-name", ""))
    room = await run_in_threadpool(lambda: console.files.room)
    if int(request.headers.get("content-length", 0)) > console.files.limit:
        raise too_large(console.files.limit)
    if int(request.headers.get("content-length", 0)) >= room:
        raise Refused(503, "no_room", "too many files are kept, or the disk has no room; remove a file, or wait", 60)
    folder = await run_in_threadpool(begin, console.files.root)
    try:
        size = await receive(request, folder / f"{TABLE}{suffix_of(name)}", room)
        if not size:
            raise Refused(422, "empty", "the file is empty")
        asked = Asked(visitor.owner, name, size, time.time(), separator, encoding, reasons)
        upload = await run_in_threadpool(arrived, folder, asked)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # at once: a cancelled task must not wait
        raise
    await run_in_threadpool(console.files.work)
    return state_of(upload, console.files.hours)


def name_in(header: str) -> str:
    """The file's name, which says how it is read."""
    name = unquote(header).replace("\\", "/").rpartition("/")[2].strip()[:200]
    if suffix_of(name) is None or not name.isprintable():
        raise Refused(422, "file_name", f"the header X-File-Name must be a name that ends with {', '.join(SUFFIXES)}")
    return name


async def receive(request: Request, path: Path, room: int) -> int:
    """Write the body as it comes in; its size."""
    size, waiting = 0, bytearray()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb", buffering=0) as file:
        async for part in request.stream():
            size += len(part)
            if size > room:
                raise too_large(room)
            waiting += part
            if len(waiting) >= CHUNK:
                await run_in_threadpool(write, file, bytes(waiting))
                waiting.clear()
        await run_in_threadpool(write, file, bytes(waiting))
    return size


def write(file: FileIO, content: bytes) -> None:
    """All of it; a disk that is full is a Refused."""
    try:
        while content:
            content = content[file.write(content) :]
    except OSError as error:
        raise Refused(503, "no_room", f"the file can't be kept: {error.strerror}", 60) from None


@pages.post("/files/{id}/remove")
async def remove(request: Request, console: TheConsole, visitor: Reader, id: Id) -> Response:
    sent = await read_fields(request)
    if visitor.form:
        refuse_stale(visitor, sent.get("form", ""))
    upload = await run_in_threadpool(the_upload, console, visitor, id)
    await run_in_threadpool(upload.remove)
    return RedirectResponse(f"{root_of(request)}/console/files", 303)


@pages.get("/files/{id}/{what}.csv")
def download(console: TheConsole, visitor: Reader, id: Id, what: Literal["scores", "rejected"]) -> Response:
    """The scores, or the refused rows as they came with the reasons."""
    upload = the_upload(console, visitor, id)
    path = upload.folder / f"{what}.csv"
    if upload.is_waiting or not path.is_file():
        raise Refused(404, "file", "there is nothing to download")
    name = f"{upload.asked.name.rpartition('.')[0]}-{what}.csv"
    return FileResponse(path, media_type="text/csv", filename=name)
