"""Records what a new project has after all migrations: ``python -m velro_auth.ops.database.record <address>``.

To be run when a migration was added; a test fails until then. The database must be one with nothing of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from velro_auth.ops.database.catalogue import snapshot
from velro_auth.ops.database.connection import connected


def main(dsn: str) -> None:
    """Write ``catalogue.json`` from the database at *dsn*."""
    with connected(dsn, print) as connection:
        found = snapshot(connection)
    path = Path(__file__).with_name("catalogue.json")
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
