"""Flask with one pooled ``requests`` session: what a careful team writes in an afternoon."""

from __future__ import annotations

import os
import time
from typing import Any

import requests
from flask import Flask, request
from requests.adapters import HTTPAdapter

URL = os.environ["SUPABASE_URL"]  # noqa: TID251 - a program of its own
KEY = os.environ["SUPABASE_PUBLISHABLE_KEY"]  # noqa: TID251

app = Flask(__name__)

session = requests.Session()
session.mount(URL, HTTPAdapter(pool_connections=1, pool_maxsize=32))
session.headers.update({"apikey": KEY})


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
    try:
        answer = session.post(
            f"{URL}/auth/v1/token",
            params={"grant_type": "password"},
            json={"email": email, "password": password},
            timeout=(2, 5),
        )
    except requests.RequestException:
        return {"error": "authentication is unavailable"}, 503
    if answer.status_code != requests.codes.ok:
        return {"error": "authentication failed"}, 401
    found = answer.json()
    return {
        "access_token": found["access_token"],
        "refresh_token": found["refresh_token"],
        "token_type": found["token_type"],
        "expires_in": found["expires_in"],
        "user": {"id": found["user"]["id"], "email": found["user"]["email"]},
    }, 200
