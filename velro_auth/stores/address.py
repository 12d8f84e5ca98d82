"""Reads ``REDIS_URL``: one server, servers behind Sentinel, or a cluster. Imports no client and connects to nothing.

The messages of its errors never quote the address, because it may contain a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

Mode: TypeAlias = Literal["single", "sentinel", "cluster"]

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

#: ``valkey`` is another word for ``redis``; an ``s`` after it means TLS.
_SCHEME: Final = re.compile(r"(?:redis|valkey)(?P<tls>s?)(?:\+(?P<mode>sentinel|cluster))?")
_NODE: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]\s]+))(?::(?P<port>[0-9]{1,5}))?")
_HIGHEST_PORT: Final = 65535

_LOGIN: Final = ("username", "password")
_SENTINEL_LOGIN: Final = ("sentinel_username", "sentinel_password")
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SWITCHES: Final[Mapping[str, Mapping[str, str | bool]]] = {
    "ssl_check_hostname": {"true": True, "false": False},
    "ssl_cert_reqs": {"required": "required", "none": "none"},
}

#: All names of options in the query of an address. The names of redis-py, where it has them.
OPTIONS: Final = ("db", *_LOGIN, *_SENTINEL_LOGIN, *_FILES, *_SWITCHES)


@dataclass(frozen=True, kw_only=True)
class StoreAddress:
    """Where the shared store is, and how to log in there.

    Attributes:
        mode: One server, the primary that Sentinel names, or a cluster.
        nodes: Hosts and ports: of the server, of the Sentinels, or of some nodes of the cluster; empty for a socket.
        path: The unix socket of one server; empty for none.
        service: What the Sentinels call the primary; empty without Sentinel.
        database: Its number; a cluster has only 0.
        username: Empty for the default user.
        password: Empty for none.
        sentinel_username: The same at the Sentinels.
        sentinel_password: The same at the Sentinels.
        is_tls: Whether all connections are encrypted.
        tls: Options of TLS, by their names in redis-py.
    """

    mode: Mode
    nodes: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    sentinel_username: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    is_tls: bool = False
    tls: Mapping[str, str | bool] = field(default_factory=dict)

    @property
    def is_verified(self) -> bool:
        """Whether certificate and name are checked, if it has TLS, so that no other server can pass for this store."""
        return self.tls.get("ssl_cert_reqs") != "none" and self.tls.get("ssl_check_hostname") is not False


def parse_address(text: str) -> StoreAddress:
    """Parse an address.

    Raises:
        ValueError: *text* is no address. The message says what is wrong, without quoting *text*.
    """
    scheme, separator, rest = text.strip().partition("://")
    if scheme == "unix" and separator:
        return _socket(rest)
    found = _SCHEME.fullmatch(scheme)
    if found is None or not separator:
        raise ValueError(
            "must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (valkey for redis, and"
            " s for TLS, in each)"
        )
    mode: Mode = {"sentinel": "sentinel", "cluster": "cluster"}.get(found["mode"], "single")  # type: ignore[assignment] # words of the pattern
    if "#" in rest:
        raise ValueError("has a '#': write it as %23")
    # Not by urlsplit: since its fix for CVE-2024-11168 it takes no [::1] in a list of hosts.
    location, _, query = rest.partition("?")
    netloc, slash, path = location.partition("/")
    username, password, hosts = _login(netloc)
    service, database = _path(mode, slash + path)
    options = _options(query, mode=mode, is_tls=bool(found["tls"]))
    return StoreAddress(
        mode=mode,
        nodes=_nodes(hosts, mode),
        service=service,
        database=_database(options.pop("db", "") or database, mode),
        username=options.pop("username", "") or username,
        password=options.pop("password", "") or password,
        is_tls=bool(found["tls"]),
        **{name: options.pop(name, "") for name in _SENTINEL_LOGIN},
        tls=_tls(options),
    )


def _socket(rest: str) -> StoreAddress:
    location, _, query = rest.partition("?")
    login, at, path = location.rpartition("@")
    username, _, password = login.partition(":") if at else ("", "", "")
    if not path.startswith("/"):
        raise ValueError("must name the socket by its whole path: unix:///run/redis/redis.sock")
    options = _options(query, mode="single", is_tls=False)
    return StoreAddress(
        mode="single",
        path=unquote(path),
        database=_database(options.pop("db", ""), "single"),
        username=options.pop("username", "") or unquote(username),
        password=options.pop("password", "") or unquote(password),
    )


def _login(netloc: str) -> tuple[str, str, str]:
    """Return user, password and hosts. A password may contain ``@`` and ``:`` as they are."""
    login, at, hosts = netloc.rpartition("@")
    username, _, password = login.partition(":") if at else ("", "", "")
    return unquote(username), unquote(password), hosts


def _is_possible(node: re.Match[str]) -> bool:
    """Return whether the system could look up such a name, or connect to such an address."""
    try:
        if node["ipv6"]:
            ipaddress.IPv6Address(node["ipv6"])
        else:
            node["host"].encode("idna")
    except ValueError:
        return False
    return True


def _nodes(hosts: str, mode: Mode) -> tuple[tuple[str, int], ...]:
    texts = [text.strip() for text in hosts.split(",")] if hosts else []
    if not texts:
        if mode != "single":
            raise ValueError(f"names no host: redis+{mode}://a,b,c")
        texts = ["localhost"]
    if mode == "single" and len(texts) > 1:
        raise ValueError("names several hosts: write redis+sentinel:// or redis+cluster://, or one host")
    default = SENTINEL_PORT if mode == "sentinel" else PORT
    nodes = []
    for text in texts:
        found = _NODE.fullmatch(text)
        port = int(found["port"] or default) if found else 0
        if found is None or not 0 < port <= _HIGHEST_PORT or not _is_possible(found):
            raise ValueError(
                "is not an address of a Redis: check port and options, and the name of the host; write / ? # @ in a"
                " password as %2F %3F %23 %40"
            )
        nodes.append((found["ipv6"] or found["host"], port))
    return tuple(nodes)


def _path(mode: Mode, path: str) -> tuple[str, str]:
    """Return the name of the primary and the number of the database."""
    parts = [unquote(part) for part in path.strip("/").split("/")] if path.strip("/") else []
    if mode == "sentinel":
        if not parts or not parts[0]:
            raise ValueError("does not say what the Sentinels call the primary: redis+sentinel://a,b,c/name")
        service, parts = parts[0], parts[1:]
    else:
        service = ""
    if len(parts) > 1:
        raise ValueError("has too many parts after the hosts; write a / in a password as %2F")
    return service, parts[0] if parts else ""


def _database(text: str, mode: Mode) -> int:
    if not re.fullmatch(r"[0-9]{0,5}", text):
        raise ValueError("names a database that is no number")
    if mode == "cluster" and int(text or 0):
        raise ValueError("names a database: a cluster has only 0")
    return int(text or 0)


def _options(query: str, *, mode: Mode, is_tls: bool) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise ValueError(f"has an option that is not known: check port and options; known are {', '.join(OPTIONS)}")
        if name in options:
            raise ValueError(f"has the option {name} twice")
        if name.startswith("ssl_") and not is_tls:
            raise ValueError(f"has the option {name} without TLS: write rediss:// for redis://")
        if name in _SENTINEL_LOGIN and mode != "sentinel":
            raise ValueError(f"has the option {name} without Sentinel")
        options[name] = value
    return options


def _tls(options: Mapping[str, str]) -> Mapping[str, str | bool]:
    """Check the options of TLS: files are readable, and a certificate has its key."""
    found: dict[str, str | bool] = {}
    for name, value in options.items():
        if name in _FILES:
            _check_file(name, value)
            found[name] = value
        elif value.lower() in _SWITCHES[name]:
            found[name] = _SWITCHES[name][value.lower()]
        else:
            raise ValueError(f"has a value of {name} that is not one of {', '.join(_SWITCHES[name])}")
    if ("ssl_certfile" in found) != ("ssl_keyfile" in found):
        raise ValueError("has only one of ssl_certfile and ssl_keyfile: a client certificate needs both")
    return found


def _check_file(name: str, value: str) -> None:
    try:
        with Path(value).open("rb"):
            return
    except (OSError, ValueError):
        raise ValueError(f"has the option {name}, but its file cannot be read") from None
