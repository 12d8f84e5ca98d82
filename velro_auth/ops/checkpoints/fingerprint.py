"""A fingerprint of the settings, fit for a tag that everybody can read.

Of a secret it holds nothing but whether there is one: even a hash would let a short one be guessed. Of the
others it holds hashes and no values, since a value may be a key that somebody put into the wrong variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from velro_auth.config.settings import Settings, shown, specs

#: What the platform calls this one deployment by differs from deployment to deployment, and says nothing.
_OF_THE_DEPLOYMENT: Final = "RAILWAY_"

_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which settings there were, without their values.

    Attributes:
        changed: Variables that differ from their default → a hash of the value; secrets are not among them.
        secrets: Variables of secrets that were set.
    """

    changed: Mapping[str, str]
    secrets: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Fingerprint:
        """Return the fingerprint of *settings*."""
        changed, secrets = {}, set()
        for spec in specs():
            variable = spec.metadata["variable"]
            if getattr(settings, spec.name) == spec.default or variable.startswith(_OF_THE_DEPLOYMENT):
                continue
            if spec.metadata["secret"]:
                secrets.add(variable)
            else:
                changed[variable] = sha256(shown(settings, spec).encode()).hexdigest()[:_DIGITS]
        return cls(changed, frozenset(secrets))

    def differences(self, now: Fingerprint) -> dict[str, str]:
        """Return which variables are not as they were, and how; of secrets only that they came or went."""
        found = {}
        for variable in sorted(self.changed.keys() | now.changed.keys()):
            then, today = self.changed.get(variable), now.changed.get(variable)
            if then != today:
                found[variable] = "back at its default" if not today else "another value" if then else "set since then"
        found |= dict.fromkeys(sorted(now.secrets - self.secrets), "set since then")
        found |= dict.fromkeys(sorted(self.secrets - now.secrets), "no longer set")
        return found
