"""Fuzzing the chargers: telemetry and wishes as they come off the wire, and what the area tells anybody after them.

An input is one byte of circumstances (the load, the meter) and up to six messages, one a line: a head byte (kind,
charger, how long after the one before) and a payload. One charger of three says whatever the input makes it say; the
other two are honest and obey nothing (every setpoint to them is still on its way). All are daringly wished their full
current, one after the other and all at once.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from drivers.chargers.taiqu import DialectError, decode, encode
from edge.config import ChargerConfig, ChargingConfig
from edge.core import obey
from edge.core.model import Meter
from edge.fleet import Fleet
from edge.ports import ChargerState, Wish
from hil_tests.fuzz import area

if TYPE_CHECKING:
    import random

    from edge.ports import Message, Setpoint

AREA = "west-3"
LINES_MAX = 6
LONGEST = 4096
NAMEPLATE_MA = {"a": 32_000, "b": 16_000, "c": 32_000}
"""``a`` is the one that lies; a and b hang on phase a, c on all three."""
LIAR, STRANGER = "a", "zz"
ROOM_MA = (0, 6_000, 33_000, 100_000)
"""What the meter leaves free on phase a, by the first two bits of an input; the other phases have more."""
BLIND = 4
"""The third bit: the meter has said nothing since the input began."""
HOLD_MS, SAFE_MS = 5_000, 10_000
FALLBACK_MA = 0
KINDS = ("state", "state", "wish", "event")
WAITS_MS = (0, 1, 1_000, 5_000, 20_000, 46_000, 61_000, 660_000)
TICK_MS = 1_000
"""A head byte: two bits of kind, one of stranger, three of how long after the one before."""
LEASE_MS, LEASE_END_MS = 60_000, 62_200
"""The lease, and when at the latest it has ended on a clock that is 2 % slow, and a second more."""
LENT_MA = 45_000
"""3 % of 1500 A: what settled chargers may lend."""

STATE: dict[str, Any] = {
    "v": 1, "boot": 305419896, "tick_ms": 123456, "epoch": 1, "seq": 0, "plug": 1, "ma": [0, 0, 0], "w": 0, "wh": 4210,
    "allowed_ma": 0, "lease_ms": 0, "fallback_ma": 0, "max_ma": 32000,
}  # fmt: skip
WISH: dict[str, Any] = {"v": 1, "want_wh": 12000, "depart_s": 1768430000, "now": 0, "mode": 1, "prio": 0}
NUMBERS = (
    -1, 0, 1, 2, 3, 4, 5, 9, 500, 5_999, 6_000, 10_000, 16_000, 32_000, 32_001, 63_000, 41_000, 60_000, 60_001,
    305_419_896, 123_456, 123_457, 1_000_000, 1 << 31, (1 << 53) - 2, (1 << 53) - 1, 1 << 53, -(1 << 53), 10**40,
)  # fmt: skip
ODD: tuple[object, ...] = (
    *(None, True, False, 1.0, 1.5, math.nan, math.inf, "", "1", "a\nb", "\ud800", [], {}, [1], "桩"),
)
WORDS: tuple[bytes, ...] = (
    *(f'"{name}":'.encode() for name in {**STATE, **WISH}),
    *(str(number).encode() for number in NUMBERS),
    *(b"null", b"true", b"NaN", b"-Infinity", b"\n@{", b"\nB{", b"\n`{", b"1e9", b"[0,0,0]", b'"\\ud800"', b'"\\n"'),
)


def line(fields: object, kind: int = 0, wait: int = 2, *, stranger: bool = False) -> bytes:
    """One message of an input."""
    head = 64 | kind | stranger << 2 | wait << 3
    return bytes((head,)) + json.dumps(fields, separators=(",", ":")).encode()


def _seeds() -> tuple[bytes, ...]:
    charging = {"plug": 2, "ma": [15_200, 0, 0], "w": 3344, "allowed_ma": 16_000, "lease_ms": 41_000, "seq": 17}
    later = [{**STATE, **charging, "tick_ms": 123_456 + 20_000 * k, "seq": 17 + k} for k in range(4)]
    stories: tuple[tuple[bytes, ...], ...] = (
        (line(STATE),),
        (line({**STATE, **charging}),),
        (line(WISH, 2),),
        (line({"v": 1, "now": 1}, 2), line(STATE), line({**STATE, "plug": 0, "tick_ms": 200_000})),
        tuple(line(fields, 0, 4) for fields in later),
        (line(later[0]), line({**STATE, "boot": 1, "tick_ms": 5}), line(later[1]), line(STATE, stranger=True)),
        (line(STATE), line({**STATE, "tick_ms": 200_000, "epoch": 7, "lease_ms": 50_000}), line({}, 3)),
        (line({**STATE, "plug": 3, "allowed_ma": 16_000, "lease_ms": 30_000}), line(STATE, 0, 7)),
    )
    return tuple(bytes((64 | k,)) + b"\n".join(story) for k, story in enumerate(stories))


SEEDS = _seeds()
_SETTINGS = area.settings()


def _meter(room_ma: int, now_ms: int) -> Meter:
    """An honest reading that leaves so much on phase a; its counter moves."""
    a_ma = area.LIMIT_MA - room_ma
    s_va = (a_ma + 2 * 900_000) * 220 // 1000
    return Meter(now_ms, s_va, s_va * 95 // 100, s_va * 31 // 100, (a_ma, 900_000, 900_000), (220_000,) * 3, None,
                 now_ms, "")  # fmt: skip


_WARM = [area.warm(lambda now_ms, room_ma=room_ma: _meter(room_ma, now_ms), _SETTINGS) for room_ma in ROOM_MA]


# ---------------------------------------------------------------------------------------------------------- the play
def play(data: bytes) -> tuple[int, int]:
    """Hear the messages, what comes within a second in one tick; nobody is ever told more than there is.

    Returns how many messages there were, and how many of them were taken for one.
    """
    heard = [_decoded(one) for one in data[1:].split(b"\n")[:LINES_MAX]]
    taken = sum(message is not None for message, _ in heard)
    if not taken:
        return len(heard), 0
    town, inbox = _Town(data[0] & 7), []
    for message, wait_ms in heard:
        if wait_ms >= TICK_MS and inbox:
            town.tick(inbox)
            inbox = []
        town.now_ms += wait_ms
        if message is not None:
            inbox.append(message)
    town.tick(inbox)
    town.look_around()
    return len(heard), taken


def _decoded(one: bytes) -> tuple[Message | None, int]:
    """One line through the driver's door, and how long after the one before it came."""
    head = one[0] if one else 0
    who = STRANGER if head & 4 else LIAR
    wait_ms = WAITS_MS[head >> 3 & 7]
    try:
        return decode(AREA, f"taiqu/{AREA}/{who}/up/{KINDS[head & 3]}", one[1:]), wait_ms
    except DialectError as err:
        said = str(err)
    assert said.isprintable(), f"a refusal is one line that can be logged: {said!r}"
    return None, wait_ms


