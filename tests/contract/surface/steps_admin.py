"""What comes before the requests of administrators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.contract.surface.steps import Step
from tests.contract.surface.world import PASSWORD, World

OLDER_USERS: Final = 9
OLDER_ENTRIES: Final = 20
NO_USER: Final = "00000000-0000-0000-0000-000000000000"


def link(world: World, kind: str, **fields: Any) -> dict[str, Any]:
    return world.admin("POST", "/generate_link", {"type": kind, "email": world.values["email"], **fields})


def recovery_asked(world: World) -> None:
    world.user()
    link(world, "recovery")


def half_of_a_change(world: World) -> None:
    recovery_asked(world)
    link(world, "email_change_current", new_email=world.values["new_email"])
    world.values["new_email"] = world.new_email()


def whole_change(world: World) -> dict[str, Any]:
    """Return the user: recovery and both halves of a change of address are pending."""
    user = world.user()
    link(world, "recovery")
    for kind in ("email_change_current", "email_change_new"):
        link(world, kind, new_email=world.values["new_email"])
    world.uuids.append(user["id"])
    return user


def moved(world: World) -> None:
    user = whole_change(world)
    world.values["new_email"] = world.new_email()
    world.admin("PUT", f"/users/{user['id']}", {"email": world.values["new_email"]})


def with_number(world: World, **changes: Any) -> None:
    moved(world)
    path = f"/users/{world.uuids[0]}"
    world.admin("PUT", path, {"phone": f"+{world.values['phone']}", "phone_confirm": True})
    world.admin("PUT", path, {"app_metadata": {"provider": None, "x": 1}, **changes})


def invited(world: World) -> None:
    world.ok("POST", "/invite", {"email": world.values["email"], "data": {"a": 1}}, bearer=world.standin.secret_key)


def invited_with_mail(world: World) -> None:
    invited(world)
    world.use_mail()


def number_known(world: World) -> None:
    body = {"phone": f"+{world.values['phone']}", "password": PASSWORD, "phone_confirm": True}
    world.uuids.append(world.admin("POST", "/users", body)["id"])


def eleven_users(world: World) -> None:
    for _ in range(OLDER_USERS):
        world.user(world.new_email())
    body = {"role": "admin", "app_metadata": {"plan": "pro"}, "user_metadata": {"n": 1}, "email_confirm": True}
    world.admin("POST", "/users", {"email": world.new_email(), **body})
    world.admin("POST", "/users", {"email": world.new_email(), "password": "abc"})


def found_by_address(world: World) -> None:
    world.values["email"] = "user-28761926731@example.com"
    whole_change(world)
    for _ in range(2):
        world.user(f"other-{world.new_email()}")


def deleted(world: World) -> None:
    user = world.user()
    world.admin("DELETE", f"/users/{user['id']}")
    world.uuids.append(user["id"])


def audited(world: World) -> None:
    moved(world)
    world.admin("PUT", f"/users/{world.uuids[0]}", {"phone": f"+{world.values['phone']}"})
    other = world.admin("POST", "/users", {"phone": "+15551230000", "password": PASSWORD})
    world.sql("delete from auth.audit_log_entries")
    for _ in range(OLDER_ENTRIES):
        world.sql(
            "insert into auth.audit_log_entries (instance_id, id, payload, created_at)"
            " values (%s, gen_random_uuid(), '{}', now() - interval '1 hour')",
            NO_USER,
        )
    world.admin("DELETE", f"/users/{world.uuids[0]}")
    world.admin("DELETE", f"/users/{other['id']}")


def number_logged_in(world: World) -> None:
    number_known(world)
    world.ok("POST", "/token?grant_type=password", {"phone": f"+{world.values['phone']}", "password": PASSWORD})


STEPS: Final[Mapping[str, Step]] = {
    "admin/generate-link-signup-confirmed-address": lambda world: world.user(),
    "admin/generate-link-invite-confirmed-address": lambda world: world.user(),
    "admin/generate-link-magiclink-known": lambda world: world.user(),
    "admin/generate-link-recovery-known-redirect_to-outside-the-allow-list": recovery_asked,
    "admin/generate-link-email_change_current-known": recovery_asked,
    "admin/generate-link-email_change_new-known": half_of_a_change,
    "admin/generate-link-email_change_new-new_email-missing": half_of_a_change,
    "admin/generate-link-galaxy-unknown-type-known-user": lambda world: world.user(),
    "admin/invite-again": invited,
    "admin/invite-confirmed": lambda world: world.user(),
    "admin/invite-verify": invited_with_mail,
    "admin/user-phone-login": number_known,
    "admin/user-phone-duplicate": number_known,
    "admin/user-duplicate": lambda world: world.user(),
    "admin/user-list": eleven_users,
    "admin/user-list-filter": found_by_address,
    "admin/user-get": whole_change,
    "admin/user-update-email": whole_change,
    "admin/user-update-phone": moved,
    "admin/user-ban": with_number,
    "admin/user-unban": lambda world: with_number(world, ban_duration="24h"),
    "admin/user-delete-again": deleted,
    "admin/audit": audited,
    "admin/audit-query": number_logged_in,
}
