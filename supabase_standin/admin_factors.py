"""What administrators do with the second factors of users."""

from __future__ import annotations

from typing import Any

from supabase_standin import admin, factors, factortable, params, phone_numbers
from supabase_standin.backend import Backend, Call


def page(backend: Backend, user_id: str) -> list[dict[str, Any]]:
    """Answer ``GET /admin/users/{id}/factors``: all of them, [] for none.

    Raises:
        Failure: There is no such user.
    """
    with backend.auth.transaction() as connection:
        user = admin.known(connection, user_id)
        return [factor.shown() for factor in factortable.of_user(connection, user.id)]


def change(backend: Backend, call: Call, user_id: str, factor_id: str) -> dict[str, Any]:
    """Answer ``PUT /admin/users/{id}/factors/{id}``: another name or number.

    Raises:
        Failure: There is no such user or factor, or the number is none.
    """
    with backend.auth.transaction() as connection:
        user = admin.known(connection, user_id)
        factor = factors.known(connection, user.id, factor_id)
        given = params.read(
            call.body, struct="adminUserUpdateFactorParams", fields={"friendly_name": str, "phone": str}
        )
        columns = {"friendly_name": given["friendly_name"]} if given.get("friendly_name") else {}
        if given.get("phone") and factor.factor_type == "phone":
            columns["phone"] = phone_numbers.checked(given["phone"])
        factortable.update(connection, factor.id, now=backend.clock(), **columns)
        return factors.known(connection, user.id, factor_id).shown()


def delete(backend: Backend, user_id: str, factor_id: str) -> dict[str, Any]:
    """Answer ``DELETE /admin/users/{id}/factors/{id}`` with the factor that was.

    Raises:
        Failure: There is no such user or factor.
    """
    with backend.auth.transaction() as connection:
        user = admin.known(connection, user_id)
        factor = factors.known(connection, user.id, factor_id)
        factortable.delete(connection, factor.id)
        return factor.shown()
