"""The fuzz targets, always: what hypothesis draws, from the shape of honest messages outward.

On demand, and with many more inputs: ``python -m hil_tests.fuzz``.

Each target can fail: broken on purpose behind its door, its own seeds find out.
"""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import modbus_meter
from drivers.chargers import taiqu
from edge import schema
from edge.core import guard, trust
from edge.core.trust import FINE, Trust
from hil_tests.fuzz import __main__ as command
from hil_tests.fuzz import config, meter, telemetry
from hil_tests.unit import area_file

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SEED = 1
TARGETS = (telemetry, meter, config)
same = settings(derandomize=True, deadline=None)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_every_seed_is_taken_for_real(target: ModuleType) -> None:
    """The fuzzer begins with messages that are some: each seed is heard, and fits."""
    for data in target.SEEDS:
        pieces, taken = target.play(data)
        assert 0 < taken <= pieces
        assert len(data) <= target.LONGEST


# ------------------------------------------------------------------------------------------------------------ meter
numbers = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, 1.0, 109.0, 111.0, 149.0, 151.0, 176.0, 220.0, 1200.0, 1e6, 3.4e38]),
    st.floats(-2000.0, 2000.0, width=32),
)
lies = st.dictionaries(st.sampled_from(sorted(meter.AT)), numbers, max_size=4)
scales = st.sampled_from([-1.0, 0.0, 0.1, 0.5, 1.0, 1.0, 1.0, 2.0, 10.0, 1000.0])
kinds = st.sampled_from([("i1", "i2", "i3"), ("p1", "p2", "p3", "p"), ("p", "q", "s"), ("v1", "v2", "v3")])


def lied(flags: int, k: int, row: tuple[dict[str, float], tuple[str, ...], float]) -> bytes:
    """An honest block with some values told otherwise, and one kind of them scaled."""
    changes, kind, scale = row
    values = meter.values(0.77 if flags & meter.LOADED else 0.3, 100 + k, bool(flags & meter.CARS))
    scaled = {name: value * scale for name, value in values.items() if name in kind}
    return meter.encoded({**values, **scaled, **changes})


@given(st.integers(0, 7), st.lists(st.tuples(lies, kinds, scales), min_size=1, max_size=meter.BLOCKS_MAX))
@settings(same, max_examples=500)
def test_any_lie_of_a_meter_raises_nobody(
    flags: int, rows: list[tuple[dict[str, float], tuple[str, ...], float]]
) -> None:
    """Values that are absent, scaled, signed or merely odd, in any number: no raise that they do not bear out."""
    meter.play(bytes((flags,)) + b"".join(lied(flags, k, row) for k, row in enumerate(rows)))


@given(st.binary(min_size=1 + meter.BLOCK, max_size=meter.LONGEST))
@settings(same, max_examples=300)
def test_any_registers_raise_nobody(data: bytes) -> None:
    """Registers of any content are a reading or a MeterError, and lead to no raise that they do not bear out."""
    meter.play(data)


