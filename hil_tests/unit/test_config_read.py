"""What comes out of a valid configuration: core units, defaults, windows and valley, the shipped example."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import edge.config
from edge import config as under_test
from edge.config import AreaConfig, ConfigError, in_valley, limit_permille_at, load
from edge.words import advise, as_json
from hil_tests.unit.area_file import document, loaded, write

EXAMPLE = Path(edge.config.__file__).with_name("area.example.toml")


# -------------------------------------------------------------------------------------------------- what comes out
def test_core_units_and_defaults(tmp_path: Path) -> None:
    """The smallest file gives the documented defaults, all integers in core units."""
    config = loaded(tmp_path, document())
    assert (config.rating_va, config.secondary_v, config.rated_ma) == (1_250_000, 400, 1_804_219)
    assert (config.limit_permille, config.margin_permille, config.timezone) == (800, 15, "Asia/Shanghai")
    assert config.windows == ()
    assert config.meter == under_test.MeterConfig("eastron_sdm630", "10.0.0.5", 502, 1, 1000, 1000)
    assert config.broker == under_test.BrokerConfig("127.0.0.1", 1883, None, None)
    assert config.charging == under_test.ChargingConfig(0, 60_000, 9_000, 420, ((1380, 480),), 8)
    assert config.chargers == (under_test.ChargerConfig("cp-01", 1, phase_known=True, max_ma=32_000, feeder=-1),)
    assert config.feeders == ()
    assert type(config.limit_permille) is int


def test_every_key_arrives_in_its_field(tmp_path: Path) -> None:
    """Values that differ from every default end up where they belong, exactly, without rounding by floats."""
    text = """
[area]
id = "a"
rating_kva = 400
secondary_v = 380
limit_pct = 78.5
margin_pct = 0.7
base_p999_kva = [123.4, 100, 0.1]
timezone = "UTC"
[[area.windows]]
from = "22:00"
to = "08:00"
limit_pct = 70.1
[meter]
model = "other"
tcp = "[fe80::1]:1502"
unit = 7
period_s = 2.505
ct_ratio = 33.3
serial = "00026117004"
[broker]
host = "broker.local"
port = 8883
username = "me"
password_file = "secret"
[charging]
fallback_a = 6
lease_s = 30
default_want_kwh = 7.25
default_depart = "06:30"
valley = []
now_per_month = 3
fallback_slots = 5
fallback_floor_by_law = true
late_fallback = false
accept_unleased_kw = 7.5
[[feeders]]
id = "south"
limit_a = 400
base_p999_kva = 56.7
[[feeders]]
id = "north"
limit_a = 250
[[chargers]]
id = "b"
phase = "unknown"
max_a = 16
feeder = "north"
[[chargers]]
id = "a"
phase = "ABC"
max_a = 63
feeder = "south"
[[chargers]]
id = "a-0"
phase = "C"
max_a = 32.0
lease = "none"
"""
    config = load(write(tmp_path, text), {"other", "eastron_sdm630"})
    assert (config.rated_ma, config.limit_permille, config.margin_permille) == (607_737, 785, 7)
    assert config.windows == (under_test.LimitWindow(1320, 480, 701),)
    assert config.meter == under_test.MeterConfig("other", "fe80::1", 1502, 7, 2505, 33_300, "26117004")
    assert config.broker == under_test.BrokerConfig("broker.local", 8883, "me", tmp_path / "secret")
    assert config.base_va == (123_400, 100_000, 100)
    assert config.charging == under_test.ChargingConfig(6_000, 30_000, 7_250, 390, (), 3, 5, True, False, 7_500)
    assert config.feeders == (
        under_test.FeederConfig("south", 400_000, None, 56_700),
        under_test.FeederConfig("north", 250_000),
    )
    assert config.chargers == (
        under_test.ChargerConfig("a", 7, phase_known=True, max_ma=63_000, feeder=0),
        under_test.ChargerConfig("a-0", 4, phase_known=True, max_ma=32_000, feeder=-1, leased=False),
        under_test.ChargerConfig("b", 7, phase_known=False, max_ma=16_000, feeder=1),
    )


def test_the_callers_meter_models_decide(tmp_path: Path) -> None:
    """A model is known because the caller says so, and for no other reason."""
    with pytest.raises(ConfigError, match='is not one of "acrel_adw300", "dlt645"'):
        load(write(tmp_path, document()), ("dlt645", "acrel_adw300"))


def test_absolute_password_file_stays_absolute(tmp_path: Path) -> None:
    """A relative password file is looked for beside the configuration, an absolute one where it says."""
    text = document("broker", 'username = "me"', 'password_file = "/run/secret"')
    assert loaded(tmp_path, text).broker.password_file == Path("/run/secret")


def test_serial_number_may_be_written_as_a_number(tmp_path: Path) -> None:
    """A technician leaves the quotes out, or writes the zeros that are printed: the same digits as the meter says."""
    for written, serial in (("20260115", "20260115"), ('"00026117004"', "26117004"), ("4294967295", "4294967295")):
        text = document().replace("[meter]", f"[meter]\nserial = {written}")
        assert load(write(tmp_path, text)).meter.serial == serial


def test_example_loads_and_names_every_key() -> None:
    """The shipped example is valid without a word of advice, and mentions every key of every table."""
    config = load(EXAMPLE)
    assert len(config.chargers) == 3
    assert advise(config) == []
    text = EXAMPLE.read_text(encoding="utf-8")
    tables = (
        under_test.AREA, under_test.WINDOW, under_test.BROKER, under_test.CHARGING, under_test.FEEDER,
        under_test.CHARGER,
    )  # fmt: skip
    keys = [key.name for table in (*tables, under_test._meter_keys(["m"])) for key in table]
    assert [name for name in keys if f"{name} = " not in text] == []


def test_example_shows_the_true_defaults(tmp_path: Path) -> None:
    """With its optional lines uncommented the example means the same, apart from what has no default."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    optional = [
        line.removeprefix("# ") if " = " in line or "[feeders" in line else line
        for line in lines
        if not any(key in line for key in ("username", "base_p999_kva", "late_fallback"))
    ]
    kept = [line for line in optional if not line.startswith(("password_file", "serial", "from", "to "))]
    start = kept.index("limit_pct = 75                # ceiling in this window, % of rating")
    del kept[start]
    config, plain = loaded(tmp_path, "\n".join(kept)), load(EXAMPLE)
    own = under_test.MeterConfig("eastron_sdm630", "192.168.1.51", 502, 1, 1000, 1000)
    assert (config.feeders, plain.feeders) == ((under_test.FeederConfig("north", 400_000, own),), ())
    assert [charger.feeder for charger in config.chargers] == [0, -1, -1]
    same = {"path": "", "feeders": [], "chargers": []}
    assert as_json(config) | same == as_json(plain) | same
    assert [replace(charger, feeder=-1) for charger in config.chargers] == list(plain.chargers)


