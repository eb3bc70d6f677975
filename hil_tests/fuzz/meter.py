"""Fuzzing the meter: raw register blocks, what the driver makes of them, and what the guard raises on that.

An input is one byte of circumstances and up to four blocks of 80 registers, read a second apart. The blocks are encoded
and judged from the datasheet's parameter numbers in hil_tests/golden, never from the driver's table.
"""

from __future__ import annotations

import json
import math
import struct
from importlib import resources
from typing import TYPE_CHECKING, Any

from drivers.meters import MODELS
from drivers.modbus_meter import ModbusMeter
from drivers.registers import decode
from edge.core.model import CHARGING, NEVER, WAITING, Charger, Meter, Place
from edge.ports import MeterError
from hil_tests.fuzz import area

if TYPE_CHECKING:
    import random

_GOLDEN: dict[str, Any] = json.loads(
    resources.files("hil_tests.golden").joinpath("eastron_sdm630.json").read_text(encoding="utf-8")
)
AT: dict[str, int] = {name: 2 * (number - _GOLDEN["first_number"]) for number, _, _, name in _GOLDEN["parameters"]}
"""Where a value stands in a block, in bytes."""
BLOCK = 2 * int(_GOLDEN["registers"])
BLOCKS_MAX = 4
LONGEST = 1 + BLOCKS_MAX * BLOCK
_VALUES = (0.0, -0.0, 1.0, -1.0, 110.0, 150.0, 220.0, 230.2, 400.0, 1e4, 1e6, 1e7, 3.4e38, 1e-40, math.inf, math.nan)
WORDS: tuple[bytes, ...] = (*(struct.pack(">f", value) for value in _VALUES), b"\xff\xff\xff\xff")

EXPORTS, CARS, LOADED = 1, 2, 4
"""The bits of the first byte: may the site export, do cars draw, is the transformer near its limit?"""
PLACES = (Place(1, 1, True, -1), Place(2, 1, True, -1), Place(7, 1, False, -1), Place(7, 3, True, -1))
DRAWN_MA = 16_000
NEEDED = ("v1", "v2", "v3", "i1", "i2", "i3", "p", "q", "s")


def values(load: float = 0.3, tick: int = 0, cars: bool = False) -> dict[str, float]:
    """What an honest meter shows of a transformer loaded so far; ``tick`` moves its last digits.

    Cars draw 32 A on phase a.
    """
    volts, pf = 220.0, 0.95
    amps = [load * 1_000_000 / 3 / volts + 32.0 * (cars and not k) + 0.01 * (tick % 7) for k in range(3)]
    va = [volts * a for a in amps]
    out = {"f": 50.0, "import_kwh": 1000.0 + tick * 0.125, "export_kwh": 0.0, "s": sum(va)}
    out["p"], out["q"] = sum(va) * pf, sum(va) * math.sqrt(1 - pf * pf)
    for k in range(3):
        out |= {f"v{k + 1}": volts, f"i{k + 1}": amps[k], f"p{k + 1}": va[k] * pf, f"s{k + 1}": va[k]}
    return out


def encoded(shown: dict[str, float]) -> bytes:
    """A block, as the datasheet says."""
    out = bytearray(BLOCK)
    for name, value in shown.items():
        struct.pack_into(">f", out, AT[name], value)
    return bytes(out)


def _blocks(flags: int, count: int = BLOCKS_MAX) -> bytes:
    load, cars = 0.77 if flags & LOADED else 0.3, bool(flags & CARS)
    return bytes((flags,)) + b"".join(encoded(values(load, 100 + k, cars)) for k in range(count))


SEEDS: tuple[bytes, ...] = (*(_blocks(flags) for flags in range(8)), _blocks(0, 1))


# ---------------------------------------------------------------------------------------------------------- the play
def _driver(exports: bool) -> ModbusMeter:
    """The driver, which connects to nobody before it reads."""
    return ModbusMeter(MODELS["eastron_sdm630"], "127.0.0.1", 502, 1, exports=exports)


