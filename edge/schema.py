"""The table-driven check of a TOML file: rows say what a key may be, and no problem hides the next.

A message is one line for a person on a ladder: file, place, value, rule, next action.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
import zoneinfo
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

MAX_FILE_BYTES = 1 << 20  # 3000 chargers need about 200 kB; a wrong path may be a disk image
MAX_SHOWN_CHARS = 40
SERIAL_MAX = (1 << 32) - 1
ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SECRET = re.compile(r"pass(word|wd|phrase)?|pwd|secret|token|credential|api_?key", re.IGNORECASE)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,15}\.?")
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_TWO_BRACKETS = "Write two brackets before each row: [[chargers]], [[feeders]], [[area.windows]]."
# What people write that is no TOML, and what to write instead; {0} is what was found.
_SYNTAX_RULES = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (
            r"[\u2018\u2019\u201c\u201d\uff01-\uff5e\u3001\u3002\u3010\u3011]",
            "{0} is a full-width or curly character. Type it half-width, as on an English keyboard.",
        ),
        (r"=\s*\[?\s*[0-9]{1,2}:[0-9]{2}", '{0} is no value. A time is written in quotes: "22:30".'),
        (r"=\s*[0-9]+,[0-9]+", "{0} has a comma. Write a decimal point, and no separator of thousands."),
        (r"=\s*[0-9]+/[0-9]+", "{0} is a fraction. Write its value: 800/5 is 160."),
        (r"^\s*\[(chargers|feeders|area\.windows)\]", "{0} can stand only once. " + _TWO_BRACKETS),
        (
            r"^\s*\[\[feeders\]\]",
            "{0} comes after a [feeders] or [feeders.meter] of no row. Put [[feeders]] first, its meter below.",
        ),
        (r"^\s*\[[^\[\]]+\]", "{0} stands here a second time. Write each table once."),
    )
)
_UNITS = {"a", "ka", "ma", "w", "kw", "va", "kva", "wh", "kwh", "v", "pct", "permille", "s", "ms", "min", "h"}
_TOML_POSITION = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


class ConfigError(Exception):
    """The file cannot be used; ``problems`` holds one complete line for every reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BadValueError(ValueError):
    """One value breaks one rule. ``shown`` replaces the value in the message where it must not be repeated."""

    def __init__(self, complaint: str, advice: str, shown: str | None = None) -> None:
        super().__init__(f"{complaint}. {advice}")
        self.shown = shown


class _Required:
    """The type of ``REQUIRED``."""


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Key:
    """One row of a table: a key, what reads it, what it is, and what stands there when nobody writes it.

    ``default`` is written as it would stand in the file and passes the same reader; None leaves an optional key empty.
    ``sample`` completes "Add NAME = …". With ``each`` the value is a list and the reader takes one item.
    """

    name: str
    read: Callable[[object], Any]
    about: str
    default: object = REQUIRED
    sample: str = ""
    each: bool = False


