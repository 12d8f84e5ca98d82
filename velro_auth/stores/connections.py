"""Clients for one server, for the primary that Sentinel names, and for a cluster: redis-py's own, with short limits."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any, Final, cast

import redis
from redis import exceptions as errors
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from velro_auth.stores.address import StoreAddress

#: The worker's threads limit the connections. A smaller limit of the pool would make a busy moment look like a failing
#: store.
MAX_CONNECTIONS: Final = 1024

#: Keys of a probe in a cluster: with three primaries each has one of them in 997 of 1000 cases. A primary without one
#: is found to be away by the next request, and the pause is longer then.
CLUSTER_PROBES: Final = 16
PROBE_EXPIRES_MS: Final = 10_000


def open_client(address: StoreAddress, *, timeout_s: float) -> redis.Redis:
    """Return a client for *address* without retries; it connects on first use.

    A client of a cluster is no ``redis.Redis``, but has the same commands. Do not use a command with keys of several
    slots: each call of ours has keys of one slot.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "max_connections": MAX_CONNECTIONS,
        "retry": Retry(NoBackoff(), 0),
        **_login(address.username, address.password),
    }
    encryption: dict[str, Any] = {"ssl": True, **address.tls} if address.is_tls else {}
    if address.mode == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.nodes]  # type: ignore[no-untyped-call]
        return cast("redis.Redis", LazyCluster(startup_nodes=nodes, **options, **encryption))
    options["db"] = address.database
    if address.mode == "sentinel":
        return _behind_sentinel(address, {**options, **encryption}, timeout_s, encryption)
    if address.path:
        return redis.Redis(unix_socket_path=address.path, **options)
    [(host, port)] = address.nodes
    return redis.Redis(host=host, port=port, **options, **encryption)


def is_cluster(client: redis.Redis) -> bool:
    """Return whether *client* is one of a cluster, so that keys of one call must lie in one slot."""
    return isinstance(client, RedisCluster)


def _behind_sentinel(
    address: StoreAddress, options: dict[str, Any], timeout_s: float, encryption: dict[str, Any]
) -> redis.Redis:
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        address.nodes,
        sentinel_kwargs={
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            **_login(address.sentinel_username, address.sentinel_password),
            **encryption,
        },
    )
    client: redis.Redis = sentinels.master_for(address.service, **options)  # type: ignore[no-untyped-call]
    return client


def _login(username: str, password: str) -> dict[str, str]:
    given = {"username": username, "password": password}
    return {name: value for name, value in given.items() if value}


#: What a client of a cluster has before it is connected.
_OWN: Final = frozenset({"_options", "_opening", "_failures", "_is_open"})


class LazyCluster(RedisCluster):
    """A client of a cluster that asks for its nodes with the first command, not when it is made.

    The attributes that redis-py's constructor sets are missing until then. The first access to one calls it.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._opening = threading.RLock()
        self._failures = 0

    def __getattr__(self, name: str) -> Any:
        """Connect, and return what was missing.

        Raises:
            RedisClusterException: None of the nodes answers.
        """
        if name.startswith("__") or name in _OWN:
            raise AttributeError(name)
        failures = self._failures
        with self._opening:
            if self._failures > failures:
                # Or callers that waited would each wait for all nodes, one after the other.
                raise errors.RedisClusterException("No node of the cluster answered a moment ago")
            if not self.__dict__.get("_is_open"):
                self._open()
        return object.__getattribute__(self, name)

    def _open(self) -> None:
        try:
            RedisCluster.__init__(self, **self._options)
        except BaseException:
            self._failures += 1
            # Otherwise the next command would find an unfinished client. Our own attributes stay: others read them now.
            for name in self.__dict__.keys() - _OWN:
                del self.__dict__[name]
            raise
        self._is_open = True

    def close(self) -> None:
        """Close the connections, if there are any."""
        if self.__dict__.get("_is_open"):
            super().close()


class Script:
    """A Lua script: sent by its hash, and in full to a server that does not know it.

    redis-py's own would load it into all primaries of a cluster first, which fails while one of them is away.
    """

    def __init__(self, client: redis.Redis, text: str) -> None:
        self._client = client
        self._text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script; all *keys* lie in one slot.

        Raises:
            redis.RedisError: It failed, or the server did not answer.
        """
        try:
            return self._client.evalsha(self._hash, len(keys), *keys, *args)
        except errors.NoScriptError:
            return self._client.eval(self._text, len(keys), *keys, *args)


def write_probes(client: redis.Redis, name: str) -> None:
    """Write keys that expire: one, or in a cluster enough that one of them most likely lies on each primary.

    Raises:
        redis.RedisError: The store does not work.
        RedisClusterException: The same.
    """
    for number in range(CLUSTER_PROBES if is_cluster(client) else 1):
        client.set(f"{name}:{number}", b"1", px=PROBE_EXPIRES_MS)
