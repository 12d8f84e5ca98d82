"""A checkpoint, and the message of the tag that carries it: sentences for people, then a block for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from velro_auth.ops.checkpoints.errors import DamagedCheckpoint, ForeignTag
from velro_auth.ops.checkpoints.fingerprint import Fingerprint

FORMAT: Final = 1

#: Lines of their own: a note, which is one line, may quote another checkpoint.
_BEGIN: Final = "\n-----BEGIN VELRO-AUTH CHECKPOINT-----\n"
_END: Final = "\n-----END VELRO-AUTH CHECKPOINT-----"

#: What comes back from a tag is printed and handed to git and to the database, so it is looked at first.
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_VERSION: Final = re.compile(r"\d{14}")
_WORD: Final = re.compile(r"[\w.+-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A migration that was applied.

    Attributes:
        version: Its fourteen digits.
        label: Version and name.
        checksum: The SHA-256 of the SQL that was run; empty where the Supabase CLI ran it, which keeps none.
    """

    version: str
    label: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a deployment stood at one moment. Holds no secret.

    Attributes:
        commit: What was checked out.
        release: The version of velro-auth.
        at: When, in UTC.
        settings: The fingerprint of the settings.
        deployment_id: The platform's name of the deployment, where it was known.
        migrations: What was applied, in order; None when no database was asked.
        note: What somebody wants to remember about it, on one line.
        before_rollback_to: The checkpoint that a rollback was about to go back to, where that is why this was made.
    """

    commit: str
    release: str
    at: datetime
    settings: Fingerprint
    deployment_id: str | None = None
    migrations: tuple[AppliedMigration, ...] | None = None
    note: str = ""
    before_rollback_to: str | None = None

    def message(self) -> str:
        """Return the message of its tag."""
        block = self._members()
        block["sha256"] = _digest(block)
        return "\n".join([*self._sentences(), _BEGIN + json.dumps(block, indent=1, sort_keys=True) + _END, ""])

    @classmethod
    def read(cls, tag: str, commit: str, message: str) -> Checkpoint:
        """Return the checkpoint that a tag carries.

        Args:
            tag: Its name, for the sentence when something is wrong.
            commit: What the tag points to.
            message: Its message.

        Raises:
            ForeignTag: The message holds no checkpoint.
            DamagedCheckpoint: It was torn or edited, the tag was moved, or a newer release made it.
        """
        if _BEGIN not in message:
            raise ForeignTag(f"The tag {tag} is no checkpoint: velro-auth checkpoint did not make it")
        block = _block(tag, message)
        if block.get("format") != FORMAT:
            raise DamagedCheckpoint(f"The checkpoint {tag} was made by another release of velro-auth; use that one")
        if block.get("sha256") != _digest(block):
            raise DamagedCheckpoint(f"The checkpoint {tag} was edited after it was made; name another one")
        if block.get("commit") != commit:
            raise DamagedCheckpoint(f"The tag {tag} was moved to another commit after it was made; name another one")
        try:
            return cls._from_members(block)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedCheckpoint(f"The checkpoint {tag} cannot be understood; name another one") from error

    def _sentences(self) -> list[str]:
        migrations = "not asked" if self.migrations is None else f"{len(self.migrations)} migrations applied"
        made_by = f" before going back to {self.before_rollback_to}" if self.before_rollback_to else ""
        return [
            f"Checkpoint of velro-auth {self.release}{made_by}",
            *(["", self.note] if self.note else []),
            "",
            f"Commit: {self.commit}",
            f"Deployment: {self.deployment_id or 'not known'}",
            f"Database: {migrations}",
            *(f"  {one.label}" for one in self.migrations or ()),
            f"Settings that differ from their default: {', '.join(sorted(self.settings.changed)) or 'none'}",
            f"Secrets that are set: {', '.join(sorted(self.settings.secrets)) or 'none'}",
            "",
            "The way back to it: velro-auth rollback",
        ]

    def _members(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "commit": self.commit,
            "release": self.release,
            "at": self.at.isoformat(timespec="seconds"),
            "deployment_id": self.deployment_id,
            "migrations": None
            if self.migrations is None
            else [[one.version, one.label, one.checksum] for one in self.migrations],
            "settings": {"changed": dict(self.settings.changed), "secrets": sorted(self.settings.secrets)},
            "note": self.note,
            "before_rollback_to": self.before_rollback_to,
        }

    @classmethod
    def _from_members(cls, block: Mapping[str, Any]) -> Checkpoint:
        migrations, settings = block["migrations"], block["settings"]
        return cls(
            commit=_fit(_COMMIT, block["commit"]),
            release=_fit(_WORD, block["release"]),
            at=datetime.fromisoformat(block["at"]).astimezone(UTC),
            settings=Fingerprint(
                {_fit(_WORD, name): _fit(_WORD, digest) for name, digest in settings["changed"].items()},
                frozenset(_fit(_WORD, name) for name in settings["secrets"]),
            ),
            deployment_id=_line_or_none(block["deployment_id"]),
            migrations=None if migrations is None else tuple(_applied(*one) for one in migrations),
            note=one_line(block["note"]),
            before_rollback_to=_line_or_none(block["before_rollback_to"]),
        )


def one_line(text: str) -> str:
    """Return *text* as one line without anything that a terminal would obey."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())


def _block(tag: str, message: str) -> dict[str, Any]:
    # A signature may follow.
    text, end, _ = message.rpartition(_BEGIN)[2].partition(_END)
    try:
        block = json.loads(text) if end else None
    except ValueError:
        block = None
    if not isinstance(block, dict):
        raise DamagedCheckpoint(f"The checkpoint {tag} is torn: its end or a part of it is missing; name another one")
    return block


def _digest(block: Mapping[str, Any]) -> str:
    members = {name: value for name, value in block.items() if name != "sha256"}
    return sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _applied(version: str, label: str, checksum: str) -> AppliedMigration:
    return AppliedMigration(_fit(_VERSION, version), _fit(_WORD, label), checksum and _fit(_WORD, checksum))


def _line_or_none(text: str | None) -> str | None:
    return None if text is None else one_line(text)


def _fit(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text
