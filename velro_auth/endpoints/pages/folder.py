"""Checks the folder with an operator's own templates and messages before it is used."""

from __future__ import annotations

from pathlib import Path

import jinja2

from velro_auth.endpoints.pages.messages import Languages


def check_folder(folder: Path) -> None:
    """Return if the templates and messages of *folder* can be read. What a template says is not checked.

    Raises:
        ValueError: One of them cannot; the message names the file and says why.
    """
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        # For instance a name that is too long.
        raise ValueError(f"it is not a folder that can be read: {error.strerror}") from error
    if not is_folder:
        raise ValueError(f"{folder} is not a folder that can be read")
    Languages.shipped(folder)
    environment = jinja2.Environment(autoescape=True)
    for path in sorted(folder.glob("*.html")):
        try:
            environment.parse(path.read_text("utf-8"))
        except (jinja2.TemplateSyntaxError, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name}: {error}") from error
