"""A gateway with ``/auth/v1`` in front of a stand-in, on a port of its own, as Supabase's clients call it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from werkzeug.serving import WSGIRequestHandler, make_server

from supabase_standin import Standin
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

#: No delays, and no limit that a test would reach; what the stand-in is asked for has arrived when the answer leaves.
ENVIRONMENT = {
    "AUTH_SUPABASE_API": "on",
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_REDIRECT_URLS": "https://app.example.com",
    "AUTH_FAILURE_FLOOR_MS": "0",
    "AUTH_THROTTLE_SCALE": "1000",
    "AUTH_UPSTREAM_QUOTA": "off",
    "UPSTREAM_DEADLINE_S": "5",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "CORS_ORIGINS": "https://app.example.com",
}


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Write nothing."""


def settings_of(standin: Standin, **environment: str) -> Settings:
    """Return the settings of a gateway in front of *standin*."""
    settings = Settings.from_environment(
        {
            "SUPABASE_URL": standin.url,
            "SUPABASE_PUBLISHABLE_KEY": standin.publishable_key,
            "SUPABASE_SECRET_KEY": standin.secret_key,
            **ENVIRONMENT,
            **environment,
        }
    )
    assert not settings.errors
    return settings


@contextlib.contextmanager
def face_of(standin: Standin, *, port: int = 0, **environment: str) -> Iterator[str]:
    """Run a gateway and yield its address; *port* is that of an earlier one."""
    service = create_app(settings_of(standin, **environment))
    service.start()
    server = make_server("127.0.0.1", port, service, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        service.stop()
