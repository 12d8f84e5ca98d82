"""What the connections need of ``requests``, urllib3 and ``http.client`` beyond their documented interfaces.

The deadline of an answer, the cap and the separation of users depend on hooks that these libraries call. A release
that renames a hook would ignore ours without an error. So each hook is looked for when a transport is built.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import platform
from typing import Final

import requests.adapters
import urllib3.connection
import urllib3.response

#: Owner → hooks of it that we override, set or call.
HOOKS: Final[dict[type, tuple[str, ...]]] = {
    # transport.py: our pool, no second loading of authorities, no search for a proxy, no cookies.
    requests.adapters.HTTPAdapter: (
        "get_connection_with_tls_context",
        "cert_verify",
        "request_url",
        "build_response",
        "send",
    ),
    # connection.py: our socket, one packet per request, our reader of answers.
    urllib3.connection.HTTPConnection: (
        "connect",
        # Private: the only part whose name begins with an underscore. It keeps a line of the head.
        "_output",
        "putheader",
        "send",
        "request",
        "getresponse",
        "response_class",
        "is_connected",
        "default_port",
        "default_socket_options",
    ),
    # connection.py: interim answers.
    http.client.HTTPResponse: ("begin",),
    # pool.py: whether an answer was read to its end.
    urllib3.response.HTTPResponse: ("isclosed", "read"),
}


def check_libraries() -> None:
    """Look for each hook.

    Raises:
        AttributeError: A library lacks a hook. The message names the hook and the library's version.
    """
    for owner, names in HOOKS.items():
        for name in names:
            if not hasattr(owner, name):
                raise AttributeError(f"{owner.__module__}.{owner.__qualname__} of {_release(owner)} has no {name!r}")


def _release(owner: type) -> str:
    library = owner.__module__.partition(".")[0]
    return (
        f"Python {platform.python_version()}"
        if library == "http"
        else f"{library} {importlib.metadata.version(library)}"
    )
