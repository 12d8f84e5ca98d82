"""The commands that the service and its operators send to the store: all that its user needs.

``tests/contract/test_stores_rights.py`` tries a server with exactly these, and with each one less.
"""

from __future__ import annotations

from typing import Final

#: Inside the scripts and outside of them.
COMMANDS: Final = (
    *("del", "eval", "evalsha", "exists", "expire", "get", "hgetall", "hincrby", "hmget", "hset", "hsetnx", "incrby"),
    *("mget", "pexpire", "ping", "publish", "scan", "set", "subscribe", "time", "type", "zadd", "zcount", "zrange"),
    *("zrangebyscore", "zrem", "zremrangebyrank", "zremrangebyscore", "zscore"),
)

#: Commands that only the doctor sends.
DOCTOR: Final = ("info",)

#: Further commands that a cluster needs.
CLUSTER: Final = ("asking", "cluster|slots", "command", "pubsub|numsub")

#: The words of ``ACL SETUSER`` after the name and the password. redis-py names itself to servers that know ``CLIENT
#: SETINFO`` (from 7.2 on), and goes on where that is refused.
RIGHTS: Final = " ".join(
    ["~velro*", "&velro*", *(f"+{command}" for command in (*COMMANDS, *DOCTOR, *CLUSTER, "select"))]
)