# ---------------------------------------------------------------------------------------------------------- showing
def shown(value: object) -> str:
    """The value as it would stand in the file, on one line and never longer than a person reads."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 128:
        return "(a number of more than 38 digits)"
    if isinstance(value, str):
        text = '"' + "".join(ch if ch.isprintable() else "?" for ch in value[: MAX_SHOWN_CHARS + 1]) + '"'
    elif isinstance(value, dict):
        return "(a table)"
    elif isinstance(value, list):
        return "(a list)"
    else:
        text = str(value)
    return text if len(text) <= MAX_SHOWN_CHARS + 2 else text[:MAX_SHOWN_CHARS] + "…"


def _kind(value: object) -> str:
    """What the value is, in words; booleans first, because to Python they are integers."""
    kinds = (
        (bool, "a true/false value"),
        ((int, Decimal), "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((words for types, words in kinds if isinstance(value, types)), "a date or time")


def _key_text(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else shown(name)


def _nearest(word: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    """The known word closest to ``word``, letter case aside."""
    folded = {name.casefold(): name for name in sorted(known)}
    match = difflib.get_close_matches(word[:64].casefold(), folded, 1, cutoff)
    return folded[match[0]] if match else None


# ---------------------------------------------------------------------------------------------------------- readers
@dataclass(frozen=True, slots=True)
class Number:
    """Reads a number between ``low`` and ``high`` (file units) and returns value × ``scale``, an exact integer.

    ``decimals`` bounds the places after the point; ``zero`` also allows 0; below ``fraction_below`` a value whose
    hundredfold fits is taken for a fraction written where percent is wanted. ``hint`` sees the raw value first and may
    return a sharper complaint. Raises BadValueError.
    """

    low: str
    high: str
    rule: str = ""
    decimals: int = 0
    scale: int = 1
    zero: bool = False
    fraction_below: str | None = None
    hint: Callable[[object], BadValueError | None] | None = None

    def __call__(self, value: object) -> int:
        """Return the value in core units."""
        if self.hint is not None and (complaint := self.hint(value)) is not None:
            raise complaint
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise BadValueError(f"is {_kind(value)}; a number is needed", self._how_to_write(value))
        number = Decimal(value)
        if not number.is_finite():
            raise BadValueError("is not a number that can be used", f"Set a number from {self.low} to {self.high}.")
        if not (self.zero and number == 0):
            self._check_range(number)
        nearest = number.quantize(Decimal(1).scaleb(-self.decimals))
        if nearest != number:
            rule = "is not a whole number" if self.decimals == 0 else f"has more than {self.decimals} decimal(s)"
            raise BadValueError(rule, f"Write {nearest}.")
        return int(nearest * self.scale)

    def _check_range(self, number: Decimal) -> None:
        low, high, why = Decimal(self.low), Decimal(self.high), f" ({self.rule})" if self.rule else ""
        if (
            self.fraction_below is not None
            and 0 < number < Decimal(self.fraction_below)
            and low <= number * 100 <= high
        ):
            percent = round(number * 100, 1)
            advice = f"Write {percent.to_integral_value() if percent == int(percent) else percent}."
            raise BadValueError("looks like a fraction; loading is in percent", advice)
        if number < low:
            raise BadValueError(f"is below {low}{why}", f"Set {'0, or ' if self.zero else ''}{low} or more.")
        if number > high:
            raise BadValueError(f"is above {high}{why}", f"Set {high} or less.")

    def _how_to_write(self, value: object) -> str:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            return f"Write {value} without quotes."
        return f"Set a number from {self.low} to {self.high}."


@dataclass(frozen=True, slots=True)
class OneOf:
    """Reads one word of a list and returns what stands beside it; ``aliases`` are other people's words for them."""

    values: Mapping[str, Any]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, value: object) -> Any:  # noqa: ANN401 - the table decides what a word stands for
        """Return the word's value."""
        word = read_text(value)
        if word in self.values:
            return self.values[word]
        near = self.aliases.get(word.upper()) or _nearest(word, self.values)
        listed = ", ".join(f'"{name}"' for name in sorted(self.values))
        raise BadValueError(f"is not one of {listed}", f'Did you mean "{near}"?' if near else "Write one of them.")


def read_text(value: object) -> str:
    """Read one line of text, 1 to 255 printable characters. Raises BadValueError."""
    if not isinstance(value, str):
        raise BadValueError(f"is {_kind(value)}; text is needed", "Write it in quotes.")
    if not value.strip() or len(value) > 255 or not value.isprintable():
        raise BadValueError("is empty, too long or holds unprintable characters", "Write 1 to 255 characters.")
    return value


def read_serial(value: object) -> str:
    """Read a serial number as meters say it: a number of 32 bits, the zeros printed before it left out.

    Raises BadValueError for what no meter can say: it would be another meter for ever.
    """
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,32}", text):
        raise BadValueError(
            "is no serial number that a meter can say", 'Write the digits printed on the device, such as "20260115".'
        )
    if int(text) > SERIAL_MAX:
        raise BadValueError(
            f"is above {SERIAL_MAX}, the highest serial number that a meter can say",
            "Write what taiqu check --live reads from it.",
        )
    return str(int(text))


def read_switch(value: object) -> bool:
    """Read true or false. Raises BadValueError."""
    if not isinstance(value, bool):
        raise BadValueError(f"is {_kind(value)}; true or false is needed", "Write true or false, without quotes.")
    return value


def read_id(value: object) -> str:
    """Read an id that may stand in an MQTT topic. Raises BadValueError."""
    text = read_text(value)
    if text == "all":
        raise BadValueError("is reserved for messages to every charger", "Choose another id.")
    if not ID_PATTERN.fullmatch(text):
        raise BadValueError(
            "is no id (small letters, digits, _ and -, at most 32, a letter or digit first)",
            f'Write for example "{_as_id(text)}".',
        )
    return text


def _as_id(text: str) -> str:
    candidate = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:32]
    return candidate if candidate not in {"", "all"} else "no-1"


