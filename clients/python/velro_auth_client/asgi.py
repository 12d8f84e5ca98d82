"""ASGI applications (FastAPI, Starlette, …) that only users with a good token reach. Needs no framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, TypeAlias

from velro_auth_client.core.auth.requirements import Requirements
from velro_auth_client.core.errors import VelroAuthError
from velro_auth_client.guard import TokenGuard, User, requirements_of
from velro_auth_client.problems import Problem, problem_of

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Close code of a refused WebSocket: policy violation (RFC 6455, 7.4.1).
_POLICY_VIOLATION = 1008


class AsgiGuard(TokenGuard):
    """A :class:`TokenGuard` with a middleware for ASGI applications that run on asyncio.

    Verifying may wait up to 2.5 s for the signing keys, so it runs in a thread and never blocks the event loop.
    """

    def protect(
        self,
        app: App,
        *,
        role: str | Collection[str] = (),
        aal: str = "",
        public_paths: Collection[str] = (),
    ) -> App:
        """Return *app* for users with a good token only; ``scope["state"]["user"]`` is the :class:`User`.

        Starlette and FastAPI show it as ``request.state.user``. Other requests get the gateway's JSON answers. A
        refused WebSocket is closed before it is accepted. CORS preflights (``OPTIONS``) carry no token and pass.

        Args:
            app: An ASGI application, whole or mounted.
            role: The application role the user must have, or several of which one is enough.
            aal: The least assurance level of the session.
            public_paths: Exact paths that need no token, such as a health check.

        Raises:
            ValueError: There is no such level.
        """
        requirements = requirements_of(role, aal)
        public = frozenset(public_paths)

        async def protected(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan" or scope["path"] in public or scope.get("method") == "OPTIONS":
                await app(scope, receive, send)
                return
            try:
                user = await self._user_of(scope, requirements)
            except VelroAuthError as error:
                await _refuse(scope, send, problem_of(error, _header(scope, b"x-request-id")))
                return
            await app({**scope, "state": {**scope.get("state", {}), "user": user}}, receive, send)

        return protected

    async def verify(self, header: str | None, *, role: str | Collection[str] = (), aal: str = "") -> User:
        """Return the user of an ``Authorization`` header; raises what :meth:`TokenGuard.verify_bearer` raises."""
        requirements = requirements_of(role, aal)
        return await asyncio.to_thread(self._verify, header, requirements)

    async def _user_of(self, scope: Scope, requirements: Requirements) -> User:
        return await asyncio.to_thread(self._verify, _header(scope, b"authorization"), requirements)


def _header(scope: Scope, name: bytes) -> str | None:
    """Return a header; several of one name are joined, as WSGI servers do, so that two tokens are refused."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    return ",".join(values) if values else None


async def _refuse(scope: Scope, send: Send, problem: Problem) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in problem.headers]
    headers.append((b"content-length", str(len(problem.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else problem.body})
