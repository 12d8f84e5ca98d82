"""Errors of the database tools. Each message is one sentence that says what to do."""

from __future__ import annotations

from velro_auth.errors import VelroAuthError


class DatabaseError(VelroAuthError):
    """The database cannot be used, or does not have what was asked for."""


class MigrationRefused(DatabaseError):
    """A migration found a state that it must not change."""


class MigrationFailed(DatabaseError):
    """A migration failed and was rolled back."""