def read_clock(value: object) -> int:
    """Read a time of day such as "22:30" and return minutes since midnight, 0..1439. Raises BadValueError."""
    if not isinstance(value, str):
        raise BadValueError(f"is {_kind(value)}; a time is text", 'Write it in quotes, such as "22:30".')
    if match := _CLOCK.fullmatch(value):
        return int(match[1]) * 60 + int(match[2])
    parts = re.fullmatch(r"([0-9]{1,2})[:.h：]([0-9]{1,2})", value.strip())
    advice = "00:00 to 23:59"
    if parts and int(parts[1]) <= 24 and int(parts[2]) <= 59:
        advice = f'"{int(parts[1]) % 24:02d}:{int(parts[2]):02d}"'
    raise BadValueError("is not a time HH:MM", f"Write {advice}.")


def read_span(value: object) -> tuple[int, int]:
    """Read "23:00-08:00" and return its two minutes of the day; an end at or before the start is the next day's.

    Raises BadValueError.
    """
    parts = value.split("-") if isinstance(value, str) else []
    if len(parts) != 2:
        raise BadValueError("is not a span of time HH:MM-HH:MM", 'Write it like "23:00-08:00".')
    return read_clock(parts[0].strip()), read_clock(parts[1].strip())


def read_zone(value: object) -> str:
    """Read the name of a time zone this machine knows. Raises BadValueError."""
    name = read_text(value)
    if _ZONE_NAME.fullmatch(name):
        try:
            return zoneinfo.ZoneInfo(name).key
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass  # a region such as "Asia" is a directory, and shows as OSError
    # Clocks in China show Beijing time, yet the zone database knows it by another city.
    beijing = "beijing" in name.casefold()
    near = "Asia/Shanghai" if beijing else _nearest(name, zoneinfo.available_timezones(), 0.75)
    raise BadValueError(
        "is no known time zone", f'Did you mean "{near}"?' if near else 'Write for example "Asia/Shanghai".'
    )


def read_host(value: object) -> str:
    """Read a host name or an address without a port. Raises BadValueError; never repeats a password out of a URL."""
    host = read_text(value)
    if "@" in host:
        raise BadValueError(
            "carries a user name or a password", "Write the host alone; use username and password_file.", "(not shown)"
        )
    if host == "auto":
        raise BadValueError("is for the demo only", 'Name the broker, such as "127.0.0.1".')
    if "://" in host:
        raise BadValueError(
            "is a URL; the host alone is needed", f'Write "{host.split("://", 1)[1].split(":")[0][:64]}".'
        )
    if match := re.fullmatch(r"([^:]+):([0-9]{1,5})", host):
        raise BadValueError(
            "holds a port; it has its own key", f'Write host = "{match[1][:64]}" and port = {match[2]}.'
        )
    return _checked_host(host, "127.0.0.1")


def read_endpoint(value: object) -> tuple[str, int]:
    """Read "host:port" ("[address]:port" for IPv6) and return both. Raises BadValueError."""
    text = read_text(value)
    if "：" in text:
        raise BadValueError("holds a full-width colon", f'Write "{text.replace("：", ":")[:64]}".')
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:]*)):([0-9]{1,9})", text)
    if match is None:
        has_port = ":" in text
        complaint = "is not host:port" if has_port else "has no port"
        example = "192.168.1.50" if has_port or not _HOST_NAME.fullmatch(text) else text
        raise BadValueError(complaint, f'Write it like "{example}:502".')
    host, port = match[1] or match[2], int(match[3])
    if not 1 <= port <= 65535:
        raise BadValueError("has a port outside 1..65535", 'Modbus listens on 502 as a rule: "host:502".')
    return _checked_host(host, "192.168.1.50:502"), port


def _checked_host(host: str, example: str) -> str:
    advice = f'Write it like "{example}".'
    try:
        if ":" in host or re.fullmatch(r"[0-9.]+", host):
            return str(ipaddress.ip_address(host))
    except ValueError as error:
        raise BadValueError("is no valid IP address", advice) from error
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise BadValueError("is no host name or address", advice)
    return host


