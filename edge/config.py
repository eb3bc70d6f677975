"""What one transformer area is: read from TOML and checked as a whole. ``edge.words`` says it back.

The tables below are the rules; ``edge.schema`` applies them. Core units are integers: mA, VA, Wh, ms, permille of
rating, minutes of the local day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from edge.memory import QUARTER_MIN
from edge.schema import (
    BadValueError,
    ConfigError,
    Document,
    Key,
    Number,
    OneOf,
    in_file_units,
    parse,
    read_clock,
    read_endpoint,
    read_file,
    read_host,
    read_id,
    read_serial,
    read_span,
    read_switch,
    read_text,
    read_zone,
    shown,
)
from edge.site import Site, fallback_problem, late_problem, survey

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from edge.memory import Memory

__all__ = [
    "AreaConfig",
    "BrokerConfig",
    "ChargerConfig",
    "ChargingConfig",
    "ConfigError",
    "LimitWindow",
    "MeterConfig",
    "from_text",
    "in_valley",
    "limit_permille_at",
    "load",
    "lowest_limit_permille",
]

DAY_MIN = 24 * 60
PHASES = ((1, "A"), (2, "B"), (4, "C"))
# The R10 steps of distribution transformers, kVA.
STANDARD_KVA = (30, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500)


Residents = int | tuple[int, int, int]
"""VA: on all phases together, or on each."""


# ------------------------------------------------------------------------------------------------------ what is held
@dataclass(frozen=True, slots=True)
class LimitWindow:
    """A ceiling for part of the local day; it wraps midnight when the end is at or before the start."""

    start_min: int
    end_min: int
    limit_permille: int


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """The transformer's meter; readings are multiplied by ``ct_ratio_milli`` / 1000."""

    model: str
    host: str
    port: int
    unit: int
    period_ms: int
    ct_ratio_milli: int
    serial: str = ""
    """What it must say it is; empty: whatever it says first."""


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """The MQTT broker; the password is read from its own file by whoever connects."""

    host: str
    port: int
    username: str | None
    password_file: Path | None


@dataclass(frozen=True, slots=True)
class FeederConfig:
    """A cable or busbar between transformer and chargers: what it may carry on a phase.

    Without a meter of its own only its chargers are seen, and the limit is what it has left for them.
    """

    id: str
    limit_ma: int
    meter: MeterConfig | None = None
    base_va: Residents | None = None
    """Residents' highest load behind it, where somebody has stated it; only with a meter of its own."""


@dataclass(frozen=True, slots=True)
class ChargerConfig:
    """One charger; ``phases`` is a mask, A=1 B=2 C=4. An unknown phase counts on all: 7, not ``phase_known``."""

    id: str
    phases: int
    phase_known: bool
    max_ma: int
    feeder: int = -1
    """Index into ``AreaConfig.feeders``; -1: straight from the transformer."""
    leased: bool = True
    """Does what it is told end by itself? Else it stands until it is told otherwise."""


@dataclass(frozen=True, slots=True)
class ChargingConfig:
    """What holds for every charger; ``valley`` is spans of minutes of the day that wrap like windows."""

    fallback_ma: int
    lease_ms: int
    default_want_wh: int
    default_depart_min: int
    valley: tuple[tuple[int, int], ...]
    now_per_month: int
    fallback_slots: int = 1
    """A charger takes its fallback in one of so many turns of a quarter of an hour; 1: at all times."""
    floor_by_law: bool = False
    """The fallback is what the law demands, whether it fits or not."""
    late_fallback: bool | None = None
    """May chargers left alone charge in the valley? None: where the arithmetic says so."""
    accept_unleased_w: int = 0
    """So much may stand on chargers without a lease, even if it does not fit."""


@dataclass(frozen=True, slots=True)
class AreaConfig:
    """One transformer area. ``rated_ma`` is per phase: S / (sqrt(3) × line voltage). ``chargers`` are sorted by id."""

    area_id: str
    rating_va: int
    rated_ma: int
    secondary_v: int
    limit_permille: int
    margin_permille: int
    timezone: str
    windows: tuple[LimitWindow, ...]
    meter: MeterConfig
    broker: BrokerConfig
    charging: ChargingConfig
    chargers: tuple[ChargerConfig, ...]
    path: Path
    feeders: tuple[FeederConfig, ...] = ()
    exports: bool = False
    """May power flow back? Where not, a negative power is a CT the wrong way round."""
    base_va: Residents | None = None
    """Residents' highest load, where somebody has stated it: 99.9 % of all minutes stay below it."""


