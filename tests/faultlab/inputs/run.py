"""Runs a part and keeps what came of it."""

from __future__ import annotations

import contextlib
import logging
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from unittest import mock

from tests.faultlab.inputs.part import Part, Wrong

#: Fewest inputs of a part, however few there are in all.
FLOOR: Final = 1000
#: Kinds of failures that are kept with their first input.
MAX_KINDS: Final = 20
#: One part's result, as the file holds it.
Row: TypeAlias = dict[str, Any]


def share_of(part: type[Part], count: int) -> int:
    """Return how many of *count* inputs are those of a part."""
    return max(FLOOR, count * part.share // 1000)


def run_part(part: type[Part], count: int, seed: int, *, at: int = 0) -> Row:
    """Give *count* inputs to the parsers of a part, from number *at*; return its row."""
    started_s, verdicts, reached = time.perf_counter(), Counter[str](), Counter[str]()
    kinds: dict[str, dict[str, Any]] = {}
    with contextlib.closing(part()) as its, _counted(its) as touched, _logged() as its.records:
        for number in range(at, at + count):
            its.records.clear()
            touched.clear()
            # Each from its number alone, so that one can be tried again.
            given = its.make(random.Random(f"{seed} {part.name} {number}"))  # noqa: S311
            try:
                verdicts[_verdict(its, given)] += 1
            except Exception as error:  # noqa: BLE001 - whatever it was, the parser should not have raised it
                kind = str(error) if isinstance(error, Wrong) else place_of(error)
                told = {
                    "kind": kind,
                    "count": 0,
                    "at": number,
                    "input": repr(given),
                    "told": _notes(error, its.records),
                }
                kinds.setdefault(kind if len(kinds) < MAX_KINDS else "others", told)["count"] += 1
            reached.update(touched)
        lacks = [] if at else [*_lacks(its, count, reached, verdicts), *its.lacks()]
    return {
        "part": part.name,
        "inputs": count,
        "reached": dict(reached),
        "verdicts": dict(verdicts.most_common()),
        "failures": list(kinds.values()),
        "lacks": lacks,
        "took_s": round(time.perf_counter() - started_s, 1),
    }


def _verdict(its: Part, given: Any) -> str:
    verdict = its.judge(given)
    for record in its.records:
        if record.exc_info:
            raise Wrong("a defect is logged: " + "; ".join(_defects([record])))
    return verdict


def _lacks(its: Part, count: int, reached: Counter[str], verdicts: Counter[str]) -> list[str]:
    """Return what shows that inputs did not get to their parsers, or that these answer all of them alike."""
    if not its.parsers or not its.wanted:
        return ["names no parser, or no verdict"]
    least = count if len(its.parsers) == 1 else count // (4 * len(its.parsers))
    told = [f"{name} was reached by {reached[name]} of {count}" for _, name in its.parsers if reached[name] < least]
    return told + [f"no input was {verdict!r}" for verdict in sorted(its.wanted - verdicts.keys())]


@contextlib.contextmanager
def _counted(its: Part) -> Iterator[set[str]]:
    """Note the names of the parsers that are called within the block."""
    touched: set[str] = set()

    def counted(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            touched.add(name)
            return real(*given, **named)

        return call

    with contextlib.ExitStack() as patches:
        for owner, name in its.parsers:
            patches.enter_context(mock.patch.object(owner, name, counted(getattr(owner, name), name)))
        yield touched


class _Kept(logging.Handler):
    """Keeps what is logged in a list."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def _logged() -> Iterator[list[logging.LogRecord]]:
    """Keep what is logged within the block, at every level, and show it nowhere."""
    root, handler = logging.getLogger(), _Kept()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG)
    try:
        yield handler.records
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def place_of(error: BaseException) -> str:
    """Return the class of an error, and the line of ours that it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    ours = [frame for frame in frames if "velro_auth" in Path(frame.filename).parts] or frames
    return f"{type(error).__name__} in {Path(ours[-1].filename).name}, {ours[-1].name}"


def _notes(error: Exception, records: Sequence[logging.LogRecord]) -> list[str]:
    """Return what helps to understand a failure: the text and the notes of the error, and the defects in the log."""
    return [str(error), *getattr(error, "__notes__", ()), *_defects(records)]


def _defects(records: Sequence[logging.LogRecord]) -> list[str]:
    return [place_of(record.exc_info[1]) for record in records if record.exc_info and record.exc_info[1]]


def is_good(row: Row) -> bool:
    """Return whether a part passed."""
    return not row["failures"] and not row["lacks"]


def line_of(row: Row) -> str:
    """Return the line that is printed of a part."""
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in row["verdicts"].items())
    word = "passed" if is_good(row) else "FAILED"
    return f"{row['part']:22} {word}  {row['inputs']:9,} inputs  {row['took_s']:6.1f} s  {verdicts}"
