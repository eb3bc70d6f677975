"""The control law in rows of time: residents first, lowering at once, raising on proof, each with its reason."""

from __future__ import annotations

import pytest

from edge.core import control
from edge.core.model import FULL, MIN_MA, RAMPING, SHARED, UNCONTROLLED, UNPLUGGED, WAIT_ROOM, Settings
from hil_tests.unit.given import (
    CUT_MA,
    CUT_VA,
    FAR_MS,
    HOUR_MS,
    LINE_MA,
    LINE_VA,
    RATED_MA,
    SETTINGS,
    Area,
    agreed,
    at,
    awake,
    charger,
    meter,
    snapshot,
    steps,
    still,
)


# -------------------------------------------------------------------------------------------------------- raising
@pytest.mark.parametrize(("samples", "raised"), [(1, False), (4, False), (5, True), (6, True)])
def test_raise_waits_for_five_fresh_samples(samples: int, raised: bool) -> None:
    """Four readings that agree are not enough, the fifth is."""
    assert (agreed((still(),), 100_000, samples)[0].ma > 0) == raised


def test_same_reading_again_proves_nothing() -> None:
    """A meter that is not asked anew brings no proof, however many ticks pass."""
    out = steps([snapshot((still(),), meter(1000, 100_000))] * 20)
    assert {c.ma for (c,) in out} == {0}


def test_raise_only_on_the_tick_of_a_fresh_sample() -> None:
    """Proof of the past does not serve a tick that has no reading of its own."""
    shots = [snapshot((still(),), meter(min(k, 4) * 1000, 100_000)) for k in range(1, 10)]
    assert {c.ma for (c,) in steps(shots)} == {0}


@pytest.mark.parametrize(("gap_ms", "raised"), [(4999, True), (5000, True), (5001, False)])
def test_readings_across_a_gap_do_not_agree(gap_ms: int, raised: bool) -> None:
    """After more than 5 s without a reading the proof begins anew."""
    state = awake(-1000)
    for at_ms in (1000, 2000, 3000, 4000, 4000 + gap_ms):
        state, (command,) = control.step(state, snapshot((still(),), meter(at_ms, 100_000)), SETTINGS, at_ms)
    assert (command.ma > 0) == raised


@pytest.mark.parametrize("spike_va", [0, 100_000])
@pytest.mark.parametrize("place", range(5))
def test_m21_one_low_sample_never_raises(spike_va: int, place: int) -> None:
    """One reading far too low among full ones gives nobody anything."""
    loads = [LINE_VA] * 5
    loads[place] = spike_va
    out = steps([snapshot((still(),), meter((k + 1) * 1000, va)) for k, va in enumerate(loads)])
    assert {c.ma for (c,) in out} == {0}


@pytest.mark.parametrize("place", range(5))
def test_m21_one_high_sample_lowers_at_once(place: int) -> None:
    """One reading far too high cuts on the tick that sees it, and nothing goes up while it is remembered."""
    loads = [600_000] * 5
    loads[place] = 2_000_000
    out = steps([snapshot((at("a", 16_000),), meter((k + 1) * 1000, va)) for k, va in enumerate(loads)])
    assert out[place][0].ma == 0
    assert all(c.ma <= 16_000 for (c,) in out)


@pytest.mark.parametrize(("room_a", "starts"), [(8, False), (9, True), (10, True)])
def test_start_needs_room_for_nine_amperes(room_a: int, starts: bool) -> None:
    """Between reviews a car is not begun on the last ampere: 1.5 times the minimum must be free on its phase."""
    room_ma = room_a * 1000
    leaves = at("b", room_ma, max_ma=room_ma, depart_ms=5 * HOUR_MS)
    state = awake(0, still("a"), leaves)
    for k in range(1, 12):
        b, here = (leaves, room_ma) if k < 6 else (still("b", plug=UNPLUGGED), 0)
        shot = snapshot((still("a"), b), meter(k * 1000, 300_000, (LINE_MA - room_ma + here, 0, 0)))
        state, (out, _) = control.step(state, shot, SETTINGS, k * 1000)
    assert (out.ma > 0) == starts
    if not starts:
        assert (out.reason, out.phase) == (WAIT_ROOM, 0)


@pytest.mark.parametrize(("room_a", "ma"), [(5, 0), (6, 6000), (7, 7000), (8, 8000)])
def test_review_gives_the_last_amperes_too(room_a: int, ma: int) -> None:
    """What a review finds free it gives to who comes first, from the bare minimum on."""
    out = agreed((still(),), 300_000, ma=(LINE_MA - room_a * 1000, 0, 0))[0]
    assert out.ma == ma
    if not ma:
        assert (out.reason, out.phase) == (WAIT_ROOM, 0)


