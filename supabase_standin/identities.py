"""The identities of users at providers: finding, adding and removing them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from supabase_standin import bearer, mails, timestamps, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A row of ``auth.identities``, as far as it is read."""

    id: uuid.UUID
    user_id: uuid.UUID
    provider: str
    provider_id: str


COLUMNS: Final = "id, user_id, provider, provider_id"


@dataclass(frozen=True, kw_only=True)
class Login:
    """What a provider said about a person.

    Attributes:
        provider: Its name.
        claims: In the words of the Auth service; ``sub``, ``email`` and ``email_verified`` are there.
    """

    provider: str
    claims: Mapping[str, Any]

    @property
    def email(self) -> str:
        """The address, in lower case."""
        return str(self.claims["email"]).lower()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Who logs in.

    Attributes:
        user: The user.
        refusal: Why there is no session all the same; what was written stays.
    """

    user: users.User
    refusal: Failure | None = None


def sign_in(backend: Backend, connection: psycopg.Connection, call: Call, login: Login) -> Outcome:
    """Return the user of a provider's account: known, joined by a verified address, or new.

    Raises:
        Failure: A stranger while sign-ups are off, or a banned user.
    """
    known = _find(connection, login.provider, login.claims["sub"])
    if known is not None:
        _refresh(connection, known, login, now=backend.clock())
        user = users.get(connection, known.user_id)
    else:
        user = _join(backend, connection, login) or _create(backend, connection, login)
    if user.is_banned(backend.clock()):
        raise Failure(403, "user_banned", "User is banned")
    if user.email_confirmed_at is not None:
        audit(connection, user, call, action="login", now=backend.clock())
        return Outcome(user=user)
    return _confirm(backend, connection, call, user, login)


def link(backend: Backend, connection: psycopg.Connection, user: users.User, login: Login) -> users.User:
    """Add a provider's account to a user who asked for it.

    Raises:
        Failure: The account belongs to a user already.
    """
    known = _find(connection, login.provider, login.claims["sub"])
    if known is not None:
        whose = "" if known.user_id == user.id else " to another user"
        raise Failure(422, "identity_already_exists", f"Identity is already linked{whose}")
    now = backend.clock()
    _insert(connection, user.id, login, now=now)
    if user.is_anonymous:
        columns: dict[str, Any] = {"is_anonymous": False}
        if login.claims["email_verified"] and users.by_email(connection, login.email) is None:
            columns |= {"email": login.email, "email_confirmed_at": timestamps.moment(now)}
        users.update(connection, user.id, now=now, **columns)
    _name_providers(connection, user.id, now=now)
    return users.get(connection, user.id)


def unlink(backend: Backend, call: Call, identity_id: str) -> dict[str, Any]:
    """Answer ``DELETE /user/identities/{id}``.

    Raises:
        Failure: Linking is off, it is the only identity, or there is no such one.
    """
    who = bearer.user(backend, call)
    demand_linking(backend)
    try:
        wanted = uuid.UUID(identity_id)
    except ValueError:
        raise Failure(404, "validation_failed", "identity_id must be an UUID") from None
    with backend.auth.transaction() as connection:
        own = _of_user(connection, who.user.id)
        if len(own) <= 1:
            text = "User must have at least 1 identity after unlinking"
            raise Failure(422, "single_identity_not_deletable", text)
        if wanted not in {identity.id for identity in own}:
            raise Failure(422, "identity_not_found", "Identity doesn't exist")
        connection.execute("delete from auth.identities where id = %s", [wanted])
        _name_providers(connection, who.user.id, now=backend.clock())
    return {}


def demand_linking(backend: Backend) -> None:
    """Let pass where users may add and remove identities.

    Raises:
        Failure: They may not.
    """
    if not backend.config.manual_linking:
        raise Failure(404, "manual_linking_disabled", "Manual linking is disabled")


def _join(backend: Backend, connection: psycopg.Connection, login: Login) -> users.User | None:
    """Add the account to the user with its address, where the provider vouches for that."""
    user = users.by_email(connection, login.email) if login.claims["email_verified"] else None
    if user is None:
        return None
    now = backend.clock()
    _insert(connection, user.id, login, now=now)
    metadata = {**(user.raw_user_meta_data or {}), **login.claims}
    users.update(connection, user.id, now=now, raw_user_meta_data=metadata)
    _name_providers(connection, user.id, now=now)
    return users.get(connection, user.id)


def _create(backend: Backend, connection: psycopg.Connection, login: Login) -> users.User:
    if not backend.config.signups:
        raise Failure(422, "signup_disabled", "Signups not allowed for this instance")
    user_id, now = uuid.uuid4(), backend.clock()
    # An address that is another one's stays with the other: two users, one of them without.
    is_free = bool(login.email) and users.by_email(connection, login.email) is None
    users.insert(
        connection,
        user_id=user_id,
        now=now,
        email=login.email if is_free else None,
        phone=None,
        password_hash="",
        app_metadata={"provider": login.provider, "providers": [login.provider]},
        user_metadata=login.claims,
    )
    _insert(connection, user_id, login, now=now)
    users.update(connection, user_id, now=now, role=users.ROLE)
    return users.get(connection, user_id)


def _confirm(backend: Backend, connection: psycopg.Connection, call: Call, user: users.User, login: Login) -> Outcome:
    """Confirm the address a provider vouches for; a user who took it unproven before loses password and identity."""
    now = backend.clock()
    _remove_unproven(connection, user, login, now=now)
    if login.claims["email_verified"] or backend.config.autoconfirm:
        audit(connection, user, call, action="user_signedup", now=now)
        moment = timestamps.moment(now)
        users.update(connection, user.id, now=now, email_confirmed_at=moment, confirmation_token="")
        connection.execute("delete from auth.one_time_tokens where user_id = %s", [user.id])
        return Outcome(user=users.get(connection, user.id))
    name = login.provider
    text = f"Unverified email with {name}. Verify the email with {name} in order to sign in"
    if user.email:
        mails.send_confirmation(backend, connection, call, user, pkce=False)
        text = f"Unverified email with {name}. A confirmation email has been sent to your {name} email"
    return Outcome(user=user, refusal=Failure(403, "provider_email_needs_verification", text))


def _remove_unproven(connection: psycopg.Connection, user: users.User, login: Login, *, now: float) -> None:
    others = [one for one in _of_user(connection, user.id) if one.provider != login.provider]
    if not others and not user.encrypted_password:
        return
    connection.execute("delete from auth.identities where user_id = %s and provider <> %s", [user.id, login.provider])
    metadata = dict(login.claims)
    users.update(connection, user.id, now=now, encrypted_password=None, raw_user_meta_data=metadata)
    _name_providers(connection, user.id, now=now)


def _name_providers(connection: psycopg.Connection, user_id: uuid.UUID, *, now: float) -> None:
    """Write the names of the user's providers, oldest first, where tokens show them."""
    providers = list(dict.fromkeys(identity.provider for identity in _of_user(connection, user_id)))
    metadata = dict(users.get(connection, user_id).raw_app_meta_data or {})
    if providers and metadata.get("provider") not in providers:
        metadata["provider"] = providers[0]
    metadata["providers"] = providers
    users.update(connection, user_id, now=now, raw_app_meta_data=metadata)


