"""How checks are run: each within a limit, each on its own, none hidden by another that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from velro_auth.errors import VelroAuthError
from velro_auth.health_checks import Finding, Grade, worst
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable, NotGiven

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
    look: Callable[[DiagnosticContext], Finding]
    needs: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """What it belongs to."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Result:
    """What one check came to.

    Attributes:
        check: Which one.
        status: How good it is, or that there was nothing to look at.
        found: What was found, or why nothing was looked at.
        mend: What to do about it.
        took_ms: How long it took.
        give: What the doctor has to be given so that it can look; empty when that is not the reason.
    """

    check: Check
    status: Status
    found: str
    mend: str
    took_ms: float
    give: str = ""


class Unknown(VelroAuthError):
    """There is no check of that name."""


def run(
    checks: Sequence[Check], case: DiagnosticContext, *, only: Iterable[str] = (), limit_s: float = LIMIT_S
) -> list[Result]:
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


def not_made(results: Iterable[Result]) -> Mapping[str, Sequence[str]]:
    """Return what the doctor was not given → the names of the checks that it could not make without it."""
    lacking: dict[str, list[str]] = {}
    for result in results:
        if result.give:
            lacking.setdefault(result.give, []).append(result.check.name)
    return lacking


def _with_needs(chosen: Iterable[str], known: Mapping[str, Check]) -> set[str]:
    wanted: set[str] = set()
    waiting = list(chosen)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += known[name].needs
    return wanted


def _examine(check: Check, case: DiagnosticContext, before: Mapping[str, Result], limit_s: float) -> Result:
    missing = [name for name in check.needs if before[name].status in {"fail", "skip"}]
    if missing:
        # Where one of them failed, giving more would not help.
        gives = {before[name].give for name in missing}
        return Result(check, "skip", f"needs {', '.join(missing)}", "", 0.0, give=min(gives))
    started_s = time.perf_counter()
    looked = _within(limit_s, lambda: _look(check, case))
    advice = (looked.mend or check.mend) if looked.status in {"warn", "fail"} else ""
    took_ms = (time.perf_counter() - started_s) * 1000
    return Result(check, looked.status, looked.found, advice, took_ms, give=looked.give)


@dataclass(frozen=True, slots=True)
class _Looked:
    status: Status
    found: str
    mend: str = ""
    give: str = ""


def _look(check: Check, case: DiagnosticContext) -> _Looked:
    try:
        finding = check.look(case)
    except NotGiven as reason:
        return _Looked("skip", str(reason), give=reason.give)
    except NotApplicable as reason:
        return _Looked("skip", str(reason))
    except VelroAuthError as error:
        return _Looked("fail", error.reason or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - a defect of one check must not hide the others
        # Its text stays out: nobody knows what an unforeseen error quotes.
        found = f"the check itself failed ({type(error).__name__})"
        return _Looked("fail", found, "Report it, with the output of --json.")
    return _Looked(finding.status, finding.output, finding.fix)


def _within(limit_s: float, look: Callable[[], _Looked]) -> _Looked:
    """Return what *look* returns; a failure when that takes too long. Its thread is left behind."""
    told: list[_Looked] = []
    thread = threading.Thread(target=lambda: told.append(look()), name="doctor", daemon=True)
    thread.start()
    thread.join(limit_s)
    return told[0] if told else _Looked("fail", f"no end after {limit_s:g} s")
