"""FastAPI on uvicorn with one pooled ``httpx`` client: what an asynchronous team writes in an afternoon."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

URL = os.environ["SUPABASE_URL"]  # noqa: TID251 - a program of its own
KEY = os.environ["SUPABASE_PUBLISHABLE_KEY"]  # noqa: TID251


class Credentials(BaseModel):
    """What a login sends."""

    email: str
    password: str


class User(BaseModel):
    """Who logged in."""

    id: str
    email: str


class Session(BaseModel):
    """What a login gets."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    user: User


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one pool of connections for the whole process."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=32)
    timeout = httpx.Timeout(5, connect=2)
    async with httpx.AsyncClient(base_url=URL, headers={"apikey": KEY}, limits=limits, timeout=timeout) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, Any]:
    """Tell that the process is there."""
    return {"status": "healthy", "timestamp": time.time()}


@app.get("/api/v1/auth/ping")
async def ping() -> dict[str, Any]:
    """Answer a pinger."""
    return {"status": "ok", "service": "auth", "timestamp": time.time()}


@app.post("/api/v1/auth/login")
async def login(credentials: Credentials, request: Request) -> Session:
    """Exchange a mail address and a password for a session."""
    return Session.model_validate_json(await ask(request, "/token?grant_type=password", credentials))


async def ask(request: Request, path: str, body: BaseModel, **headers: str) -> bytes:
    """Pass a body on; return Supabase's answer."""
    client: httpx.AsyncClient = request.app.state.client
    try:
        answer = await client.post(f"/auth/v1{path}", json=body.model_dump(), headers=headers)
    except httpx.HTTPError as error:
        raise HTTPException(503, "authentication is unavailable") from error
    if answer.status_code != httpx.codes.OK:
        raise HTTPException(401, "authentication failed")
    return answer.content


class Link(BaseModel):
    """What a mailed link holds."""

    token_hash: str
    type: str


class Address(BaseModel):
    """Whose password was forgotten."""

    email: str


class Nothing(BaseModel):
    """A body without members."""


class Code(BaseModel):
    """The code of a second factor."""

    code: str
    challenge_id: str = ""


@app.post("/api/v1/auth/signup")
async def sign_up(credentials: Credentials, request: Request) -> Session:
    """Make an account."""
    return Session.model_validate_json(await ask(request, "/signup", credentials))


@app.post("/api/v1/auth/confirm")
async def confirm(link: Link, request: Request) -> Session:
    """Exchange a mailed link for a session."""
    return Session.model_validate_json(await ask(request, "/verify", link))


@app.post("/api/v1/auth/password/forgot")
async def forgot(address: Address, request: Request) -> dict[str, Any]:
    """Have a mail sent."""
    await ask(request, "/recover", address)
    return {}


@app.post("/api/v1/auth/factors/{factor}/verify")
async def verify_factor(factor: str, code: Code, request: Request) -> Session:
    """Exchange the code of a second factor for a session."""
    bearer = request.headers.get("authorization", "")
    challenge = await ask(request, f"/factors/{factor}/challenge", Nothing(), Authorization=bearer)
    code.challenge_id = json.loads(challenge)["id"]
    return Session.model_validate_json(await ask(request, f"/factors/{factor}/verify", code, Authorization=bearer))
