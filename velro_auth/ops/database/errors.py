"""What can go wrong with the database, each as one sentence that says what to do."""

from __future__ import annotations

from velro_auth.errors import VelroAuthError


class DatabaseError(VelroAuthError):
    """The root of everything that goes wrong with the database."""


class BadDatabaseUrl(DatabaseError):
    """DATABASE_URL is missing or is not the address of a PostgreSQL database."""


class DatabaseUnreachable(DatabaseError):
    """The server cannot be reached, or does not let us in, or went away."""


class StatementFailed(DatabaseError):
    """The server refused a statement or cut it off: a read-only session, a statement_timeout, a full disk."""


class WrongDatabase(DatabaseError):
    """This is a database, but not one that can be migrated: no project, a read-only copy, too old."""


class MissingRights(DatabaseError):
    """The role of DATABASE_URL may not do what the migrations need."""


class AnotherRole(MissingRights):
    """The migrations were applied by another role, to whom their objects belong."""


class MigrationEdited(DatabaseError):
    """A migration file was changed after it was applied."""


class UnknownMigration(DatabaseError):
    """There is no migration of that version."""


class BadMigrationFiles(DatabaseError):
    """The folder of migrations cannot be used: missing, or an up without its down."""


class LockNotObtained(DatabaseError):
    """Somebody else holds a lock for longer than we are willing to wait."""


class MigrationRefused(DatabaseError):
    """A migration found a state that it will not touch; nothing was changed."""


class MigrationFailed(DatabaseError):
    """A migration failed and was taken back; nothing was changed."""
