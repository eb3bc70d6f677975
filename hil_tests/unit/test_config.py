"""The configuration: every message a technician can meet, every boundary, and the words it is said back in."""

from __future__ import annotations

import copy
import datetime as dt
import json
import tomllib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import edge.config
from edge import config as under_test
from edge.config import AreaConfig, ConfigError, in_valley, limit_permille_at, load
from edge.words import advise, alone_as_json, alone_in_words, as_json, in_words

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = Path(edge.config.__file__).with_name("area.example.toml")

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
    """The same with residents' highest load stated: without it no fallback above 0 can be checked."""
    return text.replace("[area]\n", f"[area]\nbase_p999_kva = {base_kva}\n", 1)


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


# One row: table, key, value as in TOML (None leaves the key out), and what the only complaint must say.
COMPLAINTS = [
    # Units and slips of the finger.
    ("area", "limit_pct", "0.8", "[area] limit_pct = 0.8 looks like a fraction; loading is in percent. Write 80."),
    ("area", "limit_pct", "0.855", "looks like a fraction; loading is in percent. Write 85.5."),
    ("area", "limit_pct", "80.25", "limit_pct = 80.25 has more than 1 decimal(s). Write 80.2."),
    ("area", "margin_pct", "0.015", "margin_pct = 0.015 looks like a fraction; loading is in percent. Write 1.5."),
    ("area", "rating_kva", "1250000", "rating_kva = 1250000 looks like VA; the rating is in kVA. Write 1250."),
    ("area", "rating_kva", "1200", "is off the standard list. Write 1250 if the plate says so, or add"),
    ("area", "rating_kva", "16000", "rating_kva = 16000 is off the standard list. Write 1600 if"),
    ("area", "rating_kva", "20000000", "looks like VA; the rating is in kVA. Write 20000."),
    ("area", "rating_kva", "20000001", "rating_kva = 20000001 is above 20000 (kVA of one transformer)."),
    ("area", "rating_kva", "99000000", "rating_kva = 99000000 is above 20000 (kVA of one transformer)."),
    ("area", "base_p999_kva", "927000", "base_p999_kva = 927000 looks like W or VA; the load is in kVA. Write 927."),
    ("area", "base_p999_kva", "0", "base_p999_kva = 0 is below 0.1 (kVA of residents). Set 0.1 or more."),
    ("area", "base_p999_kva", "20000.1", "looks like W or VA"),
    ("area", "base_p999_kva", "92.75", "base_p999_kva = 92.75 has more than 1 decimal(s). Write 92.8."),
    ("area", "base_p999_kw", "600", "base_p999_kw is not known. Did you mean base_p999_kva (mind the unit)?"),
    ("charging", "base_p999_kva", "600", "base_p999_kva does not belong here. Move it under [area]."),
    ("charging", "fallback_slots", "2.5", "fallback_slots = 2.5 is not a whole number. Write 2."),
    ("charging", "accept_unleased_kw", "-1", "accept_unleased_kw = -1 is below 0 (kW). Set 0 or more."),
    ("charging", "accept_unleased_kw", "20000.1", "is above 20000 (kW). Set 20000 or less."),
    ("charging", "accept_unleased_kw", "7.25", "has more than 1 decimal(s). Write 7.2."),
    ("charging", "accept_unleased_w", "7000", "Did you mean accept_unleased_kw (mind the unit)?"),
    ("chargers", "lease", '"None"', 'lease = "None" is not one of "echo", "none". Did you mean "none"?'),
    ("chargers", "lease", "false", "lease = false is a true/false value; text is needed. Write it in quotes."),
    ("charging", "late_fallback", '"auto"', 'late_fallback = "auto" is text; true or false is needed.'),
    ("charging", "fallback_floor_by_law", "1", "fallback_floor_by_law = 1 is a number; true or false is needed."),
    ("meter", "ct_ratio", '"2000/5"', 'ct_ratio = "2000/5" is a CT\'s plate; the ratio is a number. Write 400.'),
    # Types.
    ("area", "limit_pct", '"80"', 'limit_pct = "80" is text; a number is needed. Write 80 without quotes.'),
    ("area", "limit_pct", '"eighty"', "is text; a number is needed. Set a number from 1 to 100."),
    ("area", "rating_kva", "true", "rating_kva = true is a true/false value; a number is needed."),
    ("area", "rating_kva", "nan", "rating_kva = NaN is not a number that can be used."),
    ("area", "limit_pct", "inf", "limit_pct = Infinity is not a number that can be used."),
    ("area", "limit_pct", "1e99999999999999999999", "is not a number that can be used"),
    ("area", "limit_pct", "[80]", "limit_pct = (a list) is a list; a number is needed."),
    ("area", "limit_pct", "0x" + "f" * 5000, "limit_pct = (a number of more than 38 digits) is above 100"),
    ("area", "rating_confirmed", "1", "rating_confirmed = 1 is a number; true or false is needed."),
    ("area", "id", "3", "id = 3 is a number; text is needed. Write it in quotes."),
    ("charging", "lease_s", "30.5", "lease_s = 30.5 is not a whole number. Write 30."),
    ("charging", "valley", '"23:00-08:00"', 'valley = "23:00-08:00" is text; a list is needed. Write it in [ ].'),
    ("charging", "valley", "[23]", "valley.1 = 23 is not a span of time HH:MM-HH:MM. Write it like"),
    # Times.
    ("charging", "default_depart", "07:00:00", "is a date or time; a time is text. Write it in quotes"),
    ("charging", "default_depart", '"7:00"', 'default_depart = "7:00" is not a time HH:MM. Write "07:00".'),
    ("charging", "default_depart", '"24:00"', 'is not a time HH:MM. Write "00:00".'),
    ("charging", "default_depart", '"25:00"', "is not a time HH:MM. Write 00:00 to 23:59."),
    ("charging", "default_depart", '"07:60"', "is not a time HH:MM. Write 00:00 to 23:59."),
    ("charging", "default_depart", '"٠٧:٠٠"', "is not a time HH:MM."),
    ("charging", "now_per_month", "2.5", "now_per_month = 2.5 is not a whole number. Write 2."),
    ("charging", "valley", '["23:00-08:00", "13-14"]', 'valley.2 = "13-14" is not a time HH:MM.'),
    ("charging", "valley", '["23:00-8:00"]', 'valley.1 = "23:00-8:00" is not a time HH:MM. Write "08:00".'),
    # Names.
    ("area", "id", '"West 3"', 'id = "West 3" is no id'),
    ("area", "id", '"West 3"', 'Write for example "west-3".'),
    ("area", "id", '"all"', 'id = "all" is reserved for messages to every charger. Choose another id.'),
    ("area", "id", '""', "is empty, too long or holds unprintable characters"),
    ("area", "id", '"a\\nb"', 'id = "a?b" is empty, too long or holds unprintable characters'),
    ("chargers", "id", '"-cp"', 'id = "-cp" is no id'),
    ("chargers", "id", '"' + "x" * 33 + '"', "is no id"),
    ("chargers", "id", '"a/b"', 'id = "a/b" is no id'),
    ("chargers", "id", '"' + "X" * 40 + '"', f'Write for example "{"x" * 32}".'),
    ("chargers", "id", '"' + "x" * 41 + '"', f'id = "{"x" * 39}… is no id'),
    ("chargers", "id", '"+"', 'Write for example "no-1".'),
    ("chargers", "id", '"all"', '[chargers.1] id = "all" is reserved'),
    ("area", "timezone", '"Asia/Shanghia"', '"Asia/Shanghia" is no known time zone. Did you mean "Asia/Shanghai"?'),
    ("area", "timezone", '"Asia/Beijing"', 'is no known time zone. Did you mean "Asia/Shanghai"?'),
    ("area", "timezone", '"Asia"', 'timezone = "Asia" is no known time zone. Write for example'),
    ("area", "timezone", '"../etc/passwd"', "is no known time zone."),
    ("area", "timezone", '"qqqqqq"', 'is no known time zone. Write for example "Asia/Shanghai".'),
    ("meter", "model", '"eastron_sdm360"', 'is not one of "eastron_sdm630". Did you mean "eastron_sdm630"?'),
    ("meter", "model", '"?"', 'is not one of "eastron_sdm630". Write one of them.'),
    ("chargers", "phase", '"a"', 'phase = "a" is not one of "A", "ABC", "B", "C", "unknown". Did you mean "A"?'),
    ("chargers", "phase", '"L2"', 'Did you mean "B"?'),
    ("chargers", "phase", '"unknwon"', 'Did you mean "unknown"?'),
    # Addresses.
    ("meter", "tcp", '"10.0.0.5"', 'tcp = "10.0.0.5" has no port. Write it like "10.0.0.5:502".'),
    ("meter", "tcp", '"10.0.0.5:abc"', 'is not host:port. Write it like "192.168.1.50:502".'),
    ("meter", "tcp", '"10.0.0.5:0"', "has a port outside 1..65535"),
    ("meter", "tcp", '"10.0.0.5:65536"', "has a port outside 1..65535"),
    ("meter", "tcp", '"10.0.0.300:502"', 'tcp = "10.0.0.300:502" is no valid IP address.'),
    ("meter", "tcp", '"me ter:502"', "is no host name or address"),
    ("meter", "tcp", '":502"', "is no host name or address"),
    ("meter", "tcp", '"10 .1"', 'has no port. Write it like "192.168.1.50:502".'),
    ("broker", "host", '"b..local"', 'host = "b..local" is no host name or address. Write it like "127.0.0.1".'),
    ("broker", "username", '"' + "x" * 256 + '"', "is empty, too long or holds unprintable characters"),
    ("broker", "host", '"auto"', 'host = "auto" is for the demo only. Name the broker, such as "127.0.0.1".'),
    ("broker", "host", '"mqtt://b.local:1883"', 'is a URL; the host alone is needed. Write "b.local".'),
    ("broker", "host", '"b.local:1884"', 'holds a port; it has its own key. Write host = "b.local" and port = 1884.'),
    # Keys that are not there, or should not be.
    ("area", "rating_kva", None, "is missing (the rating on the transformer's plate, kVA). Add rating_kva = 1250."),
    ("meter", "model", None, '[meter] model is missing (which register table to read). Add model = "eastron_sdm630".'),
    ("meter", "tcp", None, "[meter] tcp is missing"),
    ("broker", "host", None, "[broker] host is missing"),
    ("chargers", "phase", None, "[chargers.1] phase is missing"),
    ("chargers", "max_a", None, "[chargers.1] max_a is missing"),
    ("area", "limt_pct", "80", "[area] limt_pct is not known. Did you mean limit_pct?"),
    ("area", "colour", "1", "[area] colour is not known. Known here: id, rating_kva,"),
    ("area", "fallback_a", "6", "[area] fallback_a does not belong here. Move it under [charging]."),
    ("broker", "password_file", '"p"', "[broker] password_file needs a username beside it. Add username."),
    ("chargers", '"odd key\\n"', "1", '[chargers.1] "odd key?" is not known.'),
]  # fmt: skip


