"""The emulated area is what it claims to be: its residents, its cars' manners, its arithmetic, and its verdicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.core.lease import Setpoint
from hil_tests.rig.chargers import Chargers
from hil_tests.rig.community import (
    BASE_PF,
    COMMUNITIES,
    END_S,
    EV_PF,
    START_S,
    VALLEY_S,
    VOLT,
    Cars,
    Community,
    base_curve_kw,
    base_phases_kw,
    sample_cars,
)
from hil_tests.rig.night import Night, play_uncontrolled
from hil_tests.rig.plant import MIN_A, TAPER_FLOOR_A, TAPER_WH, Plant
from hil_tests.rig.verdict import Recorder

HOUR = 3600
SEEDS = range(1, 6)
TINY = Community("T", 100, 60.0, 60.0, 1)
RATED_A = 100_000 / 3 / VOLT


def one_car(**fields: float) -> Cars:
    """A 7 kW car on phase A that is there from the start, begins after 10 s and follows after 2 s."""
    plain = {"phase": 0, "max_a": 32, "arrive_s": -1, "depart_s": 10 * HOUR}
    real = {"need_wh": 9000.0, "draw": 0.95, "start_s": 10.0, "react_s": 2.0}
    whole = {name: np.array([int(fields.get(name, value))]) for name, value in plain.items()}
    return Cars(**whole, **{name: np.array([float(fields.get(name, value))]) for name, value in real.items()})


def plant_of(cars: Cars, base_kw: float = 30.0) -> Plant:
    """A 100 kVA area with these cars and flat residents."""
    return Plant(replace(TINY, piles=len(cars.phase)), cars, np.full((10, 3), base_kw / 3.0), 0)


def currents(plant: Plant, seconds: int) -> list[float]:
    """What the first car draws in the next seconds, A."""
    drawn = []
    for _ in range(seconds):
        plant.step()
        drawn.append(float(plant.current_a[0]))
    return drawn


# ------------------------------------------------------------------------------------------------------------ residents
@pytest.mark.parametrize(
    ("name", "hour", "kw"),
    [("A", 20.5, 880.0), ("A", 27.0, 352.0), ("B", 20.5, 471.0), ("B", 27.0, 188.0), ("C", 20.5, 359.0)],
)
def test_base_curve_has_its_anchors(name: str, hour: float, kw: float) -> None:
    """The residents' curve passes the study's evening peak and valley."""
    assert base_curve_kw(COMMUNITIES[name], np.array([hour * HOUR]))[0] == pytest.approx(kw)


def test_base_curve_stays_between_valley_and_peak() -> None:
    """Nowhere in the night is the curve above its peak or below its valley, and it is lowest in the price valley."""
    seconds = np.arange(START_S, END_S, 60.0)
    curve = base_curve_kw(COMMUNITIES["A"], seconds)
    assert (curve.min(), curve.max()) == pytest.approx((352.0, 880.0))
    valley = (seconds >= VALLEY_S[0]) & (seconds <= VALLEY_S[1] - HOUR)
    assert curve[valley].max() == pytest.approx(352.0)


def test_base_noise_has_its_size_and_no_bias() -> None:
    """Noise is unbiased, 1.4 % of the rating at the peak of A, seeded, and drawn for each phase by itself."""
    seconds = np.full(60_000, 20.5 * HOUR)
    drawn = base_phases_kw(COMMUNITIES["A"], seconds, np.random.default_rng(1))
    total = drawn.sum(axis=1)
    assert total.mean() == pytest.approx(880.0, rel=0.01)
    assert total.std() == pytest.approx(17.5, rel=0.15)
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.2
    again = base_phases_kw(COMMUNITIES["A"], seconds, np.random.default_rng(1))
    other = base_phases_kw(COMMUNITIES["A"], seconds, np.random.default_rng(2))
    assert (drawn == again).all()
    assert (drawn != other).any()


# ----------------------------------------------------------------------------------------------------------------- cars
@pytest.mark.parametrize(("name", "phases", "fast"), [("A", (130, 107, 87), 194), ("B", (87, 71, 59), 130)])
def test_cars_have_exact_shares(name: str, phases: tuple[int, int, int], fast: int) -> None:
    """Phases 40/33/27 and 60 % of 7 kW hold exactly for each seed; only who gets what is drawn."""
    drawn = [sample_cars(COMMUNITIES[name].piles, np.random.default_rng(seed)) for seed in SEEDS]
    for cars in drawn:
        assert tuple(np.bincount(cars.phase)) == phases
        assert int((cars.max_a == 32).sum()) == fast
        assert set(cars.max_a.tolist()) == {16, 32}
    assert (drawn[0].phase != drawn[1].phase).any()


def test_cars_keep_their_hours() -> None:
    """Every car comes home after 16:00 and by 20:00, leaves between 7:00 and 9:00, and asks for 9 kWh."""
    for seed in SEEDS:
        cars = sample_cars(324, np.random.default_rng(seed))
        assert cars.arrive_s.min() > START_S
        assert cars.arrive_s.max() <= 20 * HOUR
        assert cars.depart_s.min() >= 31 * HOUR
        assert cars.depart_s.max() <= 33 * HOUR
        assert (cars.need_wh == 9000.0).all()
        assert cars.start_s.min() >= 10.0
        assert cars.start_s.max() <= 40.0
        assert cars.react_s.max() < 5.0


@pytest.mark.parametrize("start_s", [10.0, 25.0, 40.0])
def test_a_car_takes_its_time_to_begin(start_s: float) -> None:
    """A released car draws nothing for its start delay and begins then."""
    plant = plant_of(one_car(start_s=start_s))
    plant.pilot_a[:] = 16.0
    drawn = currents(plant, 60)
    assert next(k + 1 for k, amps in enumerate(drawn) if amps > 0.0) == start_s


def test_a_running_car_follows_within_5_s() -> None:
    """A new allowance is reached within 5 s, up and down, and the car draws 95 % of it."""
    plant = plant_of(one_car(react_s=3.9))
    plant.pilot_a[:] = 10.0
    assert currents(plant, 40)[-1] == pytest.approx(9.5)
    plant.pilot_a[:] = 16.0
    assert currents(plant, 5)[-1] == pytest.approx(15.2)
    plant.pilot_a[:] = 6.0
    assert currents(plant, 5)[-1] == pytest.approx(5.7)
    plant.pilot_a[:] = 0.0
    assert currents(plant, 5)[-1] == 0.0


@pytest.mark.parametrize(("pilot_a", "draws"), [(MIN_A - 0.1, False), (MIN_A, True), (0.0, False)])
def test_no_car_charges_below_6_a(pilot_a: float, *, draws: bool) -> None:
    """Below 6 A there is only off."""
    plant = plant_of(one_car())
    plant.pilot_a[:] = pilot_a
    assert (currents(plant, 60)[-1] > 0.0) is draws


def test_no_car_draws_more_than_it_can() -> None:
    """A 16 A car stays at 16 A however much it is allowed, in its first seconds too."""
    plant = plant_of(one_car(max_a=16))
    plant.pilot_a[:] = 32.0
    drawn = currents(plant, 120)
    assert max(drawn) <= 16.0
    assert drawn[-1] == pytest.approx(16 * 0.95)


def test_a_car_that_begins_overshoots_for_two_seconds() -> None:
    """Told 10 A, it draws more than that for a moment, and then its 95 %."""
    plant = plant_of(one_car())
    plant.pilot_a[:] = 10.0
    drawn = currents(plant, 120)
    above = [amps for amps in drawn if amps > 10.0]
    assert 1 <= len(above) <= 3
    assert max(above) <= 10.0 * 1.10
    assert drawn[-1] == pytest.approx(9.5)


def test_a_sleeper_wakes_when_the_offer_is_taken_away_and_made_again() -> None:
    """It ignores the first offer for ever; after a pause it charges."""
    plant = plant_of(replace(one_car(), sleeper=np.array([True])))
    plant.pilot_a[:] = 16.0
    assert max(currents(plant, 600)) == 0.0
    plant.pilot_a[:] = 0.0
    currents(plant, 10)
    plant.pilot_a[:] = 16.0
    assert currents(plant, 120)[-1] == pytest.approx(16 * 0.95)


def test_a_deaf_car_keeps_what_it_was_offered_until_it_is_stopped() -> None:
    """A lower pilot does not lower it; no pilot does."""
    plant = plant_of(replace(one_car(), deaf=np.array([True])))
    plant.pilot_a[:] = 32.0
    currents(plant, 120)
    plant.pilot_a[:] = 8.0
    assert currents(plant, 60)[-1] == pytest.approx(32 * 0.95)
    plant.pilot_a[:] = 0.0
    assert currents(plant, 60)[-1] == 0.0


def test_a_three_phase_car_loads_all_phases_and_charges_three_times_as_fast() -> None:
    """Its current flows on each conductor; its energy counts all three."""
    plant = plant_of(replace(one_car(max_a=16), lines=np.array([3])))
    quiet = plant.step().i_a
    plant.pilot_a[:] = 16.0
    currents(plant, 60)
    bar = plant.step()
    assert (bar.i_a - quiet > 10.0).all()
    before_wh = float(plant.delivered_wh[0])
    plant.step()
    assert plant.delivered_wh[0] - before_wh == pytest.approx(3 * 16 * 0.95 * VOLT * EV_PF / 3600.0)


def test_a_charge_tapers_and_ends_at_its_energy() -> None:
    """The current falls over the last 0.4 kWh, never below 2 A, and ends at 9 kWh to within one second's energy."""
    plant = plant_of(one_car())
    plant.pilot_a[:] = 32.0
    seen: list[tuple[float, float]] = []
    while not plant.full[0]:
        before_wh = float(plant.delivered_wh[0])
        plant.step()
        seen.append((9000.0 - before_wh, float(plant.current_a[0])))
        assert plant.second < 3 * HOUR
    full_a = 32 * 0.95
    assert any(amps == pytest.approx(full_a) for left, amps in seen if left > TAPER_WH)
    assert all(amps < full_a for left, amps in seen if left < TAPER_WH * 0.9)
    assert min(amps for left, amps in seen if left < TAPER_WH and amps > 0.0) == pytest.approx(TAPER_FLOOR_A)
    assert 9000.0 <= plant.delivered_wh[0] < 9000.0 + TAPER_FLOOR_A * VOLT / 3600.0
    assert currents(plant, 60) == [0.0] * 60
    assert plant.delivered_wh[0] < 9001.0


