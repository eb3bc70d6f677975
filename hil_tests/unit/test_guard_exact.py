"""The guard to the last milliampere and the last word: whole commands, and the arithmetic below them.

What is rounded is rounded down and stays a whole number: commands are compared as they are written, 1 is not 1.0.
"""

from __future__ import annotations

import pytest

from edge.core import guard, watch
from edge.core.model import (
    BOOT,
    FULL,
    HOLD,
    OVERBOOKED,
    PROVING,
    REPLACED,
    SAFE,
    SHED,
    SILENT,
    Charger,
    Command,
    Feeder,
    Settings,
    Snapshot,
)
from hil_tests.unit.given import SETTINGS, at, feeder, meter, normal, snapshot, still

LIMIT_MA = 1_200_000
ROOMY = meter(100_000, 300_000)


def told(name: str, ma: int, reason: int = FULL, phase: int = 1, renew: bool = True) -> Command:
    """A command; as it comes, control says "phase B is full"."""
    return Command(name, ma, reason, phase, renew)


def vet(state: watch.State, shot: Snapshot, *ma: int) -> list[Command]:
    """What leaves when control wants these currents, all of them because of phase B."""
    wishes = tuple(told(c.id, each) for c, each in zip(shot.chargers, ma, strict=True))
    state = state._replace(feeders=state.feeders[: len(shot.feeders)])
    return list(guard.vet(state, shot, wishes, SETTINGS))


def same(out: object, expected: object) -> bool:
    """Equal, and whole numbers where whole numbers are meant."""
    return str(out) == str(expected)


# ------------------------------------------------------------------------------------------------- what it says
def test_without_authority_it_says_why() -> None:
    """Booting, in SAFE, on the way back, latched, in HOLD: the reason is the guard's, and not of a phase.

    Who is not lowered keeps its own.
    """
    shot = snapshot((at("a", 16_000, fallback_ma=6000, feeder=0), at("b", 10_000)), ROOMY, feeders=(feeder(50_000),))
    for mode, reason in (
        (watch.STARTING, BOOT),
        (watch.SAFING, SAFE),
        (watch.RECOVERING, PROVING),
        (watch.LATCHED, REPLACED),
    ):
        out = vet(normal()._replace(mode=mode), shot, 20_000, 10_000)
        assert same(out, [told("a", 6000, reason, -1, False), told("b", 0, reason, -1, False)])
    out = vet(normal()._replace(mode=watch.HOLDING), shot, 20_000, 10_000)
    assert same(out, [told("a", 16_000, HOLD, -1), told("b", 10_000)])


@pytest.mark.parametrize("at_feeder", [0, 1])
def test_behind_a_doubted_feeder_it_names_the_feeder(at_feeder: int) -> None:
    """Its own reason and constraint (4, 7) behind it, nothing elsewhere, nothing for who needs no lowering."""
    names = ("a", "b", "c", "d")
    rows = (
        at("a", 16_000, fallback_ma=6000, feeder=at_feeder),
        at("b", 10_000, feeder=at_feeder),
        at("c", 10_000, feeder=1 - at_feeder),
        at("d", 10_000),
    )
    shot = snapshot(rows, ROOMY, feeders=(Feeder(90_000, meter(100_000, 9000), 1000),) * 2)
    where = 4 + 3 * at_feeder
    wishes = [told(name, ma) for name, ma in zip(names, (20_000, 10_000, 12_000, 12_000), strict=True)]
    for mode, expected in (
        (watch.HOLDING, [told("a", 16_000, HOLD, where), *wishes[1:]]),
        (watch.LATCHED, [told("a", 6000, REPLACED, where, False), told("b", 0, REPLACED, where, False), *wishes[2:]]),
        (watch.SAFING, [told("a", 6000, SAFE, where, False), told("b", 0, SAFE, where, False), *wishes[2:]]),
    ):
        feeders = [normal(), normal()]
        feeders[at_feeder] = feeders[at_feeder]._replace(mode=mode)
        state = normal()._replace(feeders=tuple(feeders))
        assert same(vet(state, shot, 20_000, 10_000, 12_000, 12_000), expected)
    low = vet(state, shot, 0, 10_000, 12_000, 12_000)
    assert same(low[:2], [told("a", 0, SAFE, where), told("b", 0, SAFE, where, False)])