# ------------------------------------------------------------------------------------------------------- the tables
def _rating_in_va(value: object) -> BadValueError | None:
    """Nobody builds a distribution transformer of 20 MVA; whoever writes so large a number means VA."""
    return _thousandfold(value, "looks like VA; the rating is in kVA")


def _load_in_va(value: object) -> BadValueError | None:
    return _thousandfold(value, "looks like W or VA; the load is in kVA")


def _thousandfold(value: object, complaint: str) -> BadValueError | None:
    if not isinstance(value, (int, Decimal)) or not Decimal(value).is_finite() or not 20_000 < value <= 20_000_000:
        return None
    return BadValueError(complaint, f"Write {in_file_units(int(value), 1000)}.")


def _ratio_as_text(value: object) -> BadValueError | None:
    parts = value.split("/") if isinstance(value, str) and len(value) < 20 else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        return None
    ratio = f"{int(parts[0]) / int(parts[1]):.3f}".rstrip("0").rstrip(".")
    return BadValueError("is a CT's plate; the ratio is a number", f"Write {ratio}.")


def _feeder_in_ka_or_ma(value: object) -> BadValueError | None:
    """A cable of less than 5 A is none for chargers, and none bears 16 kA."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not Decimal(value).is_finite():
        return None
    if 0 < value < 5:
        return BadValueError("looks like kA; the limit is in A", f"Write {Decimal(value) * 1000:f}.")
    if 16_000 <= value <= 4_000_000:
        return BadValueError("looks like mA; the limit is in A", f"Write {in_file_units(int(value), 1000)}.")
    return None


_LIMIT = Number("1", "100", decimals=1, scale=10, fraction_below="1")
_KVA = Number("0.1", "20000", "kVA of residents", 1, 1000, hint=_load_in_va)


def _read_base(value: object) -> Residents:
    """Read residents' load in VA: one number for all phases together, or a list of three. Raises BadValueError."""
    if not isinstance(value, list):
        return _KVA(value)
    if len(value) != 3:
        advice = "Write [a, b, c], one number for each phase, or one number for all three together."
        raise BadValueError("is not a list of three numbers", advice)
    try:
        a, b, c = map(_KVA, value)
    except BadValueError as error:
        error.shown = f"[{', '.join(map(shown, value))}]"
        raise
    return a, b, c


