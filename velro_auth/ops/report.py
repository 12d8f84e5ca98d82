"""Building blocks of the HTML reports: a page that loads no other file, tables, lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --text: #888 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .7rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid var(--line) }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: var(--text) } .grid line { stroke: var(--line) }
rect.frame { fill: none; stroke: var(--line) }
.warning { color: #b7791f } .critical { color: #c4473b } .verdict-good { color: #3f9d5d }
"""


def page(title: str, *parts: str, style: str = "") -> str:
    """Return a whole page. *parts* are markup; *style* is CSS in addition to the common one."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of plain text."""
    return f"<table>{_row(head, 'th')}{''.join(map(_row, rows))}</table>"


def graded(grade: str) -> str:
    """Return a grade in its colour."""
    return f'<span class="{"verdict-good" if grade == "good" else escape(grade)}">{escape(grade)}</span>'


def bullets(sentences: Sequence[str]) -> str:
    """Return a list; an empty string without sentences."""
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>" if sentences else ""


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
