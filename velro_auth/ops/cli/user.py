"""``velro-auth user …``: an administrator ends sessions, bans, and removes a lost second factor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import click

from velro_auth.ops import users
from velro_auth.ops.cli.click_helpers import (
    Duration,
    database_option,
    json_option,
    print_found,
    warn,
)
from velro_auth.ops.cli.serve import settings_here
from velro_auth.ops.database.connection import connected
from velro_auth.ops.users import Administration, UserError, administration, deny_user, find_user, sessions_of
from velro_auth.stores.client import FAILURES

#: As long as Supabase's own dashboard bans: 100 years.
FOREVER_S: Final = 876_000 * 3600.0

TOKENS_LIVE_ON: Final = (
    "access tokens that were issued before are good until they expire, an hour by default. Only verify?strict=1"
    " and AUTH_VERIFY_MODE=strict refuse them"
)
NO_REDIS: Final = f"REDIS_URL is not set, so the running processes do not know of it: {TOKENS_LIVE_ON}"

_who = click.argument("who", metavar="EMAIL|ID")


@click.group()
def user() -> None:
    """Administer one user: sessions, bans, second factors.

    Sessions need DATABASE_URL, bans and factors SUPABASE_SECRET_KEY. With REDIS_URL the running processes refuse
    the user's tokens at once.
    """


@user.command()
@_who
@database_option
@json_option
def sessions(who: str, database_url: str, *, as_json: bool) -> None:
    """List the sessions of a user, the one that was used last first."""
    with connected(database_url) as connection:
        listed = sessions_of(connection, find_user(connection, who))
    lines = [
        f"{one.id}  began {one.created_at:%Y-%m-%d %H:%M}  last used {one.last_used_at:%Y-%m-%d %H:%M}"
        f"  {one.aal}  {one.ip or '-'}  {one.user_agent or '-'}"
        for one in listed
    ]
    print_found([dataclasses.asdict(one) for one in listed], lines or ["No session."], as_json=as_json)


@user.command(name="end-sessions")
@_who
@database_option
def end_sessions(who: str, database_url: str) -> None:
    """End all sessions of a user."""
    with connected(database_url) as connection:
        user_id = find_user(connection, who)
        _end(user_id, users.end_sessions(connection, user_id))


@user.command()
@_who
@click.option("--for", "duration_s", type=Duration(), help="How long: 24h, 7d. For ever, if not given.")
@database_option
def ban(who: str, duration_s: float | None, database_url: str) -> None:
    """Ban a user, and end the sessions: those in the database only with DATABASE_URL."""
    with administration(settings_here()) as supabase:
        user_id = supabase.find(who)
        supabase.ban(user_id, duration_s or FOREVER_S)
    click.echo("Banned.")
    if not database_url:
        warn("DATABASE_URL is not set: the sessions stay, and work again when the ban ends")
        _tell_processes(user_id)
        return
    with connected(database_url) as connection:
        _end(user_id, users.end_sessions(connection, user_id))


@user.command()
@_who
def unban(who: str) -> None:
    """End the ban of a user. Sessions that were ended stay so: the user logs in again."""
    with administration(settings_here()) as supabase:
        supabase.ban(supabase.find(who), None)
    click.echo("No longer banned.")


@user.command(name="remove-factor")
@_who
@click.option("--factor", "factor_id", metavar="ID", help="Which one, if there are several.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
def remove_factor(who: str, factor_id: str | None, everything: bool) -> None:
    """Remove a lost second factor. Be sure that it is the user who asks: the password alone is enough afterwards."""
    with administration(settings_here()) as supabase:
        user_id = supabase.find(who)
        for one in _chosen(supabase, user_id, factor_id, everything=everything):
            supabase.remove_factor(user_id, one)
            click.echo(f"removed {one}")
    click.echo("Sessions of the user go on; to end them: velro-auth user end-sessions")


def _chosen(supabase: Administration, user_id: str, factor_id: str | None, *, everything: bool) -> list[str]:
    """Return the ids of the factors to remove.

    Raises:
        UserError: There is none, or it is not clear which one is meant.
    """
    known = {str(one.get("id")): one for one in supabase.factors(user_id)}
    shown = "; ".join(f"{name} ({_described(one)})" for name, one in known.items())
    if not known:
        raise UserError("The user has no second factor")
    if factor_id is not None:
        if factor_id not in known:
            raise UserError(f"The user has no factor of this id; there are: {shown}")
        return [factor_id]
    if len(known) > 1 and not everything:
        raise UserError(f"The user has several; name one with --factor, or remove --all: {shown}")
    return list(known)


def _described(factor: Mapping[str, Any]) -> str:
    return ", ".join(str(factor[name]) for name in ("factor_type", "status", "friendly_name") if factor.get(name))


def _end(user_id: str, count: int) -> None:
    click.echo(f"{count} session{'s' * (count != 1)} ended.")
    _tell_processes(user_id)


def _tell_processes(user_id: str) -> None:
    """Have the running processes refuse the tokens; say how long tokens go on where that is not possible."""
    settings = settings_here()
    if not settings.redis_url:
        warn(NO_REDIS)
        return
    try:
        known = deny_user(settings, user_id)
    except FAILURES as error:
        raise UserError(
            f"Redis cannot be asked ({type(error).__name__}), so {TOKENS_LIVE_ON}; run the command again when Redis"
            " answers"
        ) from error
    click.echo(f"{known} running process{'es' * (known != 1)} refuse the tokens from now on.")
