"""Anonymous users: a session without an address, which can get one later."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from supabase_standin import sessions, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure, database_trouble


def sign_up(backend: Backend, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a sign-up without address: a new anonymous user and its session.

    Raises:
        Failure: Anonymous users are off, there were too many, or sign-ups are off.
    """
    if not backend.config.anonymous_users:
        raise Failure(422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled")
    backend.limits.demand("anonymous", call.limited_as)
    if not backend.config.signups:
        raise Failure(422, "signup_disabled", "Signups not allowed for this instance")
    user_id, now = uuid.uuid4(), backend.clock()
    with backend.auth.transaction() as connection, database_trouble("Database error creating anonymous user"):
        users.insert(
            connection,
            user_id=user_id,
            now=now,
            email=None,
            phone=None,
            password_hash="",
            app_metadata={},
            user_metadata=given.get("data", {}),
        )
        users.update(connection, user_id, now=now, role=users.ROLE, is_anonymous=True)
        user = users.get(connection, user_id)
        audit(connection, user, call, action="user_signedup", now=now)
    return sessions.log_in(backend, call, user, method="anonymous")
