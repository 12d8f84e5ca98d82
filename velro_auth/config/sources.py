"""The environment file: variables in a file that can be changed while the service runs.

python-dotenv reads it, so quoting, comments and ``export`` are as everybody knows them. Nothing is interpolated: a
key may hold a ``$``.
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

#: A larger file is another file.
MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class EnvFile:
    """What an environment file says.

    Attributes:
        variables: Name → value; the last of several lines wins. Never shown: there are keys among them.
        mistakes: What cannot be understood, without repeating it.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    mistakes: Sequence[SettingError] = ()


def read_env_file(path: str) -> EnvFile:
    """Read the file at *path*. Never raises: see ``mistakes``. An empty path is no file."""
    if not path:
        return EnvFile()
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        return _wrong(f"{path} cannot be read: {error.strerror}")
    except ValueError:
        return _wrong(f"{path} is no text in UTF-8")
    if len(data) > MAX_BYTES:
        return _wrong(f"{path} is larger than {MAX_BYTES // 1024} KiB")
    return _understood(path, list(parse_stream(io.StringIO(text))))


def _understood(path: str, bindings: Sequence[Binding]) -> EnvFile:
    mistakes = [
        SettingError(VARIABLE, f"{path}, line {binding.original.line}: write NAME=value")
        for binding in bindings
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    variables = {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}
    return EnvFile(variables=variables, mistakes=mistakes)


def _wrong(advice: str) -> EnvFile:
    return EnvFile(mistakes=[SettingError(VARIABLE, advice)])