_DRIVERS = {exports: _driver(exports) for exports in (False, True)}
_SETTINGS = {exports: area.settings(exports=exports) for exports in (False, True)}


def _read(driver: ModbusMeter, data: bytes, now_ms: int) -> Meter:
    """What the driver makes of a block. Raises MeterError."""
    registers = dict(enumerate(struct.unpack(f">{BLOCK // 2}H", data)))
    return driver._meter(decode(driver.model.rows, registers), now_ms)


_WARM = {
    flags: area.warm(
        lambda now_ms, flags=flags: _read(
            _DRIVERS[bool(flags & EXPORTS)],
            encoded(values(0.77 if flags & LOADED else 0.3, now_ms // 1000 - 95, bool(flags & CARS))),
            now_ms,
        ),
        _SETTINGS[bool(flags & EXPORTS)],
    )
    for flags in range(8)
}


def _chargers(cars: bool) -> tuple[Charger, ...]:
    """Two cars on phase a that draw 16 A each or wait, and three that wait, each wired in another way."""
    rows = []
    for k, place in enumerate((0, 0, 1, 2, 3)):
        ma = DRAWN_MA if cars and k < 2 else 0
        plug = CHARGING if ma else WAITING
        rows.append(
            Charger(f"p{k}", place, 32_000, 0, plug, *(ma,) * 4, False, False, 9000, 9000, 1 << 40, NEVER, False, 0)
        )
    return tuple(rows)


_CHARGERS = {cars: _chargers(cars) for cars in (False, True)}


def play(data: bytes) -> tuple[int, int]:
    """Read the blocks one a second; whatever they say, nothing is raised that they do not bear out.

    Returns how many blocks there were, and how many of them the driver took for a reading.
    """
    flags = data[0] & 7 if data else 0
    exports, rows = bool(flags & EXPORTS), _CHARGERS[bool(flags & CARS)]
    state, reading, said, taken = _WARM[flags], None, b"", 0
    count = min((len(data) - 1) // BLOCK, BLOCKS_MAX)
    for k in range(count):
        now_ms = area.BEGUN_MS + k * 1000
        raw = data[1 + k * BLOCK : 1 + (k + 1) * BLOCK]
        error = ""
        try:
            reading, said = _read(_DRIVERS[exports], raw, now_ms), raw
            taken += 1
        except MeterError as err:
            error = str(err)
        assert error.isprintable(), "an error is one line"
        state, commands = area.decide(state, reading, PLACES, rows, _SETTINGS[exports], now_ms)
        told = [command.ma for command in commands]
        assert all(ma == 0 or 6000 <= ma <= 32_000 for ma in told)
        if any(ma > row.set_ma for ma, row in zip(told, rows, strict=True)):
            wrong = unfit(said, told, exports=exports, cars=bool(flags & CARS))
            assert not wrong, f"raised to {told} mA on a block in which {wrong}"
    return count, taken


# --------------------------------------------------------------------------------------------------------- the judge
def unfit(raw: bytes, told: list[int], *, exports: bool, cars: bool) -> str:
    """Why nobody may be told more than he has on this block: in the datasheet's numbers, with limits of its own."""
    if not raw:
        return "nothing was read"
    v = {name: struct.unpack_from(">f", raw, at)[0] for name, at in AT.items()}
    if not all(math.isfinite(v[name]) for name in NEEDED):
        return "a value is missing"
    volts, amps, va = [v[f"v{k}"] for k in (1, 2, 3)], [abs(v[f"i{k}"]) for k in (1, 2, 3)], abs(v["s"])
    if not all(0 <= u <= 1000 for u in volts) or max(volts) <= 150:
        return "the voltages cannot be"
    return _lies(v, volts, amps, va, exports, cars) or _full(v, volts, amps, va, told, exports, cars)


def _lies(v: dict[str, float], volts: list[float], amps: list[float], va: float, exports: bool, cars: bool) -> str:
    """What contradicts itself, or the cars; 1 % of the rating and rounding aside."""
    floor_va, mean_v = 10_010.0, sum(volts) / 3
    watts = [v[f"p{k}"] for k in (1, 2, 3)]
    known = all(math.isfinite(w) for w in watts)
    rows = (
        (math.hypot(v["p"], v["q"]) > va * 1.1 + floor_va, "P and Q are more than S"),
        (not exports and v["p"] < -20_001.0, "power flows back"),
        (not exports and known and min(watts) < -6_668.0, "power flows back on a phase"),
        (known and abs(sum(watts) - v["p"]) > va * 0.1 + floor_va, "the phases do not add up"),
        (va > sum(amps) * mean_v * 1.15 + floor_va * 1.2, "S is more than the currents"),
        (min(volts) < 109.9 and max(volts) >= 176.0, "a voltage is missing"),
        (cars and amps[0] < 0.31, "a phase shows nothing of its cars"),
        (cars and not exports and amps[0] < 12.79, "a phase shows too little of its cars"),
        (cars and va < 32.0 * mean_v * 0.0099, "S shows nothing of the cars"),
    )
    return next((text for holds, text in rows if holds), "")


def _full(
    v: dict[str, float], volts: list[float], amps: list[float], va: float, told: list[int], exports: bool, cars: bool
) -> str:
    """Where what is told does not fit: the block's own load, and on top what each charger is told above its draw."""
    drawn = [row.ma for row in _CHARGERS[cars]]
    more = [max(ma - draws, 0) / 1000 for ma, draws in zip(told, drawn, strict=True)]
    if exports:
        va = -va if v["p"] < 0 else va
        amps = [-a if v[f"p{k}"] < 0 else a for k, a in enumerate(amps, 1)]
    total = more[0] + more[1] + more[2] + more[3] + 3 * more[4]
    if total and va + total * sum(volts) / 3 > area.LIMIT_VA + 100:
        return "the transformer is full"
    on = (more[0] + more[1], more[2], 0.0)
    for k in range(3):
        if on[k] + more[3] + more[4] and amps[k] + on[k] + more[3] + more[4] > area.LIMIT_MA / 1000 + 0.1:
            return f"phase {k + 1} is full"
    return ""


# --------------------------------------------------------------------------------------------------------- mutations
_FACTORS = (-1.0, 0.0, 0.01, 0.1, 0.5, 0.9, 1.1, 2.0, 10.0, 1000.0)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Lie in one block as meters lie: values scaled, signed, absent or swapped, or the block again."""
    blocks = [bytearray(data[at : at + BLOCK]) for at in range(1, len(data) - BLOCK + 1, BLOCK)][:BLOCKS_MAX]
    if not blocks:
        return rng.choice(SEEDS)
    k = rng.randrange(len(blocks))
    names = rng.choice((("i1", "i2", "i3"), ("p1", "p2", "p3"), ("p", "q", "s"), ("v1", "v2", "v3"), tuple(AT)))
    chosen = names if rng.random() < 0.3 else rng.sample(names, rng.randint(1, 2))
    how, factor, word = rng.randrange(5), rng.choice(_FACTORS), rng.choice(WORDS)
    for name in chosen:
        at = AT[name]
        old = bytes(blocks[k][at : at + 4])
        if how < 3:
            value = struct.unpack(">f", old)[0] * (factor if how else rng.uniform(-2.0, 2.0))
            new = struct.pack(">f", value) if abs(value) < 3e38 else word
        else:
            new = word if how == 3 else old[2:] + old[:2]
        blocks[k][at : at + 4] = new
    if rng.random() < 0.2:
        blocks[rng.randrange(len(blocks))] = blocks[k]
    return data[:1] + b"".join(blocks)
