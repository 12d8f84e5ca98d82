"""What a case needs before its request: users, sessions, factors, mails, a clock that can be turned."""

from __future__ import annotations

import itertools
import re
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import psycopg
import pyotp
import requests

from supabase_standin import Standin
from tests.contract.surface import tables
from tests.contract.surface.cases import Case
from tests.contract.surface.patterns import PLACEHOLDER

PASSWORD: Final = "correct horse 1!"
OTHER_PASSWORD: Final = "another horse 2!"
#: Whom every recorded request came from, unless it says otherwise.
ADDRESS: Final = "203.0.113.7"
#: A pair of RFC 7636, and a verifier that does not belong to it.
VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
OTHER_VERIFIER: Final = "a" * 43


class Clock:
    """The time of day, moved ahead at will."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self.ahead_s


class World:
    """A stand-in, and what was done with it so far.

    Attributes:
        values: Placeholder without brackets → what the request carries for it.
        raw_body: What is sent in place of the recorded raw body; None for that itself.
        uuids: What stands for each ``<uuid>`` of the request, path first; a random one when they run out.
    """

    _numbers = itertools.count(28761926731)

    def __init__(self, standin: Standin, clock: Clock) -> None:
        self.standin = standin
        self.clock = clock
        self.values: dict[str, str] = {}
        self.raw_body: str | None = None
        self.uuids: deque[str] = deque()
        self._web = requests.Session()
        self._database = psycopg.connect(standin.database_dsn, autocommit=True)

    def reset(self) -> None:
        """Forget everything but the settings."""
        tables.empty(self._database)
        self.clock.ahead_s = 0.0
        self.uuids.clear()
        self.raw_body = None
        self.values = {
            "anon_key": self.standin.publishable_key,
            "service_role_key": self.standin.secret_key,
            "email": self.new_email(),
            "new_email": self.new_email(),
            "phone": f"1555{next(self._numbers) % 10**7:07}",
            "code_challenge": CHALLENGE,
            "code_verifier": VERIFIER,
            "other_code_verifier": OTHER_VERIFIER,
            "otp": "000000",
            "totp": "000000",
            "token_hash": "0" * 56,
            "refresh_token": "a" * 12,
        }

    def new_email(self) -> str:
        """Return an address nobody has."""
        return f"user-{next(self._numbers)}@example.com"

    def close(self) -> None:
        """Close the connections."""
        self._web.close()
        self._database.close()

    def snapshot(self) -> tables.Snapshot:
        """Return all rows that are compared."""
        return tables.snapshot(self._database)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL and return the rows."""
        cursor = self._database.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.ahead_s += seconds

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> requests.Response:
        """Send one request; redirects are not followed. *bearer* None sends the publishable key."""
        token = self.standin.publishable_key if bearer is None else bearer
        sent = {"X-Forwarded-For": ADDRESS, "apikey": self.standin.publishable_key}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        sent |= headers or {}
        url = f"{self.standin.url}/auth/v1{path}"
        return self._web.request(method, url, json=json, data=data, headers=sent, allow_redirects=False, timeout=20)

    def ok(self, method: str, path: str, json: Any = None, **options: Any) -> dict[str, Any]:
        """Send one request that must succeed and return the JSON of its answer."""
        answer = self.call(method, path, json, **options)
        assert answer.status_code < 400, f"setup: {method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json() if answer.content and answer.text[0] in "{[" else {}
        return found

    def admin(self, method: str, path: str, json: Any = None) -> dict[str, Any]:
        """Send one request of an administrator, which must succeed."""
        return self.ok(method, f"/admin{path}", json, bearer=self.standin.secret_key)

    # -- what cases begin with ---------------------------------------------------------------------------------

    def user(self, email: str | None = None, *, confirmed: bool = True, **fields: Any) -> dict[str, Any]:
        """Create a user as an administrator does, of the case's address unless another one is given."""
        body = {"email": email or self.values["email"], "password": PASSWORD, "email_confirm": confirmed}
        return self.admin("POST", "/users", body | fields)

    def log_in(self, email: str | None = None, password: str = PASSWORD) -> dict[str, Any]:
        """Return a new session; ``<access_token>`` and ``<refresh_token>`` are of it."""
        body = {"email": email or self.values["email"], "password": password}
        return self.use(self.ok("POST", "/token?grant_type=password", body))

    def use(self, session: dict[str, Any]) -> dict[str, Any]:
        """Let the request carry the tokens of *session*."""
        self.values |= {name: session[name] for name in ("access_token", "refresh_token")}
        return session

    def session(self) -> dict[str, Any]:
        """Create the case's user and log in."""
        self.user()
        return self.log_in()

    def anonymous(self, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sign up without an address."""
        return self.use(self.ok("POST", "/signup", {"data": data or {}}))

    def refresh(self, token: str | None = None) -> dict[str, Any]:
        """Trade a refresh token, the current one unless another is given."""
        body = {"refresh_token": token or self.values["refresh_token"]}
        return self.use(self.ok("POST", "/token?grant_type=refresh_token", body))

    def enrol(self, name: str = "phone", *, bearer: str | None = None) -> dict[str, Any]:
        """Return a new, unverified TOTP factor; its id and secret are in it."""
        body = {"factor_type": "totp", "friendly_name": name}
        return self.ok("POST", "/factors", body, bearer=bearer or self.values["access_token"])

    def challenge(self, factor_id: str, *, bearer: str | None = None) -> str:
        """Return the id of a new challenge."""
        path = f"/factors/{factor_id}/challenge"
        return str(self.ok("POST", path, {}, bearer=bearer or self.values["access_token"])["id"])

    def code(self, factor: Mapping[str, Any]) -> str:
        """Return the TOTP code of this moment."""
        return pyotp.TOTP(factor["totp"]["secret"]).at(int(self.clock()))

    def step_up(self, factor: Mapping[str, Any]) -> dict[str, Any]:
        """Verify *factor*: the session is aal2 then."""
        body = {"challenge_id": self.challenge(factor["id"]), "code": self.code(factor)}
        path = f"/factors/{factor['id']}/verify"
        return self.use(self.ok("POST", path, body, bearer=self.values["access_token"]))

    def verified_factor(self, name: str = "phone") -> dict[str, Any]:
        """Enrol a factor and verify it: the session is aal2 then."""
        factor = self.enrol(name)
        self.step_up(factor)
        return factor

    def mails(self) -> list[dict[str, Any]]:
        """Return all mails, newest first."""
        found: list[dict[str, Any]] = self._web.get(f"{self.standin.url}/mailbox.json", timeout=20).json()
        return found

    def mail(self, to: str | None = None) -> dict[str, Any]:
        """Return the newest mail to *to*, the case's address unless another one is given."""
        address = to or self.values["email"]
        return next(mail for mail in self.mails() if mail["to"] == address)

    def use_mail(self, to: str | None = None) -> dict[str, Any]:
        """Let the request carry code and hash of the newest mail."""
        mail = self.mail(to)
        self.values |= {"otp": mail["token"], "token_hash": mail["token_hash"].removeprefix("pkce_")}
        return mail

    # -- the request ---------------------------------------------------------------------------------------------

    def send(self, case: Case, *, headers: Mapping[str, str] | None = None) -> requests.Response:
        """Send the recorded request with this world's values for its placeholders."""
        given = deque(self.uuids)
        path = self._filled(case.path, given)
        body = self._filled_all(case.body, given)
        sent = {name: self._filled(value, given) for name, value in case.headers.items()}
        raw_body = case.raw_body if self.raw_body is None else self.raw_body
        data = None if raw_body is None else raw_body.encode()
        if data is not None:
            sent = {"Content-Type": "application/json", **sent}
        return self.call(case.method, path, body, bearer="", headers={**sent, **(headers or {})}, data=data)

    def _filled_all(self, value: Any, given: deque[str]) -> Any:
        if isinstance(value, dict):
            return {key: self._filled_all(item, given) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled_all(item, given) for item in value]
        return self._filled(value, given) if isinstance(value, str) else value

    def _filled(self, text: str, given: deque[str]) -> str:
        def fill(match: re.Match[str]) -> str:
            if match[1] == "uuid":
                return given.popleft() if given else str(uuid.uuid4())
            return self.values.get(match[1], match[0])

        return PLACEHOLDER.sub(fill, text)
