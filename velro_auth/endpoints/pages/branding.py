"""What makes the pages those of a product: its name, its logo and its colour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Color: TypeAlias = tuple[int, int, int]

#: Least contrast of text (WCAG 2.2, 1.4.3).
TEXT_CONTRAST: Final = 4.5

#: The surfaces that links stand on, as in ``pages.css``: cards, and the page around them.
LIGHT: Final = ("#ffffff", "#f3f4f7")
DARK: Final = ("#1c1f26", "#121419")
_WHITE: Final = "#ffffff"
_BLACK: Final = "#000000"


@dataclass(frozen=True, slots=True)
class Logo:
    """A logo.

    Attributes:
        address: An https address; empty where the service has the file itself.
        content: The file; None where it is at ``address``.
        suffix: Ending of the file's name, such as ``.svg``.
    """

    address: str = ""
    content: bytes | None = None
    suffix: str = ""

    @property
    def source(self) -> str:
        """Return the origin that a Content-Security-Policy has to allow; empty for none."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}" if self.address else ""


@dataclass(frozen=True, slots=True)
class Brand:
    """The product whose pages these are.

    Attributes:
        name: Its name.
        color: Its colour, as ``#rrggbb``.
        logo: Its logo; None for the one of this service.
    """

    name: str
    color: str
    logo: Logo | None = None

    def styles(self) -> str:
        """Return the style sheet with the shades of the colour."""
        light, dark = readable(self.color, LIGHT), readable(self.color, DARK)
        fill = f"--brand:{self.color};--on-brand:{on(self.color)}"
        return f":root{{{fill};--link:{light}}}\n@media (prefers-color-scheme:dark){{:root{{--link:{dark}}}}}\n"


def logo_of(setting: str) -> Logo | None:
    """Return the logo that ``AUTH_BRAND_LOGO`` names; None for none, or for a file that cannot be read."""
    if not setting or setting.startswith("https://"):
        return Logo(address=setting) if setting else None
    path = Path(setting)
    try:
        return Logo(content=path.read_bytes(), suffix=path.suffix.lower())
    except OSError:
        # The validation of the settings reports it.
        return None


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((_luminance(_rgb(one)), _luminance(_rgb(other))))
    return (lighter + 0.05) / (darker + 0.05)


def on(color: str) -> str:
    """Return the colour of text on *color*: white or black, of which one always has enough contrast."""
    return _WHITE if contrast(color, _WHITE) >= TEXT_CONTRAST else _BLACK


def readable(color: str, surfaces: tuple[str, ...]) -> str:
    """Return *color*, or the nearest shade of it that can be read as text on all *surfaces*."""
    toward = _BLACK if contrast(surfaces[0], _BLACK) > contrast(surfaces[0], _WHITE) else _WHITE
    for percent in range(101):
        shade = _mixed(color, toward, percent / 100)
        if all(contrast(shade, surface) >= TEXT_CONTRAST for surface in surfaces):
            return shade
    return toward


def _mixed(color: str, toward: str, part: float) -> str:
    mixed = (round(a + (b - a) * part) for a, b in zip(_rgb(color), _rgb(toward), strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _rgb(color: str) -> Color:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _luminance(color: Color) -> float:
    """Return the relative luminance, 0 to 1 (WCAG 2.2, "relative luminance")."""
    linear = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in color]  # noqa: PLR2004
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
