"""What an SVG of ours draws, and where."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: A letter of 11 px is at most so wide in the fonts that browsers take for system-ui.
_LETTER = 6.5
_NUMBER = r"-?[\d.]+"


@dataclass(frozen=True)
class Box:
    """Where one thing is, from the left and from the top."""

    what: str
    left: float
    top: float
    right: float
    bottom: float

    def is_inside(self, other: Box) -> bool:
        """Whether it is, but for rounding."""
        slack = 0.051
        return (
            self.left >= other.left - slack
            and self.right <= other.right + slack
            and self.top >= other.top - slack
            and self.bottom <= other.bottom + slack
        )


def read(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def frame(svg: str) -> Box:
    """The rectangle that the axes span."""
    [found] = [box for box, element in _rects(svg) if element.get("class") == "frame"]
    return found


def drawn(svg: str) -> list[Box]:
    """Everything that shows data: dots with their radius, bars, bands, marks, each corner of a line."""
    boxes = [box for box, element in _rects(svg) if element.get("class") != "frame"]
    for element in _outside_the_grid(read(svg)):
        place = element.attrib
        if element.tag == "circle":
            x, y, r = (float(place[name]) for name in ("cx", "cy", "r"))
            boxes.append(Box("dot", x - r, y - r, x + r, y + r))
        elif element.tag == "line":
            x1, x2, y1, y2 = (float(place[name]) for name in ("x1", "x2", "y1", "y2"))
            boxes.append(Box("mark", min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
        elif element.tag == "path":
            boxes += [Box("line", x, y, x, y) for x, y in corners(place["d"])]
    return boxes


def corners(path: str) -> list[tuple[float, float]]:
    """Return the points that a path goes through."""
    found: list[tuple[float, float]] = []
    x = y = 0.0
    for command, numbers in re.findall(rf"([MLHVh])((?:{_NUMBER} ?)*)", path):
        given = [float(number) for number in numbers.split()]
        match command:
            case "M" | "L":
                x, y = given
            case "H":
                [x] = given
            case "V":
                [y] = given
            case _:
                x += given[0]
        found.append((x, y))
    return found


def labels(svg: str) -> list[Box]:
    """Every text, as wide as it is at most."""
    found = []
    for element in read(svg).iter("text"):
        text, width = element.text or "", _LETTER * len(element.text or "")
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor", "start")] * width
        found.append(Box(text, left, y - 10, left + width, y + 2))
    return found


def ticks(svg: str) -> tuple[list[float], list[float]]:
    """Return the numbers along the axis and those upwards."""
    [grid] = read(svg).iter("g")
    texts = list(grid.iter("text"))
    along = [float(text.text or "") for text in texts if text.get("text-anchor") == "middle"]
    return along, [float(text.text or "") for text in texts if text.get("text-anchor") == "end"]


def _rects(svg: str) -> Iterator[tuple[Box, ET.Element]]:
    for element in read(svg).iter("rect"):
        x, y, width, height = (float(element.attrib[name]) for name in ("x", "y", "width", "height"))
        assert width > 0
        assert height >= 0
        yield Box("rect", x, y, x + width, y + height), element


def _outside_the_grid(root: ET.Element) -> Iterator[Any]:
    for child in root:
        if child.tag != "g":
            yield child
