"""A night built for a liar: five cars that charge all night, and steps of residents that stop the one on phase B."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge import config as cfg
from edge.ports import Wish
from hil_tests.rig.community import BASE_PF, Cars, Community, appliances_kw
from hil_tests.rig.faults import BY_ID, Strike
from hil_tests.rig.small import MIDNIGHT_S, NIGHT_S, Small, draw
from hil_tests.rig.world import World

PHASES = (1, 0, 0, 2, 2, 0)
"""The last is the stranger, who does not come."""
RESIDENTS = 0.45
FIRST_S, EVERY_S, LASTS_S, LAST_S = 480, 400, 30, 2100
LIES_S = 470, NIGHT_S + 1
SHARES = 0.36, 0.42
"""A step of residents on phase B, of its rated current: more than its only car can make room for."""


def built(seed: int) -> Small:
    """160 kVA, residents at 45 % of it with the bench's kettles, five single-phase cars that want 60 kWh each."""
    area = draw(seed)
    count, rating = 5, 160
    begin_s, piles = area.begin_s, 6
    never_s = np.array([begin_s] * count + [1 << 30])
    cars = Cars(
        phase=np.array(PHASES), max_a=np.full(piles, 32), arrive_s=never_s, depart_s=never_s + 6 * 3600,
        need_wh=np.full(piles, 60_000.0), draw=np.full(piles, 0.95), start_s=np.full(piles, 10.0),
        react_s=np.full(piles, 2.0), lines=np.ones(piles, dtype=np.int64), sleeper=np.zeros(piles, dtype=bool),
        deaf=np.zeros(piles, dtype=bool),
    )  # fmt: skip
    mean_kw = np.full((NIGHT_S + 1, 3), rating * BASE_PF * RESIDENTS / 3.0)
    rows = tuple(cfg.ChargerConfig(f"p{k + 1:03d}", 1 << PHASES[k], True, 32_000, -1) for k in range(count))
    rated_ma = int(rating * 1e6 / 3.0 / 220.0)
    config = replace(
        area.config, rating_va=rating * 1000, rated_ma=rated_ma, chargers=rows, feeders=(),
        meter=replace(area.config.meter, period_ms=1000), charging=replace(area.config.charging, fallback_ma=0),
    )  # fmt: skip
    wishes = tuple(Wish(row.id, 60_000, MIDNIGHT_S + begin_s + 5 * 3600, True) for row in rows)
    community = Community("liar", rating, rating * RESIDENTS, rating * RESIDENTS, 1)
    rng = np.random.default_rng((seed, 9))
    return Small(seed, area.edge, begin_s, cars, community, appliances_kw(mean_kw, rng), config, wishes, 0.0)


def strikes(seed: int, lies: bool) -> tuple[Strike, ...]:
    """Residents' steps on phase B, and, if it ``lies``, a charger that says it obeys and charges on."""
    rng = np.random.default_rng((seed, 13))
    rows = [
        Strike(BY_ID["unbalance"], at, at + LASTS_S, {"phase": 1, "share": float(rng.uniform(*SHARES))}, at)
        for at in range(FIRST_S, LAST_S, EVERY_S)
    ]
    if lies:
        rows.append(Strike(BY_ID["charger_claims"], *LIES_S, {}, seed))
    return tuple(sorted(rows, key=lambda row: row.start_s))


def play(seed: int, lies: bool) -> World:
    """Play it."""
    world = World(built(seed), strikes(seed, lies))
    world.play()
    return world
