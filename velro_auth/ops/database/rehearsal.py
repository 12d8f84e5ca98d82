"""Rehearses the life of a user in a transaction that is rolled back, to find what would fail."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.files import package_sql

#: Runs a rehearsal. The warnings of our functions are hidden: the result shows each failure.
_RUN: Final = "set local client_min_messages = error; select pg_temp.velro_auth_rehearse()"

#: A line of an error's context that names a function.
_FUNCTION: Final = re.compile(r"function (?P<full>(?:.*\.)?(?P<name>[^.(]+)\(.*?\))")

#: Our functions in the context of an error.
_OURS: Final = re.compile(r"velro_auth\.(?!.*_step)|handle_new_auth_user|handle_changed_auth_user")

#: The names of our triggers.
TRIGGER_NAMES: Final = ("on_auth_user_created", "on_auth_user_changed")

#: The migration revokes a grant on purpose, with a warning that names the column.
_INSUFFICIENT_PRIVILEGE: Final = "42501"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of the project on ``auth.users``.

    Attributes:
        inserts_our_row: Whether it inserts into ``public.users`` on a sign-up, after our trigger made the row.
    """

    name: str
    function: str
    inserts_our_row: bool = False

    @property
    def fires_after_ours(self) -> bool:
        """Whether adopting it would make a difference."""
        return self.name > TRIGGER_NAMES[0]


@dataclass(frozen=True, slots=True)
class Problem:
    """The error of a step of a rehearsal.

    Attributes:
        message: The database's message, without the detail, which may quote a value.
        table: The table that it names, with its schema; empty where it names none.
        context: Which functions were running, the innermost first.
    """

    message: str
    sqlstate: str
    table: str
    context: str

    @property
    def is_ours(self) -> bool:
        """Whether our table or our functions take part in it."""
        return self.table == "public.users" or bool(_OURS.search(self.context))


@dataclass(frozen=True, slots=True)
class Regression:
    """A step that fails after the migrations.

    Attributes:
        function: The function that failed, where no trigger of ``auth.users`` called it; else empty.
    """

    step: str
    reason: str
    trigger: Trigger | None
    is_ours: bool = True
    function: str = ""

    @property
    def found(self) -> str:
        """Where it failed and why."""
        where = f"in the function {self.function}: " if self.function else ""
        if self.trigger is not None:
            where = f"in the trigger {self.trigger.name}, which calls {self.trigger.function}: "
        return f"fails {where}{self.reason}"

    @property
    def sentence(self) -> str:
        """What would fail, why, and what to do."""
        return f"After the migrations a step of the rehearsal ({self.step}) {self.found}; {self.fix}"

    @property
    def fix(self) -> str:
        """What to do about it."""
        if self.trigger is None:
            return "change or drop what is named here, and try again"
        insert = 'let it insert with "on conflict (id) do nothing"'
        adopt = 'adopt the trigger with "velro-auth db up --adopt", or '
        return f"{adopt}{insert}" if self.trigger.fires_after_ours else insert


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The result of a rehearsal.

    Attributes:
        steps: Kind of user and step → its error; None where it succeeded.
        rows: Kind of user → the columns of its row in ``public.users`` that hold a value; None without a row.
    """

    steps: Mapping[str, Problem | None]
    rows: Mapping[str, frozenset[str] | None]
    triggers: Sequence[Trigger]

    def regressions_since(self, before: Rehearsal) -> Iterator[Regression]:
        """Yield what succeeded in *before* and fails now."""
        for step, problem in self.steps.items():
            if problem is None or before.steps.get(step, problem) is not None:
                continue
            if "profile update" in step and problem.sqlstate == _INSUFFICIENT_PRIVILEGE:
                continue
            yield self._regression(step, problem)
        for kind, columns in before.rows.items():
            if columns is not None and f"{kind}: sign-up" in self.steps and self.steps[f"{kind}: sign-up"] is None:
                missing = columns - (self.rows.get(kind) or frozenset())
                if missing:
                    yield Regression(f"{kind}: row in public.users", f"no value in {', '.join(sorted(missing))}", None)

    def failures(self) -> Iterator[Regression]:
        """Yield what fails."""
        yield from (self._regression(step, one) for step, one in self.steps.items() if one is not None)

    def _regression(self, step: str, problem: Problem) -> Regression:
        """Return *problem* with the trigger or function that failed, as far as the error's context names it."""
        lines = [match for line in problem.context.splitlines() if (match := _FUNCTION.search(line))]
        names = [match["name"].strip('"') for match in lines]
        called = {one.function.split("(")[0].rpartition(".")[2].strip('"'): one for one in self.triggers}
        # The trigger calls the outermost function.
        trigger = next((called[name] for name in reversed(names) if name in called), None)
        inner = next((match["full"] for match in lines if not match["full"].startswith("pg_temp")), "")
        return Regression(step, f"{problem.message.rstrip('.')} ({problem.sqlstate})", trigger, problem.is_ours, inner)


def prepare(connection: Connection) -> None:
    """Create the functions of a rehearsal, for the length of the transaction."""
    connection.execute(package_sql("database/rehearsal").encode())


def rehearse(connection: Connection, *, first: str = "") -> Rehearsal:
    """Rehearse; needs ``prepare``, an open transaction and an empty search_path.

    *first* is SQL that runs before, in the same round trip: sign-ups wait while its locks are held.
    """
    cursor = connection.execute((first + _RUN).encode())
    row: tuple[object, ...] | None = None
    while True:
        row = cursor.fetchone() if cursor.description else row
        if not cursor.nextset():
            break
    found = cast("dict[str, dict[str, object]]", row[0] if row else {})
    steps = cast("dict[str, dict[str, str] | None]", found["steps"])
    rows = cast("dict[str, list[str] | None]", found["rows"])
    return Rehearsal(
        {step: Problem(**problem) if problem else None for step, problem in steps.items()},
        {kind: frozenset(columns) if columns else None for kind, columns in rows.items()},
        triggers(connection),
    )


def triggers(connection: Connection) -> list[Trigger]:
    """Return the project's own triggers on ``auth.users``."""
    return [
        Trigger(str(name), str(function), bool(inserts_our_row))
        for name, function, inserts_our_row in connection.execute(package_sql("database/triggers").encode())
    ]
