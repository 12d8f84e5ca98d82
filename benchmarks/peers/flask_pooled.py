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
    return shown(answer.json()), 200


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a client needs of a session."""
    return {
        "access_token": found["access_token"],
        "refresh_token": found["refresh_token"],
        "token_type": found["token_type"],
        "expires_in": found["expires_in"],
        "user": {"id": found["user"]["id"], "email": found["user"]["email"]},
    }


def ask(path: str, *names: str, bearer: str | None = None) -> tuple[Any, int]:
    """Pass the named members of the request's body on; return Supabase's answer and the status to answer with."""
    body = request.get_json(silent=True) or {}
    if not all(isinstance(body.get(name), str) for name in names):
        return {"error": f"{' and '.join(names)} are required"}, 422
    headers = {"Authorization": bearer} if bearer else {}
    try:
        answer = session.post(
            f"{URL}/auth/v1{path}", json={name: body[name] for name in names}, headers=headers, timeout=(2, 5)
        )
    except requests.RequestException:
        return {"error": "authentication is unavailable"}, 503
    if answer.status_code != requests.codes.ok:
        return {"error": "refused"}, 401
    return answer.json(), 200


@app.post("/api/v1/auth/signup")
def sign_up() -> tuple[dict[str, Any], int]:
    """Make an account."""
    found, status = ask("/signup", "email", "password")
    return (shown(found), 200) if status == requests.codes.ok else (found, status)


@app.post("/api/v1/auth/confirm")
def confirm() -> tuple[dict[str, Any], int]:
    """Exchange a mailed link for a session."""
    found, status = ask("/verify", "token_hash", "type")
    return (shown(found), 200) if status == requests.codes.ok else (found, status)


@app.post("/api/v1/auth/password/forgot")
def forgot() -> tuple[dict[str, Any], int]:
    """Have a mail sent."""
    return ask("/recover", "email")


@app.post("/api/v1/auth/factors/<factor>/verify")
def verify_factor(factor: str) -> tuple[dict[str, Any], int]:
    """Exchange the code of a second factor for a session."""
    bearer = request.headers.get("Authorization")
    challenge, status = ask(f"/factors/{factor}/challenge", bearer=bearer)
    if status != requests.codes.ok:
        return challenge, status
    try:
        answer = session.post(
            f"{URL}/auth/v1/factors/{factor}/verify",
            json={"challenge_id": challenge["id"], "code": request.get_json().get("code")},
            headers={"Authorization": bearer or ""},
            timeout=(2, 5),
        )
    except requests.RequestException:
        return {"error": "authentication is unavailable"}, 503
    if answer.status_code != requests.codes.ok:
        return {"error": "refused"}, 401
    return shown(answer.json()), 200
