"""An area.toml for tests: the smallest valid one in parts, read, refused, or said back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.config import AreaConfig, ConfigError, load
from edge.words import in_words

if TYPE_CHECKING:
    from pathlib import Path

AREA = '[area]\nid = "west-3"\nrating_kva = 1250\n'
METER = '[meter]\nmodel = "eastron_sdm630"\ntcp = "10.0.0.5:502"\n'
BROKER = '[broker]\nhost = "127.0.0.1"\n'
CHARGING = "[charging]\n"
FEEDER = '[[feeders]]\nid = "north"\nlimit_a = 400\n'
CHARGER = '[[chargers]]\nid = "cp-01"\nphase = "A"\nmax_a = 32\n'
TABLES = {"area": AREA, "meter": METER, "broker": BROKER, "charging": CHARGING, "chargers": CHARGER}


def document(table: str = "area", *lines: str, without: str = "") -> str:
    """The smallest valid file with lines of one table added or replaced by key, and one key left out."""
    named = {without, *(line.split(" = ")[0] for line in lines)}
    kept = [line for line in TABLES[table].splitlines() if line.split(" = ")[0] not in named]
    return "\n".join({**TABLES, table: "\n".join([*kept, *lines]) + "\n"}.values())


def stated(text: str, base_kva: int = 600) -> str:
    """The same with residents' highest load stated, even on all phases: without it no fallback above 0 is checked."""
    third = f"{base_kva / 3:.1f}"
    return text.replace("[area]\n", f"[area]\nbase_p999_kva = [{third}, {third}, {third}]\n", 1)


def write(folder: Path, text: str | bytes) -> Path:
    """A file named as technicians name it."""
    path = folder / "area.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(folder: Path, text: str | bytes) -> list[str]:
    """Everything that is wrong with a file; each complaint is held to be one line that names the file."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(line.startswith("area.toml: ") and "\n" not in line for line in caught.value.problems)
    return caught.value.problems


def loaded(folder: Path, text: str) -> AreaConfig:
    """The configuration of a valid file."""
    return load(write(folder, text))


def words(config: AreaConfig) -> dict[str, str]:
    """The rows by topic; a topic stands once."""
    rows = in_words(config)
    assert len(dict(rows)) == len(rows)
    return dict(rows)
