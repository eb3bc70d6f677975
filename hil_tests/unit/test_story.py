"""The night in words: each line true to the journal and to the traces, in both languages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge import reasons
from edge.core import model
from tools.night import CarResult, Trace
from tools.story import tell

if TYPE_CHECKING:
    from pathlib import Path


def trace(loading: list[float], cars: list[int]) -> Trace:
    """Minutes from 16:00 with this loading."""
    count = len(loading)
    return Trace(
        minute=[960 + k for k in range(count)],
        loading_pct=loading,
        base_loading_pct=[x / 2 for x in loading],
        worst_phase_pct=loading,
        base_kw=[0.0] * count,
        ev_kw=[0.0] * count,
        charging=cars,
        plugged=cars,
    )


def journal(path: Path, *ticks: tuple[int, str, dict[str, int]]) -> Path:
    """A journal of (minute, mode, why)."""
    lines = [json.dumps({"now_ms": minute * 60_000, "mode": mode, "why": why}) for minute, mode, why in ticks]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_story_follows_the_journal(tmp_path: Path) -> None:
    """Start-up, the wait for the valley, a full phase and a missed request are told at their minutes."""
    path = journal(
        tmp_path / "j.jsonl",
        (960, "start-up", {"boot": 3}),
        (961, "normal", {"wait_valley": 2, "no_car": 1}),
        (962, "normal", {"wait_valley": 3}),
        (1380, "normal", {"wait_room_b": 2, "full": 1}),
    )
    car = CarResult("p1", "B", 32, 960.0, 1900.0, 9000, 4200, 1380.0, None, met=False)
    events = tell(path, trace([40.0, 60.0, 50.0], [0, 5, 1]), trace([90.0, 151.2, 80.0], [1, 2, 3]), [car])
    told = {(event.minute, event.kind): event.text_en for event in events}
    assert told[961, "mode"].startswith("the controller takes command")
    assert "waiting for the price valley. At most 3 at once, at 16:02" in told[961, "wait"]
    assert "phase B is full. At most 2 at once" in told[1380, "wait"]
    assert "3 waiting cars" in told[1380, "valley"]
    assert "60.0 %" in told[961, "peak"]
    assert "151.2 %" in told[961, "ghost"]
    assert told[1900.0, "missed"] == "p1 leaves with 4.2 of 9.0 kWh"
    assert [event.minute for event in events] == sorted(event.minute for event in events)
    assert all(event.text_zh != event.text_en for event in events)


def test_every_reason_has_a_sentence_in_both_languages() -> None:
    """No code without words, and no two codes with the same short name."""
    for code in reasons.TEXTS:
        for phase in (-1, 0, 1, 2):
            english, chinese = reasons.sentence(code, phase), reasons.sentence(code, phase, chinese=True)
            assert english
            assert "{" not in english + chinese
            assert any("一" <= sign <= "鿿" for sign in chinese)
    assert len({reasons.key(code) for code in reasons.TEXTS}) == len(reasons.TEXTS)
    codes = {value for name, value in vars(model).items() if name.isupper() and isinstance(value, int)}
    assert set(reasons.TEXTS) <= codes


def test_the_story_names_feeders_turns_and_sleepers(tmp_path: Path) -> None:
    """The reasons that a full night has too: a full feeder, cars that take turns, starts that spread, a car asleep."""
    path = journal(
        tmp_path / "j.jsonl",
        (960, "normal", {"no_car": 1}),
        (1380, "normal", {"stagger": 5, "wait_room_feeder": 2}),
        (1381, "normal", {"wait_turn": 3, "uncontrolled_feeder": 1, "asleep": 1}),
    )
    said = " ".join(event.text_en for event in tell(path, trace([40.0], [0]), trace([40.0], [0]), []))
    for words in (
        "starts are spread over ten minutes. At most 5 at once",
        "waiting: the feeder is full. At most 2",
        "waiting for its turn: others are more urgent. At most 3",
        "load outside control alone fills the feeder. At most 1",
        "asleep, or full. At most 1",
    ):
        assert words in said