# A phase of 173 to 277 V: with a tenth less or 8 % more it is still within the 150 to 300 V that a meter is believed.
_LINE_V = Number("300", "480", "line to line; a meter is believed from 150 to 300 V on a phase")
_PORT = Number("1", "65535")
_LEASE = OneOf({"echo": True, "none": False})
_PHASE = OneOf(
    {"A": (1, True), "B": (2, True), "C": (4, True), "ABC": (7, True), "unknown": (7, False)},
    {"L1": "A", "L2": "B", "L3": "C", "1": "A", "2": "B", "3": "ABC", "L123": "ABC", "?": "unknown"},
)
# fmt: off
AREA = (
    Key("id",               read_id,      "the name of this transformer area in topics and records", sample='"west-3"'),
    Key("rating_kva",       Number("5", "20000", "kVA of one transformer", 3, 1000, hint=_rating_in_va),
        "the rating on the transformer's plate, kVA", sample="1250"),
    Key("rating_confirmed", read_switch,  "true where the plate shows a rating off the standard list", False),
    Key("secondary_v",      _LINE_V,      "voltage between two phases, V", 400),
    Key("limit_pct",        _LIMIT,       "the ceiling on loading, % of rating", 80),
    Key("margin_pct",       Number("0", "1.5", "points of rating", 1, 10, fraction_below="0.1"),
        "what control keeps below the limit, % of rating", Decimal("1.5")),
    Key("exports",          read_switch,  "true where solar power may flow back through this transformer", False),
    Key("timezone",         read_zone,    "the local time of windows, valley and departures", "Asia/Shanghai"),
    Key("base_p999_kva",    _read_base,   "residents' highest load, kVA, in all or [a, b, c]", None),
)
WINDOW = (
    Key("from",             read_clock,   "when it begins, local time", sample='"22:00"'),
    Key("to",               read_clock,   "when it ends, local time", sample='"08:00"'),
    Key("limit_pct",        _LIMIT,       "the ceiling in this window, % of rating", sample="75"),
)
BROKER = (
    Key("host",             read_host,    "the MQTT broker's name or address", sample='"127.0.0.1"'),
    Key("port",             _PORT,        "its TCP port", 1883),
    Key("username",         read_text,    "who the controller is to the broker", None),
    Key("password_file",    read_text,    "a file that holds the password and nothing else", None),
)
CHARGING = (
    Key("fallback_a",       Number("6", "63", "IEC 61851", 0, 1000, zero=True),
        "what a charger takes by itself when its lease ends, A", 0),
    Key("lease_s",          Number("10", "60", "s", 0, 1000), "how long a setpoint holds, s", 60),
    Key("default_want_kwh", Number("0.5", "200", "kWh for one car", 3, 1000), "energy for a car that asked nothing", 9),
    Key("default_depart",   read_clock,   "departure of a car that asked nothing, local time", "07:00"),
    Key("valley",           read_span,    "when energy is cheap, local time", ["23:00-08:00"], each=True),
    Key("now_per_month",    Number("0", "31", "times a month"),
        "how often a month a resident may ask to be charged at once", 8),
    Key("fallback_slots",   Number("1", "8", "turns of 15 min"),
        "a charger takes its fallback only in one of so many turns of 15 min; 1: at all times", 1),
    Key("fallback_floor_by_law", read_switch,
        "true where the law demands the fallback although it does not fit", False),
    Key("late_fallback",    read_switch,
        "charge by themselves in the valley: false never, true also by an assumed night, else once measured", None),
    Key("accept_unleased_kw", Number("0", "20000", "kW", 1, 1000),
        "so much may stand on chargers without a lease, even if the worst hour does not bear it, kW", 0),
)
FEEDER = (
    Key("id",               read_id,      "the feeder's name", sample='"north"'),
    Key("limit_a",          Number("16", "4000", "A per phase", 0, 1000, hint=_feeder_in_ka_or_ma),
        "the most it may carry on a phase (without a meter: what it has left for chargers), A", sample="400"),
    Key("base_p999_kva",    _read_base,   "residents' highest load behind its meter, kVA, in all or [a, b, c]", None),
)
CHARGER = (
    Key("id",               read_id,      "the charger's name in topics", sample='"cp-01"'),
    Key("phase",            _PHASE,       "the phase it hangs on", sample='"A" (or "B", "C", "ABC", "unknown")'),
    Key("max_a",            Number("6", "63", "IEC 61851", 0, 1000), "the most it may draw on a phase, A", sample="32"),
    Key("feeder",           read_id,      "the feeder it hangs on, where that has a limit of its own", None),
    Key("lease",            _LEASE,       "whether what it is told ends by itself", "echo"),
)
# fmt: on


def _meter_keys(models: Collection[str]) -> tuple[Key, ...]:
    known = {name: name for name in models}
    # fmt: off
    return (
        Key("model",    OneOf(known),  "which register table to read", sample=f'"{min(known, default="")}"'),
        Key("tcp",      read_endpoint, "where Modbus/TCP answers", sample='"192.168.1.50:502"'),
        Key("unit",     Number("1", "255", "Modbus unit"), "the meter's Modbus unit", 1),
        Key("period_s", Number("0.5", "10", "s between two readings", 3, 1000), "s between two readings", 1),
        Key("ct_ratio", Number("1", "10000", "primary/secondary", 3, 1000, hint=_ratio_as_text),
            "current transformer ratio the meter does not apply itself", 1),
        Key("serial",   read_serial,   "its serial number: another device in its place stops control", None),
    )
    # fmt: on


# ---------------------------------------------------------------------------------------------------------- loading
def load(path: Path, meter_models: Collection[str] = ("eastron_sdm630",)) -> AreaConfig:
    """Read and check one area's file. Raises ConfigError with every problem found, one line each."""
    return from_text(read_file(path), path, meter_models)


def from_text(text: str, path: Path, meter_models: Collection[str]) -> AreaConfig:
    """Check one area's configuration as it stands, or once stood, in ``path``. Raises ConfigError as ``load``."""
    return _build(parse(text, path.name), path, meter_models)


