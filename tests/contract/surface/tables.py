"""What a request changed in the tables of schema ``auth``, in the form of the recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from tests.contract.surface.patterns import rows_differ

#: Table → the columns that were recorded.
TABLES: Final[Mapping[str, str]] = {
    "users": "id aud role email phone encrypted_password email_confirmed_at phone_confirmed_at confirmed_at"
    " invited_at confirmation_token confirmation_sent_at recovery_token recovery_sent_at email_change"
    " email_change_token_new email_change_token_current email_change_sent_at email_change_confirm_status"
    " reauthentication_token reauthentication_sent_at raw_app_meta_data raw_user_meta_data last_sign_in_at"
    " banned_until created_at is_sso_user is_anonymous",
    "identities": "id user_id provider provider_id identity_data email last_sign_in_at created_at",
    "sessions": "id user_id aal factor_id ip created_at refreshed_at",
    "refresh_tokens": "id token user_id session_id parent revoked created_at",
    "mfa_amr_claims": "id session_id authentication_method created_at",
    "one_time_tokens": "id user_id token_type token_hash relates_to created_at",
    "flow_state": "id user_id auth_code auth_code_issued_at code_challenge code_challenge_method provider_type"
    " provider_access_token provider_refresh_token authentication_method referrer linking_target_id email_optional"
    " created_at",
    "mfa_factors": "id user_id factor_type friendly_name status secret phone last_challenged_at created_at",
    "mfa_challenges": "id factor_id ip_address verified_at created_at",
}
#: What goes with its user or session when that is deleted needs no statement of its own.
EMPTIED: Final = ("users", "flow_state", "one_time_tokens", "audit_log_entries", "mfa_challenges", "refresh_tokens")

Rows: TypeAlias = dict[str, dict[str, Any]]
Snapshot: TypeAlias = dict[str, Rows]


def empty(connection: psycopg.Connection) -> None:
    """Delete all rows."""
    for name in _existing(connection, EMPTIED):
        connection.execute(sql.SQL("delete from auth.{}").format(sql.Identifier(name)))


def snapshot(connection: psycopg.Connection) -> Snapshot:
    """Return all rows of all tables that are compared."""
    return {name: _rows(connection, name) for name in _existing(connection, TABLES)}


def differences(recorded: Mapping[str, Any], before: Snapshot, after: Snapshot) -> list[str]:
    """Return what differs between the *recorded* changes and those from *before* to *after*."""
    found = []
    for name in TABLES:
        wanted = recorded.get(f"auth.{name}", {})
        old, new = before.get(name, {}), after.get(name, {})
        inserted = [_filled(new[key]) for key in new if key not in old]
        changed = [_changes(old[key], new[key]) for key in new if key in old and old[key] != new[key]]
        deleted = sum(key not in new for key in old)
        found += rows_differ(wanted.get("inserted", []), inserted, f"{name} inserted")
        found += rows_differ(wanted.get("changed", []), changed, f"{name} changed")
        if deleted != wanted.get("deleted_rows", 0):
            found.append(f"{name}: recorded {wanted.get('deleted_rows', 0)} deleted rows, came {deleted}")
    return found


def _existing(connection: psycopg.Connection, names: Iterable[str]) -> list[str]:
    known = {row[0] for row in connection.execute("select tablename from pg_tables where schemaname = 'auth'")}
    return [name for name in names if name in known]


def _rows(connection: psycopg.Connection, name: str) -> Rows:
    columns = TABLES[name].split()
    rows = connection.execute(sql.SQL("select to_jsonb(t) from auth.{} t").format(sql.Identifier(name)))
    return {str(row["id"]): {column: row.get(column) for column in columns} for (row,) in rows}


def _filled(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in row.items() if value not in (None, "", {})}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {column: [old[column], new[column]] for column in new if old[column] != new[column]}