@pytest.mark.parametrize(("table", "key", "value", "expected"), COMPLAINTS)
def test_one_mistake_gives_one_line(tmp_path: Path, table: str, key: str, value: str | None, expected: str) -> None:
    """A file with a single mistake is refused with exactly one line, and the line says what to do."""
    (line,) = problems(tmp_path, document(table, f"{key} = {value}") if value else document(table, without=key))
    assert expected in line
    assert f"[{table}" in line


# One row: table, key, the last good value and the first bad one at each end, and the words at each end.
BOUNDS = [
    ("area", "limit_pct", ("1.0", "0"), ("100", "100.1"), ("is below 1", "is above 100. Set 100 or less.")),
    ("area", "margin_pct", ("0", "-0.1"), ("1.5", "1.6"), ("is below 0", "is above 1.5 (points of rating)")),
    ("area", "secondary_v", ("200", "199"), ("690", "691"), ("is below 200", "is above 690")),
    ("meter", "unit", ("1", "0"), ("255", "256"), ("is below 1 (Modbus unit)", "is above 255")),
    ("meter", "period_s", ("0.5", "0.499"), ("10", "10.001"), ("is below 0.5", "is above 10")),
    ("meter", "ct_ratio", ("1", "0.999"), ("10000", "10000.001"), ("is below 1", "is above 10000")),
    ("broker", "port", ("1", "0"), ("65535", "65536"), ("is below 1", "is above 65535")),
    ("charging", "fallback_a", ("6", "5"), ("32", "64"), ("Set 0, or 6 or more.", "is above 63 (IEC 61851)")),
    ("charging", "fallback_a", ("0", "-1"), ("32", "33"), ("is below 6 (IEC 61851)", "max_a = 32 is below fallback_a")),
    ("charging", "fallback_slots", ("1", "0"), ("8", "9"), ("is below 1 (turns of 15 min)", "Set 8 or less.")),
    ("charging", "lease_s", ("10", "9"), ("60", "61"), ("Set 10 or more.", "Set 60 or less.")),
    ("charging", "default_want_kwh", ("0.5", "0.499"), ("200", "200.001"), ("is below 0.5", "is above 200")),
    ("charging", "now_per_month", ("0", "-1"), ("31", "32"), ("is below 0 (times a month)", "is above 31")),
    ("chargers", "max_a", ("6", "5"), ("63", "64"), ("[chargers.1] max_a = 5 is below 6 (IEC 61851). Set 6 or more.",
                                                     "max_a = 64 is above 63 (IEC 61851). Set 63 or less.")),
]  # fmt: skip


