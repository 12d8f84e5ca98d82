"""Flask views that only users with a good token reach."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import flask

from velro_auth_client.core.errors import VelroAuthError
from velro_auth_client.guard import TokenGuard, User, requirements_of
from velro_auth_client.problems import problem_of

P = ParamSpec("P")
R = TypeVar("R")


class FlaskGuard(TokenGuard):
    """A :class:`TokenGuard` with a decorator for Flask views."""

    def require_user(
        self, *, role: str | Collection[str] = (), aal: str = ""
    ) -> Callable[[Callable[P, R]], Callable[P, Any]]:
        """Return a decorator for views that only users with a good token reach.

        Other requests get the gateway's JSON answers: 401 with ``WWW-Authenticate``, 403, or 503 with
        ``Retry-After``. Put it below the route's decorator.

        Args:
            role: The application role the user must have, or several of which one is enough.
            aal: The least assurance level of the session.

        Raises:
            ValueError: There is no such level.
        """
        requirements = requirements_of(role, aal)

        def decorate(view: Callable[P, R]) -> Callable[P, Any]:
            @wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
                headers = flask.request.headers
                try:
                    flask.g.velro_user = self._verify(headers.get("Authorization"), requirements)
                except VelroAuthError as error:
                    problem = problem_of(error, headers.get("X-Request-ID"))
                    return flask.Response(problem.body, status=problem.status, headers=dict(problem.headers))
                return flask.current_app.ensure_sync(view)(*args, **kwargs)

            return guarded

        return decorate

    def current_user(self) -> User:
        """Return the user of the current Flask request.

        Raises:
            RuntimeError: The view is not decorated with :meth:`require_user`.
        """
        user = flask.g.get("velro_user")
        if not isinstance(user, User):
            raise RuntimeError("there is no user: decorate the view with require_user()")  # noqa: TRY004
        return user
