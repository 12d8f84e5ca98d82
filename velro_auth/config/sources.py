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


def read_env_file(path: str) -> EnvFile:
    """Read the file at *path*. Never raises: see ``errors``. An empty path is no file."""
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