def test_a_car_charges_only_while_it_is_there() -> None:
    """Before it comes and after it leaves, a car draws nothing, whatever its pilot says."""
    plant = plant_of(one_car(arrive_s=100, depart_s=200))
    plant.pilot_a[:] = 16.0
    drawn = currents(plant, 300)
    assert max(drawn[:99]) == 0.0
    assert max(drawn[99:199]) > 15.0
    assert max(drawn[199:]) == 0.0


# --------------------------------------------------------------------------------------------------------------- busbar
@pytest.mark.parametrize(
    ("epoch", "seq", "ma", "lease_ms", "answers"),
    [
        (3, 6, 0, 60_000, False),
        (4, 1, 0, 60_000, True),
        (3, 6, 0, 0, True),
        (3, 6, 6000, 0, True),
        (2, 9, 0, 0, False),
        (3, 5, 0, 0, False),
    ],
)
def test_a_charger_answers_a_new_controller_and_a_setpoint_without_a_lease(
    epoch: int, seq: int, ma: int, lease_ms: int, answers: bool
) -> None:
    """At once, also when it refuses it for being a raise; an older controller and a repeated message get no answer."""
    chargers = Chargers(plant_of(one_car()), 1)
    now_ms = chargers.offset_ms[0]
    chargers.judge(0, Setpoint(3, 5, chargers.boot[0], now_ms, 0, 60_000))
    assert len(chargers.telemetry()) == 1
    assert chargers.telemetry() == []
    chargers.judge(0, Setpoint(epoch, seq, chargers.boot[0], now_ms, ma, lease_ms))
    assert len(chargers.telemetry()) == answers