# -------------------------------------------------------------------------------------------------------- telemetry
odd = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=4), st.integers()
)
whole = st.one_of(
    st.sampled_from(telemetry.NUMBERS), st.integers(0, 70_000), st.integers(0, 70_000), st.integers(0, (1 << 53) - 1)
)
currents = st.lists(st.sampled_from(telemetry.NUMBERS) | st.integers(0, 40_000), min_size=3, max_size=3)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A state or a wish with some fields changed, mostly into what they may be."""
    kind = draw(st.sampled_from([0, 0, 0, 2, 3]))
    fields: dict[str, Any] = dict(telemetry.WISH if kind == 2 else telemetry.STATE)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)):
        if name == "v":
            continue
        fields[name] = draw(currents if name == "ma" else whole)
    if draw(st.integers(0, 9)) == 0:
        fields[draw(st.sampled_from([*fields, "x"]))] = draw(odd)
    return telemetry.line(fields, kind, draw(st.integers(0, 7)), stranger=draw(st.integers(0, 9)) == 0)


@given(st.integers(0, 7), st.lists(messages(), min_size=1, max_size=telemetry.LINES_MAX))
@settings(same, max_examples=300)
def test_any_messages_of_a_charger_raise_nobody_too_far(circumstances: int, lines: list[bytes]) -> None:
    """Whatever one charger says, however long after: no exception, and nobody is told more than there is."""
    telemetry.play(bytes((circumstances,)) + b"\n".join(lines))


@given(st.binary(min_size=1, max_size=600))
@settings(same, max_examples=300)
def test_any_bytes_of_a_charger_are_read_or_refused(data: bytes) -> None:
    """Bytes that are no messages at all are refused in one line each."""
    telemetry.play(data)


# ---------------------------------------------------------------------------------------------------- configuration
@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=4))
@settings(same, max_examples=500)
def test_any_mutated_file_is_refused_in_words_or_used(seeds: list[int]) -> None:
    """Lines lost, moved, repeated, keys and values exchanged: every complaint at once, or an area."""
    data = config.SEEDS[1]
    for seed in seeds:
        data = config.mutate(data, random.Random(seed))
    config.play(data)


def parses(value: str) -> bool:
    """Is this a value to TOML?"""
    try:
        return len(tomllib.loads(f"x = {value}")) == 1
    except ValueError:
        return False


VALUES = [value for value in config.VALUES if parses(value)]
ALONE = {
    "area": ["id", "rating_kva", "secondary_v", "limit_pct", "margin_pct", "exports", "timezone", "x"],
    "meter": ["model", "tcp", "unit", "period_s", "ct_ratio"],
    "broker": ["host", "port", "username", "pass"],
    "charging": ["lease_s", "default_want_kwh", "default_depart", "valley", "now_per_month"],
    "chargers": ["phase", "max_a", "limit_pct"],
}
"""Keys whose rules ask for nothing in another table."""
mistakes = st.fixed_dictionaries(
    {
        table: st.none() | st.builds("{} = {}".format, st.sampled_from(keys), st.sampled_from(VALUES))
        for table, keys in ALONE.items()
    }
)


def complaints(lines: dict[str, str]) -> set[str]:
    """Everything that is wrong with the smallest valid file after one line of some tables was replaced or added."""
    text = ""
    for table, rows in area_file.TABLES.items():
        line = lines.get(table, "")
        kept = [row for row in rows.splitlines() if row.split(" = ")[0] != line.split(" = ")[0]]
        text += "\n".join([*kept, line]) + "\n"
    try:
        config.read(text.encode())
    except schema.ConfigError as error:
        return set(error.problems)
    return set()


@given(mistakes)
@settings(same, max_examples=300)
def test_no_mistake_hides_another(lines: dict[str, str | None]) -> None:
    """What is wrong with each table alone is said of the file in which all of it is wrong."""
    wrong = {table: line for table, line in lines.items() if line is not None}
    alone = [complaints({table: line}) for table, line in wrong.items()]
    assert complaints(wrong) == set().union(*alone)


# ------------------------------------------------------------------------------------------------- targets can fail
def found(target: ModuleType, plays: int = 4000) -> str:
    """What the target complains of within so many mutated seeds; "" when of nothing."""
    rng = random.Random(SEED)
    for _ in range(plays):
        data = rng.choice(target.SEEDS)
        for _ in range(rng.randint(1, 4)):
            data = target.mutate(data, rng)
        try:
            target.play(data)
        except Exception as error:  # noqa: BLE001 - whatever escapes is a find
            return f"{type(error).__name__}: {error}"
    return ""


def test_nothing_is_found_in_what_is_not_broken() -> None:
    """The same inputs against the product as it is: nothing."""
    assert [found(target, 1500) for target in TARGETS] == ["", "", ""]


def believing(seen: Trust, reading: Any, *_: object) -> Trust:  # noqa: ANN401 - a Meter or None
    """Trust that doubts nothing."""
    return seen if reading is None else Trust(reading, reading.at_ms, FINE, -1, "")


@pytest.mark.parametrize(
    ("target", "where", "name", "broken", "says"),
    [
        (meter, trust, "look", believing, "on a block in which"),
        (meter, modbus_meter, "_NEEDED", modbus_meter._NEEDED[3:], "KeyError"),
        (meter, guard, "_within_line", lambda _, commands, __: commands, "is full"),
        (telemetry, taiqu, "_integer", lambda *_: None, "Error"),
        (telemetry, guard, "_within_line", lambda _, commands, __: commands, "are free"),
        (config, schema, "shown", str, "not one readable line"),
        (config, schema.Number, "_check_range", lambda *_: None, "InvalidOperation"),
    ],
)
def test_a_target_finds_what_is_broken(
    monkeypatch: pytest.MonkeyPatch, target: ModuleType, where: object, name: str, broken: object, says: str
) -> None:
    """One rule behind the door taken away: the target says so within a few thousand inputs."""
    monkeypatch.setattr(where, name, broken)
    complaint = found(target)
    assert complaint
    assert says in complaint


# ------------------------------------------------------------------------------------------------------ the command
def test_without_atheris_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and the exit code of bad input."""
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert command.main(["telemetry"]) == 2
    assert "pip install '.[fuzz]'" in capsys.readouterr().err


def test_an_input_is_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finding that was kept is played once: it breaks nothing any more, or its traceback is there."""
    path = tmp_path / "finding"
    path.write_bytes(telemetry.SEEDS[1])
    assert command.main(["telemetry", "--replay", str(path)]) == 0
    assert "breaks nothing" in capsys.readouterr().out
    monkeypatch.setattr(guard, "vet", lambda _state, _shown, commands, _row: commands)
    with pytest.raises(AssertionError):
        command.main(["telemetry", "--replay", str(path)])


def test_an_input_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--replay`` of no file: that, and the exit code of bad input."""
    assert command.main(["config", "--replay", str(tmp_path / "nosuch")]) == 2
    assert capsys.readouterr().err == f"--replay {tmp_path / 'nosuch'}: no such file\n"


def test_a_finding_is_told_from_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Of all that the fuzzer says, figures are read, pulses are passed on, and the rest is kept for a traceback."""
    said = [
        "INFO: seed corpus: files: 9\n", "#1024\tpulse  cov: 9 ft: 9 corp: 1/1b exec/s: 512 rss: 9Mb\n",
        "AssertionError: no\n", "stat::number_of_executed_units: 2048\n", "stat::average_exec_per_sec:     700\n",
    ]  # fmt: skip
    assert command._listen("meter", said) == {
        "last": ["AssertionError: no\n"], "number_of_executed_units": 2048, "average_exec_per_sec": 700,
    }  # fmt: skip
    assert capsys.readouterr().err == "meter: 1,024 runs, 512 a second\n"


@pytest.mark.parametrize("target", sorted(command.PIECES))
def test_the_command_fuzzes_and_writes_only_into_its_folder(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some hundred inputs of each target: counted, nothing found, nothing written elsewhere."""
    pytest.importorskip("atheris", reason="atheris is missing: pip install '.[fuzz]'")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(here)
    assert command.main([target, "--runs", "300", "--folder", str(tmp_path / "there")]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: 300 runs, ")
    assert list(here.iterdir()) == []
    assert {path.name for path in (tmp_path / "there").iterdir()} == {target, f"{target}.dict"}
