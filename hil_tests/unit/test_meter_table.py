"""Meter tables against the datasheet's own numbers and frames; the reader's plan; values that are none."""

from __future__ import annotations

import json
import math
import struct
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.meters import MODELS
from drivers.registers import Block, Row, decode, f32_be, plan

# Our name of a value → the name in the golden table and the factor from its unit to our base unit.
SAME_VALUE = {
    "v_l1": ("v1", 1), "v_l2": ("v2", 1), "v_l3": ("v3", 1), "i_l1": ("i1", 1), "i_l2": ("i2", 1), "i_l3": ("i3", 1),
    "p_l1": ("p1", 1), "p_l2": ("p2", 1), "p_l3": ("p3", 1), "p_w": ("p", 1), "s_va": ("s", 1), "q_var": ("q", 1),
    "f_hz": ("f", 1), "import_wh": ("import_kwh", 1000), "export_wh": ("export_kwh", 1000),
}  # fmt: skip
BASE = {"V": 1, "A": 1, "W": 1, "VA": 1, "var": 1, "Hz": 1, "kWh": 1000, "": 1}


def golden(model: str) -> dict[str, Any]:
    """The datasheet's side of a model."""
    text = resources.files("hil_tests.golden").joinpath(f"{model}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def frames() -> list[tuple[str, dict[str, Any]]]:
    """Every golden frame of every model."""
    return [(model, frame) for model in MODELS for frame in golden(model)["frames"]]


def crc16(data: bytes) -> bytes:
    """Modbus RTU's check sum, low byte first (Modbus over serial line, V1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_its_golden_side(model: str) -> None:
    """A table without a datasheet beside it is a guess."""
    assert golden(model)["frames"]
    assert {row.name for row in MODELS[model].rows} <= set(SAME_VALUE)
    assert MODELS[model].id == model


@pytest.mark.parametrize(("model", "frame"), frames())
def test_golden_frame_decodes_to_the_datasheet_value(model: str, frame: dict[str, Any]) -> None:
    """The datasheet's own bytes give the datasheet's own value, and its request is what we would ask."""
    request, reply = bytes.fromhex(frame["request"]), bytes.fromhex(frame["reply"])
    assert crc16(request[:-2]) == request[-2:]
    assert crc16(reply[:-2]) == reply[-2:]
    unit, function, address, count = struct.unpack(">BBHH", request[:-2])
    row = next(row for row in MODELS[model].rows if row.name == frame["name"])
    assert (function, address, count) == (MODELS[model].function, row.address, row.words)
    assert reply[:3] == bytes((unit, function, 2 * count))
    words = struct.unpack(f">{count}H", reply[3:-2])
    values = decode([row], {address + k: word for k, word in enumerate(words)})
    assert values[frame["name"]] == pytest.approx(frame["value"], rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_rows_stand_where_the_datasheet_prints_them(model: str) -> None:
    """Each row's address is its parameter number less the first one; its factor follows from the printed unit."""
    sheet = golden(model)
    printed = {name: (number - sheet["first_number"], unit) for number, _, unit, name in sheet["parameters"]}
    for row in MODELS[model].rows:
        name, factor = SAME_VALUE[row.name]
        address, unit = printed[name]
        assert (row.name, row.address, row.factor) == (row.name, address, factor)
        assert factor == BASE[unit]


@pytest.mark.parametrize("model", MODELS)
def test_rows_neither_overlap_nor_repeat(model: str) -> None:
    """No two rows share a register or a name."""
    rows = MODELS[model].rows
    words = [row.address + k for row in rows for k in range(row.words)]
    assert len(set(words)) == len(words)
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_what_the_controller_needs(model: str) -> None:
    """Voltages, currents, P, Q and S: without one of them no reading is complete."""
    needed = {"v_l1", "v_l2", "v_l3", "i_l1", "i_l2", "i_l3", "p_w", "q_var", "s_va"}
    assert needed <= {row.name for row in MODELS[model].rows}


@pytest.mark.parametrize("model", MODELS)
def test_sdm630_is_read_in_one_request(model: str) -> None:
    """With holes read across, the whole table is one reply: one moment, one round trip."""
    rows, most = MODELS[model].rows, MODELS[model].words_max
    assert plan(rows, most, gap_max=most) == (Block(0, 76),)


rows_strategy = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from([1, 2, 4])), min_size=1, max_size=30, unique_by=lambda r: r[0]
)


