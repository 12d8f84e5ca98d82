"""Changes the settings of a running service without a new process.

gunicorn's master reads and validates the new settings and publishes them in shared memory; every worker applies them
within a moment. New workers, as gunicorn starts them by itself, would forget the logouts, the counted login tries, the
state of the circuit breaker and every warm connection: ``docs/how-to/change-settings.md``.
"""

from __future__ import annotations

import dataclasses
import logging
import mmap
import pickle
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from velro_auth.auth.access_rules import AccessRules
from velro_auth.background import Background
from velro_auth.config import rules_file
from velro_auth.config.fields import Spec
from velro_auth.config.settings import Settings, cross_field_errors, shown, specs
from velro_auth.config.validation import SettingError

#: Called with the number of a publication, and whether its settings are in force.
OnFollowed: TypeAlias = Callable[..., None]

logger = logging.getLogger("velro_auth.config.reload")

#: How often a worker reads the shared memory, in seconds.
EVERY_S: Final = 0.25

#: Bytes of shared memory. It takes no memory until it is written to.
SIZE: Final = 1024 * 1024

#: The number of the publication, and its length.
_HEAD: Final = struct.Struct("=QQ")


@dataclass(frozen=True, kw_only=True)
class SettingsDiff:
    """New settings compared with the current ones.

    Attributes:
        settings: The settings to serve with: the new values of settings that a reload may change, the current values of
            the others.
        errors: Why they are refused; empty if they are not.
        changed: Variable → how it changed, without secrets.
        waiting: Variables whose new value needs a restart.
    """

    settings: Settings
    errors: Sequence[SettingError]
    changed: Mapping[str, str]
    waiting: Sequence[str]


def settings_diff(current: Settings, asked: Settings) -> SettingsDiff:
    """Compare new settings with the current ones."""
    differing = [spec for spec in specs() if getattr(current, spec.name) != getattr(asked, spec.name)]
    applied = [spec for spec in differing if spec.metadata["at_run_time"]]
    changed = {spec.metadata["variable"]: _change(spec, current, asked) for spec in applied}
    if current.access_rules != asked.access_rules:
        # The file may have the same name.
        changed[rules_file.VARIABLE] = f"{_count(current.access_rules)} -> {_count(asked.access_rules)}"
    new = {spec.name: getattr(asked, spec.name) for spec in applied}
    settings = dataclasses.replace(current, access_rules=asked.access_rules, **new)
    return SettingsDiff(
        settings=settings,
        # The values that are kept may not go together with the new ones.
        errors=asked.errors or cross_field_errors(settings),
        changed=changed,
        waiting=[spec.metadata["variable"] for spec in differing if spec not in applied],
    )


def _count(rules: AccessRules | None) -> str:
    return f"{len(rules.rules)} rules" if rules else "no rules"


def _change(spec: Spec, current: Settings, asked: Settings) -> str:
    if spec.metadata["secret"]:
        return "changed (secret)"
    return f"{shown(current, spec) or 'none'} -> {shown(asked, spec) or 'none'}"


class SharedMemory:
    """Publishes bytes from one process to the processes that it forks; reading never waits.

    Made before the fork. Only the maker writes. The number of a publication is odd while it is written, so that no
    process reads half of it.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._memory = mmap.mmap(-1, _HEAD.size + size)

    @property
    def number(self) -> int:
        """The number of the newest publication; 0 before the first. It only grows."""
        number: int = _HEAD.unpack_from(self._memory)[0]
        return number

    def put(self, data: bytes) -> None:
        """Publish *data* instead of the publication before.

        Raises:
            ValueError: It is too long.
        """
        if len(data) > self._size:
            raise ValueError("the publication is too long")
        number = self.number
        _HEAD.pack_into(self._memory, 0, number + 1, len(data))
        self._memory[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._memory, 0, number + 2, len(data))

    def read(self) -> tuple[int, bytes] | None:
        """Return the newest publication with its number; None while it is written."""
        number, length = _HEAD.unpack_from(self._memory)
        data = self._memory[_HEAD.size : _HEAD.size + length]
        return (number, data) if number % 2 == 0 and number == self.number else None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a reload.

    Attributes:
        state: Whether the settings were taken, had not changed, were refused, or could not be read because of a defect.
        errors: Why they were refused, a line each.
        changed: Variable → how it changed, without secrets.
        waiting: Variables whose new value needs a restart.
        number: The publication that workers have to follow.
        file: The file that was read; empty if the service was started without one.
    """

    state: Literal["taken", "unchanged", "refused", "failed"]
    errors: Sequence[str] = ()
    changed: Mapping[str, str] = field(default_factory=dict)
    waiting: Sequence[str] = ()
    number: int = 0
    file: str = ""


