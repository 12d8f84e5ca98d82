"""Records what ``db verify`` expects: ``python -m tests.contract.database.record_catalogue <address>``.

Run it after a migration was added; a test fails until then. The database must be a new project with all migrations and
none of the optional ones: these are applied here, one after the other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from velro_auth.ops import database
from velro_auth.ops.database.catalogue import snapshot
from velro_auth.ops.database.connection import connected
from velro_auth.ops.database.files import load_all, shipped


def taken(dsn: str) -> dict[str, str]:
    """Return the present snapshot."""
    with connected(dsn, print) as connection:
        return snapshot(connection)


def write(name: str, found: object) -> None:
    """Write one of the recorded files."""
    path = Path(database.__file__).with_name(f"{name}.json")
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    before = taken(sys.argv[1])
    write("catalogue", before)
    optional = {}
    for migration in load_all(shipped()):
        if migration.is_optional:
            database.Runner(sys.argv[1]).up(wanted=[migration.option])
            after = taken(sys.argv[1])
            optional[migration.label] = {name: value for name, value in after.items() if before.get(name) != value}
            before = after
    write("catalogue_optional", optional)
