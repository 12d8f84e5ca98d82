"""How checks are run: each within a limit, each on its own, none hidden by another that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from velro_auth.checks import Finding, Grade, worst
from velro_auth.doctor.case import Case, NotApplicable
from velro_auth.errors import VelroAuthError

Status: TypeAlias = Grade | Literal["skip"]

#: How long one check may take. What hangs longer is a finding of its own.
LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that can be wrong.

    Attributes:
        name: A stable identifier, ``group.thing``.
        what: What is looked at, as one sentence.
        why: Why it matters.
        mend: The exact mend; a finding may know a better one.
        look: Looks, and returns what was found.
        needs: Checks without whose success this one has nothing to look at.
    """

    name: str
    what: str
    why: str
    mend: str
    look: Callable[[Case], Finding]
    needs: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """What it belongs to."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Result:
    """What one check came to."""

    check: Check
    status: Status
    found: str
    mend: str
    took_ms: float


class Unknown(VelroAuthError):
    """There is no check of that name."""


def run(checks: Sequence[Check], case: Case, *, only: Iterable[str] = (), limit_s: float = LIMIT_S) -> list[Result]:
    """Run *checks* in their order and return what they found.

    With *only*, what the chosen ones need is looked at too, and told where it is not well.

    Args:
        checks: All there are; a check comes after those it needs.
        case: What they look at.
        only: Names of the ones to run; all when empty.
        limit_s: How long each may take.

    Raises:
        Unknown: *only* names a check that does not exist.
    """
    known = {check.name: check for check in checks}
    chosen = list(only) or list(known)
    if strangers := [name for name in chosen if name not in known]:
        raise Unknown(f"There is no check {', '.join(strangers)}; there are {', '.join(known)}")
    wanted = _with_needs(chosen, known)
    results: dict[str, Result] = {}
    for check in checks:
        if check.name in wanted:
            results[check.name] = _examine(check, case, results, limit_s)
    return [result for name, result in results.items() if name in chosen or result.status != "pass"]


def overall(results: Iterable[Result]) -> Grade:
    """Return the worst grade; what was skipped is none."""
    return worst(result.status for result in results if result.status != "skip")


def _with_needs(chosen: Iterable[str], known: Mapping[str, Check]) -> set[str]:
    wanted: set[str] = set()
    waiting = list(chosen)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += known[name].needs
    return wanted


def _examine(check: Check, case: Case, before: Mapping[str, Result], limit_s: float) -> Result:
    missing = [name for name in check.needs if before[name].status in {"fail", "skip"}]
    if missing:
        return Result(check, "skip", f"needs {', '.join(missing)}", "", 0.0)
    started_s = time.perf_counter()
    status, found, mend = _within(limit_s, lambda: _look(check, case))
    advice = (mend or check.mend) if status in {"warn", "fail"} else ""
    return Result(check, status, found, advice, (time.perf_counter() - started_s) * 1000)


def _look(check: Check, case: Case) -> tuple[Status, str, str]:
    try:
        finding = check.look(case)
    except NotApplicable as reason:
        return "skip", str(reason), ""
    except VelroAuthError as error:
        return "fail", error.reason or type(error).__name__, ""
    except Exception as error:  # noqa: BLE001 - a defect of one check must not hide the others
        # Its text stays out: nobody knows what an unforeseen error quotes.
        return "fail", f"the check itself failed ({type(error).__name__})", "Report it, with the output of --json."
    return finding.status, finding.output, finding.mend


def _within(limit_s: float, look: Callable[[], tuple[Status, str, str]]) -> tuple[Status, str, str]:
    """Return what *look* returns; a failure when that takes too long. Its thread is left behind."""
    told: list[tuple[Status, str, str]] = []
    thread = threading.Thread(target=lambda: told.append(look()), name="doctor", daemon=True)
    thread.start()
    thread.join(limit_s)
    return told[0] if told else ("fail", f"no end after {limit_s:g} s", "")
