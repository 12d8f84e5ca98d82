"""Flask's extension stack: what only the slow lane needs.

Everything that every answer needs (headers, CORS, limits on logins, the access log) wraps both lanes and is not
here, or the fast lane would silently go without.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import flask
import flask_compress
import flask_limiter

from velro_auth.context import RequestContext

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
        key_func=lambda: RequestContext.of(flask.request.environ).address or "unknown",
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
        if flask.request.path not in public_paths:
            return response
        flask.request.environ["HTTP_ACCEPT_ENCODING"] = _wanted(compress.enabled_algorithms)
        return compress.after_request(response)


def _wanted(codings: Iterable[str]) -> str:
    """Return those of *codings* that the client takes, with their qualities, as it would name them itself.

    The extension takes ``gzip;q=0``, which refuses it (RFC 9110, 12.5.3), for a wish.
    """
    accepted = flask.request.accept_encodings
    qualities = {coding: accepted.quality(coding) for coding in (*codings, "identity")}
    return ", ".join(f"{coding};q={quality}" for coding, quality in qualities.items() if quality > 0)
