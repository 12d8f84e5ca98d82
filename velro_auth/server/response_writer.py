"""gunicorn's response, quicker about what most answers are.

gunicorn checks each header field for what could split an answer in two, and so does this. What is ordinary is found
to be so with one pattern and one look-up; all else, whatever would be refused included, is left to gunicorn, which has
the last word. ``tests/unit/test_worker_response.py`` compares the bytes of the two.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable
from typing import Any, Final

from gunicorn import util
from gunicorn.http import wsgi

#: Printable ASCII, with no blank at either end that would have to go.
_is_plain: Final = re.compile(r"(?! )[\x20-\x7e]++(?<! )").fullmatch


class Response(wsgi.Response):  # type: ignore[misc] # gunicorn has no types
    """An answer to a request of HTTP/1.1."""

    headers: list[tuple[str, str]]
    headers_sent: bool

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take header fields.

        Raises:
            TypeError: One is no string.
            InvalidHTTPHeader: One could be read as more than itself.
        """
        taken = self.headers
        for field in headers:
            name, value = field
            try:
                is_ordinary = _is_ordinary(name) and _is_plain(value)
            except TypeError:
                is_ordinary = False
            if is_ordinary:
                taken.append(field)
            else:
                super().process_headers((field,))

    def is_chunked(self) -> bool:
        """Tell whether the length of the body is not known."""
        return self.response_length is None and bool(super().is_chunked())

    def send_headers(self) -> None:
        """Send the head, unless it was sent."""
        if self.headers_sent or self.chunked or self.upgrade:
            super().send_headers()
            return
        connection = "close" if self.should_close() else "keep-alive"
        fields = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        self.sock.sendall(
            f"HTTP/1.1 {self.status}\r\nServer: {self.version}\r\nDate: {_date(int(time.time()))}\r\n"
            f"Connection: {connection}\r\n{fields}\r\n".encode("latin-1")
        )
        self.headers_sent = True


@functools.lru_cache(maxsize=256)
def _is_ordinary(name: str) -> bool:
    """Tell whether a field of this *name* says nothing of the connection or of the body's length."""
    return bool(wsgi.TOKEN_RE.fullmatch(name)) and name.lower() != "content-length" and not util.is_hoppish(name)


@functools.lru_cache(maxsize=2)
def _date(second: int) -> Any:
    return util.http_date(second)
