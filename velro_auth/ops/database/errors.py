"""Errors of the database tools. Each message is one sentence that says what to do."""

from __future__ import annotations

from velro_auth.errors import VelroAuthError


class DatabaseError(VelroAuthError):
    """The base class of these errors."""


class BadDatabaseUrl(DatabaseError):
    """DATABASE_URL is missing or is not the address of a PostgreSQL database."""


class DatabaseUnreachable(DatabaseError):
    """The server cannot be reached, refused the login, or closed the connection."""


class StatementFailed(DatabaseError):
    """The server refused or cancelled a statement: a read-only session, a statement_timeout, a full disk."""


class WrongDatabase(DatabaseError):
    """The database cannot be migrated: not a Supabase project, a read-only copy, too old."""


class MissingRights(DatabaseError):
    """The role of DATABASE_URL lacks a right that the migrations need."""


class AnotherRole(MissingRights):
    """Another role applied the migrations and owns their objects."""


class MigrationEdited(DatabaseError):
    """A migration file was changed after it was applied."""


class UnknownMigration(DatabaseError):
    """There is no migration of that version, or it is not applied."""


class BadMigrationFiles(DatabaseError):
    """The folder of migrations is missing, empty, or an up file has no down file."""


class LockNotObtained(DatabaseError):
    """Another session held a lock for longer than the time limit."""


class MigrationRefused(DatabaseError):
    """A migration found a state that it must not change."""


class MigrationFailed(DatabaseError):
    """A migration failed and was rolled back."""
