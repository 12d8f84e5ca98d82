"""Files of the reports and of the index page: look, scripts, templates, and the plotting library."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any, Final

import jinja2

#: Their folder. Only ``velro_auth.ops`` uses it: production serves none of them.
FOLDER: Final = "web_assets"


@functools.cache
def text(name: str) -> str:
    """Return a file of the folder, such as ``uplot/uPlot.min.css``."""
    return resources.files("velro_auth.ops").joinpath(FOLDER, name).read_text("utf-8")


def render(name: str, **values: Any) -> str:
    """Return a template of the folder with *values*; everything that they contain is escaped."""
    return _templates().get_template(name).render(values)


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(text), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
