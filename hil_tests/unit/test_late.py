"""The late fallback from the controller's side: what it tells, when it tells it again, and what it counts meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from edge import config as cfg
from edge.clock import Moment
from edge.config import ChargerConfig, ChargingConfig
from edge.core import obey
from edge.core.lease import turn_of
from edge.core.ledger import at_once
from edge.core.model import CHARGING, FINISHED, UNPLUGGED, WAITING, Charger, Command, Meter, Place
from edge.fleet import Fleet
from edge.journal import Journal
from edge.late import EARLY_MS, NEAR_MS, SPREAD_MS, WAIT_MS, Late
from edge.loop import Controller
from edge.ports import ChargerState, Message, Setpoint
from edge.turns import in_turns

if TYPE_CHECKING:
    from pathlib import Path

HOUR_MS = 3_600_000
NOW = 100 * HOUR_MS
EVENING = Late(NOW, NOW + 2 * HOUR_MS, NOW + 10 * HOUR_MS)


# ------------------------------------------------------------------------------------------------------ what is told
def test_before_the_valley_its_beginning_is_told_and_its_end() -> None:
    """Seconds from the charger's last word, its own delay among the others added; the end is the same for all."""
    ma, after_s, until_s = EVENING.told("p001", NOW - 10_000)
    spread_s = turn_of("p001") * SPREAD_MS / 65_536 / 1000
    assert (ma, until_s) == (6000, 10 * 3600 + 10)
    assert after_s == pytest.approx(2 * 3600 + 10 + spread_s, abs=1)