class _Town:
    """The fleet under one input, and what a bystander with paper and pencil knows of it."""

    def __init__(self, circumstances: int) -> None:
        rows = [ChargerConfig(name, 7 if name == "c" else 1, True, ma) for name, ma in NAMEPLATE_MA.items()]
        charging = ChargingConfig(FALLBACK_MA, LEASE_MS, 9000, 420, (), 8)
        self.fleet = Fleet(rows, charging, lambda wish, now_ms: now_ms + _stay_ms(wish))
        self.fleet.epoch = 1
        self.room_ma, self.guard = ROOM_MA[circumstances & 3], _WARM[circumstances & 3]
        self.blind = bool(circumstances & BLIND)
        self.now_ms, self.ticks = area.BEGUN_MS, 0
        self.stamps: set[tuple[str, int, int]] = set()
        """What was said: charger, boot, tick."""
        self.last = dict.fromkeys(NAMEPLATE_MA, (0, 0, 0))
        """What each was told last: epoch, seq, mA."""
        self.flowing: list[tuple[str, int, int, int, int]] = []
        """What was told and may still flow: charger, until when, epoch, seq, mA."""

    def tick(self, messages: list[Message]) -> None:
        """Hear, decide, send, and let the bystander look."""
        for message in (*messages, *(_honest(name, self.now_ms) for name in ("b", "c"))):
            self.fleet.hear([message], self.now_ms)
            if isinstance(message, ChargerState):
                self._note(message)
        view = self.fleet.view(self.now_ms)
        reading = _meter(self.room_ma, self._seen_ms())
        only = (0, 1, 2, -1)[self.ticks % 4]
        self.ticks += 1
        self.guard, commands = area.decide(self.guard, reading, self.fleet.places, view, _SETTINGS, self.now_ms, only)
        self._look(self.fleet.due(commands, self.now_ms))

    def look_around(self) -> None:
        """What else looks at the fleet: did it obey, and the planner."""
        obey.look(obey.start(), self.fleet.evidence(self.fleet.view(self.now_ms), 1), self.now_ms)
        self.fleet.wants()
        self.fleet.free_places()
        self.fleet.date_anew(self.now_ms)
        self.fleet.begin_epoch(0)

    def _note(self, state: ChargerState) -> None:
        """Write down what was said. What the liar says he has gone past flows no more: nobody can know better."""
        self.stamps.add((state.charger, state.boot, state.tick_ms))
        if state.charger == LIAR and self.fleet.units[LIAR].state == state:
            past = (state.epoch, state.seq)
            self.flowing = [row for row in self.flowing if row[0] != LIAR or row[2:4] > past]

    def _seen_ms(self) -> int:
        """When the meter was last read."""
        return area.BEGUN_MS - 1000 if self.blind else self.now_ms

    def _look(self, due: list[Setpoint]) -> None:
        """Is every setpoint one that may leave, and is there room for all together?"""
        raised = False
        for s in due:
            self._look_at(s)
            raised = raised or s.ma > self.last[s.charger][2]
            self.last[s.charger] = (s.epoch, s.seq, s.ma)
            if s.lease_ms:
                self.flowing.append((s.charger, self.now_ms + LEASE_END_MS, s.epoch, s.seq, s.ma))
            self.fleet.sent(s, self.now_ms)
        if raised and self.now_ms - self._seen_ms() <= HOLD_MS:
            self._look_at_sums()

    def _look_at(self, s: Setpoint) -> None:
        """Is it a value, with a lease and an echo; and without a meter no raise, and soon no more than the fallback?"""
        assert s.ma == 0 or 6_000 <= s.ma <= NAMEPLATE_MA[s.charger], f"{s.charger} told {s.ma} mA"
        assert s.lease_ms <= LEASE_MS
        # A fence has no lease and needs no echo: it can only lower.
        assert s.lease_ms == 0 or (s.charger, s.boot, s.tick_ms) in self.stamps, "an echo of what was never said"
        *last, last_ma = self.last[s.charger]
        assert [s.epoch, s.seq] > last, f"{(s.epoch, s.seq)} after {last}"
        text = encode(s)
        assert len(text) <= 512
        assert json.loads(text)["ma"] == s.ma
        state = self.fleet.units[s.charger].state
        if state is None:
            assert (s.lease_ms, s.ma) == (0, 0), "who was never heard is told nothing but a fence"
            return
        age_ms = self.now_ms - self._seen_ms()
        own_ma = min(state.allowed_ma, state.fallback_ma)
        assert age_ms <= HOLD_MS or s.ma <= max(last_ma, own_ma), f"{s.charger} raised to {s.ma} mA, meter silent"
        assert age_ms <= SAFE_MS or s.ma <= state.fallback_ma, f"{s.charger} told {s.ma} mA, meter silent"

    def _look_at_sums(self) -> None:
        """After a raise: all that may flow of what was told stays within what the meter leaves."""
        most = dict.fromkeys(NAMEPLATE_MA, 0)
        for name, until_ms, _, _, ma in self.flowing:
            most[name] = max(most[name], ma) if self.now_ms < until_ms else most[name]
        room_ma = self.room_ma + (LENT_MA if self.now_ms >= area.BEGUN_MS + 60_000 else 0)
        honest_ma = most["b"] + most["c"]
        assert honest_ma <= room_ma, f"{honest_ma} mA told to honest chargers where {room_ma} are free"
        state = self.fleet.units[LIAR].state
        draws_ma = 0 if state is None else min(max(state.ma), NAMEPLATE_MA[LIAR])
        all_ma = honest_ma + max(most[LIAR] - draws_ma, 0)
        assert all_ma <= room_ma, f"{all_ma} mA told in all where {room_ma} are free"


