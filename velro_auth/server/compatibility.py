"""Whether our worker can serve what gunicorn was told, with the gunicorn that is installed."""

from __future__ import annotations

from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker

#: What is used of gunicorn beyond its documented interface.
_PRIVATE: Final = (
    "get_thread_pool",
    "handle_error",
    "handle_request",
    "is_parent_alive",
    "set_accept_enabled",
)


def unfit(cfg: Any) -> str:
    """Return why this worker cannot serve *cfg*; empty when it can."""
    missing = [name for name in _PRIVATE if not hasattr(ThreadWorker, name)]
    reasons = {
        f"gunicorn has no {', '.join(missing)}": bool(missing),
        "it does not speak TLS": cfg.is_ssl,
        "it does not speak HTTP/2": "h2" in cfg.http_protocols,
        "it does not speak uWSGI": cfg.protocol != "http",
        "it does not speak the PROXY protocol": cfg.proxy_protocol != "off",
    }
    return next((reason for reason, applies in reasons.items() if applies), "")
