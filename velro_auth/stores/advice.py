"""What is wrong with a store that answers but refuses to work, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redis import exceptions as errors

from velro_auth.stores.rights import RIGHTS

#: What to do, and the errors of a Redis that answers but refuses to work. Errors inside a script have no class of their
#: own: they are recognised by a part of their text.
_ADVICE: Final[Sequence[tuple[str, tuple[type[Exception], ...], tuple[str, ...]]]] = (
    (
        "it is a Redis Cluster, and REDIS_URL names one server: write redis+cluster:// for redis://",
        (errors.ClusterCrossSlotError, errors.AskError),
        ("in a cluster node",),
    ),
    ("it is no Redis Cluster: write redis:// for redis+cluster://", (), ("Cluster mode is not enabled on this node",)),
    (
        f"its user lacks rights: allow 'ACL SETUSER <user> {RIGHTS}'",
        (errors.NoPermissionError,),
        ("ACL failure in script", "The user executing the script can't"),
    ),
    (
        "it is a read-only replica: use the address of the primary",
        (errors.ReadOnlyError,),
        ("can't write against a read only",),
    ),
    (
        "it is full: give it more memory (maxmemory), with maxmemory-policy noeviction",
        (errors.OutOfMemoryError,),
        ("command not allowed when used memory",),
    ),
    ("it refuses the user or the password of REDIS_URL", (errors.AuthenticationError,), ()),
)


def advice_for(error: BaseException) -> str:
    """Return what is wrong with a Redis that answered with *error*, and what to do; empty if it did not answer."""
    for advice, kinds, texts in _ADVICE:
        if isinstance(error, kinds) or any(text in str(error) for text in texts):
            return advice
    return ""
