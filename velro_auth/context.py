"""The context of one request, from the middleware down to the call of Supabase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol, TypeAlias

Lane: TypeAlias = Literal["fast", "flask", "edge", "server"]

#: WSGI environ key: a list of callbacks that the server calls after the response is sent.
AFTERWARDS: Final = "velro_auth.afterwards"

#: WSGI environ key: the error with which the server refuses a request before it reaches the application.
REFUSED: Final = "velro_auth.refused"

#: Field of ``log_fields``: the size of an issued access token that is too large for a request.
OVERSIZE: Final = "token_bytes"

#: WSGI environ key: the context of the request, which the middleware puts there.
CONTEXT: Final = "velro_auth.context"

#: WSGI environ key: a :class:`SameAnswer`, where the endpoint knows what its answer will depend on.
SAME_ANSWER: Final = "velro_auth.same_answer"

#: WSGI environ key: :class:`RepeatedFields`, which are the first header fields of the response.
REPEATED: Final = "velro_auth.repeated_fields"


class SameAnswer(NamedTuple):
    """All that the answer to a request depends on, beside what the middleware adds.

    Attributes:
        key: Requests with equal keys get the same answer.
        field: The field of the request that was read for it, by its environ key.
        value: Its value then. If the field has another value by now, the key is of no use.
    """

    key: tuple[object, ...]
    field: str
    value: str | None


@dataclass(slots=True, eq=False)
class RepeatedFields:
    """Header fields that many responses have in common.

    Attributes:
        fields: The fields.
        written: Their lines, and the length that they say, once the server has written them.
    """

    fields: Sequence[tuple[str, str]]
    written: tuple[str, int | None] | None = None


class Allowance(Protocol):
    """How many attempts a client has left; see ``guards.limits.Allowance``."""

    def fields(self) -> list[tuple[str, str]]:
        """Return the header fields that say it."""


@dataclass(slots=True)
class RequestContext:
    """What the middleware knows about a request, and what later steps add.

    Attributes:
        request_id: The client's own id if it is well-formed, else a new one.
        address: The client's IP address, as text; empty if unknown.
        peer_is_trusted: Whether the connection comes from one of ``TRUSTED_PROXIES``.
        arrived_s: When the middleware received it, on the monotonic clock.
        traceparent: W3C trace context to pass upstream; None if missing or malformed.
        queue_ms: How long it waited between the platform's proxy and us; None if the proxy does not say.
        lane: The part that answered: ``fast`` lane, ``flask``, ``edge`` (the middleware) or ``server`` (the worker).
        upstream_ms: Time spent waiting for Supabase.
        waited_s: Time spent waiting for permission to ask Supabase. It counts towards the deadline of a call.
        shows_upstream: Whether the response may contain ``upstream_ms``. Not for refused logins, because Supabase's
            time would reveal whether the account exists.
        outcome: The error code of the response, or ``ok``.
        allowance: The attempts that are left, if the response shows them.
        operation: The endpoint that this request is counted and audited as, where its path does not say it: a login
            in ``/auth/v1`` is a login. None for the endpoint of the path.
        security_event: What the response is in the audit trail, where route and outcome do not say it.
        log_fields: Further fields for the access log. Never a secret.
        answer_headers: Further header fields of the response, whether it is a success or an error.
        keep_session: Puts a session into the browser's cookies; None where the response itself holds the session.
        kept_refresh_token: The refresh token from the session cookie, where that cookie counts.
        required: What the rule for the request requires of a token; has a method ``check``. None without such a rule.
    """

    request_id: str
    address: str
    arrived_s: float
    peer_is_trusted: bool = False
    traceparent: str | None = None
    queue_ms: float | None = None
    lane: Lane = "flask"
    upstream_ms: float = 0.0
    waited_s: float = 0.0
    shows_upstream: bool = False
    outcome: str = "ok"
    allowance: Allowance | None = None
    operation: str | None = None
    security_event: str | None = None
    log_fields: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    answer_headers: list[tuple[str, str]] = field(default_factory=list)
    keep_session: Callable[[Any], None] | None = None
    kept_refresh_token: str | None = field(default=None, repr=False)
    required: Any = None

    #: Returns the context of a WSGI environ that the middleware has seen.
    of: ClassVar[Callable[[Mapping[str, Any]], RequestContext]] = itemgetter(CONTEXT)
