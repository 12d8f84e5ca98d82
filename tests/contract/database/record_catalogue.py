"""Records what ``db verify`` expects: ``python -m tests.contract.database.record_catalogue <address>``.

Run it after a migration was added; a test fails until then. The database must be a new project with all migrations.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from velro_auth.ops import database
from velro_auth.ops.database.catalogue import snapshot
from velro_auth.ops.database.connection import connected

if __name__ == "__main__":
    with connected(sys.argv[1], print) as connection:
        found = snapshot(connection)
    path = Path(database.__file__).with_name("catalogue.json")
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
