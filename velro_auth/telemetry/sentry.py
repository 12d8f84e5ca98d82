"""Reports errors to Sentry: log records with a traceback, without any data of the request.

Needs the extra ``sentry``; ``wiring.telemetry`` imports this module only where errors are reported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import sentry_sdk
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import event_from_exception

#: The loggers that are reported: ours, and the server's for exceptions that it caught.
LOGGERS: Final = ("velro_auth", "gunicorn.error")

#: How long the end of a process waits for its last events, in seconds.
FLUSH_S: Final = 1.0

#: All members that an event may have. New members of later SDK versions are removed until someone has reviewed them.
_ALLOWED: Final = frozenset(
    {
        *("event_id", "timestamp", "level", "logger", "logentry", "platform", "release", "environment"),
        *("server_name", "sdk", "tags", "exception"),
    }
)
_ALLOWED_OF_EXCEPTIONS: Final = frozenset({"type", "module", "mechanism", "stacktrace"})


class SentryHandler(logging.Handler):
    """Sends log records with a traceback to Sentry, from a thread of the SDK that starts with the first of them.

    No integration of the SDK is used, so nothing is patched or collected: an event is made from the record alone.
    The text of an exception is removed, because it may quote user input; the log has it, under the same request id.

    Args:
        dsn: The project's address at Sentry, with its key.
        release: Version and commit.
        environment: Name of the environment; empty leaves it to the SDK.
        server_name: Name of the replica; empty leaves it to the SDK.
    """

    def __init__(self, dsn: str, *, release: str, environment: str = "", server_name: str = "") -> None:
        super().__init__(logging.ERROR)
        self._dsn = dsn
        self._release, self._environment, self._server_name = release, environment or None, server_name or None
        self._client: sentry_sdk.Client | None = None

    def start(self) -> None:
        """Start reporting; call it after a fork, which the SDK's threads would not survive.

        Raises:
            sentry_sdk.utils.BadDsn: The address is not an address of Sentry.
        """
        self._client = sentry_sdk.Client(
            self._dsn,
            release=self._release,
            environment=self._environment,
            server_name=self._server_name,
            before_send=scrub,
            max_request_body_size="never",
            # send_default_pii is off by default, and passing it is deprecated.
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
        """Send the remaining events, waiting at most ``FLUSH_S``."""
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self)
        if self._client is not None:
            self._client.close(timeout=FLUSH_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, if it has a traceback."""
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


def scrub(event: Event, _: Hint) -> Event:
    """Return *event* with the allowed members only."""
    kept: dict[str, Any] = {name: value for name, value in event.items() if name in _ALLOWED}
    exceptions: Sequence[dict[str, Any]] = kept.get("exception", {}).get("values", ())
    kept["exception"] = {"values": [_without_values(exception) for exception in exceptions]}
    return kept  # type: ignore[return-value] # its keys are an event's


def _without_values(exception: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in exception.items() if name in _ALLOWED_OF_EXCEPTIONS}
    for frame in (kept.get("stacktrace") or {}).get("frames", ()):
        frame.pop("vars", None)
    return kept
