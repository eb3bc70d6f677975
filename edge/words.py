"""A configuration said back in words and numbers, for a person to compare with the plate on the transformer."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from edge.config import PHASES, lowest_limit_permille
from edge.core import watch
from edge.core.ledger import at_once
from edge.core.model import MIN_MA
from edge.schema import clock, in_file_units
from edge.site import EV_PF_PERMILLE, UNKNOWN, alone, fitting_slots, late_hours, late_slots, unleased_ma, va

if TYPE_CHECKING:
    from edge.config import AreaConfig, BrokerConfig, ChargingConfig, MeterConfig
    from edge.site import Load, Site


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
        f"Feeder {feeder.id} bears {_amps(feeder.limit_ma)} A, more than the whole transformer's "
        f"{_amps(config.rated_ma)} A: it limits nothing. Is there a digit too many?"
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
        f"{rating_kva} kVA at {config.secondary_v} V = {_amps(config.rated_ma)} A per phase; "
        f"{in_file_units(limit, 10)} % = {_amps(limit_ma)} A, {limit_kva:.0f} kVA"
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
        f"{feeder.id} {_amps(feeder.limit_ma)} A per phase for {behind.count(at)} charger(s) together"
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
        f"{_amps(total_ma)} A on phase {worst} = {in_file_units(share, 10)} % of rating, "
        f"{in_file_units(abs(share - limit), 10)} points {side} {lowest} before residents are counted"
    )


def _fallback_words(config: AreaConfig) -> str:
    charging = config.charging
    lease_s = charging.lease_ms // 1000
    if charging.fallback_ma == 0:
        return f"a charger that hears nothing for {lease_s} s stops by itself"
    turns = f", in one of {charging.fallback_slots} turns of 15 min" if charging.fallback_slots > 1 else ""
    return f"a charger that hears nothing for {lease_s} s goes to {_amps(charging.fallback_ma)} A by itself{turns}"


# fmt: off
_ALONE = {
    "unknown": (
        "not computed: nobody has said what residents draw (base_p999_kva), so only 0 A is safe",
        "未计算：未给出居民最大负荷 base_p999_kva，只有 0 A 安全"),
    "worst hour": (
        "{at}: residents, {residents} kVA ({source}, a tenth in reserve), leave {free} kW free, {free_a} A on {name}",
        "{at} 居民 {residents} kVA（含一成裕量），余 {free} kW，{name_zh} 余 {free_a} A"),
    "6 A for all": (
        "{need} of rating, {need_a} A on {name}",
        "全部 6 A：{need}，{name_zh} {need_a} A"),
    "none": (
        "0 A: not even 6 A in 8 turns fits",
        "0 A：分 8 组轮换 6 A 也放不下"),
    "all": (
        "6 A for all",
        "全部 6 A"),
    "turns": (
        "6 A in {slots} turns of 15 min: of {count} chargers on a phase at most {most} together (99.9 %)",
        "6 A 分 {slots} 组轮换，每组 15 分钟：每相 {count} 台中同时最多 {most} 台（99.9 %）"),
    "as set": (
        "fallback_a = {set_a}, fallback_slots = {set_slots}: at worst {load} of rating, {load_a} A on {set_name}",
        "最大 {load}，{set_name_zh} {load_a} A"),
    "by law": (
        "kept although it does not fit: at {set_at} up to {over} kW above the limit",
        "法定最低电流，容量不足：{set_at} 越限最多 {over} kW"),
    "late": (
        "on: chargers left alone take 6 A{late_turns} from {late_from} to {late_to}",
        "启用：失联充电桩 {late_from}-{late_to} 自行以 6 A 充电"),
    "late off": (
        "off: late_fallback = false",
        "停用"),
    "late room": (
        "off: in no hour of the valley 6 A fits at all chargers{late_turns}",
        "停用：谷时段容量不足"),
    "late slots": (
        "off: it would fit with fallback_slots = {late_slots}, here and in the chargers",
        "停用：设 fallback_slots = {late_slots} 即可"),
    "no lease": (
        "chargers without a lease could take {could} kW; {may} kW may stand on them, at any hour and for ever",
        "无租约充电桩最大 {could} kW；任何时刻最多允许 {may} kW"),
    "accepted": (
        "accept_unleased_kw = {accept} is more than fits: at {at} up to {over} kW above the limit",
        "超出容量：{at} 越限最多 {over} kW"),
    "accepted unknown": (
        "accept_unleased_kw = {accept}, and nobody has said what residents draw: it may be above the limit",
        "未给出居民最大负荷，可能越限"),
}
# fmt: on
"""What is said of chargers that are left alone, English and Chinese."""


def alone_in_words(site: Site, charging: ChargingConfig) -> list[tuple[str, str]]:
    """The arithmetic of the fallback as rows of topic and sentence, English then Chinese."""
    if site.source == UNKNOWN:
        return [("fits alone", "  ".join(_ALONE["unknown"])), *_unleased_rows(site, charging)]
    all_on, chosen = alone(site, MIN_MA), alone(site, charging.fallback_ma, charging.fallback_slots)
    slots, count, late = fitting_slots(site), max(site.counts[:3]), late_hours(site, charging)
    facts = {
        "at": clock(all_on.minute), "name": all_on.name, "name_zh": _chinese(all_on.name), "source": site.source,
        "residents": -(-all_on.residents_va // 1000), "free": all_on.free_va * EV_PF_PERMILLE // 1_000_000,
        "free_a": max(all_on.free_ma, 0) // 1000, "need": _share(site, all_on), "need_a": _amps(all_on.load_ma),
        "slots": slots, "count": count, "most": at_once(count, slots), "set_a": _amps(charging.fallback_ma),
        "set_slots": charging.fallback_slots, "set_at": clock(chosen.minute), "set_name": chosen.name,
        "set_name_zh": _chinese(chosen.name), "load": _share(site, chosen), "load_a": _amps(chosen.load_ma),
        "over": _kw(chosen.over_va), "late_slots": late_slots(site, charging),
        "late_from": clock(late[0] if late else 0), "late_to": clock(late[1] if late else 0),
        "late_turns": f" in {charging.fallback_slots} turns" if charging.fallback_slots > 1 else "",
    }  # fmt: skip
    rows = [
        ("worst hour", "worst hour"),
        ("6 A for all", "6 A for all"),
        ("fits alone", {0: "none", 1: "all"}.get(slots, "turns")),
        *([("as set", "as set")] if charging.fallback_ma else []),
        *([("by law", "by law")] if charging.fallback_ma and not chosen.fits else []),
        *([] if charging.fallback_ma else [("late", _late_row(site, charging))]),
    ]
    said = [(topic, "  ".join(_ALONE[row]).format(**facts)) for topic, row in rows]
    return said + _unleased_rows(site, charging)


def _unleased_rows(site: Site, charging: ChargingConfig) -> list[tuple[str, str]]:
    """What may stand on chargers without a lease, and what it costs where more is accepted than fits."""
    if not site.could_all_ma:
        return []
    stands_ma = unleased_ma(site, charging)
    may_va = va(site, min(sum(stands_ma[:3]), site.could_all_ma))
    facts = {
        "could": _kw(va(site, site.could_all_ma)), "may": may_va * EV_PF_PERMILLE // 1_000_000,
        "accept": in_file_units(charging.accept_unleased_w, 1000),
    }  # fmt: skip
    rows = [("no lease", "no lease")]
    if stands_ma != unleased_ma(site, replace(charging, accept_unleased_w=0)):
        rows.append(("accepted", "accepted" if site.base_ma else "accepted unknown"))
        if site.base_ma:
            left = alone(site, charging.fallback_ma, charging.fallback_slots, stands_ma=stands_ma)
            facts |= {"at": clock(left.minute), "over": _kw(left.over_va)}
    return [(topic, "  ".join(_ALONE[row]).format(**facts)) for topic, row in rows]


def _late_row(site: Site, charging: ChargingConfig) -> str:
    """Which sentence tells whether chargers left alone charge in the valley."""
    if charging.late_fallback is False:
        return "late off"
    if late_hours(site, charging) is not None:
        return "late"
    return "late slots" if late_slots(site, charging) else "late room"


def alone_as_json(site: Site, charging: ChargingConfig) -> dict[str, Any]:
    """The same for programs, in core units."""
    known = site.source != UNKNOWN
    return {
        "residents": site.source,
        "fits_slots": fitting_slots(site) if known else None,
        "all_at_6a": asdict(alone(site, MIN_MA)) if known else None,
        "as_set": asdict(alone(site, charging.fallback_ma, charging.fallback_slots)) if known else None,
        "late_min": late_hours(site, charging),
        "unleased_ma": unleased_ma(site, charging),
    }


def _share(site: Site, left: Load) -> str:
    return f"{_kw(left.load_va)} kW = {in_file_units(left.load_va * 1000 // site.rating_va, 10)} %"


def _kw(load_va: int) -> int:
    """Chargers' VA as kW, rounded up."""
    return -(-load_va * EV_PF_PERMILLE // 1_000_000)


def _chinese(name: str) -> str:
    """A constraint's name in Chinese."""
    return re.sub(r"phase (.)", r"\1相", name).replace("feeder", "馈线").replace(", ", " ")


def _worst_phase(config: AreaConfig, current_ma: int) -> tuple[int, str]:
    """The most loaded phase with every charger at ``current_ma`` or its maximum, if that is less: (mA, phase)."""
    loads = [
        (sum(min(charger.max_ma, current_ma) for charger in config.chargers if charger.phases & bit), name)
        for bit, name in PHASES
    ]
    return max(loads, key=lambda load: load[0])


def _amps(current_ma: int) -> str:
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
