"""The files of the pages: styles, scripts, images.

Their addresses contain a hash of all of them, so browsers keep them for a year and never use an old one with a new
page. Scripts name each other relatively, and so find each other below the same hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from werkzeug.wrappers import Request

from velro_auth.endpoints import path_value
from velro_auth.endpoints.bodies import RawResponse
from velro_auth.endpoints.pages.branding import Brand, on
from velro_auth.errors import NotFound

SHIPPED: Final = Path(__file__).parent / "static"
#: File name → it is linked where the operator's folder has it.
OWN_STYLES: Final = "brand.css"

_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
_FOREVER: Final = ("Cache-Control", "public, max-age=31536000, immutable")
#: Another build's address: during a deployment, pages of one build may ask an instance of the other.
_NOT_KEPT: Final = ("Cache-Control", "no-cache")
#: An image of a logo may contain scripts and styles of its own; none of them counts.
_POLICY: Final = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


class Assets:
    """The files, read once.

    Args:
        brand: Its colours are a part of the style sheet.
        folder: The operator's folder, whose files replace those of the same name; None for none.
    """

    def __init__(self, brand: Brand, folder: Path | None = None) -> None:
        files = {
            path.name: path.read_bytes()
            for place in (SHIPPED, folder)
            if place is not None
            for path in sorted(place.iterdir())
            if path.suffix in _TYPES and path.is_file()
        }
        files["pages.css"] += brand.styles().encode()
        files["icon.svg"] = (
            files["icon.svg"].replace(b"#123456", brand.color.encode()).replace(b"#ffffff", on(brand.color).encode())
        )
        self.logo = brand.logo.address if brand.logo else ""
        if brand.logo is not None and brand.logo.content is not None:
            files[f"logo{brand.logo.suffix}"] = brand.logo.content
            self.logo = f"logo{brand.logo.suffix}"
        digest = hashlib.sha256()
        for name, content in sorted(files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.files: Final[Mapping[str, bytes]] = files
        self.version: Final = digest.hexdigest()[:16]

    def path(self, name: str) -> str:
        """Return the address of a file."""
        if name not in self.files:
            raise KeyError(name)
        return f"/static/{self.version}/{name}"


@dataclass(frozen=True)
class AssetEndpoint:
    """``/static/<version>/<name>``: a file of the pages."""

    assets: Assets

    name: ClassVar = "page_asset"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/static/<version>/<name>",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the file.

        Raises:
            NotFound: There is no such file.
        """
        name, version = path_value(request, "name"), path_value(request, "version")
        content = self.assets.files.get(name)
        if content is None:
            raise NotFound("the pages have no such file")
        kept = _FOREVER if version == self.assets.version else _NOT_KEPT
        headers = [("Content-Type", _TYPES[Path(name).suffix]), kept, _POLICY]
        return RawResponse(content, headers)