def test_starts_are_spread_over_ten_minutes() -> None:
    """A hundred chargers begin all over ten minutes, none before the valley, and in no minute more than two dozen."""
    begins = [(EVENING.told(f"p{k:03d}", NOW)[1] - 7200) for k in range(100)]
    assert 0 <= min(begins) <= max(begins) <= 600
    assert all(2 <= sum(at // 60 == minute for at in begins) <= 24 for minute in range(10))


def test_inside_the_valley_it_is_a_quarter_of_an_hour_ahead() -> None:
    """A controller that lives puts it off: a restart sets nothing free."""
    inside = Late(NOW, NOW - HOUR_MS, NOW + HOUR_MS)
    assert WAIT_MS / 1000 <= inside.told("p001", NOW)[1] <= (WAIT_MS + SPREAD_MS) / 1000
    assert inside.told("p001", NOW)[2] == 3600


def test_at_the_end_of_the_valley_nothing_is_told() -> None:
    """Where the quarter of an hour and the delay end after the valley there is no late fallback."""
    assert Late(NOW, NOW - HOUR_MS, NOW + WAIT_MS).told("p001", NOW) == (0, 0, 0)
    assert Late(NOW, NOW - HOUR_MS, NOW + WAIT_MS + SPREAD_MS + 2000).told("p001", NOW)[0] == 6000


# ------------------------------------------------------------------------------------------- whom it is told, and when
class Street:
    """One charger that keeps what it is told, and the fleet that tells it."""

    def __init__(self, late: Late | None = EVENING, slots: int = 1, fallback_ma: int = 0, says_slots: int = 1) -> None:
        charging = ChargingConfig(fallback_ma, 60_000, 9000, 420, (), 8, slots)
        self.fleet = Fleet([ChargerConfig("a", 1, True, 32_000)], charging, lambda _wish, now_ms: now_ms + 36_000_000)
        self.fleet.epoch, self.fleet.late = 5, late
        self.now_ms, self.fallback_ma, self.says_slots = NOW, fallback_ma, says_slots
        self.kept: Setpoint | None = None

    def say(self, **changes: Any) -> Street:  # noqa: ANN401 - fields of a state
        """Telemetry of now: a waiting car, what was told last accepted with its late fallback."""
        told = self.kept
        row = {
            "charger": "a", "boot": 7, "tick_ms": self.now_ms, "epoch": 5,
            "seq": told.seq if told else 0, "plug": WAITING, "ma": (0, 0, 0), "w": 0, "wh": 0,
            "allowed_ma": self.fallback_ma, "lease_ms": 0, "fallback_ma": self.fallback_ma, "max_ma": 32_000,
            "slots": self.says_slots, "late_ma": told.late_ma if told else 0,
        }  # fmt: skip
        self.fleet.hear([ChargerState(**{**row, **changes})], self.now_ms)
        return self

    def tell(self, ma: int = 0, *, renew: bool = True, arrives: bool = True) -> list[Setpoint]:
        """One tick; what was due has left."""
        if self.fleet.late is not None:
            self.fleet.late = Late(self.now_ms, self.fleet.late.from_ms, self.fleet.late.until_ms)
        due = self.fleet.due([Command("a", ma, 0, -1, renew)], self.now_ms)
        for setpoint in due:
            self.fleet.sent(setpoint, self.now_ms)
            self.kept = setpoint if arrives else self.kept
        return due

    def wait(self, seconds: float) -> Street:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)
        return self

    def possible_ma(self) -> int:
        """What the fleet counts for it."""
        most: int = self.fleet.view(self.now_ms)[0].possible_ma
        return most


@pytest.mark.parametrize("plug", [UNPLUGGED, WAITING, CHARGING, FINISHED])
def test_everybody_is_told_once_and_then_left_alone(plug: int) -> None:
    """With a car or without one: a word is answered with the late fallback, and while that is far off with no other."""
    street = Street()
    (told,) = street.say(plug=plug).tell()
    assert (told.ma, told.late_ma) == (0, 6000)
    assert [len(street.wait(120).say(plug=plug).tell()) for _ in range(5)] == [0] * 5


def test_what_was_lost_is_told_again_and_what_was_rebooted_away() -> None:
    """A charger that says it keeps none gets one; the same word is not answered twice."""
    street = Street()
    assert len(street.say().tell(arrives=False)) == 1
    assert len(street.tell()) == 0
    assert len(street.wait(20).say().tell()) == 1
    assert len(street.wait(120).say().tell()) == 0
    assert len(street.wait(120).say(boot=8, epoch=0, seq=0, late_ma=0).tell()) == 1


def test_old_word_is_not_answered_for_its_sake() -> None:
    """It is taken on a recent echo only: the next word is waited for."""
    street = Street().say()
    assert street.wait(16).tell() == []
    assert len(street.say().tell()) == 1


def test_it_is_put_off_before_it_comes_near() -> None:
    """Through a whole night in the valley: told again every few minutes, never nearer than a controller's restart."""
    street = Street(Late(NOW, NOW, NOW + 9 * HOUR_MS))
    street.say().tell()
    count = 0
    while street.now_ms < NOW + 8 * HOUR_MS:
        count += len(street.wait(120).say().tell())
        rows = street.fleet.units["a"].late
        assert min(row.from_ms for row in rows) - street.now_ms > NEAR_MS - 120_000
        assert street.possible_ma() == 0
    assert 8 * 3600 / 900 < count < 8 * 3600 / 200


def test_controller_that_lives_lets_the_valley_end_without_one() -> None:
    """In the last quarter of an hour it is taken away; the next night is told when the next window is known."""
    street = Street(Late(NOW, NOW, NOW + WAIT_MS + SPREAD_MS + HOUR_MS))
    while street.now_ms < NOW + HOUR_MS + SPREAD_MS + 600_000:
        street.say().tell()
        street.wait(60)
    assert street.kept is not None
    assert street.kept.late_until_s == 0
    assert street.say().tell() == []
    street.fleet.late = Late(street.now_ms, street.now_ms + 20 * HOUR_MS, street.now_ms + 23 * HOUR_MS)
    (told,) = street.wait(60).say().tell()
    assert told.late_after_s >= 19 * 3600


def test_window_that_moves_is_told_anew() -> None:
    """The wall clock was set right by five hours: the end that was told is no longer the end that is meant."""
    street = Street()
    street.say().tell()
    assert street.wait(60).say().tell() == []
    street.fleet.late = Late(street.now_ms, EVENING.from_ms + 5 * HOUR_MS, EVENING.until_ms + 5 * HOUR_MS)
    (told,) = street.wait(60).say().tell()
    assert told.late_after_s >= 6 * 3600


def test_nobody_wants_it_any_more_and_it_is_taken_away() -> None:
    """Local time is lost, or it fits no more: who keeps one is told without, once."""
    street = Street()
    street.say().tell()
    street.fleet.late = None
    (told,) = street.wait(60).say().tell()
    assert told.late_until_s == 0
    assert street.wait(60).say(late_ma=0).tell() == []


def test_safe_renews_no_current_for_its_sake() -> None:
    """Without renewals a charger above its fallback is not told for this alone; at 0 A it is: that gives nothing."""
    street = Street()
    street.say().tell(16_000)
    charging = {"plug": CHARGING, "allowed_ma": 16_000, "ma": (16_000, 0, 0), "lease_ms": 30_000, "late_ma": 0}
    assert street.wait(10).say(**charging).tell(16_000, renew=False) == []
    street = Street()
    assert [s.ma for s in street.say().tell(0, renew=False)] == [0]


def test_without_a_window_nothing_is_said_of_it() -> None:
    """Where it does not fit, setpoints are as ever."""
    street = Street(late=None)
    assert street.say().tell() == []
    (told,) = street.wait(1).say().tell(6000)
    assert (told.late_ma, told.late_after_s, told.late_until_s) == (0, 0, 0)


# ---------------------------------------------------------------------------------------------------- what is counted
def test_charger_that_may_have_lost_its_lease_counts_its_late_current() -> None:
    """Told in the evening and never heard again: 6 A from the earliest beginning of its valley to its latest end."""
    street = Street()
    street.say().tell(16_000)
    counts = []
    for minutes in range(13 * 60):
        counts.append((minutes, street.possible_ma()))
        street.wait(60)
    on = [minute for minute, ma in counts if ma == 6000]
    begins = 120 + turn_of("a") * 10 / 65_536
    assert begins * 0.98 - 2 < on[0] <= begins
    assert 600 <= on[-1] <= 600 * 1.02 + 1
    assert on == list(range(on[0], on[-1] + 1))
    assert [ma for minute, ma in counts if 2 < minute < on[0] or minute > on[-1]] == [0] * (len(counts) - len(on) - 3)


def test_late_fallback_of_an_earlier_controller_counts_until_it_is_replaced() -> None:
    """It keeps one that this controller has not sent: until it echoes ours it counts at its nameplate."""
    street = Street()
    street.say(epoch=4, seq=9, late_ma=6000)
    assert street.possible_ma() == 32_000
    assert len(street.tell()) == 1
    assert street.possible_ma() == 32_000
    street.wait(1).say()
    assert street.possible_ma() == 0


@pytest.mark.parametrize(("ahead_ms", "most"), [(EARLY_MS + 1, 0), (EARLY_MS, 6000), (-HOUR_MS, 6000)])
def test_never_heard_counts_what_an_earlier_controller_may_have_told_it(ahead_ms: int, most: int) -> None:
    """From a quarter of an hour before the others may begin."""
    assert Street(Late(NOW, NOW + ahead_ms, NOW + 9 * HOUR_MS)).possible_ma() == most


# -------------------------------------------------------------------------------------------------------- the window
class Quiet:
    """A meter of 10 A, and a link to nobody."""

    connected, trouble, dropped = True, "", 0

    def read(self, now_ms: int) -> Meter:
        """A quiet transformer."""
        volts = (220_000, 220_000, 220_000)
        return Meter(now_ms, 6600, 6500, 1000, (10_000, 10_000, 10_000), volts, None, now_ms, "")

    def take(self) -> list[Message]:
        """Silence."""
        return []

    def send(self, _setpoint: Setpoint) -> bool:
        """Into the void."""
        return True

    def close(self) -> None:
        """Nothing to close."""


def controller(folder: Path, text: str = "", zone: str = "Asia/Shanghai") -> Controller:
    """An area of 250 kVA with 20 chargers on a phase, 170 kVA of residents, and what is said of charging."""
    rows = "".join(f'[[chargers]]\nid = "p{k}"\nphase = "A"\nmax_a = 32\n' for k in range(20))
    path = folder / "area.toml"
    path.write_text(
        f'[area]\nid = "a"\nrating_kva = 250\nbase_p999_kva = [56.7, 56.7, 56.7]\ntimezone = "{zone}"\n'
        '[meter]\nmodel = "eastron_sdm630"\ntcp = "127.0.0.1:502"\n[broker]\nhost = "127.0.0.1"\n'
        f"[charging]\n{text or 'late_fallback = true'}\n{rows}",
        encoding="utf-8",
    )
    quiet = Quiet()
    return Controller(cfg.load(path), quiet, quiet, Journal(None))


def window(folder: Path, local: str, text: str = "", zone: str = "Asia/Shanghai") -> tuple[str, str] | None:
    """From when to when chargers would charge alone, by a controller whose local time is this."""
    wall = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).timestamp()
    one = controller(folder, text, zone)
    one.tick(Moment(NOW, wall))
    late = one.fleet.late
    if late is None:
        return None
    assert late.now_ms == NOW
    ends = (datetime.fromtimestamp(wall + (at - NOW) / 1000, ZoneInfo(zone)) for at in (late.from_ms, late.until_ms))
    begin, end = (f"{at:%d %H:%M}" for at in ends)
    return begin, end


