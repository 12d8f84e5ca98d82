"""Fetches the JWKS document over HTTP, with ``requests``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import requests

from velro_auth.errors import UpstreamFailed, UpstreamTimeout, UpstreamUnavailable

#: Sixteen RSA keys take less than 10 KiB.
MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpKeySet:
    """Returns the JWKS document of a Supabase project when called.

    No redirect is followed and no proxy or ``.netrc`` of the environment is used: the keys come from the
    address that was configured, or not at all (RFC 8725, 3.10).

    Attributes:
        url: The address of the document.
        timeout_s: How long connecting, and each silence, may take, in seconds; the whole fetch at most about
            twice that.
        clock: A clock that never jumps.
    """

    url: str
    timeout_s: float = 2.0
    clock: Callable[[], float] = time.monotonic

    def __call__(self) -> bytes:
        """Return the document.

        Raises:
            UpstreamUnavailable: The server could not be reached.
            UpstreamTimeout: It did not answer in time.
            UpstreamFailed: It answered something else, or too much.
        """
        until_s = self.clock() + 2 * self.timeout_s
        try:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.get(self.url, timeout=self.timeout_s, allow_redirects=False, stream=True)
                with answer:
                    return self._body(answer, until_s)
        except requests.Timeout as error:
            raise UpstreamTimeout(f"no answer from {self.url}") from error
        except requests.RequestException as error:
            raise UpstreamUnavailable(f"{self.url} cannot be reached: {type(error).__name__}") from error

    def _body(self, answer: requests.Response, until_s: float) -> bytes:
        if answer.status_code != requests.codes.ok:
            raise UpstreamFailed(f"{self.url} answered {answer.status_code}")
        body = bytearray()
        # Piece by piece, because a trickling answer would never run into the timeout of a silence.
        for piece in answer.iter_content(4096):
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise UpstreamFailed(f"{self.url} answered more than {MAX_BODY_BYTES} bytes")
            if self.clock() > until_s:
                raise UpstreamTimeout(f"{self.url} answers too slowly")
        return bytes(body)
