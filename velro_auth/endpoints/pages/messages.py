"""The texts of the pages: one TOML file for each language, in tables of tables, and the choice of a language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from werkzeug.wrappers import Request

#: Table → name → text. A file may have any number of tables.
Texts: TypeAlias = Mapping[str, Mapping[str, str]]

SHIPPED: Final = Path(__file__).parent / "messages"
#: The language of texts that another language lacks.
DEFAULT: Final = "en"


@dataclass(frozen=True, slots=True)
class Language:
    """The texts of one language.

    Attributes:
        code: Such as ``en``.
        texts: Its texts, with those of English where it has none.
        is_asked: Whether the address asks for it, and so links have to keep it.
    """

    code: str
    texts: Texts
    is_asked: bool = False


class Languages:
    """The languages of the pages, read once.

    Args:
        folders: Folders with files such as ``en.toml``; texts of later ones replace those of earlier ones.
    """

    def __init__(self, *folders: Path) -> None:
        found: dict[str, Texts] = {}
        for folder in folders:
            for path in sorted(folder.glob("*.toml")):
                found[path.stem] = _merged(found.get(path.stem, {}), _read(path))
        self._texts = {code: _merged(found[DEFAULT], texts) for code, texts in found.items()}

    @classmethod
    def shipped(cls, folder: Path | None = None) -> Self:
        """Return the shipped languages, with those of the operator's folder; raises as :func:`_read`."""
        return cls(SHIPPED, *([] if folder is None else [folder]))

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of all languages."""
        return tuple(self._texts)

    def of(self, request: Request) -> Language:
        """Return the language for *request*: that of ``?lang=``, else the best of ``Accept-Language``."""
        asked = request.args.get("lang", "")
        if asked in self._texts:
            return Language(asked, self._texts[asked], is_asked=True)
        # By preference; "de-AT" is a wish for "de" too. Werkzeug would prefer a later exact match.
        wishes = (wish.partition("-")[0].lower() for wish in request.accept_languages.values())
        code = next((wish for wish in wishes if wish in self._texts), DEFAULT)
        return Language(code, self._texts[code])


def _read(path: Path) -> Texts:
    """Read one file.

    Raises:
        ValueError: It cannot be read, is not TOML, or has something other than tables of texts.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    for table in tables.values():
        if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
            raise ValueError(f"{path.name} must have tables of texts only")
    return tables


def _merged(below: Texts, above: Texts) -> Texts:
    return {table: {**below.get(table, {}), **above.get(table, {})} for table in (*below, *above)}