def windows(config: AreaConfig, minutes: list[int]) -> list[int]:
    """The limit at each of the minutes."""
    return [limit_permille_at(config, minute) for minute in minutes]


def test_window_wraps_midnight(tmp_path: Path) -> None:
    """A window from 22:00 to 08:00 holds from its first minute through midnight to the minute before its end."""
    config = loaded(tmp_path, document() + '[[area.windows]]\nfrom = "22:00"\nto = "08:00"\nlimit_pct = 75\n')
    assert windows(config, [1319, 1320, 1439, 0, 479, 480]) == [800, 750, 750, 750, 750, 800]
    assert windows(config, [-121, -120, 1440 + 479, 1440 + 480]) == [800, 750, 750, 800]
    assert under_test.lowest_limit_permille(config) == 750


def test_lowest_window_wins(tmp_path: Path) -> None:
    """Where windows overlap the lowest holds, and none can lift the area's own limit."""
    rows = [("08:00", "12:00", 75), ("10:00", "14:00", 60), ("13:00", "16:00", 95), ("20:00", "20:00", 79)]
    text = "".join(f'[[area.windows]]\nfrom = "{a}"\nto = "{b}"\nlimit_pct = {pct}\n' for a, b, pct in rows)
    config = loaded(tmp_path, document() + text)
    assert windows(config, [479, 480, 600, 719, 720, 839, 840, 960]) == [790, 750, 600, 600, 600, 600, 790, 790]


def test_window_that_ends_at_midnight(tmp_path: Path) -> None:
    """An end of 00:00 means the end of the day, not an empty window."""
    config = loaded(tmp_path, document() + '[[area.windows]]\nfrom = "23:59"\nto = "00:00"\nlimit_pct = 50\n')
    assert windows(config, [1438, 1439, 0]) == [800, 500, 800]


def test_valley_wraps_and_may_be_several(tmp_path: Path) -> None:
    """Each span of the valley is [start, end); an empty list is never cheap."""
    config = loaded(tmp_path, document("charging", 'valley = ["23:00-08:00", "12:00-13:30"]'))
    minutes = [1379, 1380, 0, 479, 480, 719, 720, 809, 810]
    assert [in_valley(config, minute) for minute in minutes] == [
        False,
        True,
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    flat = loaded(tmp_path, document("charging", "valley = []"))
    assert not any(in_valley(flat, minute) for minute in range(1440))
