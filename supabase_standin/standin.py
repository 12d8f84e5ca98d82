"""The stand-in as one object: database, services and server, started and stopped together."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from flask import Flask
from psycopg import conninfo

from supabase_standin import confirming, newcomers, schema, timestamps, users, wire
from supabase_standin.app import create_app
from supabase_standin.backend import Backend
from supabase_standin.config import StandinConfig
from supabase_standin.control import Control
from supabase_standin.faults import Faults
from supabase_standin.keys import Keys
from supabase_standin.limits import Limits
from supabase_standin.mailbox import Mailbox, MailboxPages
from supabase_standin.mailer import Mailer
from supabase_standin.passwords import Passwords
from supabase_standin.pool import Pool
from supabase_standin.postgres import Postgres
from supabase_standin.problems import StandinError
from supabase_standin.provider import Account, Provider
from supabase_standin.server import Server

#: Set by Railway in every deployment: nothing made for laptops may run there.
DEPLOYED_SIGN: Final = "RAILWAY_ENVIRONMENT_NAME"


def _silent(_line: str) -> None:
    """Say nothing."""


class Standin:
    """A local Supabase project: Auth, one table of the data API, and a real PostgreSQL under both.

    Args:
        config: What it is like.
        progress: Told in plain lines what takes a moment.
        clock: Seconds since 1970, for everything that is dated or expires.
    """

    def __init__(
        self,
        config: StandinConfig,
        *,
        progress: Callable[[str], None] = _silent,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.faults = Faults()
        self.requests = wire.RequestLog()
        self.mailbox = Mailbox()
        self.provider_accounts: dict[str, Account] = {}
        self.control_token = secrets.token_urlsafe(24)
        self.url = ""
        self.database_dsn = ""
        self._progress = progress
        self._clock = clock
        self._cleanup = contextlib.ExitStack()
        self._backend: Backend | None = None
        self._app: Flask | None = None

    @property
    def publishable_key(self) -> str:
        """The key browsers may know."""
        return self.config.publishable_key

    @property
    def secret_key(self) -> str:
        """The key that stands for ``service_role``."""
        return self.config.secret_key

    def start(self) -> None:
        """Start everything and return when logins are answered.

        Raises:
            StandinError: It must not run here, or cannot; the message says what to do.
        """
        if self._backend is not None:
            raise StandinError("The stand-in runs already: start it once.")
        _demand_laptop(self.config)
        with contextlib.ExitStack() as undo:
            self._start(undo)
            self._cleanup = undo.pop_all()

    def stop(self) -> None:
        """Stop everything; stopping twice does no harm."""
        self._cleanup.close()
        self._backend = None

    def create_user(
        self,
        email: str,
        password: str,
        *,
        confirmed: bool = True,
        banned: bool = False,
        user_metadata: Mapping[str, Any] | None = None,
        app_metadata: Mapping[str, Any] | None = None,
        with_password: bool = True,
    ) -> str:
        """Create a user behind the API's back and return the id.

        Args:
            email: The address; it is lower-cased.
            password: The password.
            confirmed: Whether the address counts as confirmed.
            banned: Whether the user is banned (for a hundred years).
            user_metadata: What users may say of themselves.
            app_metadata: What only administrators say, merged with the provider's.
            with_password: False leaves the user without one, as an invited user is.
        """
        backend, now = self._running(), self._clock()
        password_hash = backend.passwords.hash(password) if with_password else ""
        columns: dict[str, Any] = {"raw_app_meta_data": {**confirming.EMAIL_PROVIDER, **(app_metadata or {})}}
        if banned:
            columns["banned_until"] = timestamps.moment(now + 100 * 365 * 86400)
        with backend.auth.transaction() as connection:
            user_id = newcomers.create(
                connection,
                now=now,
                email=email.lower(),
                password_hash=password_hash,
                user_metadata=user_metadata or {},
            )
            users.update(connection, user_id, now=now, **columns)
            if confirmed:
                confirming.confirm(connection, user_id, now=now)
        return str(user_id)

    def rotate_keys(self, *, revoke_old: bool = False) -> str:
        """Sign with a new key from now on and return its id.

        Args:
            revoke_old: Take the old keys out of the JWKS, so that their tokens are refused at once.
        """
        return self._running().keys.rotate(revoke_old=revoke_old)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return an access token that says *claims*, signed with the current key."""
        return self._running().keys.sign(dict(claims))

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, with or without an error."""
        self.stop()

    def _answer(self, request: wire.Received) -> wire.Answer:
        assert self._app is not None
        return wire.ask(self._app, request)

    def _running(self) -> Backend:
        if self._backend is None:
            raise StandinError("The stand-in does not run: start it first.")
        return self._backend

    def _start(self, undo: contextlib.ExitStack) -> None:
        _make_folder(self.config)
        server = self._listen()
        undo.callback(server.stop)
        superuser = self._database(undo)
        self._progress("preparing the database")
        _prepare(superuser, open_tables=self.config.open_tables)
        self.database_dsn = _as_role(superuser, "postgres")
        self._backend = self._wire(undo, superuser)
        self._app = create_app(self._backend)
        server.start()
        undo.callback(server.stop)  # before the database; the one above serves a start that failed
        self._progress(f"listening on {self.url}")

    def _listen(self) -> Server:
        config = self.config
        try:
            server = Server(
                host=config.host,
                port=config.port,
                answer=self._answer,
                control=self._control(),
                faults=self.faults,
                requests=self.requests,
                idle_close_s=config.idle_close_s,
                max_requests=config.max_requests_per_connection,
            )
        except OSError as error:
            raise StandinError(
                f"Port {config.port} of {config.host} cannot be used ({error.strerror}): choose another one."
            ) from error
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"http://{host}:{server.port}"
        return server

    def _control(self) -> Callable[[wire.Received], wire.Answer | None]:
        switches = Control(self.faults, token=self.control_token)
        pages = MailboxPages(self.mailbox)
        return lambda request: switches(request) or pages(request)

    def _database(self, undo: contextlib.ExitStack) -> str:
        if self.config.database_dsn is not None:
            return self.config.database_dsn
        server = Postgres(
            data_dir=self.config.data_dir / "postgres",
            durable=self.config.durable,
            bin_dir=self.config.bin_dir,
            progress=self._progress,
        )
        undo.enter_context(server)
        return server.dsn(user="supabase_admin")

    def _wire(self, undo: contextlib.ExitStack, superuser: str) -> Backend:
        config = self.config
        auth = Pool(_as_role(superuser, "supabase_auth_admin"), size=config.pool_size)
        data = Pool(_as_role(superuser, "authenticator"), size=config.pool_size)
        undo.callback(auth.close)
        undo.callback(data.close)
        return Backend(
            config=config,
            issuer=f"{self.url}/auth/v1",
            auth=auth,
            data=data,
            keys=Keys(
                config.data_dir / "signing-keys.json",
                clock=self._clock,
                secret=config.jwt_secret if config.signing == "HS256" else None,
            ),
            passwords=Passwords(
                cost=config.bcrypt_cost,
                min_length=config.password_min_length,
                required=config.password_required_characters,
            ),
            limits=Limits(config, clock=time.monotonic),
            mailer=Mailer(config, self.mailbox, base=self.url, clock=self._clock, after_commit=auth.after_commit),
            provider=Provider(base=self.url, accounts=self.provider_accounts),
            clock=self._clock,
        )


def _demand_laptop(config: StandinConfig) -> None:
    if os.environ.get(DEPLOYED_SIGN):
        raise StandinError(f"The stand-in is for laptops, and {DEPLOYED_SIGN} is set: it does not run here.")
    if config.host != "localhost" and not _is_loopback(config.host):
        raise StandinError(f"The stand-in listens on loopback only, not on {config.host}.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _make_folder(config: StandinConfig) -> None:
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        (config.data_dir / ".writable").touch()
        (config.data_dir / ".writable").unlink()
    except OSError as error:
        raise StandinError(f"{config.data_dir} is not writable ({error.strerror}): choose another folder.") from error


def _prepare(superuser: str, *, open_tables: bool) -> None:
    try:
        schema.prepare(superuser, open_tables=open_tables)
    except psycopg.Error as error:
        raise StandinError(f"The database cannot be prepared: {str(error).strip()}") from error


def _as_role(dsn: str, role: str) -> str:
    return conninfo.make_conninfo(dsn, user=role)
