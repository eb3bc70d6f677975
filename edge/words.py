"""A configuration said back in words and numbers, for a person to compare with the plate on the transformer."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edge.config import PHASES, lowest_limit_permille
from edge.core import watch
from edge.schema import clock, in_file_units

if TYPE_CHECKING:
    from edge.config import AreaConfig, BrokerConfig, MeterConfig


def advise(config: AreaConfig) -> list[str]:
    """What may be meant but should be looked at: one line each, none of them an error."""
    charging = config.charging
    limit_permille = lowest_limit_permille(config)
    unknown = sum(not charger.phase_known for charger in config.chargers)
    idle = sum(row.limit_permille >= config.limit_permille for row in config.windows)
    idle_feeders = len(set(range(len(config.feeders))) - {charger.feeder for charger in config.chargers})
    # fmt: off
    rows = (
        (config.margin_permille == 0,
         "margin_pct = 0: the meter's error and its delay will show as minutes over the limit. 1.5 is usual."),
        (limit_permille < 300,
         f"The limit is only {in_file_units(limit_permille, 10)} % of rating. Is it meant in percent?"),
        (unknown > 0,
         f"{unknown} charger(s) with unknown phase count on all three phases. Find the phases to gain room."),
        (charging.lease_ms < 60_000,
         f"lease_s = {charging.lease_ms // 1000}: under 60 means more messages, and cars that stop at short breaks."),
        (not charging.valley,
         "valley is empty: cars charge as soon as there is room, at any price."),
        (idle_feeders > 0,
         f"{idle_feeders} feeder(s) without a charger. Say feeder = at the chargers that hang on them."),
        (idle > 0,
         f"{idle} window(s) with limit_pct not below the area's change nothing: the lowest wins."),
    )
    # fmt: on
    return [text for holds, text in rows if holds] + _advise_feeders(config) + _advise_password(config.broker)


def _advise_feeders(config: AreaConfig) -> list[str]:
    """Feeders that limit nothing."""
    return [
        f"Feeder {feeder.id} bears {amps(feeder.limit_ma)} A, more than the whole transformer's "
        f"{amps(config.rated_ma)} A: it limits nothing. Is there a digit too many?"
        for feeder in config.feeders
        if feeder.limit_ma > config.rated_ma
    ]


def _advise_password(broker: BrokerConfig) -> list[str]:
    if broker.password_file is None:
        return (
            [] if broker.username is None else ["username without password_file: the broker will ask for a password."]
        )
    try:
        mode = broker.password_file.stat().st_mode
    except OSError as error:
        return [f"password_file {broker.password_file}: {error.strerror}. The broker will refuse until it can be read."]
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return [f"password_file {broker.password_file} can be read by others: chmod 600 {broker.password_file}"]
    return []


def in_words(config: AreaConfig) -> list[tuple[str, str]]:
    """The configuration said back, as rows of topic and sentence, for a person to compare with the plate."""
    meter, broker, charging = config.meter, config.broker, config.charging
    limit, rating_kva = config.limit_permille, in_file_units(config.rating_va, 1000)
    limit_ma, limit_kva = config.rated_ma * limit // 1000, config.rating_va * limit / 1_000_000
    user = f" as {broker.username}" if broker.username else ""
    secret = f", password from {broker.password_file}" if broker.password_file else ", no password"
    valley = ", ".join(_span(start, end) for start, end in charging.valley) or "none: every hour costs the same"
    windows = "; ".join(
        f"{_span(w.start_min, w.end_min)} {in_file_units(w.limit_permille, 10)} %" for w in config.windows
    )
    transformer = (
        f"{rating_kva} kVA at {config.secondary_v} V = {amps(config.rated_ma)} A per phase; "
        f"{in_file_units(limit, 10)} % = {amps(limit_ma)} A, {limit_kva:.0f} kVA"
    )
    want_kwh, depart = in_file_units(charging.default_want_wh, 1000), clock(charging.default_depart_min)
    return [
        ("area", f"{config.area_id}, local time of {config.timezone}"),
        ("transformer", transformer),
        ("margin", f"control stays {in_file_units(config.margin_permille, 10)} points of rating below the limit"),
        ("windows", f"{windows}; the lowest limit wins" if windows else f"{in_file_units(limit, 10)} % at all hours"),
        ("meter", _meter_words(meter)),
        ("meter silent", _silent_words(meter)),
        ("broker", f"{_endpoint(broker.host, broker.port)}{user}{secret}"),
        ("chargers", _charger_words(config)),
        *([("feeders", _feeder_words(config))] if config.feeders else []),
        ("all at once", _all_at_once(config)),
        ("fallback", _fallback_words(config)),
        ("valley", valley),
        ("requests", f"a car that asked nothing gets {want_kwh} kWh by {depart}; {_now_words(charging.now_per_month)}"),
        *(
            [("export", "power may flow back: headroom counts it, and export alone cuts no car")]
            if config.exports
            else []
        ),
    ]


def as_json(config: AreaConfig) -> dict[str, Any]:
    """The configuration in core units as plain JSON values; paths are text, tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return plain


