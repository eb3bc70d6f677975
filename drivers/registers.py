"""Meter tables as rows, and the one engine that reads them.

A row says where a value stands, how it is coded (type and word order are in the codec's name), and what it means.
The planner turns rows into few block reads; the decoder turns registers into numbers in base units (V, A, W, var, VA,
Hz, Wh).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a meter: zero-based address on the wire, words, codec, name, factor to base units."""

    address: int
    name: str
    words: int
    decode: Callable[[Sequence[int]], float | None]
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Block:
    """One read: ``count`` registers from ``address``."""

    address: int
    count: int


@dataclass(frozen=True, slots=True)
class Model:
    """A meter model: its rows, the function code that reads them, and how much it gives in one reply."""

    id: str
    title: str
    source: str
    function: int
    words_max: int
    rows: tuple[Row, ...]
    serial: Row | None = None
    """Its serial number, a holding register, where it has one."""


def f32_be(address: int, name: str, factor: float = 1.0) -> Row:
    """IEEE 754 single, high word first. NaN and infinity are no values."""
    return Row(address, name, 2, _f32_be, factor)


def _f32_be(words: Sequence[int]) -> float | None:
    value: float = struct.unpack(">f", struct.pack(">HH", *words))[0]
    return value if math.isfinite(value) else None


def u32_be(address: int, name: str, factor: float = 1.0) -> Row:
    """Unsigned 32 bits, high word first."""
    return Row(address, name, 2, lambda words: float(words[0] << 16 | words[1]), factor)


def plan(rows: Sequence[Row], words_max: int, gap_max: int = 16) -> tuple[Block, ...]:
    """The fewest block reads that cover ``rows``: no value is cut, no read is longer than ``words_max`` registers.

    A hole of up to ``gap_max`` registers is read across: one reply with some unused words is faster than two.
    """
    blocks: list[Block] = []
    for row in sorted(rows, key=lambda r: r.address):
        end = row.address + row.words
        if blocks:
            last = blocks[-1]
            near = row.address - (last.address + last.count) <= gap_max
            if near and end - last.address <= words_max:
                blocks[-1] = Block(last.address, max(end - last.address, last.count))
                continue
        blocks.append(Block(row.address, row.words))
    return tuple(blocks)


def decode(rows: Sequence[Row], registers: Mapping[int, int]) -> dict[str, float | None]:
    """The values of ``rows`` in base units; None where the meter marks a value as absent."""
    values: dict[str, float | None] = {}
    for row in rows:
        value = row.decode([registers[row.address + k] for k in range(row.words)])
        values[row.name] = None if value is None else value * row.factor
    return values
