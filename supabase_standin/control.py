"""The stand-in's own route, to switch faults from outside; it answers to a random token only."""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

from supabase_standin.faults import Faults
from supabase_standin.wire import Answer, Received

PATH: Final = "/_standin/faults"
JSON: Final = (("Content-Type", "application/json"),)


class Control:
    """Answers ``POST``, ``GET`` and ``DELETE`` on ``/_standin/faults``.

    Args:
        faults: What is switched.
        token: What the bearer must be.
    """

    def __init__(self, faults: Faults, *, token: str) -> None:
        self._faults = faults
        self._expected = f"Bearer {token}".encode()

    def __call__(self, request: Received) -> Answer | None:
        """Return the answer; None for other paths and for a caller without the token."""
        given = request.headers.get("Authorization", "").encode()
        if request.path != PATH or not secrets.compare_digest(given, self._expected):
            return None
        if request.method == "POST":
            return self._switch_on(request.body)
        if request.method == "DELETE":
            self._faults.clear()
            return Answer(status=204)
        return _json(200, self._faults.shown())

    def _switch_on(self, body: bytes) -> Answer:
        try:
            return _json(201, self._faults.on(**json.loads(body)).shown())
        except (TypeError, ValueError) as error:
            return _json(422, {"message": str(error)})


def _json(status: int, value: Any) -> Answer:
    return Answer(status=status, headers=JSON, body=json.dumps(value).encode())
