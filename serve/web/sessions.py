"""Who looks at a page: by the session that a sign-in began, or by an API key of the request.

A session is a signed cookie, so that every worker knows it. Its secret follows from the keys: who changes one of them
ends all sessions.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Literal

from itsdangerous import BadSignature, URLSafeTimedSerializer

from serve.http.auth import ApiKeys

COOKIE = "churn_session"
SESSION_SECONDS = 8 * 3600  # a working day
Role = Literal["none", "read", "act"]


@dataclass(frozen=True)
class Visitor:
    """The reader of a page.

    `form` is the token that the forms of this session carry, "" without a session; `owner` the name under which the
    key keeps what is its own, which tells nothing of the key, "" without one.
    """

    role: Role
    name: str = ""
    form: str = ""
    owner: str = ""

    @property
    def may_read(self) -> bool:
        return self.role != "none"

    @property
    def may_act(self) -> bool:
        return self.role == "act"


class Sessions:
    """Reads and writes the cookie; `keys` open pages for reading (none: they are open), `admin` keys acts as well."""

    def __init__(self, keys: ApiKeys, admin: ApiKeys, texts: Sequence[str]):
        self.keys, self.admin = keys, admin
        self._texts = "\0".join(sorted(texts)).encode()

    @cached_property
    def secret(self) -> bytes:
        # slow on purpose, so that a cookie is no way to guess a key; and only once there is a cookie
        return hashlib.scrypt(self._texts, salt=b"churn console", n=2**14, r=8, p=1)

    def signer(self, purpose: str) -> URLSafeTimedSerializer:
        """Signs what leaves the service and comes back; nothing of one purpose is valid for another."""
        return URLSafeTimedSerializer(self.secret, salt=purpose, signer_kwargs={"digest_method": hashlib.sha256})

    def of_key(self, key: bytes) -> Visitor:
        """The visitor that a key makes."""
        if (name := self.admin.owner(key)) is not None:
            return Visitor("act", name, owner=self._owner(key))
        if self.keys.accept(key):
            return Visitor("read", owner=self._owner(key))
        return Visitor("none" if self.keys else "read")

    def of_request(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Visitor:
        if key := headers.get("x-api-key"):
            return self.of_key(key.encode("latin-1"))
        visitor = self._of_cookie(cookies[COOKIE]) if COOKIE in cookies else Visitor("none")
        return visitor if visitor.may_read or self.keys else Visitor("read", form=visitor.form)

    def _of_cookie(self, cookie: str) -> Visitor:
        try:
            content = self.signer("visitor").loads(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return Visitor("none")
        return Visitor(**content)

    def _owner(self, key: bytes) -> str:
        return self.signer("owner").make_signer().get_signature(key).decode()

    def begin(self, visitor: Visitor) -> tuple[Visitor, str]:
        """A new session of this visitor, and its cookie; none of an earlier one is kept."""
        begun = replace(visitor, form=secrets.token_urlsafe(16))
        return begun, str(self.signer("visitor").dumps(asdict(begun)))


def is_from(visitor: Visitor, token: str) -> bool:
    """Whether a form was sent from a page of this session."""
    return bool(visitor.form) and hmac.compare_digest(visitor.form.encode(), token.encode())