def _build(raw: dict[str, Any], path: Path, meter_models: Collection[str]) -> AreaConfig:
    tables: Mapping[str, tuple[Key, ...]] = {
        "area": AREA,
        "area.windows": WINDOW,
        "meter": _meter_keys(meter_models),
        "broker": BROKER,
        "charging": CHARGING,
        "feeders": FEEDER,
        "feeders.meter": _meter_keys(meter_models),
        "chargers": CHARGER,
    }
    document = Document(path.name, raw, tables, ("area.windows", "feeders", "chargers"))
    document.check_names()
    area = document.table("area", children=("windows",))
    windows = document.rows(raw.get("area"), "area.windows")
    meter = document.table("meter")
    broker = document.table("broker")
    charging = document.table("charging", optional=True)
    feeders = document.rows(raw, "feeders", child="meter")
    chargers = document.rows(raw, "chargers")
    _check_rating(document, area)
    _check_broker(document, broker)
    _check_chargers(document, chargers, charging.get("fallback_a", 0))
    _check_feeders(document, feeders, chargers)
    _check_meters(document, meter, feeders)
    if not document.sound("area", "charging", "feeders", "chargers"):
        raise ConfigError(document.problems)
    config = AreaConfig(
        area_id=area["id"],
        rating_va=area["rating_kva"],
        rated_ma=_rated_ma(area["rating_kva"], area["secondary_v"]),
        secondary_v=area["secondary_v"],
        limit_permille=area["limit_pct"],
        margin_permille=area["margin_pct"],
        timezone=area["timezone"],
        windows=tuple(LimitWindow(row["from"], row["to"], row["limit_pct"]) for row in windows),
        meter=_meter(meter) if document.sound("meter") else _NO_METER,
        broker=_broker(broker, path) if document.sound("broker") else _NO_BROKER,
        charging=ChargingConfig(*(charging[key.name] for key in CHARGING)),
        chargers=tuple(sorted((_charger(row, feeders) for row in chargers), key=lambda charger: charger.id)),
        path=path,
        exports=area["exports"],
        feeders=tuple(_feeder(row) for row in feeders),
        base_va=area["base_p999_kva"],
    )
    site = site_of(config)
    for problem in (fallback_problem(site, config.charging), late_problem(site, config.charging)):
        if problem:
            document.complain("charging", problem)
    if document.problems:
        raise ConfigError(document.problems)
    return config


_NO_METER = MeterConfig("", "", 0, 0, 0, 0)
_NO_BROKER = BrokerConfig("", 0, None, None)
"""They stand in where only meter or broker is wrong, so that the fallback is checked all the same; nobody gets them."""


def _feeder(row: dict[str, Any]) -> FeederConfig:
    meter = None if row["meter"] is None else _meter(row["meter"])
    return FeederConfig(row["id"], row["limit_a"], meter, row["base_p999_kva"])