def _silent_words(meter: MeterConfig) -> str:
    """What the guard does without readings; a slow meter is given more time."""
    hold_ms = max(watch.HOLD_MS, watch.HOLD_PERIODS * meter.period_ms)
    safe_ms = max(watch.SAFE_MS, watch.SAFE_PERIODS * meter.period_ms)
    return (
        f"nothing is raised after {in_file_units(hold_ms, 1000)} s, "
        f"everybody is at fallback after {in_file_units(safe_ms, 1000)} s"
    )


def _feeder_words(config: AreaConfig) -> str:
    """Each feeder with its limit and how many chargers share it."""
    behind = [charger.feeder for charger in config.chargers]
    return "; ".join(
        f"{feeder.id} {amps(feeder.limit_ma)} A per phase for {behind.count(at)} charger(s) together"
        + ("" if feeder.meter is None else f" and residents, {_meter_words(feeder.meter)}")
        + ("" if feeder.meter is None else f"; when that is silent, {_silent_words(feeder.meter)} behind it")
        for at, feeder in enumerate(config.feeders)
    )


def _now_words(times: int) -> str:
    if not times:
        return "nobody may ask to be charged at once"
    return f"charge now {times} {'time' if times == 1 else 'times'} a month each"


def _charger_words(config: AreaConfig) -> str:
    known = [charger.phases for charger in config.chargers if charger.phase_known]
    per_phase = ", ".join(f"{known.count(bit)} on {name}" for bit, name in PHASES)
    unknown = len(config.chargers) - len(known)
    tail = f", {unknown} on an unknown phase (counted on all)" if unknown else ""
    return f"{len(config.chargers)}: {per_phase}, {known.count(7)} on three phases{tail}"


def _all_at_once(config: AreaConfig) -> str:
    """What would happen without control: the worst phase with every charger at its maximum, residents left out."""
    total_ma, worst = _worst_phase(config, max(charger.max_ma for charger in config.chargers))
    share, limit = total_ma * 1000 // config.rated_ma, lowest_limit_permille(config)
    side = "above" if share > limit else "below"
    lowest = "the lowest limit" if limit < config.limit_permille else "the limit"
    return (
        f"{amps(total_ma)} A on phase {worst} = {in_file_units(share, 10)} % of rating, "
        f"{in_file_units(abs(share - limit), 10)} points {side} {lowest} before residents are counted"
    )


def _fallback_words(config: AreaConfig) -> str:
    charging = config.charging
    stay = sum(not charger.leased for charger in config.chargers)
    turns = f", in one of {charging.fallback_slots} turns of 15 min" if charging.fallback_slots > 1 else ""
    goes = f"goes to {amps(charging.fallback_ma)} A by itself{turns}" if charging.fallback_ma else "stops by itself"
    said = [f"a charger that hears nothing for {charging.lease_ms // 1000} s {goes}"]
    if stay:
        said.append(f"{stay} charger(s) without a lease stay at what they were told last")
    return "; ".join(said if stay < len(config.chargers) else said[1:])


def _worst_phase(config: AreaConfig, current_ma: int) -> tuple[int, str]:
    """The most loaded phase with every charger at ``current_ma`` or its maximum, if that is less: (mA, phase)."""
    loads = [
        (sum(min(charger.max_ma, current_ma) for charger in config.chargers if charger.phases & bit), name)
        for bit, name in PHASES
    ]
    return max(loads, key=lambda load: load[0])


def amps(current_ma: int) -> str:
    """A current in A, rounded."""
    return str((current_ma + 500) // 1000)


def _span(start_min: int, end_min: int) -> str:
    return "all day" if start_min == end_min else f"{clock(start_min)}-{clock(end_min)}"


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _meter_words(meter: MeterConfig) -> str:
    return f"{meter.model} at {_endpoint(meter.host, meter.port)}, unit {meter.unit}, {_meter_pace(meter)}"


def _meter_pace(meter: MeterConfig) -> str:
    ratio = "" if meter.ct_ratio_milli == 1000 else f", readings × {in_file_units(meter.ct_ratio_milli, 1000)} (CT)"
    serial = f", serial {meter.serial}" if meter.serial else ""
    return f"every {in_file_units(meter.period_ms, 1000)} s{ratio}{serial}"