@pytest.mark.parametrize(
    ("depart_ms", "starts"),
    [(FAR_MS, [False, False]), (5000 + 8_202_272, [False, False]), (5000 + 8_202_271, [True, True])],
)
def test_start_waits_until_residents_are_calm(depart_ms: int, starts: list[bool]) -> None:
    """Nobody begins into what residents needed a moment ago, but who has less than an hour to spare at the review."""
    row = still(depart_ms=depart_ms)
    high, low = (1_200_000, 0, 0), (LINE_MA - 30_000, 0, 0)
    out = steps([snapshot((row,), meter(k * 1000, 300_000, high if k == 1 else low)) for k in range(1, 8)])
    assert [command.ma > 0 for (command,) in out] == [False] * 5 + starts


@pytest.mark.parametrize(("room_a", "starts"), [(5, False), (6, True), (7, True)])
def test_overdue_car_starts_on_the_minimum(room_a: int, starts: bool) -> None:
    """A car that cannot be ready any more takes the bare 6 A."""
    ma = LINE_MA - room_a * 1000
    late = still(depart_ms=HOUR_MS)
    out = steps([snapshot((late,), meter((k + 1) * 1000, 300_000, (ma, 0, 0))) for k in range(5)])[-1][0]
    assert (out.ma > 0) == starts
    if not starts:
        assert (out.reason, out.phase) == (WAIT_ROOM, 0)


def test_car_at_its_fallback_starts_from_there() -> None:
    """What a car already draws at its fallback counts towards its start: it is not stopped to be started."""
    ma = LINE_MA - 4000
    row = charger(set_ma=0, allowed_ma=6000, possible_ma=6000, ma=6000, fallback_ma=6000)
    out = steps([snapshot((row,), meter((k + 1) * 1000, 300_000, (ma, 6000, 6000))) for k in range(5)])[-1][0]
    assert out.ma == 10_000


def test_raises_climb_two_percent_in_ten_seconds() -> None:
    """All raises together: 2 % of the rating in 10 s, at first at most 4 %, however many cars wait."""
    area = Area([still(f"p{k:03d}", phases=1 << k % 3) for k in range(300)], base_va=200_000)
    loadings = []
    for _ in range(200):
        area.tick()
        loadings.append(area.loading_permille())
    assert max(b - a for a, b in zip(loadings, loadings[10:], strict=False)) <= 40
    assert max(b - a for a, b in zip(loadings[20:], loadings[30:], strict=False)) <= 22
    assert loadings[-1] > 550


def test_small_transformer_earns_the_start_of_a_three_phase_car() -> None:
    """30 kVA at 253 V: 2 % would never start anybody, so credit is saved up for one start."""
    row = Settings(30_000, 43_000, 15, 1000, 60_000, 5, False)
    cars = (still(phases=7, lines=3),)
    out = steps([snapshot(cars, meter((k + 1) * 1000, 3000, mv=253_000)) for k in range(120)], row)
    assert max(c.ma for (c,) in out) >= MIN_MA


def test_raise_up_to_a_draw_that_is_claimed_or_past_is_paid_like_any_other() -> None:
    """Two chargers told 6 A say that they draw 30: beside what they have, all raises together get 25 A of credit."""
    row = Settings(250_000, 378_000, 15, 1000, 60_000, 5, False)
    cars = tuple(at(name, 6000)._replace(ma=30_000, possible_ma=30_000) for name in ("a", "b"))
    out = steps([snapshot(cars, meter((k + 1) * 1000, 60_000)) for k in range(5)], row)[-1]
    assert 0 < sum(c.ma - 6000 for c in out) <= 25_000


def test_raise_up_to_a_draw_that_falls_takes_room() -> None:
    """Its last word said 30 A beside 22 told; the meter may have seen them gone, and what else is there is full."""
    row = at("a", 22_000)._replace(ma=30_000, possible_ma=30_000)
    shots = [snapshot((row,), meter((k + 1) * 1000, 300_000, (LINE_MA, 6000, 6000))) for k in range(10)]
    assert {c.ma for (c,) in steps(shots)} == {22_000}


