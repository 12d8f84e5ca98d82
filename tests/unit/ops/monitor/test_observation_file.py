"""The file: what is appended, what a crash leaves, what a full disk does."""

from __future__ import annotations

import datetime as dt
import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from velro_auth.ops.monitor.observation_file import ObservationFile, latest, new_path, read
from velro_auth.ops.verdict import NotMeasured

NOW = dt.datetime(2026, 8, 1, 12, 4, 26, tzinfo=dt.UTC)


class Said(list[str]):
    """What was said."""

    __call__ = list.append


def lines(path: Path) -> tuple[list[object], int]:
    """Return the records of a file, and how many lines were none."""
    bad = Said()
    return list(read(path, bad=lambda: bad("bad"))), len(bad)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "observe.jsonl"


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def observation_file(path: Path, said: Said) -> Iterator[ObservationFile]:
    made = ObservationFile(path, warn=said)
    made.open()
    yield made
    made.close()


def test_a_line_is_there_when_it_was_written(observation_file: ObservationFile, path: Path, said: Said) -> None:
    observation_file.write({"n": 1})
    observation_file.write({"text": "a\nb"})

    assert path.read_text() == '{"n":1}\n{"text":"a\\nb"}\n'
    assert said == []


def test_a_line_torn_off_by_a_crash_is_the_only_one_lost(path: Path, said: Said) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"n":1}\n{"n":2,"te')
    assert lines(path) == ([{"n": 1}], 1)

    observation_file = ObservationFile(path, warn=said)
    observation_file.open()
    observation_file.write({"n": 3})
    observation_file.close()

    assert lines(path) == ([{"n": 1}, {"n": 3}], 1)


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"[1]\n", b"\n", b"[" * 70_000 + b"\n"])
def test_junk_in_a_file_is_skipped(path: Path, junk: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"n":1}\n' + junk + b'{"n":2}\n')

    records, bad = lines(path)

    assert records == [{"n": 1}, {"n": 2}]
    assert bad >= 1


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path: Path, said: Said) -> None:
    (tmp_path / "file").write_text("in the way")
    observation_file = ObservationFile(tmp_path / "file" / "observe.jsonl", warn=said)

    observation_file.open()
    observation_file.write({"n": 1})
    observation_file.write({"n": 2})

    assert len(said) == 1
    assert "continues in memory" in said[0]
    assert observation_file.dropped == 2


def test_a_full_disk_is_said_once_and_so_is_its_end(observation_file: ObservationFile, path: Path, said: Said) -> None:
    """A limit on the size of files does what a full disk does: a part of a line is written, then nothing."""
    observation_file.write({"n": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 4, hard))
        observation_file.write({"n": 2})
        observation_file.write({"n": 3})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    observation_file.write({"n": 4})

    assert lines(path) == ([{"n": 1}, {"n": 4}], 1)
    assert [("cannot be written" in text, "2 lines are missing" in text) for text in said] == [
        (True, False),
        (False, True),
    ]


def test_two_monitors_do_not_write_one_file(observation_file: ObservationFile, path: Path, said: Said) -> None:
    with pytest.raises(NotMeasured, match="another monitor"):
        ObservationFile(path, warn=said).open()


def test_a_new_file_has_a_new_name(tmp_path: Path) -> None:
    first = new_path(tmp_path, NOW)
    first.touch()

    assert first.name == "observe_20260801_120426.jsonl"
    assert new_path(tmp_path, NOW).name == "observe_20260801_120427.jsonl"


def test_the_latest_is_found_by_its_name(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    for name in ("observe_20260801_120000.jsonl", "observe_20260802_110000.jsonl", "observe_20260803_110000.json"):
        (tmp_path / name).write_text(json.dumps({}))

    found = latest(tmp_path)

    assert found is not None
    assert found.name == "observe_20260802_110000.jsonl"


def test_a_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="cannot be read"):
        list(read(tmp_path / "none.jsonl"))
