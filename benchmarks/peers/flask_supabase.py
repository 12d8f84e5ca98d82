"""Flask with the ``supabase`` package, one client for each login.

One client for all would be faster and wrong: it stores the last session and sends its token with the next login.
The options are those that Supabase's guide gives for servers.
"""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask, request
from supabase import AuthApiError, AuthError, ClientOptions, create_client

URL = os.environ["SUPABASE_URL"]  # noqa: TID251 - a program of its own
KEY = os.environ["SUPABASE_PUBLISHABLE_KEY"]  # noqa: TID251

app = Flask(__name__)


@app.get("/health")
def health() -> dict[str, Any]:
    """Tell that the process is there."""
    return {"status": "healthy", "timestamp": time.time()}


@app.get("/api/v1/auth/ping")
def ping() -> dict[str, Any]:
    """Answer a pinger."""
    return {"status": "ok", "service": "auth", "timestamp": time.time()}


@app.post("/api/v1/auth/login")
def login() -> tuple[dict[str, Any], int]:
    """Exchange a mail address and a password for a session."""
    body = request.get_json()
    email, password = body.get("email"), body.get("password")
    if not isinstance(email, str) or not isinstance(password, str):
        return {"error": "email and password are required"}, 422
    client = create_client(URL, KEY, ClientOptions(auto_refresh_token=False, persist_session=False))
    try:
        found = client.auth.sign_in_with_password({"email": email, "password": password})
    except AuthApiError:
        return {"error": "authentication failed"}, 401
    except AuthError:
        return {"error": "authentication is unavailable"}, 503
    assert found.session is not None
    assert found.user is not None
    return {
        "access_token": found.session.access_token,
        "refresh_token": found.session.refresh_token,
        "token_type": found.session.token_type,
        "expires_in": found.session.expires_in,
        "user": {"id": found.user.id, "email": found.user.email},
    }, 200