def test_feeder_without_a_meter_and_feeder_that_is_not_there_are_not_doubted() -> None:
    """Without a meter there is nothing to doubt; what hangs on a feeder nobody knows hangs on none."""
    rows = (at("a", 10_000, feeder=0), at("b", 10_000, feeder=1))
    safing = normal()._replace(mode=watch.SAFING)
    for own, a in ((feeder(90_000), told("a", 12_000)), (Feeder(90_000, ROOMY, 1000), told("a", 0, SAFE, 4, False))):
        shot = snapshot(rows, ROOMY)._replace(feeders=(own,), places=snapshot((), None, 800, (own, own)).places)
        assert same(vet(normal()._replace(feeders=(safing,)), shot, 12_000, 12_000), [a, told("b", 12_000)])


@pytest.mark.parametrize("at_feeder", [0, 1])
def test_behind_a_feeder_over_its_limit_nothing_is_raised(at_feeder: int) -> None:
    """A raise is dropped there and says so; elsewhere it passes, and who only keeps what it has keeps its reason."""
    rows = (at("a", 10_000, feeder=at_feeder), at("b", 10_000, feeder=at_feeder), at("c", 10_000, feeder=1 - at_feeder))
    over = normal()._replace(over_ms=90_000, seen_ms=100_000)
    feeders = [normal(), normal()]
    feeders[at_feeder] = over
    shot = snapshot(rows, ROOMY, feeders=(feeder(90_000), feeder(90_000)))
    out = vet(normal()._replace(feeders=tuple(feeders)), shot, 12_000, 10_000, 12_000)
    assert same(out, [told("a", 10_000, SHED, 4 + 3 * at_feeder), told("b", 10_000), told("c", 12_000)])


def test_what_no_charger_may_take_is_cut_to_what_it_may() -> None:
    """6 A and the maximum pass as they came; below is 0, above is the maximum; a silent one is not renewed."""
    rows = (*(at(name, 16_000, max_ma=16_000) for name in "abcd"), at("e", 16_000, silent=True))
    out = vet(normal(), snapshot(rows, ROOMY), 6000, 16_000, 5999, 16_001, 6000)
    assert same(out[:2], [told("a", 6000), told("b", 16_000)])
    assert same(out[2:4], [told("c", 0, FULL, -1), told("d", 16_000, FULL, -1)])
    assert same(out[4], told("e", 6000, SILENT, -1, False))


def test_of_whom_control_says_nothing_is_held_where_it_is() -> None:
    """The lower of what it was told and what may still flow, never a value no charger may take; no renewal."""
    rows = (at("a", 16_000, possible_ma=8000), at("b", 32_000, max_ma=20_000), at("c", 5000))
    out = guard.vet(normal()._replace(feeders=()), snapshot(rows, ROOMY), (), SETTINGS)
    held = [told("a", 8000, HOLD, -1, False), told("b", 20_000, HOLD, -1, False), told("c", 0, HOLD, -1, False)]
    assert same(list(out), held)


def test_raise_that_does_not_fit_says_so_and_nobody_else_is_told_that() -> None:
    """On a full phase: the raise is dropped as overbooked, who keeps what it has keeps its reason and its renewal."""
    rows = (at("a", 10_000), at("b", 10_000))
    full = meter(100_000, 300_000, (LIMIT_MA, 100_000, 100_000))
    out = vet(normal(), snapshot(rows, full), 12_000, 10_000)
    assert same(out, [told("a", 10_000, OVERBOOKED, -1), told("b", 10_000)])


