"""Fuzzing the configuration: any bytes as area.toml are refused in words, or are an area that can be told and used."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from edge import config as cfg
from edge.words import advise, as_json, in_words

if TYPE_CHECKING:
    import random
    from pathlib import Path

LONGEST = 8192
LINE_MAX = 1000
"""No complaint is longer than a person reads."""

_EXAMPLE = resources.files("edge").joinpath("area.example.toml").read_text(encoding="utf-8")


def _uncommented() -> str:
    """The example with every optional key in use."""
    lines = [line.removeprefix("# ") for line in _EXAMPLE.splitlines()[3:]]
    return "\n".join(line.split("  #")[0].rstrip() for line in lines) + "\n"


FULL = _uncommented()
_SMALL = (
    '[area]\nid = "west-3"\nrating_kva = 1250\n[meter]\nmodel = "eastron_sdm630"\ntcp = "10.0.0.5:502"\n'
    '[broker]\nhost = "127.0.0.1"\n[[chargers]]\nid = "cp-01"\nphase = "A"\nmax_a = 32\n'
)
SEEDS: tuple[bytes, ...] = (_SMALL.encode(), FULL.encode(), _EXAMPLE.encode(), b"\xef\xbb\xbf" + _SMALL.encode())
VALUES = (
    "0", "-1", "1", "0.5", "1.5", "6", "32", "63", "64", "80", "0.8", "100", "100.1", "1e3", "1e999999", "-1e-999999",
    "nan", "inf", "-inf", "0x7fffffffffffffffff", "0o7", "0b1", "1_000", "9" * 60, "12,5", "800/5", "22:30",
    "true", "false", "[]", "{}", "[[]]", "[1, 2]", "{a = 1}", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z",
    '""', '"all"', '"A"', '"L1"', '"22:30"', '"24:00"', '"23:00-08:00"', '["23:00-08:00", "12:00-13:00"]', '"?"',
    '"10.0.0.5:502"', '"[::1]:502"', '"10.0.0.5:99999"', '"http://x:1"', '"u:p@h"', '"h:1883"', '"10.0.0.256"',
    '"Asia/Shanghai"', '"Asia"', '"../etc/passwd"', '"north"', '"cp-01"', '"\\u0000"', '"\\ud800"', '"桩"', "“x”", "x",
    '"""\na"""', "'a'", '"' + "a" * 300 + '"',
)  # fmt: skip
FITTING = ("0", "1", "1.5", "6", "10", "16", "32", "63", "80", "78.5", "100", "400", "1250", "20000", "true")
"""Numbers that one key or another may have, so that some of what is written fits."""
KEYS = (
    *sorted({line.split(" = ")[0] for line in FULL.splitlines() if " = " in line}),
    *("password", "rating_va", "phases", "limit", '"a b"', "a.b", "桩"),
)
HEADERS = (
    *sorted({line for line in FULL.splitlines() if line.startswith("[")}),
    *("[area.windows]", "[chargers]", "[[meter]]", "[feeders]", "[x]", "[[", "[area", "[]"),
)
WORDS: tuple[bytes, ...] = tuple(text.encode() for text in (*VALUES, *KEYS, *HEADERS) if len(text) < 40)


class _Paper(PurePosixPath):
    """A file that is nowhere but here, so that a million of them wear out no disk."""

    data = b""

    def open(self, _mode: str = "rb") -> io.BytesIO:
        return io.BytesIO(self.data)


def read(data: bytes) -> cfg.AreaConfig:
    """Read bytes as if they stood in a file. Raises ConfigError."""
    paper = _Paper("/site/area.toml")
    paper.data = data
    return cfg.load(cast("Path", paper))


def play(data: bytes) -> tuple[int, int]:
    """Read the bytes as a configuration. Returns 1, and 1 when they are one."""
    try:
        _usable(read(data))
    except cfg.ConfigError as error:
        lines = error.problems
    else:
        return 1, 1
    assert lines, "refused without a word"
    assert all(line.startswith("area.toml: ") for line in lines), f"no file named: {lines}"
    assert all(line.isprintable() and len(line) < LINE_MAX for line in lines), f"not one readable line: {lines}"
    assert len(set(lines)) == len(lines), f"said twice: {lines}"
    return 1, 0


def _usable(config: cfg.AreaConfig) -> None:
    """What is accepted is within bounds written out here, and can be told to a person and to a machine."""
    assert 5_000 <= config.rating_va <= 20_000_000
    assert 0 < config.rated_ma < 60_000_000
    assert 10 <= cfg.lowest_limit_permille(config) <= 1000
    assert 0 <= config.margin_permille <= 15
    assert config.charging.fallback_ma == 0 or 6_000 <= config.charging.fallback_ma <= 63_000
    assert 10_000 <= config.charging.lease_ms <= 60_000
    assert config.chargers
    assert len({row.id for row in config.chargers}) == len(config.chargers)
    for row in config.chargers:
        assert 6_000 <= row.max_ma <= 63_000
        assert row.max_ma >= config.charging.fallback_ma
        assert -1 <= row.feeder < len(config.feeders)
    for meter in (config.meter, *(feeder.meter for feeder in config.feeders)):
        assert meter is None or (500 <= meter.period_ms <= 10_000 and 0 < meter.port < 65_536)
    assert all(sentence for _, sentence in in_words(config))
    # Who may read the password file is a question to the disk, which is left out here.
    assert all(advise(replace(config, broker=replace(config.broker, password_file=None))))
    assert as_json(config)["area_id"] == config.area_id


# --------------------------------------------------------------------------------------------------------- mutations
def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a file as people do: a value, a key, a header, a line lost, said twice, moved or taken from elsewhere."""
    if rng.random() < 0.5:
        data = rng.choice(SEEDS)
    lines = data.decode("utf-8", "replace").split("\n")
    k = rng.randrange(len(lines))
    key, equals, value = lines[k].partition(" = ")
    how = rng.randrange(8)
    if how == 0:
        lines[k : k + rng.randint(1, 3)] = []
    elif how == 1:
        lines.insert(rng.randrange(len(lines) + 1), lines[k])
    elif how == 2:
        lines.insert(k, rng.choice(HEADERS))
    elif how == 3:
        lines.insert(k, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
    elif how == 4:
        lines.insert(k, rng.choice(FULL.splitlines()))
    elif how == 5:
        lines[k] = f"{rng.choice(KEYS)}{equals}{value}"
    elif equals:
        lines[k] = f"{key} = {rng.choice(VALUES if how == 6 else FITTING)}"
    return "\n".join(lines).encode()
