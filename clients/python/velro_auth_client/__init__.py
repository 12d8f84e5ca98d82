"""Verifies Supabase access tokens in a Python backend, without a request per request.

::

    from velro_auth_client.flask import FlaskGuard    # Flask
    from velro_auth_client.asgi import AsgiGuard      # FastAPI, Starlette, any ASGI application
    from velro_auth_client.django import DjangoGuard  # Django
    from velro_auth_client import TokenGuard          # anything else
"""

from velro_auth_client.core.auth.keys import CannotVerify
from velro_auth_client.core.errors import (
    AuthError,
    Forbidden,
    InsufficientAal,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    VelroAuthError,
)
from velro_auth_client.guard import TokenGuard, User

__all__ = [
    "AuthError",
    "CannotVerify",
    "Forbidden",
    "InsufficientAal",
    "TokenExpired",
    "TokenGuard",
    "TokenInvalid",
    "TokenMissing",
    "User",
    "VelroAuthError",
]
