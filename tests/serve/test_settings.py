"""The environment and the secrets are read strictly, and never shown where they hold one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from churn.script import InputError
from serve import settings as module
from serve.log.database import connect
from serve.log.migrate import migrate
from serve.settings import Rate, Settings, read_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in os.environ:
        if name.startswith("CHURN_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SECRETS", tmp_path / "secrets")


@pytest.fixture
def secrets(tmp_path: Path) -> Callable[..., None]:
    def write(**contents: str) -> None:
        (tmp_path / "secrets").mkdir(exist_ok=True)
        for name, content in contents.items():
            (tmp_path / "secrets" / name).write_text(content)

    return write


def test_without_variables_the_log_lies_beside_the_releases() -> None:
    settings = read_settings()
    assert settings.log == "sqlite:///releases/log.db"
    assert settings.spool_path == Path("releases/spool.jsonl")
    assert (settings.api_keys, settings.rate_limit) == ((), None)


def test_admin_keys_have_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_ADMIN_KEYS", "anna=s=1, ben = two ,")
    assert read_settings().admin_keys == {"anna": "s=1", "ben": "two"}


@pytest.mark.parametrize("value", ["secret", "anna=", "=secret", "anna=1,anna=2", "a\tb=secret", " , "])
def test_an_admin_key_without_an_owner_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_ADMIN_KEYS", value)
    with pytest.raises(InputError, match=r"^environment variable CHURN_ADMIN_KEYS: ") as error:
        read_settings()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a b", "a#b", "ä+b"])
def test_a_folder_of_any_name_holds_its_log(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv("CHURN_RELEASES", str(folder))
    engine = connect(read_settings().log)
    migrate(engine)
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "log.db").exists()


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("https://a.example", ("https://a.example",)),
        ("http://a:3000, https://b ,", ("http://a:3000", "https://b")),
        ("*", ("*",)),
    ],
)
def test_origins_of_pages_are_a_list(value: str, origins: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_CORS_ORIGINS", value)
    assert read_settings().cors_origins == origins


def test_each_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "RELEASES": "/srv/r", "LOG_URL": "postgresql://u:p@h/d", "SPOOL": "/var/s", "SPOOL_MAX": "1000",
        "API_KEYS": " a, b,,", "RATE_LIMIT": "90/minute", "MAX_BODY": "5",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"CHURN_{name}", value)
    settings = read_settings()
    assert (settings.releases, settings.log, settings.spool_path) == ("/srv/r", values["LOG_URL"], Path("/var/s"))
    assert (settings.spool_max, settings.max_body) == (1000, 5)
    assert (settings.api_keys, settings.rate_limit) == (("a", "b"), Rate(90, 60))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT", "fast"), ("RATE_LIMIT", "0/second"), ("RATE_LIMIT", "-1/second"), ("RATE_LIMIT", "5/day"),
        ("RATE_LIMIT", "5"), ("RATE_LIMIT", "9" * 5000 + "/hour"), ("API_KEYS", " , "), ("MAX_BODY", "0"),
        ("MAX_BODY", "much"), ("CORS_ORIGINS", "a.example"), ("CORS_ORIGINS", "https://a/b"), ("SPOOL_MAX", "-3"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CHURN_{name}", value)
    with pytest.raises(InputError) as error:
        read_settings()
    assert str(error.value).startswith(f"environment variable CHURN_{name}: ")
    assert "\n" not in str(error.value)


def test_every_mistake_is_named_and_no_key_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_API_KEYS", "a-secret-key")
    monkeypatch.setenv("CHURN_LOG_URL", "postgresql://u:a-secret-password@h/d")
    monkeypatch.setenv("CHURN_MAX_BODY", "x")
    monkeypatch.setenv("CHURN_SPOOL_MAX", "y")
    with pytest.raises(InputError) as error:
        read_settings()
    assert len(str(error.value).splitlines()) == 2
    assert "secret" not in str(error.value)


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without = read_settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"CHURN_{name.upper()}", "")
    assert read_settings() == without


def test_a_secret_is_a_file_whose_last_line_may_end_and_the_environment_comes_first(
    secrets: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [("log_url", "postgresql://u:p@h/d"), ("admin_key", "a"), ("api_keys", "b, c"), ("other", "x")]
    secrets(**{f"churn_{name}": f"{value}\n" for name, value in values})
    settings = read_settings()
    assert (settings.log, settings.admin_key, settings.api_keys) == ("postgresql://u:p@h/d", "a", ("b", "c"))
    monkeypatch.setenv("CHURN_ADMIN_KEY", "d")
    monkeypatch.setenv("CHURN_API_KEYS", "")  # counts as none
    assert (read_settings().admin_key, read_settings().api_keys) == ("d", ("b", "c"))


def test_an_empty_secret_counts_as_none(secrets: Callable[..., None]) -> None:
    without = read_settings()
    secrets(**{f"churn_{name}": "\n" for name in Settings.model_fields})
    assert read_settings() == without


def test_a_wrong_secret_is_one_line_that_names_the_file_and_does_not_show_it(
    secrets: Callable[..., None], tmp_path: Path
) -> None:
    secrets(churn_api_keys=" , ", churn_rate_limit="a-secret")
    with pytest.raises(InputError) as error:
        read_settings()
    lines = str(error.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"secret {tmp_path}/secrets/churn_{name}" for name in ("api_keys", "rate_limit")
    ]
    assert "a-secret" not in str(error.value)
