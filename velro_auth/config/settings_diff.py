"""What new settings amount to for a service that runs with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from velro_auth.config.fields import Spec
from velro_auth.config.settings import Settings, contradictions, shown, specs
from velro_auth.config.validation import SettingError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingsDiff:
    """New settings, as far as a running service can take them.

    Attributes:
        settings: What to serve with: the new values where that is possible at run time, the others as they were.
        mistakes: Why not to; empty when all is well.
        changed: Variable → how it changed, fit to be logged.
        waiting: Variables whose new value needs a restart.
    """

    settings: Settings
    mistakes: Sequence[SettingError]
    changed: Mapping[str, str]
    waiting: Sequence[str]


def settings_diff(current: Settings, asked: Settings) -> SettingsDiff:
    """Return what *asked* amounts to for a service that runs with *current*."""
    differing = [spec for spec in specs() if getattr(current, spec.name) != getattr(asked, spec.name)]
    taken = [spec for spec in differing if spec.metadata["at_run_time"]]
    settings = dataclasses.replace(current, **{spec.name: getattr(asked, spec.name) for spec in taken})
    return SettingsDiff(
        settings=settings,
        # The values kept may contradict the new ones.
        mistakes=asked.mistakes or contradictions(settings),
        changed={spec.metadata["variable"]: _change(spec, current, asked) for spec in taken},
        waiting=[spec.metadata["variable"] for spec in differing if spec not in taken],
    )


def _change(spec: Spec, current: Settings, asked: Settings) -> str:
    if spec.metadata["secret"]:
        return "changed (secret)"
    return f"{shown(current, spec) or 'none'} -> {shown(asked, spec) or 'none'}"