@pytest.mark.parametrize(("table", "key", "low", "high", "rules"), BOUNDS)
def test_both_sides_of_each_bound(
    tmp_path: Path, table: str, key: str, low: tuple[str, str], high: tuple[str, str], rules: tuple[str, str]
) -> None:
    """The bound itself is accepted, the step beyond it is refused with the rule's own words."""
    for (good, bad), expected in zip((low, high), rules, strict=True):
        assert loaded(tmp_path, stated(document(table, f"{key} = {good}")))
        (line,) = problems(tmp_path, stated(document(table, f"{key} = {bad}")))
        assert expected in line


@pytest.mark.parametrize("port", [1, 65535])
def test_every_port_may_be_a_meters(tmp_path: Path, port: int) -> None:
    """The first and the last TCP port are accepted behind the meter's host."""
    assert loaded(tmp_path, document("meter", f'tcp = "meter.local:{port}"')).meter.port == port


def test_longest_name(tmp_path: Path) -> None:
    """A charger's id may have 32 characters and a user name 255."""
    assert loaded(tmp_path, document("chargers", f'id = "{"x" * 32}"')).chargers[0].id == "x" * 32
    assert loaded(tmp_path, document("broker", f'username = "{"x" * 255}"')).broker.username == "x" * 255


def test_rating_bounds_with_confirmation(tmp_path: Path) -> None:
    """A confirmed rating may stand off the list, from 5 kVA to 20 000 kVA and not a step further."""
    for good, rating_va in (("5", 5_000), ("20000", 20_000_000), ("1000.5", 1_000_500), ("1.0005e3", 1_000_500)):
        config = loaded(tmp_path, document("area", f"rating_kva = {good}", "rating_confirmed = true"))
        assert config.rating_va == rating_va
    for bad, expected in (("4.999", "is below 5"), ("20001", "looks like VA"), ("1000.0005", "more than 3 decimal(s)")):
        (line,) = problems(tmp_path, document("area", f"rating_kva = {bad}", "rating_confirmed = true"))
        assert expected in line


@pytest.mark.parametrize(
    "kva", [30, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500]
)
def test_standard_ratings_need_no_confirmation(tmp_path: Path, kva: int) -> None:
    """Ratings of the R10 list pass as they are; one kVA beside them does not, and the list's value is offered."""
    assert loaded(tmp_path, document("area", f"rating_kva = {kva}")).rating_va == kva * 1000
    for beside in (kva - 1, kva + 1):
        assert f"Write {kva} if the plate says so" in problems(tmp_path, document("area", f"rating_kva = {beside}"))[0]


# ------------------------------------------------------------------------------------------------- the file as such
def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    """A path with nothing there is answered with the command that makes the file."""
    path = tmp_path / "area.toml"
    with pytest.raises(ConfigError, match="taiqu example > "):
        load(path)


def test_directory_instead_of_a_file(tmp_path: Path) -> None:
    """A directory is named as one, with the file that may be meant."""
    with pytest.raises(ConfigError, match=r"is a directory\. Name the file in it"):
        load(tmp_path)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is refused with the system's reason (raised by hand: root may read everything)."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read \(Permission denied\)"):
        load(tmp_path / "area.toml")


def test_unusable_path() -> None:
    """A path the system cannot even look up is a configuration problem, not a crash."""
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(Path(name))


FILES = [
    (b'[area]\nid = "caf\xe9"\n', "line 2 is not UTF-8. Save the file as UTF-8"),
    (AREA.encode("utf-16"), "line 1 is not UTF-8"),
    (b"#" * ((1 << 20) + 1), "is larger than 1024 KiB. Is this the right file?"),
    (b'[area]\nid = "a"\nrating_kva = \n', "line 3, column 14: Invalid value. Correct this line."),
    (b"[charging]\ndefault_depart = 07:00\n", "line 2, column "),
    (b"[charging]\nvalley = [23:00-08:00]\n", 'A time is written in quotes: "22:30".'),
    (b'[area]\nid = "a', "last line: "),
    (b"x = " + b"[" * 5000, "nested too deeply"),
    (b"x = " + b"9" * 5000, "far too many digits"),
    (b"[area]\n[area]\n", "line 2, column 6: [area] stands here a second time. Write each table once."),
    (b"[feeders]\n[feeders]\n", "line 2, column 9: [feeders] can stand only once. Write two brackets before each row"),
    (b"[feeders.meter]\nunit = 1\n[[feeders]]\n", "Put [[feeders]] first, its meter below."),
    (b"[[feeders]]\nlimit_a = 400,5\n", "line 2, column 14: = 400,5 has a comma. Write a decimal point"),
    (b"[meter]\nct_ratio = 800/5\n", "= 800/5 is a fraction. Write its value: 800/5 is 160."),
    ("[area]\nid = “west”  # 西\n".encode(), "“ is a full-width or curly character. Type it half-width"),
    ("[area]\nid ＝ 5\n".encode(), "＝ is a full-width or curly character."),
    ("[area]\nid = west  # “西”\n".encode(), "line 2, column 6: Invalid value. Correct this line."),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), FILES, ids=range(len(FILES)))
def test_files_that_are_no_toml(tmp_path: Path, data: bytes, expected: str) -> None:
    """Bytes that are not TOML are refused in one line that says where."""
    (line,) = problems(tmp_path, data)
    assert expected in line


