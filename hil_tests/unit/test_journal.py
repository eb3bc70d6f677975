"""The journal: one line an entry, two generations, and a disk that fails is said once and never in control's way."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from edge.journal import Journal

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
def test_a_full_disk_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """No space left: one warning, and then every write returns as if there were no journal."""
    book = Journal(FULL)
    with caplog.at_level(logging.WARNING, "taiqu"):
        for k in range(1000):
            book.write({"k": k, "pad": "x" * 100})
        book.close()
    assert [record.getMessage() for record in caplog.records] == [
        "journal /dev/full: No space left on device. Control goes on without it"
    ]


@pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
def test_last_lines_lost_at_the_end_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """What the buffer held is lost at the end: said, not raised."""
    book = Journal(FULL)
    book.write({"k": 1})
    with caplog.at_level(logging.WARNING, "taiqu"):
        book.close()
    assert "Its last lines are lost" in caplog.text


def test_no_journal_is_no_trouble() -> None:
    """Without a path nothing is written, nowhere."""
    book = Journal(None)
    book.write({"k": 1})
    book.close()
    assert book.path is None
