"""Free ports on this machine's loopback address."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from typing import Final

from velro_auth.ops.cli.local_project import LOOPBACK, CannotStart

LAST_PORT: Final = 65535


def _listen(port: int) -> None:
    with socket.socket() as sock:
        # Closed connections in TIME_WAIT must not make the port look taken.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))


def require_free(port: int, *, listen: Callable[[int], None] = _listen) -> None:
    """Check that the gateway can listen on a port.

    Raises:
        CannotStart: The port is taken or privileged.
    """
    try:
        listen(port)
    except PermissionError as error:
        raise CannotStart(
            f"Port {port} is privileged, and this user may not listen on it: choose one from 1024 on, as in"
            " PORT=8100 make run."
        ) from error
    except OSError as error:
        raise CannotStart(f"Port {port} is taken by another program: choose one, as in PORT=8100 make run.") from error


def _is_free(port: int) -> bool:
    try:
        _listen(port)
    except OSError:
        return False
    return True


def free_port_beside(port: int, *, is_free: Callable[[int], bool] = _is_free) -> int:
    """Return a free port above *port*, or below it.

    Raises:
        CannotStart: The next hundred ports on both sides are taken.
    """
    above, below = range(port + 1, min(port + 100, LAST_PORT) + 1), range(port - 1, max(port - 100, 1024), -1)
    for candidate in itertools.chain(above, below):
        if is_free(candidate):
            return candidate
    raise CannotStart(f"No port near {port} is free for the local Supabase: choose another, as in PORT=8100 make run.")
