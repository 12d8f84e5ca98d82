"""New settings for a service that runs, without a new process.

gunicorn's master reads them, judges them and pins them up; every worker takes them over within a moment, in place.
Replacing the workers, as gunicorn does by itself, would forget in each of them who logged out, who guessed wrong,
what the breaker knows and every warm connection: ``docs/how-to/change-settings.md``.
"""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from velro_auth.background import Background
from velro_auth.config.settings import Settings
from velro_auth.config.settings_diff import SettingsDiff, settings_diff
from velro_auth.config.shared_memory import SharedMemory

#: Is told the number of a notice, and whether its settings are in force.
OnFollowed: TypeAlias = Callable[..., None]

logger = logging.getLogger("velro_auth.config.reload")

#: How often a worker looks at the board, in seconds.
EVERY_S: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of reading the settings anew.

    Attributes:
        state: Whether they were taken, had nothing new, were refused, or could not be read because of a defect.
        mistakes: Why they were refused, a line each.
        changed: Variable → how it changed, fit to be shown.
        waiting: Variables whose new value needs a restart.
        number: The notice that workers have to follow.
        file: The file that was read; empty where the service was started without one.
    """

    state: Literal["taken", "unchanged", "refused", "failed"]
    mistakes: Sequence[str] = ()
    changed: Mapping[str, str] = field(default_factory=dict)
    waiting: Sequence[str] = ()
    number: int = 0
    file: str = ""


def _unheard(_number: int, *, is_taken: bool) -> None:
    """Do nothing."""


class Reloads:
    """Brings new settings to all processes of an instance. Made before the fork.

    Args:
        settings: What the service runs with.
        take: Has this process serve with other settings.
        read: Reads the settings as they are now.
        every_s: How often a worker looks whether there are new ones.
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
        self._board = SharedMemory()
        self._seen = 0
        #: Told in a worker which notice it has followed, and whether it could.
        self.on_followed: OnFollowed = _unheard
        self._stopped = threading.Event()
        #: Looked after by the watch.
        self.thread: Final = Background(self._follow, name="reload")

    @property
    def number(self) -> int:
        """The notice that this process follows; 0 before the first."""
        return self._seen

    def reload(self) -> Outcome:
        """Read the settings anew, in the master. Never raises: whatever is wrong, the old ones are kept."""
        try:
            return self._reload()
        except Exception:
            # A master that ends takes all workers with it.
            logger.exception("the settings could not be read anew: kept the old settings")
            return Outcome(state="failed", number=self._seen)

    def _reload(self) -> Outcome:
        if self._settings.mistakes:
            logger.error("the service started with wrong settings and needs a restart: kept the old settings")
            return Outcome(state="refused", mistakes=["the service started with wrong ones: it needs a restart"])
        found = settings_diff(self._settings, self._read())
        for mistake in found.mistakes:
            logger.error(
                "wrong setting: kept the old settings", extra={"variable": mistake.variable, "advice": mistake.advice}
            )
        if found.mistakes:
            return Outcome(state="refused", mistakes=[*map(str, found.mistakes)], number=self._seen)
        if found.changed:
            # In the master too: a worker that is forked later starts with what is here.
            self._take(found.settings)
            self._board.put(pickle.dumps(found.settings))
            self._settings, self._seen = found.settings, self._board.number
        _tell(found)
        state: Literal["taken", "unchanged"] = "taken" if found.changed else "unchanged"
        return Outcome(
            state=state,
            changed=found.changed,
            waiting=found.waiting,
            number=self._seen,
            file=found.settings.auth_env_file,
        )

    def start(self) -> None:
        """Follow the master from a thread of this worker."""
        self.thread.ensure()

    def stop(self) -> None:
        """End that thread."""
        self._stopped.set()
        self.thread.end()

    def _follow(self) -> None:
        while not self._stopped.wait(self._every_s):
            self.look()

    def look(self) -> None:
        """Take over what the master has pinned up, if it is new to this process. Never raises."""
        if self._board.number == self._seen or (notice := self._board.read()) is None:
            return
        self._seen, pinned = notice
        try:
            settings: Settings = pickle.loads(pinned)  # noqa: S301 - nobody but our own master can write there
            self._take(settings)
        except Exception:
            logger.exception("new settings could not be taken over: this worker kept the old settings")
            self.on_followed(self._seen, is_taken=False)
        else:
            logger.info("new settings are in force in this worker")
            self.on_followed(self._seen, is_taken=True)


def _tell(found: SettingsDiff) -> None:
    if found.changed:
        logger.info("the settings were read anew", extra={"changed": dict(found.changed)})
    else:
        file = found.settings.auth_env_file or "none: name one in AUTH_ENV_FILE"
        logger.info(
            "the settings were read anew: nothing has changed that can change at run time", extra={"file": file}
        )
    for variable in found.waiting:
        logger.warning("this setting has changed and needs a restart: kept the old value", extra={"variable": variable})
