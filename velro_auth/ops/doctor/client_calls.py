"""Calls a running gateway as Supabase's own clients do: ``doctor --client``."""

from __future__ import annotations

import contextlib
import functools
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError

from velro_auth.auth.api_keys import opens_administration
from velro_auth.auth.models import Credentials
from velro_auth.endpoints.supabase_api.refusals import NEW_FORMAT
from velro_auth.upstream.answers import object_in

PREFIX: Final = "/auth/v1"

#: The largest answer that is read, in bytes; the metrics have some ten thousand.
_MAX_ANSWER_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answered.

    Attributes:
        at_s: When it came, in seconds since the epoch.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at_s: float

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        return object_in(self.body)

    def header(self, name: str) -> str:
        """Return a header; empty where it is missing."""
        return self.headers.get(name, "")

    def listed(self, name: str) -> set[str]:
        """Return the members of a header that is a list, in lower case."""
        return {one.strip().lower() for one in self.header(name).split(",")} - {""}


@dataclass(frozen=True, kw_only=True)
class GatewayClient:
    """A client of one gateway, which knows nothing else: no settings, no project.

    Attributes:
        url: The gateway's address, without a path.
        key: The publishable key that apps send; empty for none. A secret key is never sent.
        tls: The trusted certificates; the usual authorities when None.
        now: The current time, in seconds since the epoch.
    """

    url: str
    key: str = field(default="", repr=False)
    origin: str = ""
    redirect_to: str = ""
    account: Credentials | None = None
    timeout_s: float = 8.0
    tls: ssl.SSLContext | None = None
    now: Callable[[], float] = time.time

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request, and follow no redirect.

        *key* is the client's own when None, none when empty. It is sent in place of a missing *token*, as supabase-js
        does.

        Raises:
            urllib3.exceptions.HTTPError: There was no answer.
        """
        key = self.key if key is None else key
        if opens_administration(key):
            key = ""
        sent = {"X-Supabase-Api-Version": NEW_FORMAT, "X-Client-Info": "velro-auth-doctor"}
        if key:
            sent |= {"apikey": key, "Authorization": f"Bearer {token or key}"}
        if self.origin:
            sent["Origin"] = self.origin
        content = None
        if body is not None:
            content, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        with urllib3.PoolManager(
            timeout=urllib3.Timeout(total=self.timeout_s), retries=False, ssl_context=self.tls
        ) as pool:
            reply = pool.request(
                method,
                self.url.rstrip("/") + path,
                body=content,
                headers={**sent, **(headers or {})},
                redirect=False,
                preload_content=False,
            )
            at_s = self.now()
            return Answer(reply.status, reply.headers, reply.read(_MAX_ANSWER_BYTES), at_s)

    def grant(self, kind: str, body: Mapping[str, Any]) -> Answer:
        """Ask for a session."""
        return self.ask("POST", f"{PREFIX}/token?grant_type={kind}", body=body)

    @property
    def can_log_in(self) -> bool:
        """Whether there is an account, and a key that may be sent."""
        return self.account is not None and bool(self.key) and not opens_administration(self.key)

    @functools.cached_property
    def login(self) -> Answer:
        """The answer to a login of the account.

        Raises:
            urllib3.exceptions.HTTPError: There was none.
        """
        assert self.account is not None, "asked only with an account"
        return self.grant("password", {"email": self.account.email, "password": self.account.password})

    def close(self) -> None:
        """End the session of the account, if there was one. A refresh does not change which session it is."""
        answer = self.__dict__.get("login")
        token = answer.document.get("access_token") if answer is not None else None
        if isinstance(token, str):
            with contextlib.suppress(HTTPError):
                self.ask("POST", f"{PREFIX}/logout?scope=local", token=token)