@pytest.mark.parametrize(("wait_s", "raised"), [(4, False), (5, False), (6, True), (7, True)])
def test_own_setpoint_rises_at_most_every_five_seconds(wait_s: int, raised: bool) -> None:
    """After a raise has left, the next one waits for 5 s; the pilot changes no faster."""
    state = awake(-1000)
    for k in range(1, 6):
        state, (command,) = control.step(
            state, snapshot((at("a", 6000),), meter(k * 1000, 600_000)), SETTINGS, k * 1000
        )
    assert command.ma > 6000
    told = []
    for k in range(6, 6 + wait_s):
        shot = snapshot((at("a", 10_000),), meter(k * 1000, 600_000))
        state, (command,) = control.step(state, shot, SETTINGS, k * 1000)
        told.append(command.ma > 10_000)
    assert any(told) == raised


def test_full_current_is_said_to_be_full() -> None:
    """A charger whose maximum is not a whole ampere ends at the whole ampere below and says it is full."""
    area = Area([still(max_ma=16_500)], base_va=100_000)
    area.settle(60)
    assert (area.commands["a"].ma, area.commands["a"].reason) == (16_000, FULL)


# -------------------------------------------------------------------------------------------------------- lowering
@pytest.mark.parametrize(("over_va", "ma"), [(-1, 16_000), (0, 16_000), (1, 15_000), (220, 15_000), (221, 14_000)])
def test_limit_line_to_the_volt_ampere(over_va: int, ma: int) -> None:
    """On the line nothing is cut; one VA above it a whole ampere goes, on the first reading."""
    reading = meter(1000, CUT_VA + over_va, (100_000, 100_000, 100_000))
    assert steps([snapshot((at("a", 16_000),), reading)])[0][0].ma == ma


@pytest.mark.parametrize(("over_ma", "ma", "phase"), [(-1, 16_000, -1), (0, 16_000, -1), (1, 15_000, 1)])
def test_phase_line_to_the_milliampere(over_ma: int, ma: int, phase: int) -> None:
    """The same on one phase, and the reason names that phase."""
    reading = meter(1000, 600_000, (0, CUT_MA + over_ma, 0))
    command = steps([snapshot((at("b", 16_000, phases=2),), reading)])[0][0]
    assert (command.ma, command.phase) == (ma, phase)


def test_g1_base_step_is_answered_on_the_same_tick() -> None:
    """Residents take 20 % more: the tick that sees it cuts as much, and loading is below the limit at once."""
    area = Area([still(f"p{k:03d}", phases=1 << k % 3) for k in range(120)], base_va=500_000)
    area.settle(400)
    assert 750 <= area.loading_permille() <= 785
    area.base_va += 200_000
    area.tick()
    assert area.loading_permille() <= 789


def test_g2_residents_alone_over_limit() -> None:
    """Residents above the limit by themselves: every car stops, stays stopped, and nothing swings."""
    area = Area([still(f"p{k}") for k in range(5)], base_va=300_000)
    area.settle(60)
    area.base_va = 850_000
    area.tick()
    for _ in range(60):
        area.tick()
        assert {c.ma for c in area.commands.values()} == {0}


@pytest.mark.parametrize(("base_ma", "reason"), [(CUT_MA - 1, WAIT_ROOM), (CUT_MA, UNCONTROLLED)])
def test_residents_alone_are_named(base_ma: int, reason: int) -> None:
    """Where load outside control alone takes all there is, who runs stops and who waits waits for that reason."""
    runs_now = steps([snapshot((at("a", 6000),), meter(1000, 300_000, (base_ma + 6000, 0, 0)))])[0]
    waits = agreed((still("a"),), 300_000, ma=(base_ma, 0, 0))
    for command in (*runs_now, *waits):
        assert (command.ma, command.reason, command.phase) == (0, reason, 0)


