"""Shades of the brand's colour that can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.endpoints.pages.branding import DARK, LIGHT, TEXT_CONTRAST, Brand, contrast, on, readable

COLORS = st.from_regex("#[0-9a-f]{6}", fullmatch=True)


@pytest.mark.parametrize(
    ("one", "other", "ratio"), [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#ffffff", "#ffffff", 1.0)]
)
def test_contrast_is_that_of_the_guidelines(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)
    assert contrast(other, one) == contrast(one, other)


@given(COLORS)
def test_every_color_can_be_read(color: str) -> None:
    assert contrast(on(color), color) >= TEXT_CONTRAST
    for surfaces in (LIGHT, DARK):
        assert min(contrast(readable(color, surfaces), surface) for surface in surfaces) >= TEXT_CONTRAST


def test_a_color_with_enough_contrast_stays() -> None:
    assert readable("#2f5fd0", LIGHT) == "#2f5fd0"
    assert "--brand:#2f5fd0;--on-brand:#ffffff;--link:#2f5fd0" in Brand("Acme", "#2f5fd0").styles()