# --------------------------------------------------------------------------------------------- what may flow at most
@pytest.mark.parametrize(("spare_ma", "ma"), [(-1, 0), (0, 9000)])
@pytest.mark.parametrize(
    ("counted_ma", "rows"),
    [
        (0, [at("u", 16_000)]),
        (6000, [at("u", 16_000, ma=10_000)]),
        (16_000, [at("u", 16_000, ma=0)]),
        (16_000, [at("u", 16_000, ma=10_000, silent=True)]),
        (16_000, [at("u", 16_000, ma=-5000)]),
        (0, [at("u", 16_000, ma=20_000)]),
        (12_000, [at("u", 16_000, ma=10_000), at("v", 16_000, ma=10_000)]),
    ],
    ids=["all", "more", "idle", "silent", "negative", "too much", "two"],
)
def test_charger_of_unknown_phase_counts_on_each_what_it_may_draw_more(
    counted_ma: int, rows: list[Charger], spare_ma: int, ma: int
) -> None:
    """What it draws is in the meter already, on whichever phase; a silent one counts in full; to the milliampere."""
    unknown = tuple(c._replace(place=4) for c in rows)
    reading = meter(100_000, 300_000, (100_000, LIMIT_MA - 9000 - counted_ma - spare_ma, 100_000))
    shot = snapshot((*unknown, still("w", phases=2)), reading)
    assert vet(normal(), shot, *[16_000] * len(rows), 9000)[-1].ma == ma


@pytest.mark.parametrize(("drawn_ma", "lent_ma"), [(10_000, 5000), (14_999, 1), (15_000, 0), (15_500, 0), (16_000, 0)])
@pytest.mark.parametrize(("spare_ma", "ma"), [(-1, 0), (0, 9000)])
def test_settled_charger_lends_all_but_one_ampere_and_never_borrows(
    drawn_ma: int, lent_ma: int, spare_ma: int, ma: int
) -> None:
    """Told 16 A: what it leaves above 1 A is lent; one that draws all it may takes nothing from the others."""
    rows = (at("a", 16_000, ma=drawn_ma, settled=True), still("b"))
    reading = meter(100_000, 300_000, (LIMIT_MA - 9000 - spare_ma - 16_000 + drawn_ma + lent_ma, 100_000, 100_000))
    assert vet(normal(), snapshot(rows, reading), 16_000, 9000)[1].ma == ma


@pytest.mark.parametrize(("wanted_ma", "ma"), [(13_574, 13_574), (13_575, 0)])
def test_guard_line_in_total_at_a_measured_voltage(wanted_ma: int, ma: int) -> None:
    """At 221 V: 4,524,886 mA rated, 80 % are 3,619,908, 797 kVA are 3,606,334: 13,574 mA are left."""
    reading = meter(100_000, 797_000, (100_000,) * 3, mv=221_000)
    assert vet(normal(), snapshot((still("a"),), reading), wanted_ma)[0].ma == ma


@pytest.mark.parametrize(("limit_ma", "ma"), [(8999, 0), (9000, 9000)])
def test_feeder_without_a_meter_carries_what_its_chargers_may_draw(limit_ma: int, ma: int) -> None:
    """Nobody else is behind it as far as anyone knows: its limit is theirs, to the milliampere."""
    shot = snapshot((still("a", feeder=0),), ROOMY, feeders=(feeder(limit_ma),))
    assert vet(normal(), shot, 9000)[0].ma == ma


def test_feeder_whose_meter_has_said_nothing_has_no_room() -> None:
    """Not even up to its fallback is anybody raised behind it."""
    row = still("a", feeder=0, allowed_ma=6000, fallback_ma=6000)
    shot = snapshot((row,), ROOMY, feeders=(Feeder(90_000, None, 1000),))
    assert same(vet(normal(), shot, 6000), [told("a", 0, OVERBOOKED, -1)])


# ------------------------------------------------------------------------------------------------------ what is cut
def test_excess_is_one_and_a_half_times_what_is_too_much() -> None:
    """By constraint in whole milliamperes: of 1500 A and 1000 kVA that are no round numbers, at 221 V; of a feeder."""
    row = Settings(1_000_001, 1_500_001, *SETTINGS[2:])
    behind = (feeder(1000), Feeder(50_000, meter(0, 9000, (50_001, 60_003, 10_000)), 1000))
    reading = meter(0, 1_234_567, (1_300_001, 1_200_001, 100_000), mv=221_000)
    shot = snapshot((), reading)._replace(feeders=behind)
    excess = [0] * 10
    guard._excess(shot, row, excess)
    assert same(excess, [150_001, 1, -1_650_000, 2_949_547, 0, 0, 0, 0, 0, 0])
    guard._feeder_excess(shot, 1, excess)
    assert same(excess[4:], [0, 0, 0, 1, 15_004, -60_000])


