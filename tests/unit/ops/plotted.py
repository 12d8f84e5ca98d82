"""What a page of ours hands over to its plots."""

from __future__ import annotations

import json
import re
from typing import Any

from velro_auth.ops import assets

_PLOT = re.compile(r'<figure class="plot"><script type="application/json">(.*?)</script></figure>', re.DOTALL)
_SCRIPT = re.compile(r"<script>.*?</script>", re.DOTALL)


def plots_of(page: str) -> list[dict[str, Any]]:
    """Return the plots of a page, as ``plots.js`` gets them."""
    return [json.loads(found) for found in _PLOT.findall(page)]


def without_script(page: str) -> str:
    """Return a page without its only script, after a look at it: the library and our own code, nothing else."""
    [script] = _SCRIPT.findall(page)
    ours = "\n".join(map(assets.text, ("uplot/uPlot.iife.min.js", "plots.js")))
    assert script == f"<script>{ours}</script>"
    return page.replace(script, "")
