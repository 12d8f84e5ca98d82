"""Building blocks of the HTML reports: a page that loads no other file, tables, lists."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from velro_auth.ops import assets

#: In the order in which they apply and run.
_STYLES: Final = ("uplot/uPlot.min.css", "look.css")
_SCRIPTS: Final = ("uplot/uPlot.iife.min.js", "plots.js")


def page(title: str, *parts: str, style: str = "") -> str:
    """Return a whole page. *parts* are markup; *style* is CSS in addition to the common one.

    Its policy names the hashes of its own script and style: nothing else runs and nothing is loaded, even if a text of
    a stranger got into the markup.
    """
    styles = "\n".join([*map(assets.text, _STYLES), style])
    scripts = "\n".join(map(assets.text, _SCRIPTS))
    policy = (
        f"default-src 'none'; script-src '{_hash(scripts)}'; style-src '{_hash(styles)}'; base-uri 'none';"
        " form-action 'none'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{styles}</style></head><body><main>{''.join(parts)}"
        "<noscript><p>The plots need JavaScript. All figures are in the tables.</p></noscript></main>"
        f"<script>{scripts}</script></body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of plain text."""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    # Wider than a narrow screen, it scrolls by itself; the keyboard scrolls what it can focus.
    return f'<div class="scroll" tabindex="0"><table><tr>{columns}</tr>{"".join(map(_row, rows))}</table></div>'


def graded(grade: str) -> str:
    """Return a grade in its colour."""
    return f'<span class="{escape(grade)}">{escape(grade)}</span>'


def bullets(sentences: Sequence[str]) -> str:
    """Return a list; an empty string without sentences."""
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>" if sentences else ""


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _hash(text: str) -> str:
    """Return the hash of an inline element, as a policy names it (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