def test_a_fence_leaves_the_heartbeat_alone() -> None:
    """A charger at 6 A that is fenced there speaks three times in what is left of its lease, not every second."""
    chargers = Chargers(plant_of(one_car()), 1)
    chargers.judge(0, Setpoint(3, 5, chargers.boot[0], chargers.offset_ms[0], 6000, 60_000))
    chargers.judge(0, Setpoint(4, 1, 0, 0, 6000, 0))
    said = []
    for _ in range(59):
        chargers.before_second()
        chargers.plant.current_a[:] = 0.0
        said += chargers.telemetry()
        chargers.plant.second += 1
    assert len(said) == 3
    assert chargers.allowed_ma() == (6000,)


def test_power_balances_on_each_phase() -> None:
    """What flows is residents plus cars, active and reactive, on the phase each hangs on; S = sum of U times I."""
    cars = sample_cars(24, np.random.default_rng(3))
    plant = plant_of(replace(cars, arrive_s=np.full(24, -1)), base_kw=45.0)
    plant.pilot_a[:] = cars.max_a
    for _ in range(60):
        bar = plant.step()
    for phase in range(3):
        ev_kva = plant.current_a[cars.phase == phase].sum() * VOLT / 1000.0
        p = 15.0 + ev_kva * EV_PF
        q = 15.0 * np.tan(np.arccos(BASE_PF)) + ev_kva * EV_PF * np.tan(np.arccos(EV_PF))
        assert ev_kva > 0.0
        assert bar.p_kw[phase] == pytest.approx(p)
        assert bar.q_kvar[phase] == pytest.approx(q)
        assert bar.i_a[phase] * VOLT / 1000.0 == pytest.approx(np.hypot(p, q))
    assert bar.s_kva == pytest.approx(float(bar.i_a.sum()) * VOLT / 1000.0)
    assert bar.base_kw + bar.ev_kw == pytest.approx(float(bar.p_kw.sum()))
    assert bar.base_kva == pytest.approx(45.0 / BASE_PF)


