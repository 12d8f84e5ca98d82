"""Files of the reports and of the index page: look, scripts, templates, and the plotting library."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final

#: Their folder. Only ``velro_auth.ops`` uses it: production serves none of them.
FOLDER: Final = "web_assets"


@functools.cache
def text(name: str) -> str:
    """Return a file of the folder, such as ``uplot/uPlot.min.css``."""
    return resources.files("velro_auth.ops").joinpath(FOLDER, name).read_text("utf-8")
