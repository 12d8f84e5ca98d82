"""Records of running and of ended processes."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from velro_auth.server.process_records import ProcessFile, folder_of, running


def said(folder: Path) -> list[object]:
    return [facts.get("what") for facts in running(folder, "master-")]


def write(record: ProcessFile, what: str) -> None:
    record.write({"pid": os.getpid(), "what": what})


def test_a_record_is_read_while_its_process_holds_it(tmp_path: Path) -> None:
    record = ProcessFile(tmp_path / "run", "master-1")
    assert said(tmp_path / "run") == []

    write(record, "one")
    assert said(tmp_path / "run") == ["one"]
    write(record, "two")
    assert said(tmp_path / "run") == ["two"]

    record.remove()
    assert said(tmp_path / "run") == []
    assert list((tmp_path / "run").iterdir()) == []


def test_a_stale_record_is_none_and_is_taken_away(tmp_path: Path) -> None:
    """Its number may belong to a stranger by now, whom a signal would end."""
    record = ProcessFile(tmp_path, "master-1")
    write(record, "one")
    record.close()
    (tmp_path / "master-2.json").write_text(json.dumps({"pid": os.getpid(), "what": "two"}))

    assert said(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_others_can_neither_read_a_record_nor_write_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(ProcessFile(folder, "master-1"), "one")

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "master-1.json").stat().st_mode) == 0o600


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    (tmp_path / "own").mkdir(mode=0o700)

    for name in ("shared", "link"):
        with pytest.raises(PermissionError, match="AUTH_RUN_DIR"):
            write(ProcessFile(tmp_path / name, "master-1"), "one")
        assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": "x"}', '{"pid": null}', '{"pid": 999999999}'])
def test_a_record_that_names_no_process_of_its_writer_is_none(tmp_path: Path, text: str) -> None:
    record = ProcessFile(tmp_path, "master-1")
    write(record, "one")
    (tmp_path / "master-1.json").write_text(text)

    assert said(tmp_path) == []
    record.remove()


def test_a_reader_finds_the_record_however_often_it_is_replaced(tmp_path: Path) -> None:
    record = ProcessFile(tmp_path, "master-1")
    write(record, "new")
    is_over = threading.Event()

    def replace() -> None:
        while not is_over.is_set():
            write(record, "new")

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        found = [said(tmp_path) for _ in range(500)]
    finally:
        is_over.set()
        writer.join()
        record.remove()

    assert found == [["new"]] * 500


def test_each_user_has_a_folder_and_a_setting_names_another() -> None:
    assert folder_of("").name == f"velro-auth-{os.geteuid()}"
    assert folder_of("/run/velro-auth") == Path("/run/velro-auth")