def test_a_step_of_the_base_stands_on_all_phases() -> None:
    """``extra_kw`` is added to the residents, a third on each phase, and can be taken back."""
    plant = plant_of(one_car())
    before = plant.step()
    plant.extra_kw = 20.0
    after = plant.step()
    assert after.p_kw - before.p_kw == pytest.approx(20.0 / 3.0)
    assert after.base_kva - before.base_kva == pytest.approx(20.0 / BASE_PF)
    plant.extra_kw = 0.0
    assert plant.step().s_kva == pytest.approx(before.s_kva)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_control_community_a_is_overloaded(seed: int) -> None:
    """The uncontrolled night of A peaks above 110 % in the evening and still gives every car its 9 kWh."""
    recorder = play_uncontrolled(Night(COMMUNITIES["A"], seed))
    verdict = recorder.verdict(80.0)
    assert verdict["peak_loading_pct"] > 110.0
    assert "18:00" <= verdict["peak_time"] < "21:00"
    assert verdict["requests_met"] == verdict["requests"] == 324
    assert verdict["energy_delivered_kwh"] == pytest.approx(324 * 9.0, rel=0.001)


# ------------------------------------------------------------------------------------------------------------- verdicts
def recorded(base_kw: float, car_a: float, minutes: int = 1) -> Recorder:
    """Record whole minutes of a 100 kVA area with one car that draws ``car_a`` from its first second."""
    plant = plant_of(one_car(start_s=0.0, react_s=0.0, draw=1.0, max_a=63), base_kw)
    plant.pilot_a[:] = car_a
    for _ in range(60):
        plant.step()
    recorder = Recorder(plant, RATED_A)
    for _ in range(minutes * 60):
        recorder.note(plant.step())
    return recorder


@pytest.mark.parametrize(
    ("base_pct", "car_a", "over"),
    [
        (75.0, 0.0, 0),  # below
        (75.0, 32.0, 3),  # the car is why
        (79.9, 6.0, 3),
        (80.1, 32.0, 0),  # residents alone are above: not the controller's
        (70.0, 6.0, 0),
    ],
)
def test_a_minute_over_is_one_the_cars_are_to_blame_for(base_pct: float, car_a: float, over: int) -> None:
    """A minute above the limit counts only if residents alone are not above it."""
    verdict = recorded(base_pct * BASE_PF, car_a, minutes=3).verdict(80.0)
    assert verdict["minutes_over_limit"] == over
    assert (verdict["peak_loading_pct"] > 80.0) is (over > 0 or base_pct > 80.0)


def test_a_minute_is_judged_by_its_mean() -> None:
    """Half a minute above the limit, made up for in the other half, is not a minute over."""
    plant = plant_of(one_car())
    recorder = Recorder(plant, RATED_A)
    for extra_kw, seconds in ((60.0, 29), (40.0, 31)):
        plant.extra_kw = extra_kw * BASE_PF
        for _ in range(seconds):
            recorder.note(plant.step())
    assert max(recorder.s_kva) > 85.0
    assert recorder.verdict(85.0)["minutes_over_limit"] == 0


@pytest.mark.parametrize(("missing_wh", "met"), [(111.0, 0), (110.0, 1), (109.0, 1), (-1.0, 1)])
def test_a_request_is_met_within_110_wh(missing_wh: float, met: int) -> None:
    """6 A for 5 minutes may be missing, no more."""
    recorder = recorded(30.0, 0.0)
    recorder.plant.delivered_wh[0] = 9000.0 - missing_wh
    assert recorder.verdict(80.0)["requests_met"] == met


def test_minutes_of_the_night_window_are_told_apart() -> None:
    """A minute over at 21:59 counts, but not for the window from 22:00 to 8:00; one at 22:00 counts for both."""
    recorder = recorded(75.0 * BASE_PF, 32.0, minutes=2)
    recorder.plant.start_s = 22 * HOUR - 60
    verdict = recorder.verdict(80.0)
    assert (verdict["minutes_over_limit"], verdict["minutes_over_limit_night"]) == (2, 1)
    assert verdict["peak_time"] in {"21:59", "22:00"}


def test_valley_share_counts_the_seconds_after_23() -> None:
    """Half of the energy before 23:00 and half after is a valley share of 50 %."""
    plant = plant_of(one_car(start_s=0.0, react_s=0.0, draw=1.0))
    plant.second = VALLEY_S[0] - 130
    plant.cars.depart_s[0] = END_S
    plant.pilot_a[:] = 16.0
    for _ in range(10):
        plant.step()
    plant.delivered_wh[:] = 0.0
    recorder = Recorder(plant, RATED_A)
    for _ in range(240):
        recorder.note(plant.step())
    assert recorder.verdict(80.0)["valley_share_pct"] == pytest.approx(50.0, abs=0.1)