@pytest.mark.parametrize(
    ("excess", "bind", "lines", "wanted"),
    [
        ([0, 0, 0, 48_001, 0, 0, 0], (0,), 3, (16_000, -1)),
        ([6000, 0, 0, 5000, 0, 0, 0], (0,), 1, (6000, -1)),
        ([0, 0, 0, 5000, 7000, 0, 0], (0, 4), 1, (7000, 4)),
        ([0, 0, 0, 5000, 5000, 0, 0], (0, 4), 1, (5000, -1)),
        ([0, 9000, 0, -5000, 7000, 0, 0], (1, 5), 1, (9000, -1)),
    ],
)
def test_what_one_charger_would_have_to_give(
    excess: list[int], bind: tuple[int, ...], lines: int, wanted: tuple[int, int]
) -> None:
    """The most that any of its constraints asks for; only a feeder is named, and only when it asks for more."""
    assert same(guard._wanted_ma(excess, bind, lines), wanted)


def cut(rows: tuple[Charger, ...], ma: tuple[int, ...], excess_ma: int, landing: bool = False) -> list[Command]:
    """What is cut of these setpoints, none of which is to be renewed, so that so much goes from the total."""
    commands = tuple(told(c.id, each, renew=False) for c, each in zip(rows, ma, strict=True))
    return list(guard._cut(snapshot(rows, ROOMY), commands, [0, 0, 0, excess_ma], landing))


def test_cut_is_of_what_is_drawn() -> None:
    """A car that draws 1 mA of its 16 A can be cut; one that draws nothing, or is not heard, gives nothing."""
    rows = (at("a", 32_000, silent=True), at("b", 10_000), at("c", 16_000, ma=1), at("d", 16_000, ma=0))
    out = cut(rows, (32_000, 10_000, 16_000, 16_000), 900_000)
    off = [told("b", 0, SHED, -1), told("c", 0, SHED, -1)]
    assert same(out, [told("a", 32_000, renew=False), *off, told("d", 16_000, renew=False)])


def test_what_is_on_its_way_down_counts_on_each_conductor() -> None:
    """A three-phase car that was told 16 A and still draws 32 gives 48 A of 60; the other the rest, whole amperes."""
    rows = (at("a", 32_000, phases=7, lines=3), at("b", 32_000))
    kept = told("a", 16_000, renew=False)
    assert same(cut(rows, (16_000, 32_000), 60_001, landing=True), [kept, told("b", 19_000, SHED, -1, False)])
    assert same(cut(rows, (16_000, 32_000), 60_000, landing=True), [kept, told("b", 20_000, SHED, -1, False)])
    assert same(cut(rows, (16_000, 32_000), 26_000), [kept, told("b", 6000, SHED, -1, False)])


@pytest.mark.parametrize(
    ("told_ma", "drawn_ma", "excess_ma", "renew"),
    [
        (0, 6000, 0, True),  # it is at its fallback, which is too much
        (0, 0, 0, False),  # it obeys
        (6000, 7000, 0, False),  # its fallback would be no more
        (10_000, 12_000, 0, False),  # it is above its fallback
        (32_000, 32_000, 30_000, False),  # cut to its fallback
        (10_000, 10_000, 30_000, True),  # cut below it: without a renewal it would come back
    ],
)
def test_less_than_its_fallback_is_said_again_and_again(
    told_ma: int, drawn_ma: int, excess_ma: int, renew: bool
) -> None:
    """Below the fallback of 6 A, and at 0, a setpoint has to be renewed: its end would be a raise. Others need not."""
    rows = (at("a", told_ma, ma=drawn_ma, fallback_ma=6000), at("b", 32_000))
    out = cut(rows, (told_ma, 32_000), excess_ma + (26_000 if told_ma == 10_000 else 0))
    assert out[0].renew == renew
    if not excess_ma:
        assert same(out[0], told("a", told_ma, renew=renew))


