"""Cached answers: most of what ``verify`` answers about one user never changes.

An endpoint that knows in advance which values its answer depends on names them in the environment of the request
(``context.SAME_ANSWER``). The first such answer is kept, with the header fields that the middleware adds. Later
requests with the same values get the kept answer. Whether the token is still good is not kept: the endpoint checks the
token for each request, before it names the values.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from velro_auth.context import Lane, RepeatedFields, RequestContext, SameAnswer
from velro_auth.web.origins import MAX_ORIGIN_LENGTH

Field = tuple[str, str]

#: How many answers a process keeps, about 3 KiB each.
KEPT: Final = 1024

#: Written by the fast lane, and different for each request.
FASTLANE_TIME: Final = "X-Fastlane-Time-Ms"

#: Fields with a secret. The endpoint names no values for such an answer; this check is a second protection.
_OF_ONE_REQUEST: Final = frozenset({"set-cookie", "x-auth-access-token"})

#: Fields of the log that the middleware itself writes before there is an answer.
_OWN_LOG_FIELDS: Final = frozenset({"requestId"})


class PreparedAnswer(NamedTuple):
    """An answer that was given before.

    Attributes:
        origin: The origin of the page that it was given to; None without one.
        status: Code and reason.
        fields: The header fields that never change.
        body: The body.
        lane: The part that answered.
        is_timed: Whether it has the field ``X-Fastlane-Time-Ms``.
    """

    origin: str | None
    status: str
    fields: RepeatedFields
    body: bytes
    lane: Lane
    is_timed: bool


class PreparedAnswers:
    """Keeps answers of a process, by the values they depend on. When it is full, the answer added first is dropped.

    Args:
        size: How many.
    """

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        # One answer for all origins: a user who invents origins cannot displace the answers of other users.
        self._answers: dict[object, PreparedAnswer] = {}
        self._lock = threading.Lock()

    def find(self, same: SameAnswer, environ: Mapping[str, Any]) -> PreparedAnswer | None:
        """Return the answer to a request, if it was given before."""
        if environ.get(same.field) != same.value:
            return None
        answer = self._answers.get((same.key, environ["REQUEST_METHOD"] == "HEAD"))
        return answer if answer is not None and answer.origin == environ.get("HTTP_ORIGIN") else None

    def keep(
        self, same: SameAnswer, environ: Mapping[str, Any], status: str, fields: Sequence[Field], body: bytes
    ) -> None:
        """Keep an answer for requests with the same values, unless the request did more than return an answer."""
        context, origin = RequestContext.of(environ), environ.get("HTTP_ORIGIN")
        if environ.get(same.field) != same.value or not _only_answers(context, status, fields):
            return
        if origin is not None and len(origin) > MAX_ORIGIN_LENGTH:
            return
        stable = [field for field in fields if field[0] != FASTLANE_TIME]
        key = same.key, environ["REQUEST_METHOD"] == "HEAD"
        repeated = RepeatedFields(stable)
        answer = PreparedAnswer(origin, status, repeated, body, context.lane, len(stable) < len(fields))
        with self._lock:
            if key not in self._answers and len(self._answers) >= self._size:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = answer


def _only_answers(context: RequestContext, status: str, fields: Sequence[Field]) -> bool:
    return (
        status == "200 OK"
        and context.outcome == "ok"
        and context.upstream_ms == 0
        and context.allowance is None
        and context.security_event is None
        and not context.shows_upstream
        and context.log_fields.keys() <= _OWN_LOG_FIELDS
        and all(name.lower() not in _OF_ONE_REQUEST for name, _ in fields)
    )
