"""The emulated area's own configuration file, as a technician would write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hil_tests.rig.chargers import Chargers
    from hil_tests.rig.community import Community

AREA = "demo"


def write_area(
    path: Path,
    community: Community,
    chargers: Chargers,
    meter_port: int,
    broker: tuple[str, int],
    *,
    period_s: float,
    valley: str = '["23:00-08:00"]',
    lease_s: int = 60,
) -> None:
    """Write area.toml for an emulated area on this machine."""
    plant = chargers.plant
    lines = [
        "# Written by the bench: an emulated transformer area on this machine.",
        "[area]",
        f'id = "{AREA}"',
        f"rating_kva = {community.rating_kva}",
        "secondary_v = 380        # the emulated busbar runs at its nominal 220/380 V, so 80 % of S is 80 % of I",
        "limit_pct = 80",
        "margin_pct = 1.5",
        'timezone = "Asia/Shanghai"',
        "",
        "[meter]",
        'model = "eastron_sdm630"',
        f'tcp = "127.0.0.1:{meter_port}"',
        "unit = 1",
        f"period_s = {period_s}",
        "",
        "[broker]",
        f'host = "{broker[0]}"',
        f"port = {broker[1]}",
        "",
        "[charging]",
        "fallback_a = 0",
        f"lease_s = {lease_s}",
        "default_want_kwh = 9",
        'default_depart = "07:00"',
        f"valley = {valley}",
    ]
    for k, name in enumerate(chargers.ids):
        phase, amps = "ABC"[int(plant.cars.phase[k])], int(plant.cars.max_a[k])
        lines += ["", "[[chargers]]", f'id = "{name}"', f'phase = "{phase}"', f"max_a = {amps}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
