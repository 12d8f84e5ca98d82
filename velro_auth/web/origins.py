"""Origins of web pages (RFC 6454): converted from what operators write to what browsers send.

Browsers send a host in lower case and in ASCII, no default port, and IP addresses in one spelling. An origin in any
other form would match no page, so it is converted or refused.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from typing import Final

import idna

#: Browsers keep cookies of these hosts without TLS (W3C Secure Contexts, 3.1), but some only without ``Secure``.
OWN_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
#: Scheme → default port, which browsers leave out.
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
#: Pages of these schemes have the origin ``null`` (RFC 6454, 4; WHATWG URL, "origin").
_NULL_SCHEMES: Final = frozenset({"about", "blob", "data", "file", "javascript"})

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
#: Host names have no underscores, but names in DNS may.
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_MAX_PORT: Final = 65535
#: RFC 1035, 2.3.4.
_MAX_HOST_LENGTH: Final = 253

#: An origin with the longest host, and some room for its scheme.
MAX_ORIGIN_LENGTH: Final = 300
#: Longest origin that a regular expression is matched with. Names of previews have one label of up to 63 characters.
MAX_MATCHED_LENGTH: Final = 128

_ANY_LABEL: Final = "[a-z0-9-]{1,63}"
_ANY_PORT: Final = "(?::[0-9]{1,5})?"

#: One part of a regular expression, as far as repetitions matter: escape, class, flags, group, count, character.
_PART: Final = re.compile(
    r"""\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[a-zA-Z-]+\)|\((?:\?(?:P<\w+>|<?[=!]|>|[a-zA-Z-]*:))?|\{\d*,?\d*\}|.""",
    re.DOTALL,
)
#: Comments could hide a repetition from the check: ``(?#…)``, and with the flag ``x`` white space and ``#``.
_COMMENTED: Final = re.compile(r"\(\?(?:#|[a-zA-Z-]*x)")
_COUNT: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")
#: Three in a row take 4 ms for the worst origin of 128 characters, four take 0.1 s (measured).
_MAX_REPETITIONS: Final = 3


def normal_origin(text: str) -> str:
    """Return *text* as browsers send it; ``*`` is kept for one label of the host, or for the port.

    Raises:
        ValueError: It matches no page, or too many; the message says what to write.
    """
    origin = text.strip().lower()
    origin = origin if origin.endswith("://") else origin.rstrip("/")
    if origin in {"", "*", "null"}:
        raise ValueError(f"{text!r} would be the page of anybody: name the origins, as in https://app.example.com")
    scheme, separator, authority = origin.partition("://")
    if not separator:
        raise ValueError(f"{text!r} is not an origin, it has no scheme: write https://{origin}")
    if scheme in _NULL_SCHEMES:
        raise ValueError(f"pages of {scheme}: send the origin 'null', which is never allowed: serve them over https")
    if scheme in {"ws", "wss"}:
        raise ValueError(f"no page has the scheme {scheme}: write http{scheme[2:]}://{authority}")
    if not _SCHEME.fullmatch(scheme):
        raise ValueError(f"{text!r} is not an origin: write scheme://host[:port]")
    host, port = _split(text, authority)
    if scheme not in _DEFAULT_PORTS:
        if not host.isascii() or not all(map(_LABEL.fullmatch, host.split("."))) or port == "*":
            raise ValueError(f"{text!r} is not an origin: write it as the app sends it, without '*'")
    else:
        host = _normal_host(text, host)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def _split(text: str, authority: str) -> tuple[str, str]:
    """Return host and port of an origin."""
    if extra := re.search(r"[/?#\\]", authority):
        scheme = text.strip().partition("://")[0]
        bare = f"{scheme}://{authority[: extra.start()]}"
        raise ValueError(f"{text!r} is not an origin, but has a path: write only {bare}")
    if "@" in authority:
        raise ValueError(f"{text!r} is not an origin, but names a user: write only scheme://host[:port]")
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]+)(?::(\*|[0-9]{1,5}))?", authority)
    if found is None:
        raise ValueError(f"{text!r} is not an origin: write scheme://host[:port]")
    host, port = found[1], found[2] or ""
    if port not in {"", "*"}:
        port = str(int(port))
        if not 1 <= int(port) <= _MAX_PORT:
            raise ValueError(f"{text!r} has a port that does not exist")
    return host, port


def _normal_host(text: str, host: str) -> str:
    """Return the host of a web page as browsers send it."""
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            raise ValueError(f"{text!r} has no address between its brackets") from None
    labels = [label if label == "*" else _normal_label(text, label) for label in host.split(".")]
    name = ".".join(labels)
    if len(name) > _MAX_HOST_LENGTH:
        raise ValueError(f"{text!r} has a name longer than {_MAX_HOST_LENGTH} characters")
    if "*" in name:
        _check_wildcard(text, labels)
    elif re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        # Browsers read such a name as an IPv4 address, and send it in dotted form.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise ValueError(f"{text!r} is no usual address: write it like 127.0.0.1") from None
    return name


def _normal_label(text: str, label: str) -> str:
    if not label.isascii():
        try:
            # As browsers do (UTS 46, not transitional).
            return idna.encode(label, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise ValueError(f"{text!r} has a name that cannot be encoded: write it as browsers do, xn--…") from None
    if "*" not in label and not _LABEL.fullmatch(label):
        raise ValueError(f"{text!r} is not an origin: a name has letters, digits and hyphens between its dots")
    return label


def _check_wildcard(text: str, labels: list[str]) -> None:
    """Refuse a wildcard that is not one whole label, or has no domain to its right."""
    is_whole = [label for label in labels if "*" in label] == ["*"]
    right = labels[labels.index("*") + 1 :] if is_whole else []
    if len(right) < 2 and right != ["localhost"]:  # noqa: PLR2004 - a domain has two labels
        raise ValueError(
            f"{text!r}: '*' stands for one whole label left of a domain, as in https://*.example.com, or for any port;"
            " name other origins with CORS_ORIGIN_REGEX"
        )


def wildcard_pattern(origin: str) -> str:
    """Return the regular expression of a normal origin with ``*``: one label of letters, digits, hyphens; any port."""
    scheme, _, authority = origin.partition("://")
    host, _, port = authority.partition(":*")
    labels = ".".join(_ANY_LABEL if part == "*" else re.escape(part) for part in host.split("."))
    return f"{re.escape(scheme)}://" + labels.replace(".", r"\.") + (_ANY_PORT if authority.endswith(":*") else port)


def check_pattern(pattern: str) -> None:
    """Check a regular expression for origins. A client may send any origin, so matching must be fast.

    Raises:
        ValueError: It is no regular expression, or has nested repetitions, or too many repetitions, or a comment.
    """
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    if _COMMENTED.search(pattern):
        raise ValueError("has a comment or white space that does not count: write it without (?#…) and (?x)")
    # For each open group, the outermost first: whether it can match one text in several ways.
    varies = [False]
    repetitions, atom_varies, after_count = 0, False, False
    for part in _PART.findall(pattern):
        low, high = _counts(part)
        if high and not after_count:
            if atom_varies and high > 1:
                raise ValueError(
                    "repeats what can match in several ways, which can take for ever: write [a-z0-9.-]+ in place of"
                    r" ([a-z0-9-]+\.)+ or (a|b)+"
                )
            varies[-1] |= low != high
            repetitions += low != high and high > 1
            after_count = True
            continue
        after_count, atom_varies = False, False
        if part.startswith("(") and not part.endswith(")"):
            varies.append(False)
        elif part == ")":
            atom_varies = varies.pop()
            varies[-1] |= atom_varies
        elif part == "|":
            varies[-1] = True
    if repetitions > _MAX_REPETITIONS:
        raise ValueError(f"has more than {_MAX_REPETITIONS} repetitions, which can take long: use {{n}} or fewer")


def has_bare_dot(pattern: str) -> bool:
    """Return whether *pattern* has an unescaped dot that was most likely meant as a literal dot."""
    parts = [*_PART.findall(pattern), ""]
    return any(part == "." and not _counts(after)[1] for part, after in itertools.pairwise(parts))


def _counts(part: str) -> tuple[int, int]:
    """Return how often a quantifier repeats, at least and at most; (0, 0) for any other part."""
    if found := _COUNT.fullmatch(part):
        low = int(found[1] or 0)
        return low, int(found[3] or 10**6) if found[2] else low
    return {"*": (0, 10**6), "+": (1, 10**6), "?": (0, 1)}.get(part, (0, 0))
