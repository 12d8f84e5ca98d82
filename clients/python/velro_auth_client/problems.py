"""The JSON answers that the gateway gives for the same errors: the same statuses, codes, texts and headers."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Final

from velro_auth_client.core.errors import (
    Forbidden,
    InsufficientAal,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    VelroAuthError,
)

#: The request ids that the gateway accepts from callers.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REALM: Final = 'Bearer realm="velro-auth"'


@dataclass(frozen=True, slots=True)
class Problem:
    """An HTTP answer, ready to be sent.

    Attributes:
        status: The status code.
        headers: Names and values.
        body: JSON in UTF-8.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


#: Error → status, title, code, detail. The gateway's table has the same rows; a test compares them.
_ROWS: Final[tuple[tuple[type[Exception], int, str, str, str], ...]] = (
    (TokenMissing, 401, "Unauthorized", "token_missing", "Send a bearer token in the Authorization header."),
    (TokenInvalid, 401, "Unauthorized", "token_invalid", "The token is not valid."),
    (TokenExpired, 401, "Unauthorized", "token_expired", "The token has expired."),
    (InsufficientAal, 403, "Forbidden", "insufficient_aal", "A second factor is needed."),
    (Forbidden, 403, "Forbidden", "forbidden", "This account may not do that."),
    (
        VelroAuthError,
        503,
        "Service Unavailable",
        "upstream_unavailable",
        "The authentication server cannot be reached. Try again.",
    ),
)


def problem_of(error: VelroAuthError, request_id: str | None) -> Problem:
    """Return the answer to a request whose token was not accepted.

    Args:
        error: Raised by :meth:`velro_auth_client.TokenGuard.verify_bearer`.
        request_id: The caller's ``X-Request-ID``; without a good one the answer gets an id of its own.
    """
    row = next(row for row in _ROWS if isinstance(error, row[0]))
    _, status, title, code, detail = row
    good = request_id if request_id and _REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "status_code": status,
        "code": code,
        "detail": detail,
        "request_id": good,
    }
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    if isinstance(error, TokenMissing):
        headers.append(("WWW-Authenticate", _REALM))
    elif isinstance(error, TokenInvalid | TokenExpired):
        headers.append(("WWW-Authenticate", f'{_REALM}, error="invalid_token"'))
    elif row[0] is VelroAuthError:
        headers.append(("Retry-After", "5"))
    return Problem(status, tuple(headers), json.dumps(body).encode("utf-8"))
