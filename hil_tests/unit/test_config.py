"""The configuration: every message a technician can meet, and every boundary."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import ConfigError, load
from hil_tests.unit.area_file import AREA, BROKER, CHARGER, METER, document, loaded, problems, stated, write

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
    ("meter", "serial", '"no. 5"',
     'serial = "no. 5" is no serial number that a meter can say. Write the digits printed on the device, such as'),
    ("meter", "serial", '"A/20-26.1"', 'serial = "A/20-26.1" is no serial number that a meter can say.'),
    ("meter", "serial", "-1", "serial = -1 is no serial number that a meter can say."),
    ("meter", "serial", '"4294967296"', 'serial = "4294967296" is above 4294967295, the highest serial number that a'),
    ("meter", "serial", "12345678901234567890", "Write what taiqu check --live reads from it."),
    ("area", "base_p999_kva", "[200, 200]", "base_p999_kva = (a list) is not a list of three numbers. Write [a, b, c]"),
    ("area", "base_p999_kva", "[200, 0, 200]", "base_p999_kva = [200, 0, 200] is below 0.1 (kVA of residents)."),
    ("area", "base_p999_kva", '[200, "x", 1]', 'base_p999_kva = [200, "x", 1] is text; a number is needed.'),
    ("charging", "fallback_floor_by_law", "true",
     "fallback_floor_by_law = true goes with fallback_a = 0, which is no floor. Set fallback_a to what the law"),
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
    ("area", "secondary_v", ("300", "299"), ("480", "481"),
     ("is below 300 (line to line; a meter is believed from 150 to 300 V on a phase)", "is above 480")),
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