def _stay_ms(wish: Wish | None) -> int:
    return 36_000_000 if wish is None or wish.depart_s is None else min(wish.depart_s, 1 << 20) * 1000


def _honest(name: str, now_ms: int) -> ChargerState:
    """A waiting car that has heard nothing yet, as its charger says it now."""
    return ChargerState(name, 7, now_ms, 0, 0, 1, (0, 0, 0), 0, 0, 0, 0, FALLBACK_MA, NAMEPLATE_MA[name])


# --------------------------------------------------------------------------------------------------------- mutations
def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change messages as messages: a field's value, its name, the order, the time between, or one of another input."""
    lines = data[1:].split(b"\n")[:LINES_MAX]
    k = rng.randrange(len(lines))
    how = rng.randrange(8)
    if how == 0:
        lines.insert(k, rng.choice(rng.choice(SEEDS)[1:].split(b"\n")))
    elif how == 1:
        lines.insert(rng.randrange(len(lines) + 1), lines[k])
    elif how == 2:
        lines[k] = bytes((64 | rng.randrange(64),)) + lines[k][1:]
    else:
        lines[k] = lines[k][:1] + _changed(lines[k][1:], rng)
    return bytes((64 | rng.randrange(8),)) + b"\n".join(lines)


def _changed(payload: bytes, rng: random.Random) -> bytes:
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        fields = dict(STATE)
    if not isinstance(fields, dict) or not fields:
        fields = dict(WISH)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(fields))
        old = fields[name]
        if name == "ma" and rng.random() < 0.9:
            fields[name] = [rng.choice(NUMBERS) if rng.random() < 0.3 else rng.randrange(40_000), 0, rng.choice((0, 1))]
        elif rng.random() < 0.9:
            near = old + rng.choice((-1, 1, 1000, 20_000)) if type(old) is int else 0
            fields[name] = rng.choice((rng.choice(NUMBERS), rng.randrange(70_000), near))
        else:
            fields[name if rng.random() < 0.8 else f"{name}x"] = rng.choice(ODD)
    return json.dumps(fields, separators=(",", ":")).encode()