def test_file_at_the_size_limit(tmp_path: Path) -> None:
    """A file of exactly the largest size is still read."""
    text = document()
    assert loaded(tmp_path, text + "#" * ((1 << 20) - len(text))).area_id == "west-3"


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    """What an editor on Windows leaves behind is accepted."""
    path = write(tmp_path, b"\xef\xbb\xbf" + document().replace("\n", "\r\n").encode())
    assert load(path).area_id == "west-3"


# ------------------------------------------------------------------------------------------------ tables and secrets
SHAPES = [
    (document() + "\n[chargin]\n", ["[chargin] is not known. Did you mean [charging]?"]),
    (document() + "\n[zzz]\n",
     ["[zzz] is not known. Known here: [area], [meter], [broker], [charging], [[feeders]], [[chargers]]."]),
    (document() + "\n[[windows]]\n", ["[[feeders]], [[chargers]]. Did you mean [[area.windows]]?"]),
    ("limit_pct = 80\n" + document(), ["area.toml: limit_pct does not belong here. Move it under [area]."]),
    (AREA + METER + BROKER, ["there are no chargers. Add [[chargers]] with id, phase and max_a for each."]),
    ("chargers = []\n" + AREA + METER + BROKER, ["there are no chargers."]),
    (document().replace("[[chargers]]", "[chargers]"), ["[chargers] must be a list of tables. Write [[chargers]]"]),
    ("chargers = [1]\n" + AREA + METER + BROKER, ["chargers.1 is a number; a table is needed. Write [[chargers]] on"]),
    ("meter = 1\n" + AREA + BROKER + CHARGER, ["meter is a number; a table is needed. Write [meter] on a line"]),
    (METER + BROKER + CHARGER, ["[area] is missing. Add [area] with id, rating_kva."]),
    (AREA + BROKER + CHARGER, ["[meter] is missing. Add [meter] with model, tcp."]),
    (AREA + METER + CHARGER, ["[broker] is missing. Add [broker] with host."]),
    (document("area", "rating_kw = 1250", without="rating_kva"),
     ["rating_kw is not known. Did you mean rating_kva (mind the unit)?"]),
    (document() + CHARGER, ['[chargers.2] id = "cp-01" is taken by [chargers.1]. Give each charger an id of its own.']),
    (AREA + "windows = 3\n" + METER + BROKER + CHARGER, ["[area.windows] must be a list of tables."]),
    (document() + '[[area.windows]]\nfrom = "22:00"\nto = "8"\nlimit_pct = 0.7\n',
     ['[area.windows.1] to = "8" is not a time HH:MM', "[area.windows.1] limit_pct = 0.7 looks like a fraction"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SHAPES)
def test_shape_of_the_tables(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Missing, unknown and misplaced tables are named, each once, with what to write instead."""
    found = problems(tmp_path, text)
    assert len(found) == len(expected)
    assert all(words in line for words, line in zip(expected, found, strict=True))


SECRETS = [
    document("broker", 'password = "hunter2"'),
    document("broker", 'passwd = "hunter2"'),
    document("broker", 'api_key = "hunter2"'),
    document("area", 'token = "hunter2"'),
    'password = "hunter2"\n' + document(),
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_refused_and_never_repeated(tmp_path: Path, text: str) -> None:
    """A secret in the file is refused, the file of its own is offered, and the message does not carry the secret on."""
    (line,) = problems(tmp_path, text)
    assert "secrets do not stand in this file" in line
    assert 'write password_file = "broker.password" in [broker]' in line
    assert "hunter2" not in line


def test_password_inside_a_host_is_not_repeated(tmp_path: Path) -> None:
    """A URL with credentials as the broker's host is refused without showing it."""
    (line,) = problems(tmp_path, document("broker", 'host = "mqtt://me:hunter2@broker"'))
    assert "[broker] host = (not shown) carries a user name or a password" in line
    assert "hunter2" not in line


def test_misspelt_password_file_is_a_misspelling(tmp_path: Path) -> None:
    """A key that names a file is no secret, only misspelt."""
    (line,) = problems(tmp_path, document("broker", 'password_fille = "p"'))
    assert "Did you mean password_file?" in line


def test_all_errors_at_once(tmp_path: Path) -> None:
    """Every mistake of a file is told in one go, in the order of the tables, none hiding the next."""
    text = """
[area]
id = "West"
limit_pct = 0.8
[meter]
model = "sdm"
tcp = "10.0.0.5"
[broker]
host = "127.0.0.1"
password = "x"
[charging]
fallback_a = 3
valley = ["1-2", "23:00-08:00", "3"]
[[chargers]]
id = "cp"
phase = "D"
max_a = 4
[[chargers]]
id = "cp"
phase = "A"
max_a = true
"""
    places = [line.split("area.toml: ")[1].split(" = ")[0].split(" is missing")[0] for line in problems(tmp_path, text)]
    assert places == [
        "[area] id",
        "[area] rating_kva",
        "[area] limit_pct",
        "[meter] model",
        "[meter] tcp",
        places[5],
        "[charging] fallback_a",
        "[charging] valley.1",
        "[charging] valley.3",
        "[chargers.1] phase",
        "[chargers.1] max_a",
        "[chargers.2] max_a",
        "[chargers.2] id",
    ]
    assert places[5].startswith("[broker] password: secrets")


ROW = '[[chargers]]\nid = "{0}"\nphase = "{1}"\nmax_a = 32\n'


def left_alone(count: int, *lines: str, base_kva: int = 13, phase: str = "B") -> str:
    """A 30 kVA transformer (43.3 A a phase, 78.5 % are 33.9 A) with so many chargers."""
    head = stated(AREA.replace("1250", "30"), base_kva) + METER + BROKER + "[charging]\n" + "\n".join(lines) + "\n"
    return head + "".join(ROW.format(f"c{at}", phase) for at in range(count))


def test_fallback_fits_beside_residents_and_not_one_charger_more(tmp_path: Path) -> None:
    """13 kVA and a tenth are 20.6 A on each phase and leave 13.3 A of 33.9 A: two chargers at 6 A fit, three do not."""
    assert loaded(tmp_path, left_alone(2, "fallback_a = 6")).charging.fallback_ma == 6000
    (line,) = problems(tmp_path, left_alone(3, "fallback_a = 6"))
    assert line == (
        "area.toml: [charging] fallback_a = 6 does not fit: at 19:45 residents leave 13 A on phase B, and chargers "
        "left alone take 18 A there. Set fallback_a = 0. Where the law demands a floor: fallback_floor_by_law = true."
    )


def test_fallback_needs_to_know_residents(tmp_path: Path) -> None:
    """Nobody has said what residents draw: a fallback above 0 cannot be checked, and is not taken."""
    text = document("charging", "fallback_a = 6")
    (line,) = problems(tmp_path, text)
    assert "[charging] fallback_a = 6 cannot be checked: nobody has said what residents draw." in line
    assert "Add base_p999_kva to [area] and to each feeder with a meter, or set fallback_a = 0." in line
    assert loaded(tmp_path, stated(text))


def test_fallback_behind_a_feeder_with_a_meter_needs_its_residents_too(tmp_path: Path) -> None:
    """A feeder without a meter has its limit for cars alone; one with a meter shares it with residents unknown."""
    text = stated(document("charging", "fallback_a = 6")).replace("max_a = 32", 'max_a = 32\nfeeder = "north"')
    assert loaded(tmp_path, text + FEEDER)
    assert "cannot be checked" in problems(tmp_path, text + FEEDER + OWN_METER)[0]
    assert loaded(tmp_path, text + FEEDER + "base_p999_kva = 200\n" + OWN_METER)
    (line,) = problems(tmp_path, text + FEEDER + "base_p999_kva = 300\n" + OWN_METER)
    assert "residents leave 0 A on feeder north, phase A, and chargers left alone take 6 A there." in line


@pytest.mark.parametrize(
    ("count", "base_kva", "fallback_a", "advice"),
    [
        (1, 13, 16, "Set fallback_a = 6. Where"),
        (3, 20, 6, "Set fallback_a = 0. Where"),
    ],
)
def test_a_fallback_that_does_not_fit_is_answered_with_one_that_does(
    tmp_path: Path, count: int, base_kva: int, fallback_a: int, advice: str
) -> None:
    """The next action is the fallback that fits."""
    (line,) = problems(tmp_path, left_alone(count, f"fallback_a = {fallback_a}", base_kva=base_kva))
    assert advice in line


def test_rotating_fallback_is_offered_and_taken(tmp_path: Path) -> None:
    """24 chargers at 6 A are 144 A; in 5 turns at most 16 of them draw together, 96 A, and that fits 98 A."""
    text = left_alone(24, "fallback_a = 6", base_kva=27).replace("rating_kva = 30", "rating_kva = 125")
    (line,) = problems(tmp_path, text)
    assert "residents leave 98 A on phase B, and chargers left alone take 144 A there." in line
    assert "Set fallback_a = 6 and fallback_slots = 5 here and in the chargers, or fallback_a = 0." in line
    turns = text.replace("fallback_a = 6", "fallback_a = 6\nfallback_slots = {}")
    assert loaded(tmp_path, turns.format(5)).charging.fallback_slots == 5
    assert "take 108 A there" in problems(tmp_path, turns.format(4))[0]


def test_turns_are_of_six_amperes(tmp_path: Path) -> None:
    """A turn of 10 A is none that a charger knows."""
    (line,) = problems(tmp_path, stated(document("charging", "fallback_a = 10", "fallback_slots = 2")))
    assert "[charging] fallback_slots = 2 goes with fallback_a = 10; a turn is for 6 A. Set fallback_a = 6" in line


def test_a_floor_by_law_is_kept_and_its_price_said(tmp_path: Path) -> None:
    """Where the law demands a floor it stands, and the kW above the limit are said in both languages."""
    text = left_alone(9, "fallback_a = 6", "fallback_floor_by_law = true")
    config = loaded(tmp_path, text)
    said = dict(alone_in_words(under_test.site_of(config), config.charging))
    # 20.6 A and 54 A are 40 A above the limit of 34.6 A: at 231 V and 0.99 they are 9.2 kW.
    english, chinese = said["by law"].split("  ")
    assert english == "kept although it does not fit: at 19:45 up to 10 kW above the limit"
    assert chinese == "法定最低电流，容量不足：19:45 越限最多 10 kW"
    assert "cannot be checked" in problems(tmp_path, text.replace("base_p999_kva = 13\n", ""))[0]


def test_a_fallback_is_checked_beside_a_meter_and_a_broker_that_are_wrong(tmp_path: Path) -> None:
    """All errors at once: a wrong address does not hide a fallback that does not fit, and the other way round."""
    text = left_alone(3, "fallback_a = 6").replace("10.0.0.5:502", "10.0.0.5").replace("127.0.0.1", "auto")
    lines = problems(tmp_path, text)
    places = ["[meter] tcp", "[broker] host", "[charging] fallback_a = 6 does not fit"]
    assert len(lines) == len(places)
    assert all(place in line for place, line in zip(places, lines, strict=True))
    (line,) = problems(tmp_path, left_alone(3, "fallback_a = 6").replace('phase = "B"', 'phase = "D"', 1))
    assert 'phase = "D"' in line  # what it would load is not known before its phase is


def late(folder: Path, *lines: str, count: int = 9, base_kva: int = 8, advice: str = "late") -> str:
    """What is said of the late fallback of a 30 kVA transformer: 8 kVA and a tenth leave 27.5 A at half of it."""
    config = loaded(folder, left_alone(count, *lines, base_kva=base_kva))
    return dict(alone_in_words(under_test.site_of(config), config.charging))[advice].split("  ")[0]


def test_late_fallback_is_by_arithmetic(tmp_path: Path) -> None:
    """Four chargers at 6 A fit all night beside 8 kVA, in its smallest hours beside 12 (9.5 of 33.9 A at half)."""
    assert late(tmp_path, count=4) == "on: chargers left alone take 6 A from 23:00 to 08:00"
    assert late(tmp_path, count=4, base_kva=12) == "on: chargers left alone take 6 A from 01:00 to 05:00"
    assert late(tmp_path, count=5, base_kva=16) == "off: in no hour of the valley 6 A fits at all chargers"
    assert late(tmp_path, "late_fallback = false", count=4) == "off: late_fallback = false"
    assert late(tmp_path, "valley = []", count=2) == "off: in no hour of the valley 6 A fits at all chargers"


def test_late_fallback_in_turns_is_offered_and_taken(tmp_path: Path) -> None:
    """24 chargers of a phase fit in turns only, the evening not at all: the check says in how many."""
    text = left_alone(24, base_kva=60).replace("rating_kva = 30", "rating_kva = 125")
    config = loaded(tmp_path, text)
    said = dict(alone_in_words(under_test.site_of(config), config.charging))
    assert said["fits alone"].startswith("0 A")
    assert said["late"].startswith("off: it would fit with fallback_slots = 6, here and in the chargers")
    config = loaded(tmp_path, text.replace("[charging]", "[charging]\nfallback_slots = 6\nlate_fallback = true"))
    said = dict(alone_in_words(under_test.site_of(config), config.charging))
    assert said["late"].startswith("on: chargers left alone take 6 A in 6 turns from 00:30 to 05:30")
    assert alone_as_json(under_test.site_of(config), config.charging)["late_min"] == (30, 330)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (left_alone(2, "late_fallback = true", "fallback_a = 6"), "late_fallback = true goes with fallback_a = 0"),
        (document("charging", "late_fallback = true"), "cannot be checked: nobody has said what residents draw."),
        (left_alone(5, "late_fallback = true", base_kva=20), "for 6 A at all chargers. Leave it out."),
        (
            left_alone(24, "late_fallback = true", base_kva=60).replace("rating_kva = 30", "rating_kva = 125"),
            "room for 6 A at all chargers. Set fallback_slots = 6 here and in the chargers.",
        ),
    ],
)
def test_late_fallback_that_was_asked_for_must_fit(tmp_path: Path, text: str, complaint: str) -> None:
    """Asked for and not to be had is an error with what to do."""
    (line,) = problems(tmp_path, text)
    assert line.startswith("area.toml: [charging] late_fallback = true")
    assert complaint in line


def unleased(folder: Path, *lines: str, base_kva: int = 13) -> list[str]:
    """What is said of one charger with and two without a lease on a phase with 13.3 A free in the worst hour."""
    text = left_alone(3, *lines, base_kva=base_kva).replace('id = "c0"', 'id = "c0"\nlease = "none"')
    config = loaded(folder, text.replace('id = "c1"', 'id = "c1"\nlease = "none"'))
    rows = alone_in_words(under_test.site_of(config), config.charging)
    return [f"{topic}: {text.split('  ')[0]}" for topic, text in rows if topic in ("no lease", "accepted")]


def test_words_of_chargers_without_a_lease(tmp_path: Path) -> None:
    """What may stand on them at any hour is what the worst one leaves beside the fallback of the others."""
    said = "no lease: chargers without a lease could take 15 kW; {} kW may stand on them, at any hour and for ever"
    assert unleased(tmp_path) == [said.format(3)]
    assert unleased(tmp_path, "fallback_a = 6") == [said.format(1)]
    assert unleased(tmp_path, base_kva=25) == [said.format(0)]
    assert unleased(tmp_path, "accept_unleased_kw = 2") == [said.format(3)]
    more = "accepted: accept_unleased_kw = 6.9 is more than fits: at 19:45 up to 4 kW above the limit"
    assert unleased(tmp_path, "accept_unleased_kw = 6.9") == [said.format(6), more]


def test_words_of_what_is_accepted_in_the_dark(tmp_path: Path) -> None:
    """Nobody has said what residents draw: nothing may stand on them but what is accepted, and that is said."""
    lines = ("charging", "accept_unleased_kw = 6.9")
    config = loaded(tmp_path, document(*lines).replace("max_a = 32", 'max_a = 32\nlease = "none"'))
    rows = dict(alone_in_words(under_test.site_of(config), config.charging))
    assert "could take 8 kW; 6 kW may stand on them" in rows["no lease"]
    assert "it may be above the limit" in rows["accepted"]


def test_words_of_a_site_left_alone(tmp_path: Path) -> None:
    """The arithmetic in three rows: what is free at the worst hour, what all need, which fallback follows."""
    config = loaded(tmp_path, left_alone(2, "fallback_a = 6"))
    said = [f"{topic} | {text}" for topic, text in alone_in_words(under_test.site_of(config), config.charging)]
    worst = "worst hour | 19:45: residents, 15 kVA (stated, a tenth in reserve), leave 9 kW free, 13 A on phase B"
    as_set = "as set | fallback_a = 6, fallback_slots = 1: at worst 3 kW = 9.2 % of rating, 12 A on phase B"
    assert said == [
        f"{worst}  19:45 居民 15 kVA（含一成裕量），余 9 kW，B相 余 13 A",
        "6 A for all | 3 kW = 9.2 % of rating, 12 A on phase B  全部 6 A：3 kW = 9.2 %，B相 12 A",
        "fits alone | 6 A for all  全部 6 A",
        f"{as_set}  最大 3 kW = 9.2 %，B相 12 A",
    ]


@pytest.mark.parametrize(
    ("count", "base_kva", "says"),
    [
        (9, 13, "0 A: not even 6 A in 8 turns fits  0 A：分 8 组轮换 6 A 也放不下"),
        (24, 1, "6 A in 7 turns of 15 min: of 24 chargers on a phase at most 14 together (99.9 %)"),
    ],
)
def test_words_of_what_fits(tmp_path: Path, count: int, base_kva: int, says: str) -> None:
    """0 A, and turns with how many draw together."""
    kva = 30 if base_kva == 13 else 80
    config = loaded(tmp_path, left_alone(count, base_kva=base_kva).replace("rating_kva = 30", f"rating_kva = {kva}"))
    assert dict(alone_in_words(under_test.site_of(config), config.charging))["fits alone"].startswith(says)


def test_words_of_a_site_of_which_nothing_is_known(tmp_path: Path) -> None:
    """Without residents' load nothing is computed, and 0 A is said to be the only safe fallback."""
    config = loaded(tmp_path, document())
    ((topic, text),) = alone_in_words(under_test.site_of(config), config.charging)
    assert topic == "fits alone"
    assert text.startswith("not computed: nobody has said what residents draw (base_p999_kva), so only 0 A is safe")
    assert alone_as_json(under_test.site_of(config), config.charging) == {
        "residents": "unknown", "fits_slots": None, "all_at_6a": None, "as_set": None, "late_min": None,
        "unleased_ma": (0, 0, 0),
    }  # fmt: skip


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
    assert (config.feeders, config.base_va) == ((), None)
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
base_p999_kva = 123.4
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
    assert config.meter == under_test.MeterConfig("other", "fe80::1", 1502, 7, 2505, 33_300)
    assert config.broker == under_test.BrokerConfig("broker.local", 8883, "me", tmp_path / "secret")
    assert config.charging == under_test.ChargingConfig(6_000, 30_000, 7_250, 390, (), 3, 5, True, False, 7_500)
    assert (config.base_va, config.feeders[0].base_va) == (123_400, 56_700)
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
    """With its optional lines uncommented the example means the same, apart from what has no default: the feeder."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    optional = [
        line.removeprefix("# ") if " = " in line or "[feeders" in line else line
        for line in lines
        if not any(key in line for key in ("username", "base_p999_kva", "late_fallback"))
    ]
    kept = [line for line in optional if not line.startswith(("password_file", "from", "to "))]
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


# ----------------------------------------------------------------------------------------------------------- feeders
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


# ------------------------------------------------------------------------------------------------ words and advice
def words(config: AreaConfig) -> dict[str, str]:
    """The rows by topic; a topic stands once."""
    rows = in_words(config)
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def test_words_of_feeders_export_and_charge_now(tmp_path: Path) -> None:
    """What may surprise at the cabinet is said back: feeders, power that flows back, who may jump the queue."""
    plain = words(loaded(tmp_path, document()))
    assert not {"feeders", "export"} & set(plain)
    assert plain["requests"] == "a car that asked nothing gets 9 kWh by 07:00; charge now 8 times a month each"
    text = document("area", "exports = true").replace("[charging]", "[charging]\nnow_per_month = 0") + FEEDER
    config = loaded(tmp_path, text)
    rich = words(config)
    assert rich["feeders"].endswith("400 A per phase for 0 charger(s) together")
    assert rich["export"].startswith("power may flow back")
    assert rich["requests"].endswith("nobody may ask to be charged at once")
    assert any("1 feeder(s) without a charger" in line for line in advise(config))


def test_words_of_the_transformer(tmp_path: Path) -> None:
    """The rating is said back in the amperes that stand on its plate."""
    assert words(loaded(tmp_path, document()))["transformer"] == (
        "1250 kVA at 400 V = 1804 A per phase; 80 % = 1443 A, 1000 kVA"
    )
    text = document("area", "rating_kva = 1000")
    assert (
        words(loaded(tmp_path, text))["transformer"] == "1000 kVA at 400 V = 1443 A per phase; 80 % = 1155 A, 800 kVA"
    )
    text = document("area", "rating_kva = 630", "limit_pct = 78.5")
    assert words(loaded(tmp_path, text))["transformer"] == "630 kVA at 400 V = 909 A per phase; 78.5 % = 714 A, 495 kVA"


def test_words_of_the_chargers(tmp_path: Path) -> None:
    """Chargers are counted by phase, and what they could draw together is held against the limit."""
    rows = [("A", 40), ("B", 20), ("C", 10), ("ABC", 5), ("unknown", 3)]
    text = stated(AREA) + METER + BROKER + "[charging]\nfallback_a = 6\n"
    for phase, count in rows:
        text += "".join(
            f'[[chargers]]\nid = "{phase.lower()}{at}"\nphase = "{phase}"\nmax_a = 32\n' for at in range(count)
        )
    said = words(loaded(tmp_path, text))
    assert (
        said["chargers"] == "78: 40 on A, 20 on B, 10 on C, 5 on three phases, 3 on an unknown phase (counted on all)"
    )
    # 48 chargers × 32 A = 1536 A of 1804 A = 85.1 %
    assert said["all at once"].startswith("1536 A on phase A = 85.1 % of rating, 5.1 points above the limit")
    assert said["fallback"] == "a charger that hears nothing for 60 s goes to 6 A by itself"


def test_a_feeder_above_the_transformer_limits_nothing(tmp_path: Path) -> None:
    """400 A typed with a zero too many: said, for it would be accepted as a limit that never acts."""
    text = document("chargers", 'feeder = "north"') + FEEDER
    assert not [line for line in advise(loaded(tmp_path, text)) if "limits nothing" in line]
    (line,) = [one for one in advise(loaded(tmp_path, text.replace("400", "4000"))) if "limits nothing" in one]
    assert line.startswith("Feeder north bears 4000 A, more than the whole transformer's 1804 A")


def test_all_at_once_is_held_against_the_lowest_limit(tmp_path: Path) -> None:
    """A window of 5 % is what 1.7 % must be compared with."""
    text = document() + '[[area.windows]]\nfrom = "22:00"\nto = "08:00"\nlimit_pct = 5\n'
    assert "3.3 points below the lowest limit before" in words(loaded(tmp_path, text))["all at once"]


def test_words_of_the_smallest_file(tmp_path: Path) -> None:
    """What nobody wrote is said in words as well, and nothing is said that does not hold."""
    said = words(loaded(tmp_path, document()))
    assert said["windows"] == "80 % at all hours"
    assert said["meter silent"] == "nothing is raised after 5 s, everybody is at fallback after 10 s"
    assert said["broker"] == "127.0.0.1:1883, no password"
    assert said["meter"] == "eastron_sdm630 at 10.0.0.5:502, unit 1, every 1 s"
    assert said["chargers"] == "1: 1 on A, 0 on B, 0 on C, 0 on three phases"
    assert said["all at once"] == (
        "32 A on phase A = 1.7 % of rating, 78.3 points below the limit before residents are counted"
    )


def test_words_of_the_rest(tmp_path: Path) -> None:
    """Meter, broker, windows, valley and requests are said back as they will be used."""
    text = document("broker", 'username = "me"', 'password_file = "/run/secret"')
    text = text.replace('tcp = "10.0.0.5:502"', 'tcp = "[::1]:502"\nct_ratio = 400\nperiod_s = 2.5')
    text += '[[area.windows]]\nfrom = "22:00"\nto = "08:00"\nlimit_pct = 75.5\n'
    text += '[[area.windows]]\nfrom = "00:00"\nto = "00:00"\nlimit_pct = 79\n'
    said = words(loaded(tmp_path, text))
    assert said["meter"] == "eastron_sdm630 at [::1]:502, unit 1, every 2.5 s, readings × 400 (CT)"
    assert said["meter silent"] == "nothing is raised after 7.5 s, everybody is at fallback after 12.5 s"
    assert said["broker"] == "127.0.0.1:1883 as me, password from /run/secret"
    assert said["windows"] == "22:00-08:00 75.5 %; all day 79 %; the lowest limit wins"
    assert said["valley"] == "23:00-08:00"
    assert said["margin"] == "control stays 1.5 points of rating below the limit"
    assert said["fallback"] == "a charger that hears nothing for 60 s stops by itself"
    assert said["requests"] == "a car that asked nothing gets 9 kWh by 07:00; charge now 8 times a month each"


def test_json_is_plain(tmp_path: Path) -> None:
    """The JSON form survives a round trip and carries core units."""
    plain = as_json(loaded(tmp_path, document("broker", 'username = "me"', 'password_file = "secret"')))
    assert json.loads(json.dumps(plain)) == plain
    assert plain["charging"]["valley"] == [[1380, 480]]
    assert plain["broker"]["password_file"] == str(tmp_path / "secret")
    assert plain["chargers"][0] == {
        "id": "cp-01", "phases": 1, "phase_known": True, "max_ma": 32_000, "feeder": -1, "leased": True,
    }  # fmt: skip
    assert plain["feeders"] == []


ADVICE = [
    (document("area", "margin_pct = 0"), "margin_pct = 0"),
    (document("area", "limit_pct = 29.9"), "only 29.9 % of rating"),
    (document("chargers", 'phase = "unknown"'), "1 charger(s) with unknown phase"),
    (document("charging", "lease_s = 59"), "lease_s = 59"),
    (document("charging", "valley = []"), "valley is empty"),
    (document() + '[[area.windows]]\nfrom = "01:00"\nto = "02:00"\nlimit_pct = 80\n', "1 window(s)"),
    (document("broker", 'username = "me"'), "username without password_file"),
    (document("broker", 'username = "me"', 'password_file = "nowhere"'), "No such file or directory"),
]


@pytest.mark.parametrize(("text", "expected"), ADVICE)
def test_advice(tmp_path: Path, text: str, expected: str) -> None:
    """What may be meant is accepted, with exactly one line of advice."""
    (line,) = advise(loaded(tmp_path, text))
    assert expected in line


def test_no_advice_at_the_edge(tmp_path: Path) -> None:
    """A limit of exactly 30 % draws no remark."""
    assert advise(loaded(tmp_path, document("area", "limit_pct = 30"))) == []


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_advice_on_password_file_mode(tmp_path: Path, mode: int, count: int) -> None:
    """A password file that others can read is pointed out with the command that mends it."""
    secret = tmp_path / "secret"
    secret.write_text("x", encoding="utf-8")
    secret.chmod(mode)
    advice = advise(loaded(tmp_path, document("broker", 'username = "me"', 'password_file = "secret"')))
    assert [f"chmod 600 {secret}" in line for line in advice] == [True] * count


# --------------------------------------------------------------------------------------------------- whatever comes
ODD = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(min_value=-70_000, max_value=70_000),
    st.decimals(),
    st.sampled_from([Decimal("1e999999"), Decimal("-1e-999999"), Decimal("NaN"), 1 << 14_000]),
    st.text(),
    st.from_regex(r"[a-z0-9.:\[\]@/-]{0,20}"),
    st.times(),
    st.just(dt.date(2025, 1, 1)),
)
VALUES = st.recursive(ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
BASE = tomllib.loads(
    document("chargers", 'feeder = "north"')
    + FEEDER
    + '[[area.windows]]\nfrom = "22:00"\nto = "08:00"\nlimit_pct = 75\n',
    parse_float=Decimal,
)
NAMES = st.sampled_from(
    [
        key.name
        for table in (
            under_test.AREA,
            under_test.BROKER,
            under_test.CHARGING,
            under_test.FEEDER,
            under_test.CHARGER,
        )
        for key in table
    ]
    + ["tcp", "model", "unit", "period_s", "ct_ratio", "from", "to", "windows", "password"]
)


def outcome(build: Callable[[], AreaConfig]) -> AreaConfig | list[str]:
    """The configuration, or the lines of the one exception that may leave it."""
    try:
        return build()
    except ConfigError as error:
        return error.problems


def refused_or_usable(build: Callable[[], AreaConfig]) -> None:
    """Whatever went in, either a ConfigError of single lines comes out, or a configuration that can be told."""
    result = outcome(build)
    if isinstance(result, list):
        assert result
        assert all(line and line.isprintable() and len(line) < 1000 for line in result)
    else:
        assert all(sentence for _, sentence in in_words(result))
        site = under_test.site_of(result)
        assert all(sentence for _, sentence in alone_in_words(site, result.charging))
        assert json.dumps(alone_as_json(site, result.charging))
        assert as_json(result)["area_id"] == result.area_id
        assert 1 <= under_test.lowest_limit_permille(result) <= 1000


@given(
    st.sampled_from(["", "area", "meter", "broker", "charging", "feeders", "chargers", "area.windows"]),
    NAMES | st.text(),
    VALUES,
)
@settings(max_examples=400, deadline=None)
@example("area", "rating_kva", Decimal("NaN"))
@example("", "area", [1])
@example("meter", "ct_ratio", "1/0")
@example("broker", "host", "@")
def test_any_value_anywhere(table: str, name: str, value: object) -> None:
    """Any value under any key of any table is refused in words or used; nothing else escapes."""
    raw: dict[str, Any] = copy.deepcopy(BASE)
    rows = {"feeders": raw["feeders"][0], "chargers": raw["chargers"][0], "area.windows": raw["area"]["windows"][0]}
    target = {"": raw, **rows}.get(table)
    (raw[table] if target is None else target)[name] = value
    refused_or_usable(lambda: under_test._build(raw, Path("area.toml"), ("eastron_sdm630",)))


@given(st.dictionaries(st.text() | st.sampled_from([*TABLES, "feeders"]), VALUES, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_document(raw: dict[str, Any]) -> None:
    """Any tree of values is refused in words or used."""
    refused_or_usable(lambda: under_test._build(raw, Path("area.toml"), ()))


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda at, junk: document().encode()[:at] + junk + document().encode()[at:], st.integers(0, 250), st.binary()
    )
    | st.builds(
        lambda at, end: document().encode()[:at] + document().encode()[end:], st.integers(0, 250), st.integers(0, 250)
    )
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    """Any bytes, and the valid file with any part cut or spoiled, are refused in words or used."""
    refused_or_usable(lambda: load(write(tmp_path, data)))
