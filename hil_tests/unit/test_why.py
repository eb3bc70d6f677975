"""``taiqu why``: what the journal says of each charger, in both languages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edge import reasons
from tools.cli import main

if TYPE_CHECKING:
    from pathlib import Path

LINES = (
    {"now_ms": 1000, "wall_s": None, "reasons": [["p1", "no_car"], ["p2", "no_car"]], "promised": []},
    {"now_ms": 2000, "wall_s": 1768490000.0, "reasons": [["p1", "wait_valley"]], "promised": [["p1", 9000, ""]]},
    {"now_ms": 3000, "wall_s": 1768490001.0, "reasons": [["p1", "wait_valley"], ["p2", "no_car"]], "promised": []},
    {"now_ms": 4000, "wall_s": 1768490002.0, "reasons": [["p1", "shared_b"]], "promised": [["p1", 4200, "room"]]},
    {"now_ms": 5000, "wall_s": 1768490003.0, "utc_offset_s": 28800, "reasons": [["p1", "shared"]], "promised": []},
)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of four ticks whose first two are in the older generation, with half a line at the end of it."""
    path = tmp_path / "j.jsonl"
    lines = [json.dumps(line) + "\n" for line in LINES]
    (tmp_path / "j.jsonl.1").write_text("".join(lines[:2]) + '{"now_ms": 25', encoding="utf-8")
    path.write_text("".join(lines[2:]), encoding="utf-8")
    return path


def test_without_a_charger_the_present_of_all(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, with the sentence in both languages."""
    assert main(["why", str(journal)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "p1 " in first
    assert "the transformer is full  限流充电：配变已满" in first
    assert first.startswith("2026-01-15 23:13:23")
    assert second.startswith("1 s ")
    assert "no car plugged in  未插枪" in second


def test_the_story_of_one_charger(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every change of its reason and every promise, in order of time, once."""
    assert main(["why", str(journal), "p1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["what"], row["key"]) for row in rows] == [
        ("reason", "no_car"), ("reason", "wait_valley"), ("promise", ""), ("reason", "shared_b"), ("promise", "room"),
    ]  # fmt: skip
    assert rows[-1]["english"] == "promised: 4.2 kWh by its departure, the transformer has no room for more"


def test_every_reason_has_its_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the controller writes is read back as words."""
    keys = [reasons.key(code, phase) for code in reasons.TEXTS for phase in (-1, 0, 4)]
    path = tmp_path / "j"
    rows = [[f"p{k}", key] for k, key in enumerate(keys)]
    path.write_text(json.dumps({"now_ms": 1, "wall_s": None, "reasons": rows, "promised": []}), encoding="utf-8")
    assert main(["why", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said) == len(keys)
    assert all(row["english"] != row["key"] != row["chinese"] for row in said)


@pytest.mark.parametrize(
    ("name", "charger", "word"), [("gone", "p1", "is no file"), ("j.jsonl", "p9", "Known: p1, p2.")]
)
def test_what_cannot_be_answered_is_one_line(
    journal: Path, capsys: pytest.CaptureFixture[str], name: str, charger: str, word: str
) -> None:
    """No such file, no such charger: exit code 2 and what to do."""
    assert main(["why", str(journal.with_name(name)), charger]) == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "# no journal\n", '{"a": 1}\n'])
def test_a_file_that_is_no_journal_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to tell is not silence: one line, exit code 2."""
    path = tmp_path / "area.toml"
    path.write_text(text, encoding="utf-8")
    assert main(["why", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "is no journal, or an empty one" in said.err


def test_a_feeder_is_named_in_both_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The journal writes the feeder's name behind the key."""
    path = tmp_path / "j.jsonl"
    line = {"now_ms": 1000, "wall_s": None, "reasons": [["p1", "wait_room_feeder north"]], "promised": []}
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert main(["why", str(path), "p1"]) == 0
    said = capsys.readouterr().out
    assert "waiting: feeder north is full" in said
    assert "馈线 north 已满" in said


def test_what_the_daemon_says_of_itself_is_passed_over(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A crash and a configuration that is not in force stand in the journal too, and spoil nobody's story."""
    assert main(["why", str(journal), "--json"]) == 0
    before = capsys.readouterr().out
    with journal.open("a", encoding="utf-8") as lines:
        lines.write('{"now_ms":6000,"config":"last good","file":"area.toml","problems":["area.toml: ..."]}\n')
        lines.write('{"now_ms":7000,"wall_s":1768490009.0,"crash":"Traceback ..."}\n')
    assert main(["why", str(journal), "--json"]) == 0
    assert capsys.readouterr().out == before
