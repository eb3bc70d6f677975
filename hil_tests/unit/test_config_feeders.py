"""Feeders and their meters in the configuration: what is accepted, what is refused and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge import config as under_test
from hil_tests.unit.area_file import FEEDER, document, loaded, problems, words

if TYPE_CHECKING:
    from pathlib import Path


def test_feeder_without_chargers_is_kept(tmp_path: Path) -> None:
    """A feeder on which nobody hangs yet is accepted; chargers that name none stay straight on the transformer."""
    config = loaded(tmp_path, document() + FEEDER)
    assert config.feeders == (under_test.FeederConfig("north", 400_000),)
    assert [charger.feeder for charger in config.chargers] == [-1]


def test_charger_finds_its_feeder_by_name(tmp_path: Path) -> None:
    """The second feeder of a file is the second feeder of whoever names it."""
    config = loaded(tmp_path, document("chargers", 'feeder = "south"') + FEEDER + FEEDER.replace("north", "south"))
    assert [feeder.id for feeder in config.feeders] == ["north", "south"]
    assert [charger.feeder for charger in config.chargers] == [1]


@pytest.mark.parametrize(("feeders", "known"), [("", "there are none"), (FEEDER, "north")])
def test_unknown_feeder_is_named_with_those_there_are(tmp_path: Path, feeders: str, known: str) -> None:
    """A charger on a feeder that is not in the file is refused in one line that lists those that are."""
    (line,) = problems(tmp_path, document("chargers", 'feeder = "nrth"') + feeders)
    assert f'[chargers.1] feeder = "nrth" is no feeder ({known}). Add [[feeders]] with this id' in line


def test_same_feeder_twice(tmp_path: Path) -> None:
    """Two feeders of one name are refused, and the line says which row has it already."""
    (line,) = problems(tmp_path, document() + FEEDER + FEEDER)
    assert '[feeders.2] id = "north" is taken by [feeders.1]. Give each feeder an id of its own.' in line


FEEDER_ROWS = [
    (FEEDER.replace("limit_a = 400\n", ""), "[feeders.1] limit_a is missing"),
    (FEEDER.replace('id = "north"\n', ""), "[feeders.1] id is missing"),
    (FEEDER.replace("400", "0.4"), "limit_a = 0.4 looks like kA; the limit is in A. Write 400."),
    (FEEDER.replace("400", "400000"), "limit_a = 400000 looks like mA; the limit is in A. Write 400."),
    (FEEDER + "model = 2\n", "model does not belong here. Move it under [feeders.meter]."),
    (FEEDER.replace("400", "15"), "[feeders.1] limit_a = 15 is below 16 (A per phase)"),
    (FEEDER.replace("400", "4001"), "[feeders.1] limit_a = 4001 is above 4000 (A per phase)"),
    (FEEDER.replace("north", "North 1"), '[feeders.1] id = "North 1" is no id'),
    (FEEDER + "limit_ka = 1\n", "[feeders.1] limit_ka is not known. Did you mean limit_a (mind the unit)?"),
    (FEEDER.replace("[[feeders]]", "[feeders]"), "[feeders] must be a list of tables. Write [[feeders]]"),
]


@pytest.mark.parametrize(("text", "expected"), FEEDER_ROWS)
def test_feeder_rows_are_checked(tmp_path: Path, text: str, expected: str) -> None:
    """A feeder's row is held to its keys and bounds like any other, one line a mistake."""
    (line,) = problems(tmp_path, document() + text)
    assert expected in line


OWN_METER = '[feeders.meter]\nmodel = "eastron_sdm630"\ntcp = "10.0.0.2:502"\n'


def test_feeder_with_a_meter_of_its_own(tmp_path: Path) -> None:
    """Its keys are those of the transformer's meter, and it is said back; the next feeder has none."""
    text = document() + FEEDER + OWN_METER + "period_s = 2\n" + FEEDER.replace("north", "south")
    config = loaded(tmp_path, text)
    own = under_test.MeterConfig("eastron_sdm630", "10.0.0.2", 502, 1, 2000, 1000)
    assert [feeder.meter for feeder in config.feeders] == [own, None]
    said = words(config)["feeders"].split("; ")
    assert said[0].endswith("together and residents, eastron_sdm630 at 10.0.0.2:502, unit 1, every 2 s")
    assert said[1].startswith("when that is silent, nothing is raised after 6 s, everybody is at fallback after 10 s")
    assert said[2].endswith("together")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[feeders.meter]\n", ["model is missing", "tcp is missing"]),
        (OWN_METER + "modle = 1\n", ["modle is not known. Did you mean model?"]),
        (OWN_METER + 'id = "x"\n', ["id does not belong here. Write it above [feeders.meter], in its [[feeders]]."]),
        (OWN_METER + "port = 5\n", ['port does not belong here. Write tcp = "host:port".']),
        (OWN_METER.replace("10.0.0.2", "10.0.0.5"), ["10.0.0.5:502 unit 1 is the meter of [meter]."]),
        ("meter = 5\n", ["feeders.1.meter is a number; a table is needed. Write [feeders.meter]"]),
        (OWN_METER + FEEDER.replace("north", "south") + OWN_METER, ["is the meter of [feeders.1.meter]."]),
    ],
)
def test_feeder_meters_are_checked(tmp_path: Path, text: str, expected: list[str]) -> None:
    """One line a mistake, with the feeder's row; a meter that another busbar has already is a copy not changed."""
    lines = problems(tmp_path, document() + FEEDER + text)
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))


@pytest.mark.parametrize("limit_a", [16, 4000])
def test_bounds_of_a_feeder(tmp_path: Path, limit_a: int) -> None:
    """The bounds themselves are accepted."""
    config = loaded(tmp_path, document() + FEEDER.replace("400", str(limit_a)))
    assert config.feeders[0].limit_ma == limit_a * 1000
