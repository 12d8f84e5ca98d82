"""The page around an HTML report: it loads no other file."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from velro_auth.ops import assets

#: In the order in which they apply and run.
_STYLES: Final = ("uplot/uPlot.min.css", "look.css")
_SCRIPTS: Final = ("uplot/uPlot.iife.min.js", "plots.js")


def page(template: str, *, style: str = "", **values: Any) -> str:
    """Return a whole page; *style* is CSS in addition to the common one.

    Its policy names the hashes of its own script and style: nothing else runs and nothing is loaded, even if a text of
    a stranger got into the markup.
    """
    styles = "\n".join([*map(assets.text, _STYLES), style])
    scripts = "\n".join(map(assets.text, _SCRIPTS))
    policy = (
        f"default-src 'none'; script-src '{_hash(scripts)}'; style-src '{_hash(styles)}'; base-uri 'none';"
        " form-action 'none'"
    )
    return assets.render(template, policy=policy, styles=styles, scripts=scripts, **values)


def _hash(text: str) -> str:
    """Return the hash of an inline element, as a policy names it (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
