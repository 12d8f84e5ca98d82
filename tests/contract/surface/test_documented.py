"""The page about the local Supabase says what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from supabase_standin.__main__ import parser
from tests.contract.surface.different import DIFFERENT

PAGE: Final = (Path(__file__).parents[3] / "docs" / "reference" / "stand-in.md").read_text("utf-8")


def test_every_difference_is_documented_with_its_reason() -> None:
    documented = dict(re.findall(r"^\| `([\w/-]+/[\w-]+)` \| (.+) \|$", PAGE, re.MULTILINE))

    assert documented == DIFFERENT


def test_every_option_is_documented() -> None:
    documented = set(re.findall(r"`(--[\w-]+)`", PAGE))

    assert documented == set(re.findall(r"--[\w-]+", parser().format_help())) - {"--help"}
