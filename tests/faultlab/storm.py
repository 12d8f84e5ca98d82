"""A storm of guesses from one address, as a process of its own.

Two hundred guesses a second in the lab's own process take the interpreter from the threads whose logins are measured.
That counts as time of the gateway, and so does what a client takes that does more than it must.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from benchmarks.wire import Line
from tests.faultlab.client import TIMEOUT_S, Reply
from tests.faultlab.invariants import CANARY
from tests.faultlab.load import Load
from tests.faultlab.raw import login
from tests.fixtures.programs import ROOT, clean_environment

_BEGIN: Final = "begin\n"
_END: Final = "end\n"


class Storm:
    """A process that guesses when it is told to.

    Args:
        process: It waits.

    Attributes:
        replies: What its guesses were answered, with status and time only.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.replies: list[Reply] = []

    @contextlib.contextmanager
    def guesses(self) -> Iterator[None]:
        """Guess during the block; afterwards nothing is in flight."""
        self._tell(_BEGIN)
        yield
        self._tell(_END)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.replies += [Reply(status, {}, b"", took_s) for status, took_s in told]

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


@contextlib.contextmanager
def storming(port: int, *, address: str, rps: float, seed: int) -> Iterator[Storm]:
    """Start the process, and end it with the block.

    Args:
        port: Of the gateway, on loopback.
        address: Whom the guesses come from, as the platform's edge says it.
        rps: Guesses a second, on average, each for another account.
        seed: The same seed gives the same times.
    """
    command = [sys.executable, "-m", "tests.faultlab.storm", str(port), address, str(rps), str(seed)]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        # Closing its standard input ends it.
        yield Storm(process)


def main(port: int, address: str, rps: float, seed: int) -> None:
    """Guess between the lines ``begin`` and ``end`` on standard input; answer the second with a line of JSON."""
    idle: list[Line] = []
    numbers = itertools.count()

    def guess(_: int, due_s: float) -> Reply:
        request = login(f"victim{next(numbers)}@lab.example.com", f"{CANARY}wrong", f"X-Real-IP: {address}\r\n")
        try:
            line = idle.pop()
        except IndexError:
            line = Line(port, timeout_s=TIMEOUT_S)
        try:
            # Kept, as a gateway's connections are.
            status, _body = line.ask(request.replace(b"Connection: close\r\n", b""))
        except OSError:
            line.close()
            return Reply(0, {}, b"", time.monotonic() - due_s)
        idle.append(line)
        return Reply(status, {}, b"", time.monotonic() - due_s)

    _say([])
    for turn, order in enumerate(sys.stdin):
        assert order == _BEGIN
        with Load(guess, rps=rps, seed=seed + turn) as load:
            assert sys.stdin.readline() == _END
        while idle:
            idle.pop().close()
        _say([(reply.status, reply.took_s) for reply in load.replies])


def _say(told: list[tuple[int, float]]) -> None:
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
