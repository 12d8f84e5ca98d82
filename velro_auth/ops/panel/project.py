"""What ``velro-auth dev`` tells the gateway that it starts about the local Supabase."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Self

#: The variable that hands it over; see ``velro_auth.ops.panel.app``.
VARIABLE: Final = "VELRO_DEV_PANEL"


@dataclass(frozen=True, kw_only=True)
class PanelProject:
    """What the index page shows and uses of the local Supabase."""

    gateway_url: str
    supabase_url: str
    mailbox_url: str
    control_token: str = field(repr=False)
    email: str
    password: str = field(repr=False)
    banned_email: str

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Read it from the environment.

        Raises:
            KeyError: The variable is missing: ``velro-auth dev`` did not start this process.
        """
        return cls(**json.loads(variables[VARIABLE]))

    def variables(self) -> dict[str, str]:
        """Return the environment variable for the gateway."""
        return {VARIABLE: json.dumps(asdict(self))}