# --------------------------------------------------------------------------------------------------------- the file
def read_file(path: Path) -> str:
    """Read a file of UTF-8 text; a byte order mark is accepted. Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: there is no such file. Make one: taiqu example > {path}"]) from error
    except IsADirectoryError as error:
        raise ConfigError(
            [f"{path}: this is a directory. Name the file in it, such as {path / 'area.toml'}."]
        ) from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a usable path"
        raise ConfigError([f"{path}: cannot be read ({reason}). Check the path and who may read the file."]) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([f"{path.name}: is larger than {MAX_FILE_BYTES >> 10} KiB. Is this the right file?"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path.name}: line {line} is not UTF-8. Save the file as UTF-8 and try again."]) from error


def parse(text: str, file: str) -> dict[str, Any]:
    """Read TOML, its decimals exact; ``file`` is its name in messages. Raises ConfigError."""
    try:
        return tomllib.loads(text, parse_float=_exact)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: {_syntax_problem(text, str(error))}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{file}: lists or tables are nested too deeply. Correct the brackets."]) from error
    except ValueError as error:  # Python refuses to read an integer of thousands of digits
        raise ConfigError([f"{file}: holds a number of far too many digits. Shorten it."]) from error


def _exact(text: str) -> Decimal:
    """A decimal as written, so that 78.5 is 785 permille and nothing beside it."""
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent no machine can hold
        return Decimal("NaN")


def _syntax_problem(text: str, message: str) -> str:
    """The parser's complaint with its line first, and the usual cause where the line shows it."""
    match = _TOML_POSITION.match(message)
    if match is None or match[2] is None:
        reason = match[1] if match else message
        return f"last line: {' '.join(reason.split())}. A value, quote or bracket is missing at the end of the file."
    lines, number = text.split("\n"), int(match[2])
    line = lines[number - 1] if number <= len(lines) else ""
    for rule, complaint in _SYNTAX_RULES:
        if found := rule.search(line.split("#")[0]):
            what = "".join(ch if ch.isprintable() else "?" for ch in found[0].strip()[:MAX_SHOWN_CHARS])
            return f"line {number}, column {match[3]}: {complaint.format(what)}"
    return f"line {number}, column {match[3]}: {' '.join(match[1].split())}. Correct this line."


