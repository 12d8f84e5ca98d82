"""A pipe that is not read blocks no caller; while it is read, no line is lost."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.telemetry.answers import Child
from tests.waiting import eventually
from velro_auth.telemetry.logs import SinkHandler, configuration, dropped_lines
from velro_auth.telemetry.sink import FILE_PIECE_BYTES, MAX_WAIT_S, Sink

Fork = Callable[[Callable[[], object]], Child]

#: The smallest a pipe can be on Linux.
PIPE_BYTES = 4096
LINE = "x" * 99

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Pipe:
    """A small pipe."""

    def __init__(self) -> None:
        self.sinks: list[Sink] = []
        self.reading, self.writing = os.pipe()
        if sys.platform == "linux":
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def read_until(self, ending: bytes) -> list[bytes]:
        """Read until *ending* came."""
        data = b""
        while not data.endswith(ending):
            data += os.read(self.reading, 65536)
        return data.splitlines()

    def lines_in_it(self) -> list[bytes]:
        os.set_blocking(self.reading, False)
        data = b""
        while True:
            try:
                data += os.read(self.reading, 65536)
            except BlockingIOError:
                return data.splitlines()

    def close(self) -> None:
        # Or a thread would write into whatever is given this descriptor next.
        for sink in self.sinks:
            while not sink.flush(0.01):
                self.lines_in_it()
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def sink_of_a_worker(pipe: Pipe, *, max_lines: int = 1000, max_bytes: int = 1_000_000, gather_s: float = 0.0) -> Sink:
    """Return a sink as a forked worker has it."""
    sink = Sink(
        lambda: pipe.writing, max_lines=max_lines, max_bytes=max_bytes, gather_s=gather_s, wall_clock=lambda: 0.0
    )
    sink.after_fork()
    pipe.sinks.append(sink)
    return sink


def test_a_pipe_that_is_not_read_blocks_no_caller_and_the_loss_is_reported_once(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe, max_lines=500)
    slowest_s = 0.0

    taken = 0
    for number in range(2000):
        started = time.monotonic()
        taken += sink.write(f"{number:06} {LINE}")
        slowest_s = max(slowest_s, time.monotonic() - started)
    assert slowest_s < 0.05
    assert 500 <= taken < 2000
    assert sink.dropped == 2000 - taken

    lines = pipe.read_until(b"}\n")
    assert [int(line[:6]) for line in lines[:-1]] == sorted({int(line[:6]) for line in lines[:-1]})
    assert len(lines) - 1 == taken
    assert json.loads(lines[-1]) == {
        "message": "log lines were dropped",
        "level": "warning",
        "logger": "velro_auth.telemetry",
        "time": "1970-01-01T00:00:00Z",
        "dropped": 2000 - taken,
    }
    assert sink.write("after")
    assert pipe.read_until(b"after\n") == [b"after"]


def test_no_line_is_lost_from_many_threads_while_somebody_reads(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe, max_lines=100_000, max_bytes=100_000_000)

    def say(name: int) -> None:
        for number in range(500):
            assert sink.write(f"{name} {number} {LINE}")

    threads = [threading.Thread(target=say, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.write("end")
    lines = pipe.read_until(b"end\n")[:-1]

    assert len(lines) == 4000
    for name in range(8):
        mine = [int(line.split()[1]) for line in lines if line.startswith(b"%d " % name)]
        assert mine == list(range(500))


def test_lines_of_two_workers_never_mix(pipe: Pipe, fork: Fork) -> None:
    """More than PIPE_BUF bytes at a time could."""
    sink = Sink(lambda: pipe.writing)

    def say(letter: str) -> Callable[[], None]:
        def work() -> None:
            for _ in range(300):
                sink.write(letter * 700)

        return work

    fork(say("a"))
    fork(say("b"))

    lines: list[bytes] = []
    while len(lines) < 600:
        lines += pipe.read_until(b"\n")
    assert {bytes(set(line)) for line in lines} == {b"a", b"b"}
    assert {len(line) for line in lines} == {700}


@pytest.fixture
def _at_once() -> None:
    probe = os.pipe()
    try:
        os.pwritev(probe[1], [b"x"], -1, os.RWF_NOWAIT)
    except (OSError, AttributeError):
        pytest.skip("pipes cannot be written without waiting here; Linux knows how since 6.4")
    finally:
        for fd in probe:
            os.close(fd)


@pytest.mark.usefixtures("_at_once")
def test_a_line_for_which_there_is_room_needs_no_other_thread(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe)

    with sink._changed:  # the thread can do nothing meanwhile
        assert sink.write("one")
        assert sink.write("two")
        assert pipe.lines_in_it() == [b"one", b"two"]


@pytest.mark.usefixtures("_at_once")
def test_lines_that_follow_one_another_go_out_together(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write a line, and to wake who reads it, takes longer than to answer a token check."""
    sink, write = sink_of_a_worker(pipe, gather_s=3600), os.write
    written: list[bytes] = []

    def noted(fd: int, data: bytes) -> int:
        written.append(bytes(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", noted)

    for line in ("one", "two", "three"):
        assert sink.write(line)

    assert pipe.lines_in_it() == [b"one"]
    # As at the end of the process.
    assert sink.flush(10.0)
    assert written == [b"two\nthree\n"]


@pytest.mark.usefixtures("_at_once")
def test_lines_that_were_gathered_come_by_themselves_and_in_order(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe, gather_s=0.01)

    for number in range(300):
        assert sink.write(f"{number} {LINE}")
    sink.write("end")

    lines = pipe.read_until(b"end\n")[:-1]
    assert [int(line.split()[0]) for line in lines] == list(range(300))


def gathering(sink: Sink) -> Sink:
    """Write a line and wait until the thread lets others gather."""
    assert sink.write(f"000 {LINE}")
    eventually(lambda: sink._is_gathering)
    return sink


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was given to the system in one piece."""
    pieces: list[bytes] = []
    write = os.write

    def noted(fd: int, data: bytes) -> int:
        pieces.append(bytes(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", noted)
    monkeypatch.setattr("velro_auth.telemetry.sink._NOWAIT", 0)
    return pieces


def test_where_no_line_can_be_written_at_once_the_thread_is_woken_once_for_many(
    tmp_path: Path, written: list[bytes]
) -> None:
    """A regular file, a pipe of Linux before 6.4: to wake the thread takes longer than to answer a token check."""
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    sink = Sink(lambda: file, gather_s=3600)
    sink.after_fork()
    gathering(sink)
    for number in range(1, 1000):
        assert sink.write(f"{number:03} {LINE}")
    assert written == []

    assert sink.flush(10.0)
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert [int(line[:4]) for line in lines] == list(range(1000))
    # The second piece knows that it goes into a file: 64 KiB, which no other process can get into.
    assert [len(piece) // 104 for piece in written] == [PIPE_BYTES // 104, FILE_PIECE_BYTES // 104, 331]
    os.close(file)


def test_gathered_lines_go_into_a_pipe_in_pieces_that_no_other_process_gets_into(
    pipe: Pipe, written: list[bytes]
) -> None:
    sink = gathering(sink_of_a_worker(pipe, gather_s=3600))
    for number in range(1, 300):
        assert sink.write(f"{number:03} {LINE}")
    assert sink.write("end")
    threading.Thread(target=sink.flush, daemon=True).start()

    assert len(pipe.read_until(b"end\n")) == 301
    assert max(map(len, written)) <= PIPE_BYTES < sum(map(len, written))


@pytest.mark.parametrize("bound", [{"max_lines": 5}, {"max_bytes": 5 * 104}])
def test_gathered_lines_are_bounded(pipe: Pipe, written: list[bytes], bound: dict[str, int]) -> None:
    sink = gathering(sink_of_a_worker(pipe, gather_s=3600, **bound))

    taken = [sink.write(f"{number:03} {LINE}") for number in range(1, 10)]

    assert taken == [True] * 4 + [False] * 5
    assert sink.dropped == 5
    assert sink.flush(10.0)
    assert b"".join(written).count(LINE.encode()) == 5


@pytest.mark.usefixtures("_at_once")
def test_after_a_full_pipe_lines_need_no_other_thread_again(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe)
    os.write(pipe.writing, b"x" * PIPE_BYTES)
    assert sink.write("first")
    pipe.read_until(b"first\n")
    assert sink.flush(5.0)

    with sink._changed:
        assert sink.write("second")
        assert pipe.lines_in_it() == [b"second"]


def test_a_descriptor_that_cannot_be_written_at_once_is_not_asked_again(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(fd: int, *_: object) -> int:
        asked.append(fd)
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "pwritev", refuse, raising=False)
    monkeypatch.setattr("velro_auth.telemetry.sink._NOWAIT", 8)
    sink = sink_of_a_worker(pipe)

    for line in ("one", "two", "end"):
        assert sink.write(line)

    assert pipe.read_until(b"end\n") == [b"one", b"two", b"end"]
    assert asked == [pipe.writing]


@pytest.mark.usefixtures("_at_once")
def test_a_signal_that_logs_does_not_get_into_the_middle_of_a_line(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, real = sink_of_a_worker(pipe), os.pwritev

    def interrupted(fd: int, data: list[bytes], *flags: int) -> int:
        monkeypatch.setattr(os, "pwritev", real)
        count = real(fd, data, *flags)
        # As when the signal comes with the return of the call, and somebody reads meanwhile.
        read.append(os.read(pipe.reading, PIPE_BYTES))
        sink.write("from the handler")
        return count

    read: list[bytes] = []
    monkeypatch.setattr(os, "pwritev", interrupted)
    assert sink.write("a" * 2 * PIPE_BYTES)

    rest = pipe.read_until(b"from the handler\n")
    assert [read[0] + rest[0], rest[1]] == [b"a" * 2 * PIPE_BYTES, b"from the handler"]


def test_a_system_that_is_out_of_threads_is_asked_again(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sink = sink_of_a_worker(pipe)
    os.write(pipe.writing, b"x" * (PIPE_BYTES - 1) + b"\n")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert sink.write("first")

    assert sink.write("end")

    assert pipe.read_until(b"end\n")[1:] == [b"first", b"end"]


def test_a_line_beyond_the_bounds_is_dropped_whole(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe, max_bytes=2 * PIPE_BYTES)

    assert not sink.write("y" * 3 * PIPE_BYTES)

    assert pipe.lines_in_it() == []


def test_the_rest_of_a_line_comes_before_the_next_one(pipe: Pipe) -> None:
    sink, lines = sink_of_a_worker(pipe), ["a" * 3 * PIPE_BYTES, "b", "c" * 2 * PIPE_BYTES, "end"]

    for line in lines:
        assert sink.write(line)

    assert pipe.read_until(b"end\n") == [line.encode() for line in lines]


def test_a_short_line_does_not_overtake_a_long_one_that_waits_for_room(pipe: Pipe) -> None:
    os.write(pipe.writing, b"x" * (PIPE_BYTES - 100) + b"\n")
    sink = sink_of_a_worker(pipe)

    assert sink.write("long" * 50)
    eventually(lambda: sink._is_writing and not sink._lines)
    assert sink.write("end")

    assert pipe.read_until(b"end\n")[1:] == [b"long" * 50, b"end"]


def test_a_line_does_not_overtake_one_that_waits_for_its_thread(pipe: Pipe) -> None:
    os.write(pipe.writing, b"x" * PIPE_BYTES)
    sink = sink_of_a_worker(pipe)

    with sink._changed:  # the thread cannot take anything meanwhile
        assert sink.write("first")
        os.read(pipe.reading, PIPE_BYTES)
        assert sink.write("end")

    assert pipe.read_until(b"end\n") == [b"first", b"end"]


def test_what_was_dropped_is_said_with_the_next_line(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe, max_bytes=100)
    os.write(pipe.writing, b"x" * PIPE_BYTES)
    assert not sink.write(LINE * 2)
    os.read(pipe.reading, PIPE_BYTES)

    assert sink.write("next")

    following, notice = pipe.read_until(b"}\n")
    assert following == b"next"
    assert json.loads(notice)["dropped"] == 1


def test_a_file_gets_every_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    sink = Sink(lambda: fd)
    sink.after_fork()

    for number in range(500):
        assert sink.write(str(number))

    assert sink.flush(5.0)
    assert path.read_text().splitlines() == [str(number) for number in range(500)]
    os.close(fd)


def test_the_bytes_that_wait_are_bounded(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe, max_bytes=50_000)

    while sink.write("y" * 9_999):
        pass

    assert sink.dropped == 1
    assert sum(map(len, sink._lines)) <= 50_000


def test_a_child_does_not_say_again_what_its_parent_has_not_said_yet(pipe: Pipe, fork: Fork) -> None:
    sink = sink_of_a_worker(pipe)
    for _ in range(100):
        sink.write(LINE)

    fork(lambda: sink.write("of the child"))
    sink.write("last")
    lines: list[bytes] = []
    while len(lines) < 102:
        lines += pipe.read_until(b"\n")

    assert sorted(lines) == sorted([LINE.encode()] * 100 + [b"of the child", b"last"])


def test_the_process_that_built_it_starts_no_thread_and_waits_only_once(pipe: Pipe) -> None:
    """gunicorn's master forks again and again, and forking with threads is asking for trouble."""
    sink, before = Sink(lambda: pipe.writing), set(threading.enumerate())
    while sink.write(LINE):
        pass
    assert not set(threading.enumerate()) - before

    started = time.monotonic()
    for _ in range(100):
        assert not sink.write(LINE)
    assert time.monotonic() - started < MAX_WAIT_S

    assert sink.dropped == 101
    assert all(line == LINE.encode() for line in pipe.lines_in_it())
    assert sink.write("again")
    notice, again = pipe.lines_in_it()
    assert json.loads(notice)["dropped"] == 101
    assert again == b"again"


def test_a_descriptor_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    """Another process that shares stdout may have made it so."""
    os.set_blocking(pipe.writing, False)
    sink = sink_of_a_worker(pipe)

    for _ in range(500):
        assert sink.write(LINE)
    sink.write("end")

    assert len(pipe.read_until(b"end\n")) == 501


def test_a_closed_pipe_is_counted_and_stops_no_caller(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe)
    os.close(pipe.reading)
    pipe.reading = os.open(os.devnull, os.O_RDONLY)

    assert sink.write(LINE)
    assert sink.flush(5.0)

    eventually(lambda: sink.dropped)
    assert sink.dropped == 1


def test_a_full_disk_is_counted() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    fd = os.open(full, os.O_WRONLY)
    sink = Sink(lambda: fd)

    assert not sink.write(LINE)

    assert sink.dropped == 1
    os.close(fd)


def test_a_taken_line_that_is_lost_is_told_and_the_next_one_begins_anew(tmp_path: Path) -> None:
    """The disk fills up in the middle of a line: what follows must not continue it."""
    path, lost = tmp_path / "lines", []
    reader, writer = os.pipe()
    fds = iter([writer])
    sink = Sink(lambda: next(fds))
    sink.after_fork()
    os.close(reader)
    assert sink.write("lost", lambda: lost.append("lost"))
    eventually(lambda: lost == ["lost"] and sink.dropped == 1)

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"half a li")
    os.dup2(fd, writer)
    sink._is_torn = True
    assert sink.write("next", lambda: lost.append("next"))
    assert sink.flush(5.0)

    torn, following, notice = path.read_bytes().splitlines()
    assert (torn, following, lost) == (b"half a li", b"next", ["lost"])
    assert json.loads(notice)["dropped"] == 1
    os.close(fd)
    os.close(writer)


def test_flushing_gives_up_in_time(pipe: Pipe) -> None:
    sink = sink_of_a_worker(pipe)
    for _ in range(500):
        sink.write(LINE)

    started = time.monotonic()

    assert not sink.flush(0.1)
    assert 0.09 <= time.monotonic() - started < 1.0


SCRIPT = """
import logging, logging.config, os, sys
from velro_auth.telemetry.logs import configuration
logging.config.dictConfig(configuration())
logging.getLogger("master").info("before the fork")
if os.fork() == 0:
    for number in range(3000):
        logging.getLogger("worker").info("line %d", number)
    sys.exit()
os.wait()
"""


def test_a_process_that_ends_has_written_all_its_lines() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["message"] for line in lines] == ["before the fork", *(f"line {number}" for number in range(3000))]
    assert done.stderr == ""


def test_a_process_whose_pipe_is_not_read_ends_all_the_same(pipe: Pipe) -> None:
    started = time.monotonic()

    subprocess.run([sys.executable, "-c", SCRIPT], stdout=pipe.writing, check=True, timeout=60)

    assert time.monotonic() - started < 30


def test_dropped_lines_of_the_process_are_known_to_the_metrics(pipe: Pipe) -> None:
    assert dropped_lines() == 0
    handler = SinkHandler(Sink(lambda: pipe.writing))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        while handler.sink.write(LINE):
            pass
        assert dropped_lines() == handler.sink.dropped == 1
    finally:
        root.removeHandler(handler)


def test_a_record_that_cannot_be_formatted_stops_no_caller(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    handler = SinkHandler(Sink(lambda: pipe.writing))

    handler.emit(logging.LogRecord("a", logging.INFO, "", 0, "%d", ("no number",), None))

    assert "Logging error" in capsys.readouterr().err
    assert pipe.lines_in_it() == []


def test_levels_are_what_the_settings_say() -> None:
    assert configuration("warning")["root"]["level"] == "WARNING"
    assert configuration()["handlers"]["stdout"]["()"] is SinkHandler
