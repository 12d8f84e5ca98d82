"""What the checks examine: the settings, and results that several checks share."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt

from velro_auth.auth.models import Credentials, Session
from velro_auth.auth.token_check import IssuedTokenCheck
from velro_auth.auth.tokens import read_claims
from velro_auth.config.settings import Settings
from velro_auth.context import RequestContext
from velro_auth.errors import VelroAuthError
from velro_auth.ops.database import Difference, Runner
from velro_auth.ops.database.connection import connected
from velro_auth.ops.doctor.client_calls import GatewayClient
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.upstream.jwks import KeyStore
from velro_auth.upstream.session_rows import SupabaseSessionRows
from velro_auth.upstream.transport.resolver import AddressInfo, Resolver
from velro_auth.upstream.transport.transport import Reply, Transport
from velro_auth.wiring.sessions import own_tokens_of

#: Of TEST-NET-2 (RFC 5737), which no client uses: a session from there is ours.
PROBE_ADDRESS: Final = "198.51.100.77"

#: Where the project publishes its signing keys.
JWKS: Final = "/auth/v1/.well-known/jwks.json"

_CONNECTIONS: Final = 2


class NotApplicable(VelroAuthError):
    """The check does not apply here; the reason is a sentence."""


class NotGiven(NotApplicable):
    """The check would apply, but a setting or option for it is missing."""

    def __init__(self, reason: str, *, give: str) -> None:
        super().__init__(f"{reason}: give {give}")
        self.give = give


#: Settings and options that some checks need and the service does not.
ACCOUNT: Final = "AUTH_BENCH_EMAIL and AUTH_BENCH_PASSWORD"
DATABASE: Final = "DATABASE_URL"
GATEWAY: Final = "--url"


def _disk_free(folder: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


@dataclass(frozen=True, kw_only=True)
class DiagnosticContext:
    """One gateway and all it depends on. Several checks share its results, each of which is fetched once.

    Attributes:
        now: The current time, in seconds since the epoch.
        tls: The trusted certificates; the usual authorities when None.
        resolve: Resolves a host and a port within a time limit in seconds.
        disk_free: Returns the free and the total bytes of a folder's disk.
        rehearses: Whether a sign-up is rehearsed in the database, in a transaction that is rolled back.
        client: Calls a gateway as Supabase's own clients do; None without ``--client``.
    """

    settings: Settings
    gateway_url: str = ""
    account: Credentials | None = None
    now: Callable[[], float] = time.time
    tls: ssl.SSLContext | None = None
    resolve: Callable[[str, int, float], Sequence[AddressInfo]] = field(default_factory=lambda: Resolver().resolve)
    disk_free: Callable[[Path], tuple[int, int]] = _disk_free
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    rehearses: bool = True
    client: GatewayClient | None = None

    def transport(self, key: str = "") -> Transport:
        """Return a transport to the project with the limits of the gateway, by default with its login key."""
        return Transport(
            self.settings.supabase_url,
            key=key or self.settings.upstream_key,
            pool_size=_CONNECTIONS,
            connect_timeout_s=self.settings.upstream_connect_timeout_s,
            deadline_s=self.settings.upstream_deadline_s,
            tls=self.tls,
        )

    def get(self, path: str, *, key: str = "") -> Reply:
        """Send one GET request to the project.

        Raises:
            UpstreamError: There was no answer.
        """
        with contextlib.closing(self.transport(key)) as transport:
            return transport.send(transport.prepare("GET", path))

    @functools.cached_property
    def differences(self) -> Sequence[Difference]:
        """The differences between the live database and the migrations.

        Raises:
            DatabaseError: It cannot be reached, or refuses this role.
        """
        return self._runner.verify(rehearse=self.rehearses)

    @functools.cached_property
    def is_migrated(self) -> bool:
        """Whether any migration is applied."""
        return any(one.state.is_applied for one in self._runner.status())

    @functools.cached_property
    def session(self) -> Session:
        """A session of the test account.

        Raises:
            NotGiven: There is no test account.
            VelroAuthError: It cannot log in.
        """
        if self.account is None:
            raise NotGiven("no test account", give=ACCOUNT)
        return self._identity.sign_in(self.account, _context())

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of the test account's access token, not verified: it came from Supabase itself."""
        return dict(jwt.decode(self.session.access_token, options={"verify_signature": False}))

    @functools.cached_property
    def token_check(self) -> IssuedTokenCheck:
        """Checks tokens as the gateway does, by the keys that the project publishes."""
        return own_tokens_of(self.settings, KeyStore(fetch=lambda: self.get(JWKS).body), now=self.now)

    def count_sessions(self) -> int:
        """Return how many sessions the test account has, by the function that the gateway calls.

        Raises:
            VelroAuthError: The function is missing, or refuses the token.
        """
        token = self.session.access_token
        with contextlib.closing(self.transport()) as transport:
            rows = SupabaseSessionRows(transport, shows_address=lambda: False)
            return len(rows.of(token, read_claims(token), _context()))

    def session_address(self) -> str:
        """Return the client address that Supabase recorded for the test account's session.

        Raises:
            DatabaseError: The database cannot be reached.
        """
        with connected(self.settings.database_url) as connection:
            row = connection.execute(
                "select host(ip) from auth.sessions where id = %s", (self.claims.get("session_id"),)
            ).fetchone()
        return str(row[0]) if row else ""

    @property
    def gateway(self) -> GatewayClient:
        """A client of the running gateway.

        Raises:
            NotGiven: None was named.
        """
        if not self.gateway_url:
            raise NotGiven("no running gateway was named", give=GATEWAY)
        return GatewayClient(url=self.gateway_url, timeout_s=self.settings.upstream_deadline_s, tls=self.tls)

    def close(self) -> None:
        """End the sessions of the test account, if there were any."""
        if self.client is not None:
            self.client.close()
        session = self.__dict__.get("session")
        if session is not None:
            with contextlib.suppress(VelroAuthError):
                self._identity.sign_out(session.access_token, "local", _context())

    @functools.cached_property
    def _runner(self) -> Runner:
        return Runner(self.settings.database_url)

    @functools.cached_property
    def _identity(self) -> SupabaseIdentity:
        return SupabaseIdentity(AuthCalls(self.transport(), forwards_address=self.settings.forwards_client_ip))


def _context() -> RequestContext:
    return RequestContext(request_id="doctor", address=PROBE_ADDRESS, arrived_s=time.monotonic())