def _refresh(connection: psycopg.Connection, known: Identity, login: Login, *, now: float) -> None:
    connection.execute(
        "update auth.identities set identity_data = %s, updated_at = %s where id = %s",
        [Jsonb(dict(login.claims)), timestamps.moment(now), known.id],
    )
    user = users.get(connection, known.user_id)
    metadata = {**(user.raw_user_meta_data or {}), **login.claims}
    users.update(connection, user.id, now=now, raw_user_meta_data=metadata)


def _insert(connection: psycopg.Connection, user_id: uuid.UUID, login: Login, *, now: float) -> None:
    users.insert_identity(
        connection, user_id, provider=login.provider, data=login.claims, now=now, subject=login.claims["sub"]
    )


def _find(connection: psycopg.Connection, provider: str, subject: str) -> Identity | None:
    return next(iter(_rows(connection, "provider = %s and provider_id = %s", [provider, subject])), None)


def _of_user(connection: psycopg.Connection, user_id: uuid.UUID) -> list[Identity]:
    return _rows(connection, "user_id = %s order by created_at", [user_id])


def _rows(connection: psycopg.Connection, condition: str, values: list[Any]) -> list[Identity]:
    statement = f"select {COLUMNS} from auth.identities where {condition}"
    with connection.cursor(row_factory=class_row(Identity)) as cursor:
        return cursor.execute(statement.encode(), values).fetchall()
