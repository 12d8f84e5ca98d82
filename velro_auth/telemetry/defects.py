"""Defects to Sentry: what was logged with a traceback, without anything of the request that met it.

Needs the extra ``sentry``; ``wiring.extras`` imports this module where there is somebody to report to.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import sentry_sdk
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import event_from_exception

#: Whose lines are looked at: ours, and those of the server about what it caught.
LOGGERS: Final = ("velro_auth", "gunicorn.error")

#: How long the end of a process waits for its last events, in seconds.
FLUSH_S: Final = 1.0

#: All that an event may hold. What a later version of the SDK adds stays out until somebody looked at it.
_KEPT: Final = frozenset(
    {
        "event_id",
        "timestamp",
        "level",
        "logger",
        "logentry",
        "platform",
        "release",
        "environment",
        "server_name",
        "sdk",
        "tags",
        "exception",
    }
)
_KEPT_OF_EXCEPTIONS: Final = frozenset({"type", "module", "mechanism", "stacktrace"})


class Defects(logging.Handler):
    """Sends records with a traceback to Sentry, from a thread of the SDK's that starts with the first of them.

    No integration of the SDK is used, so nothing is patched and nothing collected: an event is made here, from the
    record alone. The text of an exception stays out, since it may quote what somebody sent; the log has it, under
    the same request id.

    Args:
        dsn: The project's address at Sentry, with its key.
        release: Version and commit.
        environment: Where this runs; empty leaves it to the SDK.
        server_name: Which replica this is; empty leaves it to the SDK.
    """

    def __init__(self, dsn: str, *, release: str, environment: str = "", server_name: str = "") -> None:
        super().__init__(logging.ERROR)
        self._dsn = dsn
        self._release, self._environment, self._server_name = release, environment or None, server_name or None
        self._client: sentry_sdk.Client | None = None

    def start(self) -> None:
        """Listen; call it after a fork, which the SDK's threads would not survive.

        Raises:
            sentry_sdk.utils.BadDsn: The address is none of Sentry's.
        """
        self._client = sentry_sdk.Client(
            self._dsn,
            release=self._release,
            environment=self._environment,
            server_name=self._server_name,
            before_send=scrubbed,
            max_request_body_size="never",
            # send_default_pii is off unless named, and naming it is deprecated.
            include_local_variables=False,
            max_breadcrumbs=0,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            enable_backpressure_handling=False,
            send_client_reports=False,
            spotlight=False,
        )
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)

    def stop(self) -> None:
        """Send what is left, for ``FLUSH_S`` at most."""
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self)
        if self._client is not None:
            self._client.close(timeout=FLUSH_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, if it tells of a defect."""
        if self._client is None or not record.exc_info or record.exc_info[1] is None:
            return
        try:
            event, hint = event_from_exception(record.exc_info, self._client.options)
            event["level"] = "error"
            event["logger"] = record.name
            event["logentry"] = {"message": str(record.msg)}
            if request_id := getattr(record, "request_id", None):
                event["tags"] = {"request_id": request_id}
            self._client.capture_event(event, hint)
        except Exception:  # noqa: BLE001 - logging's own rule
            self.handleError(record)


def scrubbed(event: Event, _: Hint) -> Event:
    """Return *event* with nothing in it but what is known to be ours."""
    kept: dict[str, Any] = {name: value for name, value in event.items() if name in _KEPT}
    exceptions: Sequence[dict[str, Any]] = kept.get("exception", {}).get("values", ())
    kept["exception"] = {"values": [_without_values(exception) for exception in exceptions]}
    return kept  # type: ignore[return-value] # its keys are an event's


def _without_values(exception: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in exception.items() if name in _KEPT_OF_EXCEPTIONS}
    for frame in (kept.get("stacktrace") or {}).get("frames", ()):
        frame.pop("vars", None)
    return kept
