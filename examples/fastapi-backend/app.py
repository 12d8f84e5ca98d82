"""A backend in FastAPI, all of it for users but its health check.

SUPABASE_URL=https://abcdefgh.supabase.co uvicorn --app-dir examples/fastapi-backend app:app --port 5002
"""

import os

from fastapi import FastAPI, HTTPException, Request
from velro_auth_client.asgi import AsgiGuard

api = FastAPI()
auth = AsgiGuard(os.environ["SUPABASE_URL"])


@api.get("/me")
async def me(request: Request) -> dict[str, str | None]:
    """Any user."""
    user = request.state.user
    return {"id": user.id, "email": user.email, "role": user.role}


@api.get("/reports")
async def reports(request: Request) -> dict[str, list[str]]:
    """Users with one of the roles."""
    if request.state.user.role not in {"admin", "editor"}:
        raise HTTPException(403, "This account may not do that.")
    return {"reports": ["first quarter"]}


@api.get("/health")
async def health() -> dict[str, str]:
    """Everybody."""
    return {"status": "ok"}


app = auth.protect(api, public_paths=["/health"])
