"""Origins of web pages: read as operators write them, kept and matched as browsers send them (RFC 6454).

Browsers send a name in lower case and in ASCII, no port where it is the scheme's own, and addresses in one spelling.
What is kept in another way matches no page, so it is changed or refused.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from typing import Final

import idna

#: Ports that browsers leave out.
_OWN_PORTS: Final = {"http": "80", "https": "443"}
#: Pages of these have the origin ``null`` (RFC 6454, 4; WHATWG URL, "origin").
_WITHOUT_ORIGIN: Final = frozenset({"about", "blob", "data", "file", "javascript"})

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
#: Underscores are no letters of a host name, but there are such names in DNS.
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_LAST_PORT: Final = 65535
#: RFC 1035, 2.3.4.
_LONGEST_HOST: Final = 253

#: An origin with the longest host, and some room for its scheme.
LONGEST_ORIGIN: Final = 300
#: The longest that a regular expression is tried on. Names of previews have one label of up to 63 characters.
LONGEST_MATCHED: Final = 128

_ANY_LABEL: Final = "[a-z0-9-]{1,63}"
_ANY_PORT: Final = "(?::[0-9]{1,5})?"

#: What a regular expression is made of, as far as repetitions go: escapes, classes, flags, groups, counts.
_PIECE: Final = re.compile(
    r"""\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[a-zA-Z-]+\)|\((?:\?(?:P<\w+>|<?[=!]|>|[a-zA-Z-]*:))?|\{\d*,?\d*\}|.""",
    re.DOTALL,
)
_COUNT: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")
#: In a row, three take 4 ms for the worst origin of 128 characters, four a tenth of a second (measured).
_MOST_REPETITIONS: Final = 3


def normal_origin(text: str) -> str:
    """Return *text* as browsers write it; ``*`` stays for one label of the name, or for the port.

    Raises:
        ValueError: It can match no page, or would match too many; the message says what to write.
    """
    origin = text.strip().lower()
    origin = origin if origin.endswith("://") else origin.rstrip("/")
    if origin in {"", "*", "null"}:
        raise ValueError(f"{text!r} would be the page of anybody: name the origins, as in https://app.example.com")
    scheme, separator, place = origin.partition("://")
    if not separator:
        raise ValueError(f"{text!r} is not an origin, it has no scheme: write https://{origin}")
    if scheme in _WITHOUT_ORIGIN:
        raise ValueError(f"pages of {scheme}: send the origin 'null', which is never allowed: serve them over https")
    if scheme in {"ws", "wss"}:
        raise ValueError(f"no page has the scheme {scheme}: write http{scheme[2:]}://{place}")
    if not _SCHEME.fullmatch(scheme):
        raise ValueError(f"{text!r} is not an origin: write scheme://host[:port]")
    host, port = _split(text, place)
    if scheme not in _OWN_PORTS:
        if not host.isascii() or not all(map(_LABEL.fullmatch, host.split("."))) or port == "*":
            raise ValueError(f"{text!r} is not an origin: write it as the app sends it, without '*'")
    else:
        host = _normal_host(text, host)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _OWN_PORTS.get(scheme) else "")


def _split(text: str, place: str) -> tuple[str, str]:
    """Return host and port of an origin's end."""
    if extra := re.search(r"[/?#\\]", place):
        scheme = text.strip().partition("://")[0]
        bare = f"{scheme}://{place[: extra.start()]}"
        raise ValueError(f"{text!r} is not an origin, but has a path: write only {bare}")
    if "@" in place:
        raise ValueError(f"{text!r} is not an origin, but names a user: write only scheme://host[:port]")
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]+)(?::(\*|[0-9]{1,5}))?", place)
    if found is None:
        raise ValueError(f"{text!r} is not an origin: write scheme://host[:port]")
    host, port = found[1], found[2] or ""
    if port not in {"", "*"}:
        port = str(int(port))
        if not 1 <= int(port) <= _LAST_PORT:
            raise ValueError(f"{text!r} has a port that does not exist")
    return host, port


def _normal_host(text: str, host: str) -> str:
    """Return the host of a web page as browsers write it."""
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            raise ValueError(f"{text!r} has no address between its brackets") from None
    labels = [label if label == "*" else _normal_label(text, label) for label in host.split(".")]
    name = ".".join(labels)
    if len(name) > _LONGEST_HOST:
        raise ValueError(f"{text!r} has a name longer than {_LONGEST_HOST} characters")
    if "*" in name:
        _check_wildcard(text, labels)
    elif re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        # Browsers read such a name as an IPv4 address, and write it in the usual way.
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
    """Refuse a wildcard that is not one whole label, or that has no domain to its right."""
    is_whole = [label for label in labels if "*" in label] == ["*"]
    right = labels[labels.index("*") + 1 :] if is_whole else []
    if len(right) < 2 and right != ["localhost"]:  # noqa: PLR2004 - a domain has two labels
        raise ValueError(
            f"{text!r}: '*' stands for one whole label left of a domain, as in https://*.example.com, or for any port;"
            " name other origins with CORS_ORIGIN_REGEX"
        )


def wildcard_pattern(origin: str) -> str:
    """Return the regular expression of a normal origin with ``*``: one label of letters, digits, hyphens; any port."""
    scheme, _, place = origin.partition("://")
    host, _, port = place.partition(":*")
    labels = ".".join(_ANY_LABEL if part == "*" else re.escape(part) for part in host.split("."))
    return f"{re.escape(scheme)}://" + labels.replace(".", r"\.") + (_ANY_PORT if place.endswith(":*") else port)


def check_pattern(pattern: str) -> None:
    """Check a regular expression for origins. Anybody may send an origin, so it must be matched in little time.

    Raises:
        ValueError: It is none, or it has a repetition in a repetition or too many of them.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    # Whether the open groups, the outermost first, can match one text in several ways.
    varies = [False]
    repetitions, atom_varies, after_count = 0, False, False
    for piece in _PIECE.findall(pattern):
        low, high = _counts(piece)
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
        if piece.startswith("(") and not piece.endswith(")"):
            varies.append(False)
        elif piece == ")":
            atom_varies = varies.pop()
            varies[-1] |= atom_varies
        elif piece == "|":
            varies[-1] = True
    if repetitions > _MOST_REPETITIONS:
        raise ValueError(f"has more than {_MOST_REPETITIONS} repetitions, which can take long: use {{n}} or fewer")


def has_bare_dot(pattern: str) -> bool:
    """Tell whether a dot of *pattern* stands for any character, and was most likely meant as a dot."""
    pieces = [*_PIECE.findall(pattern), ""]
    return any(piece == "." and not _counts(after)[1] for piece, after in itertools.pairwise(pieces))


def _counts(piece: str) -> tuple[int, int]:
    """Return how often a quantifier repeats, at least and at most; 0 at most for what is none."""
    if found := _COUNT.fullmatch(piece):
        low = int(found[1] or 0)
        return low, int(found[3] or 10**6) if found[2] else low
    return {"*": (0, 10**6), "+": (1, 10**6), "?": (0, 1)}.get(piece, (0, 0))
