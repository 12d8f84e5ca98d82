"""Pages of a site: the files of a folder, on an origin of their own."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Files(SimpleHTTPRequestHandler):
    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """Name scripts as browsers demand it, whatever the machine's own table says."""
        return "text/javascript" if str(path).endswith((".js", ".mjs")) else super().guess_type(path)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Write nothing."""

    def send_head(self) -> object:  # type: ignore[override] # a file, or None
        """Answer addresses without a file with the page, as servers of single-page applications do."""
        if "." not in self.path.split("?")[0]:
            self.path = "/index.html"
        return super().send_head()


@contextlib.contextmanager
def pages_of(folder: Path) -> Iterator[int]:
    """Serve *folder* on loopback and yield the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
