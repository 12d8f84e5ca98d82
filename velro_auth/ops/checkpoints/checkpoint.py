"""A checkpoint, and the message of its git tag: sentences for people, then a JSON block for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from velro_auth.config.settings import Settings, shown, specs
from velro_auth.errors import VelroAuthError
from velro_auth.upstream.answers import object_in

FORMAT: Final = 1

#: Separate lines: the note, which is one line, may quote another checkpoint.
_BEGIN: Final = "\n-----BEGIN VELRO-AUTH CHECKPOINT-----\n"
_END: Final = "\n-----END VELRO-AUTH CHECKPOINT-----"

#: The contents of a tag are printed and passed to git and to the database, so they are validated first.
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_VERSION: Final = re.compile(r"\d{14}")
_WORD: Final = re.compile(r"[\w.+-]{1,100}", re.ASCII)

#: Railway sets these for each deployment; they differ every time.
_PLATFORM_PREFIX: Final = "RAILWAY_"
_HASH_DIGITS: Final = 16


class CheckpointError(VelroAuthError):
    """A checkpoint cannot be made, found or restored; the message is one sentence that says what to do."""


class ForeignTag(CheckpointError):
    """The tag exists, but it is not a checkpoint."""


class DamagedCheckpoint(CheckpointError):
    """The checkpoint is incomplete or edited, or its tag was moved."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which settings were set, without their values, so that the tag may be public.

    Secrets are not hashed, since a short one could be guessed from its hash. Other values are hashed, since a user
    may have put a key into the wrong variable.

    Attributes:
        changed: Variables that differ from their default → a hash of the value; without secrets.
    """

    changed: Mapping[str, str]
    secrets: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Fingerprint:
        """Return the fingerprint of *settings*."""
        changed, secrets = {}, set()
        for spec in specs():
            variable = spec.metadata["variable"]
            if getattr(settings, spec.name) == spec.default or variable.startswith(_PLATFORM_PREFIX):
                continue
            if spec.metadata["secret"]:
                secrets.add(variable)
            else:
                changed[variable] = sha256(shown(settings, spec).encode()).hexdigest()[:_HASH_DIGITS]
        return cls(changed, frozenset(secrets))

    def differences(self, now: Fingerprint) -> dict[str, str]:
        """Return the changed variables and how they changed; for secrets only whether they were set or cleared."""
        found = {}
        for variable in sorted(self.changed.keys() | now.changed.keys()):
            then, today = self.changed.get(variable), now.changed.get(variable)
            if then != today:
                found[variable] = "back at its default" if not today else "another value" if then else "set since then"
        found |= dict.fromkeys(sorted(now.secrets - self.secrets), "set since then")
        found |= dict.fromkeys(sorted(self.secrets - now.secrets), "no longer set")
        return found


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A migration that was applied.

    Attributes:
        checksum: The SHA-256 of the SQL that was run; empty where the Supabase CLI ran it, which keeps none.
    """

    version: str
    label: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a deployment at one moment. Holds no secret.

    Attributes:
        at: When, in UTC.
        deployment_id: The platform's id of the deployment; None where it was not known.
        migrations: What was applied, in order; None when it was made without a database.
        before_rollback_to: The target of the rollback that made this checkpoint first; else None.
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
        """Return the checkpoint in the message of a tag.

        Raises:
            ForeignTag: The message holds no checkpoint.
            DamagedCheckpoint: It is incomplete or edited, the tag was moved, or a newer release made it.
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
        made_by = f" before rolling back to {self.before_rollback_to}" if self.before_rollback_to else ""
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
            "To roll back to it: velro-auth rollback",
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
            commit=_validated(_COMMIT, block["commit"]),
            release=_validated(_WORD, block["release"]),
            at=datetime.fromisoformat(block["at"]).astimezone(UTC),
            settings=Fingerprint(
                {_validated(_WORD, name): _validated(_WORD, digest) for name, digest in settings["changed"].items()},
                frozenset(_validated(_WORD, name) for name in settings["secrets"]),
            ),
            deployment_id=_line_or_none(block["deployment_id"]),
            migrations=None if migrations is None else tuple(_applied(*one) for one in migrations),
            note=one_line(block["note"]),
            before_rollback_to=_line_or_none(block["before_rollback_to"]),
        )


def one_line(text: str) -> str:
    """Return *text* as one line without control characters, which a terminal would execute."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())


def _block(tag: str, message: str) -> dict[str, Any]:
    # A signature may follow.
    text, end, _ = message.rpartition(_BEGIN)[2].partition(_END)
    if not (block := object_in(text.encode()) if end else {}):
        raise DamagedCheckpoint(
            f"The checkpoint {tag} is incomplete: its end or a part of it is missing; name another one"
        )
    return block


def _digest(block: Mapping[str, Any]) -> str:
    members = {name: value for name, value in block.items() if name != "sha256"}
    return sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _applied(version: str, label: str, checksum: str) -> AppliedMigration:
    return AppliedMigration(
        _validated(_VERSION, version), _validated(_WORD, label), checksum and _validated(_WORD, checksum)
    )


def _line_or_none(text: str | None) -> str | None:
    return None if text is None else one_line(text)


def _validated(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text
