"""A console with keys, of which one reads and one acts, and its visitors."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from churn.release import open_release
from serve.releases.store import Store
from tests.factories import opposite_release, other_release

READER, ANNA, BEN = "the reader's key", "anna's own key", "ben's own key"


@pytest.fixture(scope="module")
def console(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client without a session."""
    from serve.app import create_app

    store = Store(tmp_path_factory.mktemp("console") / "releases")
    store.promote(store.add(released, "test"), "<b>first</b> & only", "root")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CHURN_")]:
            patch.delenv(name)
        patch.setenv("CHURN_RELEASES", str(store.where))
        patch.setenv("CHURN_API_KEYS", READER)
        patch.setenv("CHURN_ADMIN_KEYS", f"anna={ANNA}, ben={BEN}")
        with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as opened:
            yield opened


@pytest.fixture(scope="module")
def versions(console: Any, released: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The champion, its twin that decides alike, and one of the opposite opinion."""
    store, folder = console.app.state.service.store, tmp_path_factory.mktemp("versions")
    twin = other_release(released, folder / "twin", open_release(released).card["threshold"]["value"] + 1e-9)
    others = [store.add(bundle, "test") for bundle in (twin, opposite_release(released, folder / "opposite"))]
    return [str(store.state()["champion"]), *others]


@pytest.fixture
def visitor(console: Any) -> Iterator[Callable[[str], Any]]:
    """The console's client, signed in by a key."""

    def sign_in(key: str) -> Any:
        answer = post(console, "/console/sign-in", of=console.get("/console/sign-in").text, key=key)
        assert answer.status_code == 303, answer.text
        return console

    yield sign_in
    console.cookies.clear()


def token_of(page: str) -> str:
    """What a form of the page carries."""
    (token, *_) = re.findall(r'name="form" value="([^"]*)"', page)
    return str(token)


def post(client: Any, path: str, of: str, **fields: str) -> Any:
    """Send a form that stands on the page `of`."""
    return client.post(path, data={"form": token_of(of), **fields})
