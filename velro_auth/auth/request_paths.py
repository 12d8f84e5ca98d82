"""How servers may read the path of a request. If two servers could read it differently, it is refused or compared.

A gateway passes on the target as the client wrote it, and the backend resolves it by its own rules. A rule for
``/admin`` protects nothing if ``/x/../admin``, ``/%61dmin`` or ``/admin;x`` leads there too.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

#: Longest path that is looked at, in characters. Servers take request lines of 8 KiB.
MAX_LENGTH: Final = 8 * 1024

#: All servers read such a path alike: most paths are of this kind.
_PLAIN: Final = re.compile(r"/|(?:/[a-z0-9_~@:+,=!$&'()*-]+(?:\.+[a-z0-9_~@:+,=!$&'()*-]+)*)+/?")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
#: Windows leaves out dots and blanks at the end of a segment, so ``".. "`` is a dot segment too.
_DOTS: Final = re.compile(r" *\.[. ]*")


class AmbiguousPath(ValueError):
    """Servers could read the path in different ways; the text says why."""


def readings(target: str) -> tuple[str, ...]:
    """Return the paths that servers may read in *target*, without escapes; the first one is RFC 3986's.

    Runs of slashes count as one, and a slash at the end does not count. The other readings are those of servers that
    ignore what follows a semicolon, that take similar characters for one (NFKC: a full-width dot is a dot), or that
    ignore dots and blanks at the end of a segment (Windows).

    Args:
        target: Path and query as the client sent them, as WSGI decodes header fields (Latin-1).

    Raises:
        AmbiguousPath: It does not begin with exactly one slash, is too long, or has a dot segment, an escaped slash, a
            backslash, a control character, an escape in an escape, a malformed escape, or bytes that are not UTF-8.
    """
    raw = target.partition("?")[0]
    if len(raw) > MAX_LENGTH:
        raise AmbiguousPath("the path is too long")
    if _PLAIN.fullmatch(raw):
        return (raw.rstrip("/") or "/",)
    path = _decoded(raw)
    bare = "/".join(segment.partition(";")[0] for segment in path.split("/"))
    similar = (unicodedata.normalize("NFKC", reading) for reading in (path, bare))
    found = [_tidy(reading) for reading in (path, bare, *similar)]
    trimmed = ("/".join(segment.rstrip(". ") for segment in reading.split("/")) for reading in found)
    return tuple(dict.fromkeys((*found, *map(_tidy, trimmed))))


def _decoded(raw: str) -> str:
    if not raw.startswith("/") or raw.startswith("//"):
        raise AmbiguousPath("the path does not begin with one slash")
    if "%" in _ESCAPE.sub("", raw):
        raise AmbiguousPath("the path has a malformed escape")
    if "#" in raw or re.search("%2f|%5c", raw, re.IGNORECASE):
        raise AmbiguousPath("the path has an escaped slash or a fragment")
    try:
        path = unquote_to_bytes(raw.encode("latin-1")).decode()
    except UnicodeError:
        raise AmbiguousPath("the path is not UTF-8") from None
    if _ESCAPE.search(path):
        raise AmbiguousPath("the path has an escape in an escape")
    if "\\" in path or any(unicodedata.category(char) == "Cc" for char in path):
        raise AmbiguousPath("the path has a backslash or a control character")
    return path


def _tidy(path: str) -> str:
    segments = [segment for segment in path.split("/") if segment]
    if any(map(_DOTS.fullmatch, segments)) or "\\" in path:
        raise AmbiguousPath("the path has a dot segment")
    return "/" + "/".join(segments)
