"""Chargers without a lease: what they were told stands, counts for ever, and stays within what the worst hour bears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import config as cfg
from edge.clock import Moment
from edge.core.model import CHARGING, FINISHED, OVERBOOKED, UNPLUGGED, WAITING, Charger, Command, Meter, Place
from edge.fleet import Fleet
from edge.journal import Journal
from edge.late import Late
from edge.loop import Controller
from edge.ports import ChargerState, Message, Setpoint
from edge.site import late_hours, unleased_ma
from edge.unleased import within

PLACES = (Place(1, 1, True, -1), Place(2, 1, True, -1), Place(7, 3, True, -1), Place(1, 1, True, 0))
NOW = 10_000_000


def row(name: str, place: int = 0, set_ma: int = 0, possible_ma: int | None = None) -> Charger:
    """A waiting charger."""
    may = set_ma if possible_ma is None else possible_ma
    return Charger(name, place, 32_000, 0, WAITING, 0, 0, set_ma, may, False, False, 0, 0, 0, 0, False, 0)


def told(rows: list[Charger], wishes: list[int], *budget_ma: int) -> list[int]:
    """What is told of what was wished."""
    commands = tuple(Command(one.id, ma, 0, -1, True) for one, ma in zip(rows, wishes, strict=True))
    out = within(commands, rows, PLACES, {one.id for one in rows if one.id[0] == "u"}, budget_ma)
    assert all(
        new == old or (new.ma < old.ma and new.reason == OVERBOOKED) for new, old in zip(out, commands, strict=True)
    )
    return [command.ma for command in out]


@pytest.mark.parametrize(
    ("why", "rows", "wishes", "budget", "given"),
    [
        ("room for both", [row("u1"), row("u2")], [16_000, 16_000], 32_000, [16_000, 16_000]),
        ("the second gets the rest", [row("u1"), row("u2")], [16_000, 16_000], 24_000, [16_000, 8000]),
        ("a rest below 6 A is none", [row("u1"), row("u2")], [16_000, 16_000], 21_999, [16_000, 0]),
        ("who has it keeps it", [row("u1"), row("u2", 0, 16_000)], [16_000, 16_000], 16_000, [0, 16_000]),
        ("with a lease it is none of ours", [row("a1"), row("u2")], [32_000, 16_000], 16_000, [32_000, 16_000]),
        ("other phases have their own", [row("u1"), row("u2", 1)], [16_000, 16_000], 16_000, [16_000, 16_000]),
        ("three phases count on each", [row("u1", 2), row("u2", 1)], [10_000, 10_000], 16_000, [10_000, 6000]),
        ("lowered, and may still stand", [row("u1", 0, 0, 16_000), row("u2")], [0, 16_000], 20_000, [0, 0]),
        ("a raise of what it has", [row("u1", 0, 10_000)], [32_000], 12_000, [12_000]),
        ("the budget shrinks", [row("u1", 0, 16_000), row("u2", 0, 9000)], [16_000, 9000], 23_000, [16_000, 7000]),
        ("the budget is gone", [row("u1", 0, 16_000)], [16_000], 0, [0]),
        ("nothing is wished", [row("u1", 0, 16_000)], [0], 0, [0]),
    ],
)  # fmt: skip
def test_budget(why: str, rows: list[Charger], wishes: list[int], budget: int, given: list[int]) -> None:
    """What is told, row by row."""
    assert told(rows, wishes, budget, budget, budget) == given, why


def test_budget_of_a_feeder() -> None:
    """Behind a feeder both budgets hold: that of the phase, and that of the cable."""
    assert told([row("u1", 3), row("u2")], [16_000, 16_000], 30_000, 0, 0, 8000, 0, 0) == [8000, 16_000]


CURRENTS = st.sampled_from([0, 0, 6000, 9000, 16_000, 32_000])


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), CURRENTS, CURRENTS, CURRENTS), max_size=8),
    st.lists(st.integers(0, 60_000), min_size=6, max_size=6),
)
@settings(max_examples=300)
def test_budget_is_never_passed_by_a_raise(drawn: list[tuple[bool, int, int, int, int]], budget: list[int]) -> None:
    """What is told stays within the budget on every wire, and so does what may stand where anything was raised."""
    rows = [
        row(f"{'u' if mine else 'a'}{k}", place, has, max(has, may))
        for k, (mine, place, has, may, _) in enumerate(drawn)
    ]
    given_ma = told(rows, [wish for *_, wish in drawn], *budget)
    for wire in range(6):
        at = [k for k, one in enumerate(rows) if one.id[0] == "u" and on_wire(PLACES[one.place], wire)]
        assert sum(given_ma[k] for k in at) <= budget[wire]
        raised = any(given_ma[k] > rows[k].possible_ma for k in at)
        assert not raised or sum(max(given_ma[k], rows[k].possible_ma) for k in at) <= budget[wire]


def on_wire(place: Place, wire: int) -> bool:
    """Does a charger here load a wire (three phases, then three of the feeder)?"""
    return bool(place.phases >> wire % 3 & 1) and (wire < 3 or place.feeder == 0)


# -------------------------------------------------------------------------------------------------------- the ledger
class Post:
    """A fleet of one charger without a lease."""

    def __init__(self) -> None:
        rows = [cfg.ChargerConfig("u", 1, True, 32_000, leased=False)]
        charging = cfg.ChargingConfig(0, 60_000, 9000, 420, (), 8)
        self.fleet = Fleet(rows, charging, lambda _wish, now_ms: now_ms + 36_000_000)
        self.fleet.epoch = 5
        self.now_ms = NOW

    def say(self, seq: int = 0, allowed_ma: int = 0, **changes: Any) -> Post:  # noqa: ANN401 - fields of a state
        """Telemetry of now."""
        said = {
            "charger": "u", "boot": 7, "tick_ms": self.now_ms, "epoch": 5, "seq": seq, "plug": WAITING,
            "ma": (0, 0, 0), "w": 0, "wh": 0, "allowed_ma": allowed_ma, "lease_ms": 0, "fallback_ma": 0,
            "max_ma": 32_000,
        }  # fmt: skip
        self.fleet.hear([ChargerState(**{**said, **changes})], self.now_ms)
        return self

    def tell(self, ma: int) -> list[Setpoint]:
        """One tick; what was due has left."""
        due = self.fleet.due([Command("u", ma, 0, -1, True)], self.now_ms)
        for setpoint in due:
            self.fleet.sent(setpoint, self.now_ms)
        return due

    def wait(self, seconds: float) -> Post:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)
        return self

    def possible_ma(self) -> int:
        """What the fleet counts for it."""
        most: int = self.fleet.view(self.now_ms)[0].possible_ma
        return most


def test_what_was_told_stands_until_telemetry_shows_less() -> None:
    """Ten days without a word: the last setpoint counts; the lowering counts when the charger has echoed it."""
    post = Post().say()
    post.tell(16_000)
    assert post.wait(864_000).possible_ma() == 16_000
    post.say(1, 16_000, plug=CHARGING, ma=(16_000, 0, 0))
    post.tell(6000)
    assert post.wait(864_000).possible_ma() == 16_000
    assert post.say(2, 6000, plug=CHARGING, ma=(6000, 0, 0)).possible_ma() == 6000
    assert post.wait(864_000).possible_ma() == 6000


@pytest.mark.parametrize("plug", [UNPLUGGED, FINISHED])
def test_free_socket_that_still_allows_counts_that(plug: int) -> None:
    """The next car finds 16 A: they count, and 0 is told until it is shown."""
    post = Post().say()
    post.tell(16_000)
    post.wait(5).say(1, 16_000, plug=plug)
    assert post.wait(3600).possible_ma() == 16_000
    assert [one.ma for one in post.say(1, 16_000, plug=plug).tell(0)] == [0]
    assert post.wait(5).say(2, 0, plug=plug).possible_ma() == 0


def test_never_heard_counts_its_nameplate() -> None:
    """Somebody may have told it anything, at any time."""
    assert Post().possible_ma() == 32_000


def test_it_needs_no_renewal_and_gets_no_late_fallback() -> None:
    """What stands need not be said again, unless it was lost; and there is no lease after which anything could come."""
    post = Post().say()
    post.fleet.late = Late(NOW, NOW, NOW + 36_000_000)
    (first,) = post.tell(16_000)
    assert first.late_until_s == 0
    charging = {"plug": CHARGING, "ma": (16_000, 0, 0)}
    assert [len(post.wait(20).say(1, 16_000, **charging).tell(16_000)) for _ in range(5)] == [0] * 5
    post.tell(20_000)
    assert [one.ma for one in post.wait(20).say(1, 16_000, **charging).tell(20_000)] == [20_000]


# --------------------------------------------------------------------------------------------------- the arithmetic
def area(leased: int, unleased: int, base_kva: int | None = 100, **charging: Any) -> cfg.AreaConfig:  # noqa: ANN401
    """250 kVA at 400 V, 78.5 % are 283.3 A a phase; 100 kVA of residents and a tenth leave 124.5 A. All on phase A."""
    rows = [cfg.ChargerConfig(f"p{k:02d}", 1, True, 32_000) for k in range(leased)]
    rows += [cfg.ChargerConfig(f"u{k:02d}", 1, True, 32_000, leased=False) for k in range(unleased)]
    plain = cfg.ChargingConfig(0, 60_000, 9000, 420, ((1380, 480),), 8)
    return cfg.AreaConfig(
        area_id="a", rating_va=250_000, rated_ma=360_843, secondary_v=400, limit_permille=800, margin_permille=15,
        timezone="Asia/Shanghai", windows=(), meter=cfg.MeterConfig("none", "", 0, 1, 1000, 1000),
        broker=cfg.BrokerConfig("", 0, None, None), charging=replace(plain, **charging), chargers=tuple(rows),
        path=Path("a.toml"), base_va=None if base_kva is None else (base_kva * 1000 // 3,) * 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "phase_a_ma"),
    [
        (area(0, 10), 124_492),
        (area(5, 10), 124_492),
        (area(5, 10, fallback_ma=6000), 94_491),
        (area(0, 2), 64_000),
        (area(0, 10, base_kva=200), 0),
        (area(0, 10, base_kva=None), 0),
        (area(0, 10, accept_unleased_w=10_000), 124_492),
        (area(0, 10, accept_unleased_w=40_000), 174_952),
        (area(0, 10, base_kva=None, accept_unleased_w=10_000), 43_738),
        (area(0, 2, accept_unleased_w=40_000), 64_000),
        (area(5, 0), 0),
    ],
)
def test_what_may_stand(config: cfg.AreaConfig, phase_a_ma: int) -> None:
    """What the worst hour leaves beside the fallback, what is accepted if that is more, and no more than they can."""
    a, b, c = unleased_ma(cfg.site_of(config), config.charging)
    assert (b, c) == (0, 0)
    assert a == pytest.approx(phase_a_ma, abs=3)


def test_what_is_accepted_is_spread_as_the_chargers_are() -> None:
    """9.9 kW on a single-phase charger and a three-phase one, 32 A and 3 × 32 A: a quarter and three quarters."""
    rows = (
        cfg.ChargerConfig("u1", 1, True, 32_000, leased=False),
        cfg.ChargerConfig("u2", 7, True, 32_000, leased=False),
    )
    config = replace(area(0, 1, base_kva=None, accept_unleased_w=9900), chargers=rows)
    all_ma = 10_000 / 0.23094
    assert unleased_ma(cfg.site_of(config), config.charging) == pytest.approx(
        (all_ma / 2, all_ma / 4, all_ma / 4), abs=5
    )
    unknown = replace(config, chargers=(cfg.ChargerConfig("u", 7, False, 32_000, leased=False),))
    assert unleased_ma(cfg.site_of(unknown), unknown.charging) == (32_000,) * 3


def test_late_fallback_leaves_room_for_what_stands() -> None:
    """20 chargers fit late all night beside 140 kVA; with 61 A that stand beside them they do not, and 14 do later."""
    alone, beside = area(20, 0, 140, late_fallback=True), area(20, 10, 140, late_fallback=True)
    stands = unleased_ma(cfg.site_of(beside), beside.charging)[0]
    assert stands == pytest.approx(61_000, abs=200)
    assert late_hours(cfg.site_of(alone), alone.charging) == (23 * 60, 8 * 60)
    assert late_hours(cfg.site_of(beside), beside.charging) is None
    beside = area(14, 10, 140, late_fallback=True)
    assert late_hours(cfg.site_of(beside), beside.charging) == (23 * 60 + 45, 7 * 60)


# ------------------------------------------------------------------------------------------------- in the controller
class Street:
    """A controller with chargers that keep what they are told for ever, and a meter that sees residents and cars."""

    connected, trouble, dropped = True, "", 0

    def __init__(self, config: cfg.AreaConfig) -> None:
        self.stands = dict.fromkeys((charger.id for charger in config.chargers), 0)
        self.seqs: dict[str, tuple[int, int]] = {}
        self.base_ma, self.now_ms, self.most_ma = 20_000, 0, 0
        self.controller = Controller(config, self, self, Journal(None))

    def read(self, now_ms: int) -> Meter:
        """Residents on all phases, cars on the first."""
        a = self.base_ma + sum(self.stands.values())
        ma = (a, self.base_ma, self.base_ma)
        s_va = sum(ma) * 230 // 1000
        return Meter(now_ms, s_va, s_va, 0, ma, (230_000,) * 3, None, now_ms, "")

    def take(self) -> list[Message]:
        """Every charger says how it is, every second."""
        return [
            ChargerState(
                name, 7, self.now_ms, *self.seqs.get(name, (0, 0)), CHARGING if ma else WAITING, (ma, 0, 0), 0, 0, ma,
                0, 0, 32_000,
            )
            for name, ma in self.stands.items()
        ]  # fmt: skip

    def send(self, setpoint: Setpoint) -> bool:
        """It stands at once."""
        self.stands[setpoint.charger] = setpoint.ma
        self.seqs[setpoint.charger] = setpoint.epoch, setpoint.seq
        return True

    def close(self) -> None:
        """Nothing to close."""

    def play(self, seconds: int) -> Street:
        """Let time pass, and keep the highest sum of all that stood."""
        for _ in range(seconds):
            self.now_ms += 1000
            self.controller.tick(Moment(self.now_ms, None))
            self.most_ma = max(self.most_ma, sum(self.stands.values()))
        return self


def test_sum_of_setpoints_without_a_lease_stays_within_the_worst_hour() -> None:
    """Residents draw 20 A now and 159 A at their worst: ten cars get 124 A of the 263 A that are free, and no more."""
    street = Street(area(0, 10, valley=())).play(900)
    assert 0.9 * 124_492 < street.most_ma <= 124_492
    street = Street(area(0, 10, valley=(), accept_unleased_w=40_000)).play(900)
    assert 0.9 * 174_954 < street.most_ma <= 174_954
    assert Street(area(0, 10, valley=(), base_kva=None)).play(300).most_ma == 0