# ------------------------------------------------------------------------------------------------------- the engine
class Document:
    """One parsed file and everything found wrong with it.

    ``tables`` tells which key is at home where, ``lists`` which of the tables are rows with two brackets.
    """

    def __init__(
        self, file: str, root: dict[str, Any], tables: Mapping[str, tuple[Key, ...]], lists: Collection[str] = ()
    ) -> None:
        self.file = file
        self.root = root
        self.problems: list[str] = []
        self._unsound: set[str] = set()
        self._tables, self._lists = tables, lists

    def complain(self, place: str, text: str, about: str = "") -> None:
        """Note one problem; ``place`` is a table such as "area" or "chargers.2", or empty for the file.

        ``about``: the table that is meant where the text names the place itself.
        """
        self._unsound.add((place or about).split(".", maxsplit=1)[0])
        self.problems.append(f"{self.file}: [{place}] {text}" if place else f"{self.file}: {text}")

    def sound(self, *tables: str) -> bool:
        """Was nothing found wrong in these tables, so that rules over all of them can be applied?"""
        return self._unsound.isdisjoint(tables)

    def check_names(self) -> None:
        """Complain about every top-level name that is no table of this file."""
        for name in self.root:
            if name not in {place.split(".")[0] for place in self._tables}:
                self._unknown("", name, [place for place in self._tables if "." not in place])

    def table(self, name: str, *, optional: bool = False, children: Collection[str] = ()) -> dict[str, Any]:
        """Read one table; ``children`` are names in it that are read as tables of their own."""
        keys = self._tables[name]
        if name not in self.root and not optional:
            needed = ", ".join(key.name for key in keys if key.default is REQUIRED)
            self.complain("", f"[{name}] is missing. Add [{name}] with {needed}.", name)
            return {}
        return self._read(self.root.get(name, {}), keys, name, children)

    def rows(self, parent: object, name: str, *, child: str = "") -> list[dict[str, Any]]:
        """Read an array of tables below ``parent``; ``name`` is its full name. Rows count from 1 in messages.

        ``child`` names a table that a row may have; without it the row has None there.
        """
        raw = parent.get(name.rsplit(".", 1)[-1], []) if isinstance(parent, dict) else []
        if not isinstance(raw, list):
            text = f"[{name}] must be a list of tables. Write [[{name}]] with two brackets before each."
            self.complain("", text, name)
            return []
        out = []
        for at, row in enumerate(raw, 1):
            values = self._read(row, self._tables[name], f"{name}.{at}", (child,) if child else ())
            if child:
                own = row.get(child) if isinstance(row, dict) else None
                keys = self._tables[f"{name}.{child}"]
                values[child] = None if own is None else self._read(own, keys, f"{name}.{at}.{child}", ())
            out.append(values)
        return out

    def _read(self, raw: object, keys: tuple[Key, ...], place: str, children: Collection[str]) -> dict[str, Any]:
        if not isinstance(raw, dict):
            table, _, number = place.rpartition(".")
            names = ".".join(part for part in place.split(".") if not part.isdigit())
            header = f"[[{table}]]" if number.isdigit() else f"[{names}]"
            text = f"{place} is {_kind(raw)}; a table is needed. Write {header} on a line of its own."
            self.complain("", text, place)
            return {}
        known = [key.name for key in keys] + list(children)
        guessed = {self._unknown(place, name, known) for name in raw if name not in known}
        values: dict[str, Any] = {}
        for key in keys:
            if key.name in raw:
                self._read_key(key, raw[key.name], place, values)
            elif key.default is not REQUIRED:
                self._read_key(key, key.default, place, values)
            elif key.name not in guessed:  # the misspelt one was named already
                self.complain(place, f"{key.name} is missing ({key.about}). Add {key.name} = {key.sample}.")
        return values

    def _read_key(self, key: Key, raw: object, place: str, values: dict[str, Any]) -> None:
        if raw is None:
            values[key.name] = None
        elif not key.each:
            self._read_value(key, key.name, raw, place, values)
        elif not isinstance(raw, list):
            self.complain(place, f"{key.name} = {shown(raw)} is {_kind(raw)}; a list is needed. Write it in [ ].")
        else:
            items: dict[str, Any] = {}
            for at, item in enumerate(raw, 1):
                self._read_value(key, f"{key.name}.{at}", item, place, items)
            values[key.name] = tuple(items.values())

    def _read_value(self, key: Key, label: str, raw: object, place: str, values: dict[str, Any]) -> None:
        try:
            values[label] = key.read(raw)
        except BadValueError as error:
            self.complain(place, f"{label} = {error.shown or shown(raw)} {error}")

    def _unknown(self, place: str, name: str, known: Collection[str]) -> str | None:
        """Complain about a name and return the known one it seems to mean. Its value is never repeated."""
        homes = [home for home, keys in self._tables.items() if home != place and name in {key.name for key in keys}]
        if _SECRET.search(name) and not homes and _nearest(name, known, 0.85) is None:
            advice = 'Put it into a file of its own (mode 600) and write password_file = "broker.password" in [broker].'
            self.complain(place, f"{_key_text(name)}: secrets do not stand in this file. {advice}")
            return None
        near = _nearest(name, known)
        if near is None and homes:
            self.complain(place, f"{_key_text(name)} does not belong here. {self._home(place, name, known, homes)}")
            return None
        text = _key_text(name) if place else f"[{_key_text(name)}]"
        listed = ", ".join(known if place else (self._header(one) for one in known))
        guess = near if place else self._header(near or "")
        if near is None and not place:
            inner = [home for home in self._tables if home.rpartition(".")[2] == name]
            listed = f"{listed}. Did you mean {self._header(inner[0])}?" if inner else f"{listed}."
        elif near is not None and _unit(near) != _unit(name) and {_unit(near), _unit(name)} <= _UNITS:
            guess = f"{guess} (mind the unit)"
        else:
            listed = f"{listed}."
        self.complain(place, f"{text} is not known. {f'Did you mean {guess}?' if near else f'Known here: {listed}'}")
        return near

    def _home(self, place: str, name: str, known: Collection[str], homes: list[str]) -> str:
        """Where a key is to be moved: into a table below this one, out of it to the one above, or elsewhere."""
        table = ".".join(part for part in place.split(".") if not part.isdigit())
        above = table.rpartition(".")[0]
        if name in {"host", "port"} and "tcp" in known:
            return 'Write tcp = "host:port".'
        if above in homes:
            return f"Write it above {self._header(table)}, in its {self._header(above)}."
        below = [home for home in homes if home.startswith(f"{table}.")]
        return f"Move it under {self._header((below or homes)[0])}."

    def _header(self, table: str) -> str:
        return f"[[{table}]]" if table in self._lists else f"[{table}]"


def _unit(key: str) -> str:
    return key.rpartition("_")[2]


def in_file_units(value: int, scale: int) -> str:
    """A core integer in file units without trailing zeros: 785 / 10 is "78.5"."""
    return f"{Decimal(value) / scale:f}"


def clock(minute: int) -> str:
    """A minute of the day as people write it."""
    return f"{minute // 60:02d}:{minute % 60:02d}"
