"""Copies the gateway's token verification into the client: the rules are written once, in ``velro_auth``.

The client must install beside any web server, so it cannot depend on the gateway's distribution. Run
``make client-core`` after a change of one of the modules below; a test compares the copies with their sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
GATEWAY: Final = HERE.parent.parent / "velro_auth"
CORE: Final = HERE / "velro_auth_client" / "core"

MODULES: Final = (
    "auth/bearer.py",
    "auth/keys.py",
    "auth/requirements.py",
    "auth/tokens.py",
    "auth/verifier.py",
    "background.py",
    "context.py",
    "errors.py",
    "upstream/jwks.py",
)
PACKAGES: Final = ("", "auth", "upstream")

_IMPORT: Final = re.compile(r"^(\s*from )velro_auth(\.| )", re.MULTILINE)


def copies() -> Iterator[tuple[Path, str]]:
    """Yield each file of the copy with its text."""
    for package in PACKAGES:
        yield CORE / package / "__init__.py", '"""Copied from the gateway: see clients/python/copy_core.py."""\n'
    for module in MODULES:
        source = (GATEWAY / module).read_text("utf-8")
        yield CORE / module, _IMPORT.sub(r"\1velro_auth_client.core\2", source)


def main() -> None:
    """Write the copies anew."""
    for path, text in copies():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
