"""Residents' load from a reading: what the meter sees less what cars prove, and what export leaves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.model import Meter, base_load, feeder_base, root

MV = (230_000,) * 3


def shows(p_w: int, q_var: int, ma: tuple[int, int, int], phase_w: tuple[int, int, int] | None) -> Meter:
    """A reading, its S with the sign of its P, as the driver gives it where a site may export."""
    s_va = round(math.hypot(p_w, q_var))
    return Meter(1000, -s_va if p_w < 0 else s_va, p_w, q_var, ma, MV, phase_w, -1, "")


def test_import_is_residents_and_cars() -> None:
    """What cars prove is taken off, and never more than there is."""
    reading = shows(80_000, 60_000, (100_000, 50_000, 0), None)
    assert base_load(reading, [30_000, 60_000, 0, 90_000]) == (70_000, 0, 0, 100_000 - 20_700)
    assert feeder_base(reading, [0] * 4 + [30_000, 60_000, 0], 0) == [70_000, 0, 0]


def test_export_at_unity_leaves_all_of_it() -> None:
    """10 kW back on each phase: so much more may flow; a car behind it adds to what the sun gives."""
    amps = -43_478
    reading = shows(-30_000, 0, (amps,) * 3, (-10_000,) * 3)
    assert base_load(reading, [0] * 4) == (amps, amps, amps, -30_000)
    assert base_load(reading, [10_000, 0, 0, 10_000])[0] == amps - 10_000
    assert base_load(reading, [10_000, 0, 0, 10_000])[3] == -32_300


def test_reactive_power_takes_its_part_of_what_export_leaves() -> None:
    """100 kW back with 100 kvar: cars that take it all leave the 100 kvar, and the limit holds."""
    ma = round(math.hypot(100, 100) / 3 / 230 * 1e6)
    reading = shows(-100_000, 100_000, (-ma,) * 3, (-33_333,) * 3)
    a, _, _, va = base_load(reading, [0] * 4)
    assert va == 0
    assert abs(a) <= 3
    assert base_load(reading._replace(phase_w=None), [0] * 4)[0] == 0


@pytest.mark.parametrize("limit_va", [100_000, 320_000])
@given(back_w=st.integers(1, 300_000), q_var=st.integers(-100_000, 100_000))
def test_what_fits_beside_export_stays_below_the_limit(limit_va: int, back_w: int, q_var: int) -> None:
    """Cars at unity that fill all the room, in total and on each phase: S and currents end within the limit."""
    limit_ma = limit_va * 1_000_000 // (3 * 230_000)
    one_ma = math.ceil(math.hypot(back_w, q_var) / 3 / 230 * 1000)
    reading = shows(-back_w, q_var, (-one_ma,) * 3, (-round(back_w / 3),) * 3)
    a, _, _, va = base_load(reading, [0] * 4)
    assert math.hypot(-back_w + (limit_va - va), q_var) <= limit_va + 1
    active = -back_w / 3 / 230 * 1000 + limit_ma - a
    assert math.hypot(active, q_var / 3 / 230 * 1000) <= limit_ma + 5


@given(st.integers(0, 1 << 80))
def test_root_is_rounded_up(square: int) -> None:
    """The least whole number whose square is not below."""
    assert (max(root(square) - 1, 0)) ** 2 < max(square, 1) <= max(root(square), 1) ** 2
