"""What a Redis that answers, but refuses to do its work, wants of an operator.

By the names of redis-py's errors, so that a process without ``REDIS_URL`` need not load that library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CLUSTER: Final = "it is a Redis Cluster, which keeps keys apart that belong together: use a Redis without cluster mode"
_RIGHTS: Final = (
    "its user lacks rights: allow 'ACL SETUSER <user> ~velro* &velro* +@read +@write +@transaction +@scripting"
    " +@pubsub +@connection +info +time'"
)
_READ_ONLY: Final = "it is a read-only replica: use the address of the primary"
_FULL: Final = "it is full: give it more memory (maxmemory), with maxmemory-policy noeviction"
_LOGIN: Final = "it refuses the user or the password of REDIS_URL"

#: Name of an error → what to do.
_BY_ERROR: Final[Mapping[str, str]] = {
    "ClusterCrossSlotError": _CLUSTER,
    "MovedError": _CLUSTER,
    "AskError": _CLUSTER,
    "TryAgainError": _CLUSTER,
    "ClusterDownError": _CLUSTER,
    "NoPermissionError": _RIGHTS,
    "ReadOnlyError": _READ_ONLY,
    "OutOfMemoryError": _FULL,
    "AuthenticationError": _LOGIN,
}

#: What a command of a script met has no name of its own: part of the text → what to do.
_BY_TEXT: Final[Mapping[str, str]] = {
    "ACL failure in script": _RIGHTS,
    "The user executing the script can't": _RIGHTS,
    "in a cluster node": _CLUSTER,
    "can't write against a read only": _READ_ONLY,
    "command not allowed when used memory": _FULL,
}


def refusal_of(error: BaseException) -> str:
    """Return what is wrong with a Redis that gave this error, and what to do; empty when it did not answer at all."""
    names = (kind.__name__ for kind in type(error).__mro__)
    by_error = next((_BY_ERROR[name] for name in names if name in _BY_ERROR), "")
    return by_error or next((advice for text, advice in _BY_TEXT.items() if text in str(error)), "")
