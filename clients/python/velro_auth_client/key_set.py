"""Fetches the project's JWKS document (RFC 7517) with the standard library."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from velro_auth_client.core.errors import UpstreamFailed, UpstreamTimeout, UpstreamUnavailable

#: Sixteen RSA keys take less than 10 KiB.
MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpKeySet:
    """Returns the JWKS document of a Supabase project when called.

    No redirect is followed and no proxy of the environment is used: the keys come from the configured address, or
    not at all (RFC 8725, 3.10).

    Attributes:
        url: The address of the document.
        timeout_s: How long connecting, and each silence, may take; the whole fetch may take twice as long.
        clock: Seconds that never go back.
    """

    url: str
    timeout_s: float = 2.0
    clock: Callable[[], float] = time.monotonic

    def __call__(self) -> bytes:
        """Return the document.

        Raises:
            UpstreamUnavailable: The server could not be reached.
            UpstreamTimeout: It did not answer in time.
            UpstreamFailed: Its answer was not 200, or too large.
        """
        until_s = self.clock() + 2 * self.timeout_s
        connection = self._connection()
        try:
            connection.request("GET", urlsplit(self.url).path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise UpstreamFailed(f"{self.url} answered {response.status}")
            return self._body(response, until_s)
        except TimeoutError as error:
            raise UpstreamTimeout(f"no answer from {self.url}") from error
        except (OSError, http.client.HTTPException) as error:
            raise UpstreamUnavailable(f"{self.url} cannot be reached: {type(error).__name__}") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc, timeout=self.timeout_s)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(parts.netloc, timeout=self.timeout_s, context=context)

    def _body(self, response: http.client.HTTPResponse, until_s: float) -> bytes:
        body = bytearray()
        # In pieces: an answer that trickles never meets the timeout of a silence.
        while piece := response.read1(4096):
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise UpstreamFailed(f"{self.url} answered more than {MAX_BODY_BYTES} bytes")
            if self.clock() > until_s:
                raise UpstreamTimeout(f"{self.url} answers too slowly")
        return bytes(body)
