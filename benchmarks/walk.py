"""Counts the modules of ours that one call passes: a measure for how much code a reader has to follow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import velro_auth

_ROOT = str(Path(velro_auth.__file__).parent) + "/"


@dataclass
class Walk:
    """The path of one call through the package.

    Attributes:
        modules: Modules with at least one called function, in order of the first call; as paths below the package.
        moves: How often a call entered another module than the call before.
    """

    modules: list[str] = field(default_factory=list)
    moves: int = 0


def walk(call: Callable[[], object]) -> Walk:
    """Run *call* and return its path. Other threads, and other packages' code, are not counted."""
    found, latest = Walk(), ""

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal latest
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(_ROOT):
            return
        module = path.removeprefix(_ROOT)
        if module not in found.modules:
            found.modules.append(module)
        if module != latest:
            found.moves, latest = found.moves + 1, module

    earlier = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(earlier)
    return found
