"""Flask's extension stack: what only the slow lane needs.

Everything that every answer needs (headers, CORS, limits on logins, the access log) wraps both lanes and is not
here, or the fast lane would silently go without.
"""

from __future__ import annotations

from collections.abc import Collection

import flask
import flask_compress
import flask_limiter

from velro_auth.exchange import Exchange

#: Polling every second is fine; a loop without a pause is not.
MANAGEMENT_LIMIT = "300 per minute"


def extend(app: flask.Flask, *, management: flask.Blueprint, public_paths: Collection[str]) -> None:
    """Add the extensions to *app*.

    Args:
        app: The application.
        management: The routes whose callers are counted, per address and process.
        public_paths: Those of them whose answers may be compressed.
    """
    limiter = flask_limiter.Limiter(
        key_func=lambda: Exchange.of(flask.request.environ).address or "unknown",
        storage_uri="memory://",
        headers_enabled=False,
        # Its store starts a thread now and then; a request must not fail because the system has none to give.
        swallow_errors=True,
    )
    limiter.init_app(app)
    limiter.limit(MANAGEMENT_LIMIT)(management)
    # Only what is public and large: compressing answers with tokens invites BREACH.
    app.config["COMPRESS_REGISTER"] = False
    compress = flask_compress.Compress(app)

    @management.after_request
    def compressed(response: flask.Response) -> flask.Response:
        is_public = flask.request.path in public_paths
        return compress.after_request(response) if is_public else response
