"""The product's planner, step and guard as a scheduling algorithm inside ACN-Sim (Caltech), a simulator of others.

The night of the five-minute setting is handed to ``acnportal`` session by session; its own chargers, batteries and
network decide what is delivered, and its own check says whether a pilot was infeasible. Needs the extra ``acn``.
"""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from acnportal import acnsim
from acnportal.algorithms import BaseAlgorithm

from hil_tests.rig.slots import MIN_A, SLOT_S, VOLT, Ours

if TYPE_CHECKING:
    from hil_tests.rig.slots import Table

PERIOD_MIN = SLOT_S // 60
SIM_START = datetime(2026, 1, 15, 16, tzinfo=UTC)


class Taiqu(BaseAlgorithm):  # type: ignore[misc]  # the library carries no types
    """Asks the controller for the pilots of each period."""

    def __init__(self, table: Table, network: Any) -> None:  # noqa: ANN401 - a foreign class without types
        super().__init__()
        self.max_recompute = 1
        self.table, self.network = table, network
        self.ours = Ours(table)
        self.index = {name: k for k, name in enumerate(table.night.ids)}
        self.pilot = np.zeros(len(self.index), dtype=np.int64)

    def schedule(self, active_sessions: list[Any]) -> dict[str, list[float]]:
        """Pilots in A by station for this period; the limit of the period is set in the network first."""
        t = self.interface.current_time
        self.network.magnitudes[0] = float(self.table.room_w[t]) / VOLT
        left_wh = np.zeros(len(self.index))
        for session in active_sessions:
            left_wh[self.index[session.station_id]] = session.remaining_demand * 1000.0
        self.pilot = self.ours(t, float(self.table.room_w[t]), left_wh, self.pilot)
        return {session.station_id: [float(self.pilot[self.index[session.station_id]])] for session in active_sessions}


def play(table: Table) -> tuple[float, int]:
    """Play the night inside ACN-Sim. Returns (energy delivered in Wh, pilots that the simulator called infeasible)."""
    cars = table.night.cars
    network = acnsim.ChargingNetwork()
    for k, name in enumerate(table.night.ids):
        rates = [0, *range(MIN_A, int(cars.max_a[k]) + 1)]
        network.register_evse(acnsim.FiniteRatesEVSE(name, rates), VOLT, 0)
    network.add_constraint(acnsim.Current(list(table.night.ids)), float(table.room_w[0]) / VOLT, name="transformer")
    events = []
    for k, name in enumerate(table.night.ids):
        kwh = float(cars.need_wh[k]) / 1000.0
        battery = acnsim.Battery(kwh, 0.0, float(cars.max_a[k]) * VOLT / 1000.0)
        ev = acnsim.EV(int(table.first[k]), int(table.last[k]), kwh, name, name, battery)
        events.append(acnsim.PluginEvent(int(table.first[k]), ev))
    algorithm = Taiqu(table, network)
    simulator = acnsim.Simulator(
        network, algorithm, acnsim.EventQueue(events), SIM_START, period=PERIOD_MIN, verbose=False
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        simulator.run()
    infeasible = sum("nvalid schedule" in str(w.message) or "infeasible" in str(w.message) for w in caught)
    return float(acnsim.total_energy_delivered(simulator)) * 1000.0, infeasible