def test_g4_one_phase_at_95_percent() -> None:
    """One phase at 95 % with the total at 70 %: only cars on that phase are cut."""
    reading = meter(1000, 700_000, (RATED_MA * 95 // 100, 900_000, 900_000))
    chargers = (at("a", 16_000), at("b", 16_000, phases=2), at("c", 16_000, phases=4))
    assert [c.ma for c in steps([snapshot(chargers, reading)])[0]] == [0, 16_000, 16_000]


def test_cut_takes_the_relaxed_first_to_six_then_to_nothing() -> None:
    """The car with the most time gives first, down to 6 A; nobody stops while another is above 6 A."""
    chargers = (
        at("a", 16_000, depart_ms=5 * HOUR_MS, max_ma=16_000),
        at("b", 16_000, depart_ms=50 * HOUR_MS, max_ma=16_000),
    )
    over = [3000, 10_000, 12_000, 20_000, 21_000, 27_000]
    got = []
    for over_ma in over:
        shots = [snapshot(chargers, meter(k * 1000, 100_000, (LINE_MA, 0, 0))) for k in range(1, 6)]
        state, after = awake(), snapshot(chargers, meter(20_000, 100_000, (CUT_MA + over_ma, 0, 0)))
        for now_ms, shot in [*((k * 1000, shot) for k, shot in enumerate(shots, 1)), (20_000, after)]:
            state, out = control.step(state, shot, SETTINGS, now_ms)
        got.append(tuple(c.ma for c in out))
    assert got == [(16_000, 13_000), (16_000, 6000), (14_000, 6000), (6000, 6000), (6000, 0), (0, 0)]


@pytest.mark.parametrize("over_ma", [1, 3000, 9000, 20_000])
def test_cut_is_not_given_back_on_the_same_tick(over_ma: int) -> None:
    """The reading that shows the need cuts, however much lower those before it were."""
    row = at("a", 16_000, max_ma=16_000)
    shots = [snapshot((row,), meter(k * 1000, 100_000, (LINE_MA, 0, 0))) for k in range(1, 6)]
    shots.append(snapshot((row,), meter(6000, 100_000, (CUT_MA + over_ma, 0, 0))))
    assert steps(shots)[-1][0].ma < 16_000


def test_a_phase_that_residents_fill_keeps_nobody_from_the_others() -> None:
    """Phase A is above its line by residents alone: the car there waits and says why, the car on B begins."""
    cars = (still("a"), still("b", phases=2))
    shots = [snapshot(cars, meter(k * 1000, 300_000, (CUT_MA + 20_000, 300_000, 300_000))) for k in range(1, 7)]
    out = steps(shots)[-1]
    assert (out[0].ma, out[0].reason, out[0].phase) == (0, UNCONTROLLED, 0)
    assert out[1].ma >= MIN_MA


def test_cut_takes_whom_no_review_has_seen_before_all_others() -> None:
    """A car that nobody has ranked yet has no claim against those that were, however little time it has."""
    ranked = at("a", 16_000, max_ma=16_000)
    newcomer = at("b", 16_000, max_ma=16_000, depart_ms=HOUR_MS)
    shots = [snapshot((ranked,), meter(k * 1000, 100_000, (LINE_MA - 16_000, 0, 0))) for k in range(1, 6)]
    shots.append(snapshot((ranked, newcomer), meter(6000, 100_000, (CUT_MA + 3000, 0, 0))))
    assert [c.ma for c in steps(shots)[-1]] == [16_000, 13_000]


def test_cut_charges_a_phase_and_not_its_neighbours() -> None:
    """A three-phase car gives on every phase at once, and is charged for each."""
    row = at("a", 16_000, phases=7, lines=3)
    shot = snapshot((row,), meter(1000, 300_000, (CUT_MA + 2000, 400_000, 400_000)))
    assert steps([shot])[0][0].ma == 14_000


# --------------------------------------------------------------------------------------------------------- reasons
def test_unknown_phase_counts_on_every_phase() -> None:
    """One full phase is enough to keep a car waiting whose phase nobody knows."""
    row = still(phases=7, lines=1, known=False)
    line_ma = LINE_MA
    for p in range(3):
        ma = [300_000] * 3
        ma[p] = line_ma - 5999
        shots = [snapshot((row,), meter((k + 1) * 1000, 300_000, (ma[0], ma[1], ma[2]))) for k in range(5)]
        command = steps(shots)[-1][0]
        assert (command.ma, command.phase) == (0, p)


def test_reason_names_the_transformer_when_the_total_binds() -> None:
    """Free phases and a full transformer: the reason says so."""
    shots = [snapshot((still(),), meter((k + 1) * 1000, LINE_VA - 100, (1000, 1000, 1000))) for k in range(5)]
    command = steps(shots)[-1][0]
    assert (command.ma, command.reason, command.phase) == (0, WAIT_ROOM, -1)


def test_reasons_of_a_climb() -> None:
    """A climbing car says so, and a full one says it is full."""
    area = Area([still(f"p{k}") for k in range(10)], base_va=300_000)
    seen = []
    for _ in range(60):
        area.tick()
        if area.wishes["p9"].reason not in seen[-1:]:
            seen.append(area.wishes["p9"].reason)
    assert (seen[0], seen[1], seen[-1]) == (WAIT_ROOM, RAMPING, FULL)


def test_reason_of_a_shared_phase() -> None:
    """A running car that is held back by its phase says so, and which."""
    shots = [snapshot((at("a", 10_000),), meter((k + 1) * 1000, 300_000, (LINE_MA - 500, 0, 0))) for k in range(6)]
    command = steps(shots)[-1][0]
    assert (command.ma, command.reason, command.phase) == (10_000, SHARED, 0)
