"""The configuration for any input at all: refused in words, or used."""

from __future__ import annotations

import copy
import datetime as dt
import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge import config as under_test
from edge.config import AreaConfig, ConfigError, load
from edge.left_alone import as_json as alone_as_json
from edge.left_alone import in_words as alone_in_words
from edge.words import as_json, in_words
from hil_tests.unit.area_file import FEEDER, TABLES, document, write

if TYPE_CHECKING:
    from collections.abc import Callable


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
