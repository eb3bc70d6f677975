"""The journal: one line an entry, two generations, and a disk that fails is said once and never in control's way."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from edge.journal import RETRY_LINES, Journal

FULL = Path("/dev/full")
"""Takes what is written and has no space for it."""


def test_entries_are_lines(tmp_path: Path) -> None:
    """Each entry is one line of JSON, in order."""
    path = tmp_path / "j.jsonl"
    book = Journal(path)
    for k in range(3):
        book.write({"k": k, "text": "two\nlines"})
    book.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["k"] for line in lines] == [0, 1, 2]


def test_two_generations_are_kept(tmp_path: Path) -> None:
    """Above its size the journal starts anew and keeps the generation before, and no more."""
    path = tmp_path / "j.jsonl"
    book = Journal(path, bytes_max=100)
    for k in range(50):
        book.write({"k": k})
    book.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j.jsonl", "j.jsonl.1"]
    kept = [json.loads(line)["k"] for p in (path.with_suffix(".jsonl.1"), path) for line in p.read_text().splitlines()]
    assert kept == list(range(kept[0], 50))
    assert max(p.stat().st_size for p in tmp_path.iterdir()) < 120


def test_a_restart_goes_on_after_half_a_line(tmp_path: Path) -> None:
    """What a killed controller left is kept, and its torn last line spoils none of the next one's."""
    path = tmp_path / "j.jsonl"
    path.write_text('{"k":0}\n{"k":1,"te', encoding="utf-8")
    book = Journal(path)
    book.write({"k": 2})
    book.close()
    assert path.read_text(encoding="utf-8").splitlines() == ['{"k":0}', '{"k":1,"te', '{"k":2}']


@pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
def test_disk_full_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """H4: no space left: one warning, and then every write returns as if there were no journal."""
    book = Journal(FULL)
    with caplog.at_level(logging.INFO, "taiqu"):
        for k in range(1000):
            book.write({"k": k, "pad": "x" * 100})
        book.close()
    assert [record.getMessage() for record in caplog.records] == [
        "journal /dev/full: No space left on device. Control goes on without it"
    ]


@pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
def test_disk_full_and_then_with_room_is_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """H4: within a minute of lines after there is room again the journal goes on, and says how many are missing."""
    path, room = tmp_path / "j.jsonl", tmp_path / "room"
    path.symlink_to(FULL)
    book = Journal(path)
    with caplog.at_level(logging.INFO, "taiqu"):
        for k in range(2 * RETRY_LINES):
            book.write({"k": k})
        path.unlink()
        path.symlink_to(room)
        for k in range(2 * RETRY_LINES, 3 * RETRY_LINES):
            book.write({"k": k})
    kept = [json.loads(line)["k"] for line in room.read_text(encoding="utf-8").splitlines()]
    assert kept == list(range(2 * RETRY_LINES, 3 * RETRY_LINES))
    assert [record.getMessage() for record in caplog.records][1:] == [
        f"journal {path}: is written again, {2 * RETRY_LINES} lines are missing"
    ]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ENOSPC])
def test_disk_read_only_at_the_start_is_no_reason_not_to_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """H5: a disk in trouble before the first line is said once; mended, the journal begins."""
    path = tmp_path / "j.jsonl"
    with monkeypatch.context() as broken:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        broken.setattr(Path, "open", refuse)
        book = Journal(path)
        for k in range(RETRY_LINES):
            book.write({"k": k})
    book.write({"k": "again"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"k": "again"}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOTDIR])
def test_a_path_that_is_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What a person has to correct is said at the start."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        Journal(tmp_path / "j.jsonl")


def test_disk_eio_in_the_middle_of_a_line_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H4: half a line reaches the disk, then it fails; when it works again, the next line stands on its own."""
    path = tmp_path / "j.jsonl"
    book = Journal(path)
    assert book._file is not None
    whole = book._file

    class Torn:
        """A file that takes half of the first line, then fails."""

        def write(self, line: bytes) -> int:
            """Half of it."""
            if len(line) < len(b'{"k":0}\n'):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return whole.write(line[:4]) or 0

        def close(self) -> None:
            """Nothing to do."""

    monkeypatch.setattr(book, "_file", Torn())
    for k in range(RETRY_LINES + 1):
        book.write({"k": k})
    assert path.read_text(encoding="utf-8").splitlines() == [
        '{"k"',
        json.dumps({"k": RETRY_LINES}, separators=(",", ":")),
    ]


def test_only_a_file_is_turned_over(tmp_path: Path) -> None:
    """A journal that goes to a device or a pipe is not renamed, however much was written."""
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    book = Journal(null, bytes_max=100)
    for k in range(50):
        book.write({"k": k})
    assert [p.name for p in tmp_path.iterdir()] == ["null"]


def test_no_journal_is_no_trouble() -> None:
    """Without a path nothing is written, nowhere."""
    book = Journal(None)
    book.write({"k": 1})
    book.close()
    assert book.path is None