@pytest.mark.parametrize(
    ("local", "begin", "end"),
    [
        ("2026-01-15T09:00", "15 23:45", "16 06:45"),
        ("2026-01-15T23:44", "15 23:45", "16 06:45"),
        ("2026-01-15T23:45", "15 23:45", "16 06:45"),
        ("2026-01-15T23:46", "15 23:46", "16 06:45"),
        ("2026-01-16T03:30", "16 03:30", "16 06:45"),
        ("2026-01-16T06:44", "16 06:44", "16 06:45"),
        ("2026-01-16T06:45", "16 23:45", "17 06:45"),
    ],
)
def test_window_is_the_next_or_the_present_one(tmp_path: Path, local: str, begin: str, end: str) -> None:
    """187 kVA at their highest are 270 A; 20 chargers at 6 A fit beside 60 % of that, and a quarter to spare."""
    assert window(tmp_path, local) == (begin, end)


def test_window_of_a_valley_without_end(tmp_path: Path) -> None:
    """Cheap at all hours, and room at all hours: the window is always open, and ends a day ahead at most."""
    text = 'valley = ["00:00-00:00"]\nlate_fallback = true'
    one = controller(tmp_path, text)
    one.config = replace(one.config, base_va=50_000)
    one.tick(Moment(NOW, datetime(2026, 1, 15, 22, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()))
    assert one.fleet.late == Late(NOW, NOW, NOW + 2 * HOUR_MS)


def test_window_keeps_local_time_in_the_night_the_clock_changes(tmp_path: Path) -> None:
    """Clocks in Berlin jump from 2 to 3: the window still ends at 6:45 by the wall."""
    assert window(tmp_path, "2026-03-28T22:00", zone="Europe/Berlin") == ("28 23:45", "29 06:45")


def measured(one: Controller, ma: int) -> Controller:
    """Its memory knows residents at so much on each phase."""
    one.memory.highest_ma = [[7, ma, ma, ma] for _ in range(96)]
    return one


@pytest.mark.parametrize("text", ["late_fallback = false", "valley = []", 'valley = ["12:00-12:30"]'])
def test_no_window_where_it_is_not_wanted_or_has_no_room(tmp_path: Path, text: str) -> None:
    """Switched off, no valley, or too short a valley, however much room there is."""
    one = measured(controller(tmp_path, text), 50_000)
    one.tick(Moment(NOW, datetime(2026, 1, 15, 22, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()))
    assert one.fleet.late is None


def test_no_window_by_a_guess_of_the_night_unless_it_is_wanted(tmp_path: Path) -> None:
    """Only the evening is stated: nobody begins by himself by an assumed night; after seven days it is measured."""
    text = 'valley = ["23:00-08:00"]'
    assert window(tmp_path, "2026-01-15T22:00", text) is None
    assert window(tmp_path, "2026-01-15T22:00", text + "\nlate_fallback = true") == ("15 23:45", "16 06:45")
    one = measured(controller(tmp_path, text), 130_000)
    one.tick(Moment(NOW, datetime(2026, 1, 15, 22, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()))
    assert one.fleet.late == Late(NOW, NOW + HOUR_MS, NOW + 10 * HOUR_MS)


def test_no_window_without_local_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the hour is not known nobody knows when the valley is; the log says what would be when it is."""
    one = controller(tmp_path)
    with caplog.at_level("INFO", logger="taiqu"):
        one.tick(Moment(NOW, None))
    assert one.fleet.late is None
    assert "chargers left alone charge by themselves from 23:45 to 06:45" in caplog.text


def test_window_follows_what_is_learned_hour_by_hour(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Residents turn out to fill the valley: within the hour nobody is told any more, and the log says so once."""
    one = controller(tmp_path)
    wall = datetime(2026, 1, 15, 22, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()
    with caplog.at_level("INFO", logger="taiqu"):
        one.tick(Moment(NOW, wall))
        one.memory.highest_ma = [[7, 250_000, 10_000, 10_000] for _ in range(96)]
        one.tick(Moment(NOW + HOUR_MS - 1, wall + 3600))
        assert one.fleet.late is not None
        one.tick(Moment(NOW + HOUR_MS, wall + 3601))
        one.tick(Moment(NOW + 2 * HOUR_MS, wall + 7200))
    assert one.fleet.late is None
    assert caplog.text.count("chargers left alone do not charge: there is no room any more") == 1


# ----------------------------------------------------------------------------------------------------------- in turns
def test_turns_count_what_flows_at_worst_and_no_more() -> None:
    """100 chargers of one phase in 4 turns: not 600 A but what is counted at once, shared out."""
    charging = ChargingConfig(6000, 60_000, 9000, 420, (), 8, 4)
    rows = [ChargerConfig(f"p{k:03d}", 1, True, 32_000) for k in range(100)]
    fleet = Fleet(rows, charging, lambda _wish, now_ms: now_ms)
    for row in rows:
        said = (7, NOW, 0, 0, WAITING, (0, 0, 0), 0, 0, 0, 0, 6000, 32_000, 4)
        fleet.hear([ChargerState(row.id, *said)], NOW)
    view = fleet.view(NOW)
    total = sum(charger.possible_ma for charger in view)
    assert at_once(100, 4) * 6000 <= total <= at_once(100, 4) * 6000 + 100
    assert {charger.fallback_ma for charger in view} == {0}  # told 6 A it would end its turns


def test_charger_that_knows_no_turns_counts_in_full() -> None:
    """The area is set to turns, this charger says nothing of them: 6 A at all times, and 6 A as its fallback."""
    street = Street(late=None, slots=4, fallback_ma=6000).say()
    assert street.possible_ma() == 6000
    assert street.fleet.view(street.now_ms)[0].fallback_ma == 6000


@pytest.mark.parametrize("says_slots", [4, 8])
def test_one_charger_alone_in_turns_counts_in_full(says_slots: int) -> None:
    """Of one charger the worst moment is its own turn, in as many turns as are set or more."""
    assert Street(late=None, slots=4, fallback_ma=6000, says_slots=says_slots).say().possible_ma() == 6000


def test_charger_in_turns_is_held_at_nothing_by_telling_it_on() -> None:
    """Told 0 A it is told again before its lease ends, or it would take its turn; so it is told 6 A on as well."""
    for ma in (0, 6000):
        street = Street(late=None, slots=4, fallback_ma=6000, says_slots=4)
        street.say(allowed_ma=0).tell(ma)
        row = {"plug": CHARGING if ma else WAITING, "allowed_ma": ma, "ma": (ma, 0, 0)}
        counts = [len(street.wait(20).say(lease_ms=40_000, **row).tell(ma)) for _ in range(3)]
        assert counts == [1, 1, 1]


def test_safe_leaves_chargers_to_their_turns() -> None:
    """What is not renewed is told nothing when a turn begins."""
    street = Street(late=None, slots=4, fallback_ma=6000, says_slots=4)
    street.say(epoch=5, plug=CHARGING, allowed_ma=6000, ma=(6000, 0, 0))
    assert street.tell(0, renew=False) == []
    assert len(street.tell(0)) == 1


def test_who_takes_its_turn_or_its_late_fallback_is_not_deaf() -> None:
    """Told 0 A long ago, and drawing 6 A by itself as it should: no telegram of it is evidence; 7 A would be."""
    for street, late_ma in (
        (Street(late=None, slots=4, fallback_ma=6000, says_slots=4), 0),
        (Street(late=EVENING), 6000),
    ):
        street.say(late_ma=0).tell()
        for ma, code in ((6000, 0), (7000, 1)):
            seen = obey.start()
            for _ in range(5):
                street.wait(60).say(plug=CHARGING, allowed_ma=ma, ma=(ma, 0, 0), late_ma=late_ma)
                view = street.fleet.view(street.now_ms)
                seen = obey.look(seen, street.fleet.evidence(view, 0), street.now_ms)
            assert obey.isolated(seen) == ["a"] * code


def image(name: str, place: int, possible_ma: int = 0) -> Charger:
    """A charger as the fleet sees it."""
    return Charger(
        name, place, 32_000, 0, WAITING, 0, 0, 0, possible_ma, False, False, 0, 0, 0, 0, False, 0
    )  # fmt: skip


def test_shares_are_those_of_the_wire_with_the_fewest() -> None:
    """Four behind a feeder count in full on its narrow cable; the sixty beside them share what sixty-four draw."""
    places = (Place(1, 1, True, -1), Place(1, 1, True, 0), Place(7, 3, True, -1), Place(7, 1, False, -1))
    images = (*(image(f"p{k}", 1 if k < 4 else 0) for k in range(64)), image("q", 2), image("u", 3, 9000))
    turns_ma = [6000] * 64 + [6000, 0]
    counted = in_turns(images, turns_ma, places, 4)
    assert [one.possible_ma for one in counted[:4]] == [6000] * 4
    assert {one.possible_ma for one in counted[4:64]} == {-(-6000 * at_once(65, 4) // 65)}
    assert counted[64].possible_ma == 6000  # alone on phases B and C
    assert counted[65].possible_ma == 9000
    assert in_turns((), [], (), 4) == ()