def _ignore(_number: int, *, is_taken: bool) -> None:
    """Do nothing."""


class Reloads:
    """Applies new settings in all processes of an instance. Made before the fork.

    Args:
        settings: The settings in force.
        take: Has this process serve with other settings.
        read: Reads the new settings.
        every_s: How often a worker looks for new settings.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        take: Callable[[Settings], None],
        read: Callable[[], Settings] = Settings.from_environment,
        every_s: float = EVERY_S,
    ) -> None:
        self._settings = settings
        self._take = take
        self._read = read
        self._every_s = every_s
        self._published = SharedMemory()
        self._seen = 0
        #: Called in a worker with the publication that it has followed, and whether it could.
        self.on_followed: OnFollowed = _ignore
        self._stopped = threading.Event()
        #: The watch starts it again if it ends.
        self.thread: Final = Background(self._follow, name="reload")

    @property
    def number(self) -> int:
        """The publication that this process follows; 0 before the first."""
        return self._seen

    def reload(self) -> Outcome:
        """Read the settings again, in the master. Never raises: if anything is wrong, the old settings are kept."""
        try:
            return self._reload()
        except Exception:
            # If the master ends, all workers end.
            logger.exception("the settings could not be read anew: kept the old settings")
            return Outcome(state="failed", number=self._seen)

    def _reload(self) -> Outcome:
        if self._settings.errors:
            logger.error("the service started with wrong settings and needs a restart: kept the old settings")
            return Outcome(state="refused", errors=["the service started with wrong ones: it needs a restart"])
        found = settings_diff(self._settings, self._read())
        for error in found.errors:
            logger.error(
                "wrong setting: kept the old settings", extra={"variable": error.variable, "advice": error.advice}
            )
        if found.errors:
            return Outcome(state="refused", errors=[*map(str, found.errors)], number=self._seen)
        if found.changed:
            # In the master too: a worker that is forked later starts with these settings.
            self._take(found.settings)
            self._published.put(pickle.dumps(found.settings))
            self._settings, self._seen = found.settings, self._published.number
        _log(found)
        return Outcome(
            state="taken" if found.changed else "unchanged",
            changed=found.changed,
            waiting=found.waiting,
            number=self._seen,
            file=found.settings.auth_env_file,
        )

    def start(self) -> None:
        """Start the thread that follows the master in this worker."""
        self.thread.ensure()

    def stop(self) -> None:
        """Stop that thread."""
        self._stopped.set()
        self.thread.end()

    def _follow(self) -> None:
        while not self._stopped.wait(self._every_s):
            self.look()

    def look(self) -> None:
        """Apply the settings that the master has published, if they are new to this process. Never raises."""
        if self._published.number == self._seen or (publication := self._published.read()) is None:
            return
        self._seen, data = publication
        try:
            settings: Settings = pickle.loads(data)  # noqa: S301 - only our own master can write there
            self._take(settings)
        except Exception:
            logger.exception("new settings could not be taken over: this worker kept the old settings")
            self.on_followed(self._seen, is_taken=False)
        else:
            logger.info("new settings are in force in this worker")
            self.on_followed(self._seen, is_taken=True)


def _log(found: SettingsDiff) -> None:
    if found.changed:
        logger.info("the settings were read anew", extra={"changed": dict(found.changed)})
    else:
        file = found.settings.auth_env_file or "none: name one in AUTH_ENV_FILE"
        logger.info(
            "the settings were read anew: nothing has changed that can change at run time", extra={"file": file}
        )
    for variable in found.waiting:
        logger.warning("this setting has changed and needs a restart: kept the old value", extra={"variable": variable})