@given(rows_strategy, st.integers(4, 125), st.integers(0, 125))
def test_plan_cuts_no_value_and_reads_no_more_than_allowed(
    spots: list[tuple[int, int]], words_max: int, gap_max: int
) -> None:
    """Every value stands whole in one block, in any order of rows; no block is too long; none reads a long hole."""
    rows = [Row(address, f"r{address}", words, lambda _w: 0.0) for address, words in spots]
    blocks = plan(rows, words_max, gap_max)
    assert blocks == plan(rows[::-1], words_max, gap_max)
    for row in rows:
        assert any(b.address <= row.address and row.address + row.words <= b.address + b.count for b in blocks)
    for block in blocks:
        assert block.count <= words_max
        end = block.address + block.count
        # Rows that overlap and do not fit into one block stand in two; each block is as long as what it holds whole.
        inside = sorted(
            (r.address, r.address + r.words) for r in rows if block.address <= r.address and r.address + r.words <= end
        )
        assert inside[0][0] == block.address
        assert max(end for _, end in inside) == block.address + block.count
        end = inside[0][1]
        for start, stop in inside[1:]:
            assert start - end <= gap_max
            end = max(end, stop)
    assert len(blocks) <= len(rows)


@pytest.mark.parametrize(("gap_max", "blocks"), [(7, 2), (8, 1), (9, 1)])
def test_plan_reads_across_a_hole_up_to_its_bound(gap_max: int, blocks: int) -> None:
    """A hole of eight registers is read across when eight are allowed."""
    assert len(plan([f32_be(0, "a"), f32_be(10, "b")], 80, gap_max)) == blocks


@pytest.mark.parametrize(("words_max", "blocks"), [(11, 2), (12, 1), (13, 1)])
def test_plan_stays_within_one_reply(words_max: int, blocks: int) -> None:
    """Twelve registers are one reply where twelve are allowed."""
    assert len(plan([f32_be(0, "a"), f32_be(10, "b")], words_max)) == blocks


def words_of(bits: int) -> dict[int, int]:
    """A float's bits as two registers, high word first."""
    return {0: bits >> 16, 1: bits & 0xFFFF}


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7F800000, 0xFF800000, 0xFFFFFFFF, 0x7F800001])
def test_m7_nan_and_infinity_are_no_values(bits: int) -> None:
    """What the meter marks as absent is None, never a number and never zero."""
    assert decode([f32_be(0, "x", 1000.0)], words_of(bits)) == {"x": None}


@pytest.mark.parametrize(
    ("bits", "value"),
    [(0x43663334, 230.2), (0x00000000, 0.0), (0x80000000, 0.0), (0xC3663334, -230.2), (0x7F7FFFFF, 3.4028235e38)],
)
def test_numbers_are_values(bits: int, value: float) -> None:
    """Zero, minus zero, negative and the largest float are numbers; what is plausible is judged elsewhere."""
    assert decode([f32_be(0, "x")], words_of(bits))["x"] == pytest.approx(value, rel=1e-6)


def test_m6_swapped_words_are_far_from_the_value() -> None:
    """The word order matters: 230.2 V read the wrong way round is nothing like it."""
    swapped = decode([f32_be(0, "x")], {0: 0x3334, 1: 0x4366})["x"]
    assert swapped is not None
    assert not math.isclose(swapped, 230.2, rel_tol=0.9)


def test_factor_leads_to_base_units() -> None:
    """What the datasheet prints in kWh becomes Wh."""
    bits = struct.unpack(">I", struct.pack(">f", 1234.5))[0]
    assert decode([f32_be(0, "import_wh", 1000.0)], words_of(bits)) == {"import_wh": 1_234_500.0}
