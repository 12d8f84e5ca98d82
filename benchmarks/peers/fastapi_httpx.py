"""FastAPI on uvicorn with one pooled ``httpx`` client: what an asynchronous team writes in an afternoon."""

from __future__ import annotations

import contextlib
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
    client: httpx.AsyncClient = request.app.state.client
    try:
        answer = await client.post("/auth/v1/token", params={"grant_type": "password"}, json=credentials.model_dump())
    except httpx.HTTPError as error:
        raise HTTPException(503, "authentication is unavailable") from error
    if answer.status_code != httpx.codes.OK:
        raise HTTPException(401, "authentication failed")
    return Session.model_validate_json(answer.content)
