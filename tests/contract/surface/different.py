"""The recorded cases the stand-in answers in another way, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DIFFERENT: Final[Mapping[str, str]] = {}