@pytest.mark.parametrize(("over_ma", "kept_ma"), [(10_667, 16_000), (10_668, 15_000)])
def test_cut_keeps_whole_amperes(over_ma: int, kept_ma: int) -> None:
    """10,667 mA too much on a phase: 16,000 go; 1 mA more and 16,002 do, which is one ampere more."""
    reading = meter(100_000, 300_000, (LIMIT_MA + over_ma, 100_000, 100_000))
    state = normal()._replace(mode=watch.SHEDDING, over_ms=90_000, seen_ms=100_000, new=True)
    assert same(vet(state, snapshot((at("a", 32_000),), reading), 32_000), [told("a", kept_ma, SHED, -1)])


def test_last_line_says_hold() -> None:
    """What it stops stays where it is, unrenewed, and says so; at 6 A, the least, it lets a raise pass as it came."""
    shot = snapshot((at("a", 16_000), still("b")), ROOMY)
    out = guard._last_line(shot, (told("a", 20_000), told("b", 0)), False)
    assert same(out, (told("a", 16_000, HOLD, -1, False), told("b", 0)))
    raised = (told("a", 16_000), told("b", 6000))
    assert guard._last_line(shot, raised, True) == raised


def test_shedding_says_so_to_all_it_stops() -> None:
    """Between two readings nobody is raised; after 10 s above 90 % all are off, with the renewals they came with."""
    shot = snapshot((at("a", 16_000), at("b", 16_000)), meter(100_000, 950_000, (LIMIT_MA,) * 3))
    state = normal()._replace(mode=watch.SHEDDING, over_ms=80_000, seen_ms=100_000)
    assert same(vet(state, shot, 20_000, 16_000), [told("a", 16_000, SHED, -1), told("b", 16_000)])
    hot = state._replace(hot_ms=80_000, new=True, feeders=())
    out = guard.vet(hot, shot, (told("a", 16_000), told("b", 16_000, renew=False)), SETTINGS)
    assert same(out, (told("a", 0, SHED, -1), told("b", 0, SHED, -1, False)))


def test_nothing_is_said_again_where_nothing_is_over() -> None:
    """Its lease is over and it takes its fallback, as it should: in NORMAL that is no reason to tell it less."""
    row = at("a", 0, ma=6000, allowed_ma=6000, possible_ma=6000, fallback_ma=6000)
    wanted = told("a", 0, renew=False)
    assert guard.vet(normal()._replace(feeders=()), snapshot((row,), ROOMY), (wanted,), SETTINGS) == (wanted,)


def test_feeder_over_its_limit_cuts_nobody_elsewhere() -> None:
    """8 A too much behind feeder 0: 12 A of its own car go, nothing of another feeder, phase, or of none."""
    rows = (
        at("a", 32_000, feeder=0), at("b", 10_000, feeder=0, phases=2), at("c", 10_000, feeder=1),
        at("d", 10_000, phases=2), at("e", 10_000),
    )  # fmt: skip
    over = normal()._replace(over_ms=95_000, seen_ms=100_000, new=True)
    state = normal()._replace(feeders=(over, normal()))
    out = vet(state, snapshot(rows, ROOMY, feeders=(feeder(24_000), feeder(90_000))), 32_000, *[10_000] * 4)
    assert same(out, [told("a", 20_000, SHED, 4), *(told(name, 10_000) for name in "bcde")])


@pytest.mark.parametrize(
    ("total_ms", "feeder_ms", "lands"),
    [(None, 9999, True), (None, 10_000, False), (9999, 9999, True), (9999, 10_000, False), (10_000, 9999, False)],
)
def test_what_is_on_its_way_down_counts_for_ten_seconds(total_ms: int | None, feeder_ms: int, lands: bool) -> None:
    """A car was told 0 A and draws on: until one of both has not risen for 10 s while over nobody else is cut."""
    rows = (at("a", 0, ma=16_000, feeder=0), at("b", 16_000, feeder=0))
    state = normal()
    if total_ms is not None:
        state = state._replace(mode=watch.SHEDDING, over_ms=80_000, peak_ms=100_000 - total_ms)
        state = state._replace(seen_ms=100_000, new=True)
    over = normal()._replace(over_ms=80_000, peak_ms=100_000 - feeder_ms, seen_ms=100_000, new=True)
    shot = snapshot(rows, meter(100_000, 801_000, (100_000,) * 3), feeders=(feeder(24_000),))
    out = vet(state._replace(feeders=(over,)), shot, 0, 16_000)
    assert (out[1].ma == 16_000) == lands
