"""Runs checks, each within a time limit; a check that fails does not hide the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from velro_auth.errors import VelroAuthError
from velro_auth.health_checks import Finding, Grade, worst
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable, NotGiven

Run: TypeAlias = Callable[[DiagnosticContext], Finding]
Status: TypeAlias = Grade | Literal["skip"]

#: How long one check may take; a longer one has failed.
LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check.

    Attributes:
        name: A stable identifier, ``group.thing``.
        fix: How to fix a failure; a finding may have a more exact fix.
        needs: Checks that must not fail or be skipped, or this one is skipped.
    """

    name: str
    what: str
    why: str
    fix: str
    run: Run
    needs: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check.

    Attributes:
        give: The missing setting or option because of which it was skipped; else empty.
    """

    check: Check
    status: Status
    found: str
    fix: str = ""
    took_ms: float = 0.0
    give: str = ""


class Unknown(VelroAuthError):
    """There is no check of that name."""


def run(
    checks: Sequence[Check], context: DiagnosticContext, *, only: Iterable[str] = (), limit_s: float = LIMIT_S
) -> list[Result]:
    """Run *checks* in their order and return what they found.

    With *only*, the checks that the chosen ones need run too, and are returned if they do not pass.

    Raises:
        Unknown: *only* names a check that does not exist.
    """
    known = {check.name: check for check in checks}
    chosen = list(only) or list(known)
    if unknown := [name for name in chosen if name not in known]:
        raise Unknown(f"There is no check {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = _with_needs(chosen, known)
    results: dict[str, Result] = {}
    for check in checks:
        if check.name in wanted:
            results[check.name] = _result_of(check, context, results, limit_s)
    return [result for name, result in results.items() if name in chosen or result.status != "pass"]


def overall(results: Iterable[Result]) -> Grade:
    """Return the worst grade; skipped checks do not count."""
    return worst(result.status for result in results if result.status != "skip")


def skipped_for_lack_of(results: Iterable[Result]) -> Mapping[str, Sequence[str]]:
    """Return each missing setting or option → the names of the checks that were skipped without it."""
    missing: dict[str, list[str]] = {}
    for result in results:
        if result.give:
            missing.setdefault(result.give, []).append(result.check.name)
    return missing


def _with_needs(chosen: Iterable[str], known: Mapping[str, Check]) -> set[str]:
    wanted: set[str] = set()
    queue = list(chosen)
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += known[name].needs
    return wanted


def _result_of(check: Check, context: DiagnosticContext, before: Mapping[str, Result], limit_s: float) -> Result:
    missing = [name for name in check.needs if before[name].status in {"fail", "skip"}]
    if missing:
        # Empty where one of them failed: a setting or option would not help.
        gives = {before[name].give for name in missing}
        return Result(check, "skip", f"needs {', '.join(missing)}", give=min(gives))
    started_s = time.perf_counter()
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(_run_one(check, context)), name="doctor", daemon=True)
    thread.start()
    thread.join(limit_s)
    # The thread of a check that takes too long goes on.
    result = results[0] if results else Result(check, "fail", f"no end after {limit_s:g} s")
    fix = (result.fix or check.fix) if result.status in {"warn", "fail"} else ""
    return replace(result, fix=fix, took_ms=(time.perf_counter() - started_s) * 1000)


def _run_one(check: Check, context: DiagnosticContext) -> Result:
    try:
        finding = check.run(context)
    except NotGiven as reason:
        return Result(check, "skip", str(reason), give=reason.give)
    except NotApplicable as reason:
        return Result(check, "skip", str(reason))
    except VelroAuthError as error:
        return Result(check, "fail", error.reason or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - a defect of one check must not hide the others
        # Without its text, which may quote a secret.
        found = f"the check itself failed ({type(error).__name__})"
        return Result(check, "fail", found, "Report it, with the output of --json.")
    return Result(check, finding.status, finding.output, finding.fix)
