"""The environment file: variables in a file that can be changed while the service runs.

python-dotenv reads it, so quotes, comments and ``export`` work as in other dotenv files. Nothing is interpolated: a
key may have a ``$``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dotenv.parser import Binding, parse_stream

from velro_auth.config.validation import SettingError

#: The variable that names the file.
VARIABLE: Final = "AUTH_ENV_FILE"

#: A larger file is not an environment file.
MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class EnvFile:
    """The content of an environment file.

    Attributes:
        variables: Name → value; the last of several lines wins. Never shown, because some are keys.
        errors: The lines that cannot be parsed; never quotes them.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    errors: Sequence[SettingError] = ()


class UnreadableFile(ValueError):
    """A file that a setting names cannot be used; the text says why, and quotes nothing of it."""


def read_text(path: str, max_bytes: int) -> str:
    """Return the text of the file at *path*, of at most *max_bytes*.

    Raises:
        UnreadableFile: It is missing, closed to this user, too large, or no text in UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        raise UnreadableFile(f"{path} is no text in UTF-8") from None
    if len(data) > max_bytes:
        raise UnreadableFile(f"{path} is larger than {max_bytes // 1024} KiB")
    return text


def read_env_file(path: str) -> EnvFile:
    """Read the file at *path*. Never raises: see ``errors``. An empty path is no file."""
    if not path:
        return EnvFile()
    try:
        text = read_text(path, MAX_BYTES)
    except UnreadableFile as error:
        return _wrong(str(error))
    return _parsed(path, list(parse_stream(io.StringIO(text))))


def _parsed(path: str, bindings: Sequence[Binding]) -> EnvFile:
    errors = [
        SettingError(VARIABLE, f"{path}, line {binding.original.line}: write NAME=value")
        for binding in bindings
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    variables = {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}
    return EnvFile(variables=variables, errors=errors)


def _wrong(advice: str) -> EnvFile:
    return EnvFile(errors=[SettingError(VARIABLE, advice)])
