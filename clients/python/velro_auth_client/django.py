"""Django views that only users with a good token reach: a middleware for all of them, or a decorator for some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeAlias

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from velro_auth_client.core.auth.requirements import Requirements
from velro_auth_client.core.errors import VelroAuthError
from velro_auth_client.guard import TokenGuard, requirements_of
from velro_auth_client.problems import problem_of

#: A view, or the rest of the middleware: sync or async.
View: TypeAlias = Callable[..., Any]


class DjangoGuard(TokenGuard):
    """A :class:`TokenGuard` with a decorator and a middleware for Django, under WSGI and ASGI.

    ``request.velro_user`` is the :class:`User`. Other requests get the gateway's JSON answers: 401 with
    ``WWW-Authenticate``, 403, or 503 with ``Retry-After``. Verifying may wait up to 2.5 s for the signing keys; for
    async views it runs in a thread.
    """

    def require_user(self, *, role: str | Collection[str] = (), aal: str = "") -> Callable[[View], View]:
        """Return a decorator for views, sync or async, that only users with a good token reach.

        Args:
            role: The application role the user must have, or several of which one is enough.
            aal: The least assurance level of the session.

        Raises:
            ValueError: There is no such level.
        """
        return self._guarding(requirements_of(role, aal), is_open=lambda _: False)

    def protect(
        self, *, role: str | Collection[str] = (), aal: str = "", public_paths: Collection[str] = ()
    ) -> Callable[[View], View]:
        """Return a middleware, for ``MIDDLEWARE``.

        Put it below the middleware that answers CORS preflights, which carry no token. It lets no ``OPTIONS`` pass by
        itself: a view of Django answers every method.

        Args:
            role: The application role the user must have, or several of which one is enough.
            aal: The least assurance level of the session.
            public_paths: Exact paths that need no token, such as a health check.

        Raises:
            ValueError: There is no such level.
        """
        public = frozenset(public_paths)
        guarding = self._guarding(requirements_of(role, aal), is_open=lambda request: request.path in public)
        middleware: Callable[[View], View] = sync_and_async_middleware(guarding)
        return middleware

    def _guarding(self, requirements: Requirements, *, is_open: Callable[[Any], bool]) -> Callable[[View], View]:
        def admit(request: Any) -> HttpResponse | None:
            """Write the user into the request, or return the refusal."""
            try:
                request.velro_user = self._verify(request.headers.get("Authorization"), requirements)
            except VelroAuthError as error:
                problem = problem_of(error, request.headers.get("X-Request-ID"))
                return HttpResponse(problem.body, status=problem.status, headers=dict(problem.headers))
            return None

        def guard(view: View) -> View:
            if iscoroutinefunction(view):

                @wraps(view)
                async def later(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                    refusal = None if is_open(request) else await asyncio.to_thread(admit, request)
                    return await view(request, *args, **kwargs) if refusal is None else refusal

                return later

            @wraps(view)
            def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                refusal = None if is_open(request) else admit(request)
                return view(request, *args, **kwargs) if refusal is None else refusal

            return guarded

        return guard


@sync_and_async_middleware  # type: ignore[untyped-decorator] # Django has no types of its own
def middleware(get_response: View) -> View:
    """Protect a whole project; for ``MIDDLEWARE``.

    ``VELRO_AUTH`` in the settings holds the arguments of :class:`DjangoGuard`, and of :meth:`DjangoGuard.protect`::

        MIDDLEWARE = ["velro_auth_client.django.middleware", …]
        VELRO_AUTH = {"supabase_url": "https://abcdefgh.supabase.co", "public_paths": ["/health"]}
    """
    options = dict(settings.VELRO_AUTH)
    protecting = {name: options.pop(name) for name in ("role", "aal", "public_paths") if name in options}
    return DjangoGuard(**options).protect(**protecting)(get_response)
