"""All checks, in the order in which they run: each after those it needs. Their texts are in ``checks.toml``."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Final

from velro_auth.ops.doctor import accounts, client, configuration, gateway, schema, store, supabase
from velro_auth.ops.doctor.checkup import Check

_TEXTS: Final = tomllib.loads(resources.files("velro_auth.ops.doctor").joinpath("checks.toml").read_text("utf-8"))
_RUNS: Final = {
    name: run
    for module in (configuration, supabase, accounts, schema, store, gateway, client)
    for name, run in module.CHECKS.items()
}

_ALL: Final = tuple(
    Check(
        name=name,
        what=text["what"],
        why=text["why"],
        fix=text["fix"],
        run=_RUNS[name],
        needs=tuple(text.get("needs", ())),
    )
    for name, text in _TEXTS.items()
)

#: Of a gateway and all it depends on.
CHECKS: Final = tuple(check for check in _ALL if check.name not in client.CHECKS)

#: Of a gateway as an app meets it: ``--client``.
CLIENT_CHECKS: Final = tuple(check for check in _ALL if check.name in client.CHECKS)