def _rated_ma(rating_va: int, secondary_v: int) -> int:
    """Rated current of one phase in mA, S / (sqrt(3) × U), rounded down without a float."""
    return math.isqrt((rating_va * 1000) ** 2 // (3 * secondary_v**2))


def _meter(row: dict[str, Any]) -> MeterConfig:
    host, port = row["tcp"]
    return MeterConfig(row["model"], host, port, row["unit"], row["period_s"], row["ct_ratio"], row["serial"] or "")


def _charger(row: dict[str, Any], feeders: list[dict[str, Any]]) -> ChargerConfig:
    phases, phase_known = row["phase"]
    at = -1 if row["feeder"] is None else [feeder["id"] for feeder in feeders].index(row["feeder"])
    return ChargerConfig(row["id"], phases, phase_known, row["max_a"], at, row["lease"])


def _broker(row: dict[str, Any], path: Path) -> BrokerConfig:
    """A relative password file stands beside the configuration, wherever the service was started."""
    name = row["password_file"]
    return BrokerConfig(row["host"], row["port"], row["username"], None if name is None else path.parent / name)


def _check_rating(document: Document, area: dict[str, Any]) -> None:
    """An unusual rating is more often a slip of the finger than a transformer, so it must be meant."""
    rating_va = area.get("rating_kva")
    if rating_va is None or area.get("rating_confirmed", True) or rating_va in {kva * 1000 for kva in STANDARD_KVA}:
        return
    a_zero_off = [kva for kva in STANDARD_KVA if rating_va in {kva * 100, kva * 10_000}]
    nearest = a_zero_off[0] if a_zero_off else min(STANDARD_KVA, key=lambda kva: abs(kva * 1000 - rating_va))
    document.complain(
        "area",
        f"rating_kva = {in_file_units(rating_va, 1000)} is off the standard list. "
        f"Write {nearest} if the plate says so, or add rating_confirmed = true.",
    )


def _check_broker(document: Document, broker: dict[str, Any]) -> None:
    if broker.get("password_file") is not None and broker.get("username", "") is None:
        document.complain("broker", "password_file needs a username beside it. Add username.")


def _check_chargers(document: Document, chargers: list[dict[str, Any]], fallback_ma: int) -> None:
    """Rules that need more than one row: at least one, no id twice, none weaker than its fallback."""
    if document.root.get("chargers", []) == []:
        text = "there are no chargers. Add [[chargers]] with id, phase and max_a for each."
        document.complain("", text, "chargers")
    _check_ids(document, chargers, "charger")
    for at, row in enumerate(chargers, 1):
        if row.get("max_a", fallback_ma) < fallback_ma:
            document.complain(
                f"chargers.{at}",
                f"max_a = {in_file_units(row['max_a'], 1000)} is below fallback_a = "
                f"{in_file_units(fallback_ma, 1000)}. Lower fallback_a in [charging], or correct max_a.",
            )


def _check_ids(document: Document, rows: list[dict[str, Any]], what: str) -> dict[str, int]:
    """No id twice in a list of tables. Returns where each stands first."""
    first_at: dict[str, int] = {}
    for at, row in enumerate(rows, 1):
        if "id" in row and first_at.setdefault(row["id"], at) != at:
            document.complain(
                f"{what}s.{at}",
                f'id = "{row["id"]}" is taken by [{what}s.{first_at[row["id"]]}]. Give each {what} an id of its own.',
            )
    return first_at


def _check_feeders(document: Document, feeders: list[dict[str, Any]], chargers: list[dict[str, Any]]) -> None:
    """No feeder twice, and no charger on one that is not there."""
    first_at = _check_ids(document, feeders, "feeder")
    for at, row in enumerate(chargers, 1):
        name = row.get("feeder")
        if name is not None and name not in first_at:
            known = ", ".join(sorted(first_at)) or "there are none"
            document.complain(
                f"chargers.{at}",
                f'feeder = "{name}" is no feeder ({known}). Add [[feeders]] with this id, or correct it.',
            )


def _check_meters(document: Document, meter: dict[str, Any], feeders: list[dict[str, Any]]) -> None:
    """No two busbars share a meter: a section that was copied and not changed."""
    seen = {(meter.get("tcp"), meter.get("unit")): "[meter]"}
    for at, row in enumerate(feeders, 1):
        own = row["meter"]
        if own is None or "tcp" not in own or "unit" not in own:
            continue
        where = f"feeders.{at}.meter"
        first = seen.setdefault((own["tcp"], own["unit"]), f"[{where}]")
        if first != f"[{where}]":
            host, port = own["tcp"]
            document.complain(
                where, f"{host}:{port} unit {own['unit']} is the meter of {first}. Write this feeder's own."
            )


# ------------------------------------------------------------------------------------------- what is left unwatched
def site_of(config: AreaConfig, memory: Memory | None = None) -> Site:
    """What the area bears when nobody watches it, by what was learned of residents, or else by what is stated."""
    quarters = [range(start, start + QUARTER_MIN) for start in range(0, DAY_MIN, QUARTER_MIN)]
    limits = [min(limit_permille_at(config, minute) for minute in quarter) for quarter in quarters]
    cheap = [all(in_valley(config, minute) for minute in quarter) for quarter in quarters]
    return survey(config, limits, cheap, memory)


# ------------------------------------------------------------------------------------------------------- the schedule
def limit_permille_at(config: AreaConfig, minute_of_day: int) -> int:
    """The lowest limit in force at a local minute of the day, permille of rating."""
    in_force = [row.limit_permille for row in config.windows if _within(minute_of_day, row.start_min, row.end_min)]
    return min([config.limit_permille, *in_force])


def lowest_limit_permille(config: AreaConfig) -> int:
    """The lowest limit of the whole day, permille of rating: the one to keep while local time is unknown."""
    return min([config.limit_permille, *(row.limit_permille for row in config.windows)])


def in_valley(config: AreaConfig, minute_of_day: int) -> bool:
    """Whether energy is cheap at a local minute of the day."""
    return any(_within(minute_of_day, start_min, end_min) for start_min, end_min in config.charging.valley)


def _within(minute_of_day: int, start_min: int, end_min: int) -> bool:
    """Whether a minute lies in [start, end); an end at or before the start is the next day's, so equal is all day."""
    length_min = (end_min - start_min - 1) % DAY_MIN + 1
    return (minute_of_day - start_min) % DAY_MIN < length_min
