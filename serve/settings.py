"""The service's settings: CHURN_* of the environment and secret files, read once."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from churn.script import InputError
from churn.urls import sqlite_url

MIB = 2**20
SECRETS = Path("/run/secrets")  # where containers mount secrets
ORIGIN = re.compile(r"https?://[^/\s?#]+")
NAME = re.compile(r"[\w.@-][\w .@-]{0,63}")
SECONDS = {"second": 1, "minute": 60, "hour": 3600}


class Rate(NamedTuple):
    """A number of requests in a number of seconds."""

    requests: int
    seconds: int


def _rate(text: object) -> object:
    if not isinstance(text, str):
        return text
    count, _, unit = text.partition("/")
    if not count.isdecimal() or int(count) < 1 or unit not in SECONDS:
        raise ValueError("expected requests per second, minute or hour, for instance 100/second")
    return Rate(int(count), SECONDS[unit])


def _keys(text: object) -> object:
    if not isinstance(text, str):
        return text
    keys = tuple(filter(None, map(str.strip, text.split(","))))
    if not keys:  # a setting meant to restrict access must not open it
        raise ValueError("expected keys with commas between them")
    return keys


def _named(text: object) -> object:
    if not isinstance(text, str):
        return text
    pairs = [[part.strip() for part in pair.partition("=")[::2]] for pair in text.split(",") if pair.strip()]
    if not pairs or not all(NAME.fullmatch(name) and key for name, key in pairs):
        raise ValueError("expected name=key, with commas between them; a name has letters, digits, blanks or ._@-")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)


def _origins(text: object) -> object:
    if not isinstance(text, str):
        return text
    origins = tuple(filter(None, map(str.strip, text.split(","))))
    for origin in origins:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin; expected https://example.org or *, with commas between them")
    return origins


class Settings(BaseSettings):
    """Field `x` is the environment variable CHURN_X, else the secret churn_x, a file; an empty one counts as none."""

    model_config = SettingsConfigDict(
        env_prefix="CHURN_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    releases: str = "releases"  # folder of deployed releases, also of the log by default; or s3://bucket/path
    log_url: str = ""  # SQLAlchemy URL of the prediction log; empty: SQLite beside the releases
    spool: Path | None = None  # file for rows while the database is down; on another disk it outlives a full one
    spool_max: Annotated[PositiveInt, Field(le=2**40)] = 64 * MIB  # bytes
    admin_key: str = ""  # opens all routes and /admin/*; empty: /admin/* is off
    # name -> key, which opens the same; the ledger names its owner
    admin_keys: Annotated[dict[str, str], NoDecode, BeforeValidator(_named)] = {}
    api_keys: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_keys)] = ()  # any one is enough; none: open to all
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()  # whose pages may call; none
    scores: Path | None = None  # folder of scored files and plans, which the console plans campaigns with
    files: Path | None = (
        None  # folder of files that visitors of the console have scored; by default in that of the releases
    )
    files_hours: PositiveInt = 24  # that they are kept
    max_body: PositiveInt = 16 * MIB  # bytes of a request
    max_upload: PositiveInt = 1024 * MIB  # bytes of a file that is sent to be scored
    rate_limit: Annotated[Rate | None, NoDecode, BeforeValidator(_rate)] = None  # of each key, or address without keys

    @model_validator(mode="before")
    @classmethod
    def _no_empty_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != ""}

    @model_validator(mode="after")
    def _have_places(self) -> Self:
        if "://" in self.releases and not (self.log_url and self.spool):
            raise ValueError("object storage holds no log; set CHURN_LOG_URL and CHURN_SPOOL as well")
        return self

    @property
    def log(self) -> str:
        return self.log_url or sqlite_url(Path(self.releases, "log.db"))

    @property
    def files_path(self) -> Path:
        return self.files or (self.spool_path.parent if "://" in self.releases else Path(self.releases)) / "files"

    @property
    def spool_path(self) -> Path:
        return self.spool or Path(self.releases, "spool.jsonl")


def read_settings() -> Settings:
    """Read the settings; the InputError has one line for each wrong variable and never shows a key."""
    try:
        return Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None)  # type: ignore[call-arg]
    except ValidationError as error:
        raise InputError("\n".join(_sentence(e) for e in error.errors(include_input=False))) from None


def _sentence(error: object) -> str:
    assert isinstance(error, dict)  # nosec B101: tells mypy what pydantic's errors are
    name = f"churn_{(error['loc'] or ['releases'])[0]}"
    is_file = (SECRETS / name).is_file() and not os.environ.get(name.upper())
    place = f"secret {SECRETS / name}" if is_file else f"environment variable {name.upper()}"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"
