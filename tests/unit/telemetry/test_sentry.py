"""What a report of a defect may hold."""

from __future__ import annotations

from typing import Any, cast

from sentry_sdk.types import Event

from velro_auth.telemetry.sentry import scrub


def test_an_event_keeps_what_is_known_and_nothing_else() -> None:
    """Whatever the SDK, or its next version, might add."""
    frame = {"function": "sign_in", "lineno": 3, "vars": {"password": "canary"}}
    exception = {"type": "ValueError", "module": None, "value": "canary", "stacktrace": {"frames": [frame]}}
    event: dict[str, Any] = {
        "event_id": "1",
        "tags": {"request_id": "2"},
        "exception": {"values": [exception, {"type": "KeyError", "value": "canary"}]},
        "request": {"headers": {"cookie": "canary"}, "query_string": "canary", "data": "canary"},
        "user": {"email": "canary", "ip_address": "canary"},
        "breadcrumbs": {"values": ["canary"]},
        "extra": {"sys.argv": "canary"},
        "contexts": {"new": "canary"},
    }

    kept = scrub(cast("Event", event), {})

    assert kept == {
        "event_id": "1",
        "tags": {"request_id": "2"},
        "exception": {
            "values": [
                {
                    "type": "ValueError",
                    "module": None,
                    "stacktrace": {"frames": [{"function": "sign_in", "lineno": 3}]},
                },
                {"type": "KeyError"},
            ]
        },
    }
