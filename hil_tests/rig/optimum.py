"""What a clairvoyant could deliver: sessions × slots as a maximum flow under the same limits, feeder to total."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow

if TYPE_CHECKING:
    from hil_tests.rig.community import Floats, Ints

    Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]

UNIT_WH = 1.0


def max_energy_wh(
    first: Ints,
    last: Ints,
    need_wh: Floats,
    slot_wh: Floats,
    total_wh: Floats,
    phase: Ints | None = None,
    phase_wh: Floats | None = None,
    open_slots: Flags | None = None,
    behind: Flags | None = None,
    feeder_wh: Floats | None = None,
) -> float:
    """The most energy all sessions together can get, Wh.

    Args:
        first: the first slot of each session.
        last: each session may use the slots ``first <= t < last``.
        need_wh: what each asks for.
        slot_wh: what each can take in one slot.
        total_wh: what each slot has in all.
        phase: each session's phase; without it only the total counts.
        phase_wh: each slot's room on the phases, shape (slots, 3).
        open_slots: slots that may be used; all when None.
        behind: which sessions stand behind the one feeder; only together with phases.
        feeder_wh: each slot's room on the feeder's phases, shape (slots, 3).
    """
    count, slots = len(need_wh), len(total_wh)
    usable = np.ones(slots, dtype=bool) if open_slots is None else open_slots
    by_phase = phase is not None and phase_wh is not None
    by_feeder = by_phase and behind is not None and feeder_wh is not None
    # Limits nest, so a flow knows them all. Nodes: source 0, sessions, (slot, phase), slots, (slot, phase of the
    # feeder), sink.
    at_session, at_cell = 1, 1 + count
    at_slot = at_cell + (3 * slots if by_phase else 0)
    at_feeder = at_slot + slots
    sink = at_feeder + (3 * slots if by_feeder else 0)
    rows, cols, caps = [np.zeros(count, dtype=np.int64)], [np.arange(count) + at_session], [need_wh]
    for k in range(count):
        t = np.arange(int(first[k]), int(last[k]))
        t = t[usable[t]] if len(t) else t
        rows.append(np.full(len(t), at_session + k))
        if phase is None or not by_phase:
            cols.append(at_slot + t)
        else:
            cols.append((at_feeder if by_feeder and behind is not None and behind[k] else at_cell) + 3 * t + phase[k])
        caps.append(np.full(len(t), slot_wh[k]))
    t = np.flatnonzero(usable)
    if by_phase and phase_wh is not None:
        for p in range(3):
            rows.append(at_cell + 3 * t + p)
            cols.append(at_slot + t)
            caps.append(phase_wh[t, p])
    if by_feeder and feeder_wh is not None:
        for p in range(3):
            rows.append(at_feeder + 3 * t + p)
            cols.append(at_cell + 3 * t + p)
            caps.append(feeder_wh[t, p])
    rows.append(at_slot + t)
    cols.append(np.full(len(t), sink))
    caps.append(total_wh[t])
    capacity = np.maximum(np.floor(np.concatenate(caps) / UNIT_WH + 0.5), 0).astype(np.int32)
    graph = coo_matrix((capacity, (np.concatenate(rows), np.concatenate(cols))), shape=(sink + 1, sink + 1)).tocsr()
    return float(maximum_flow(graph, 0, sink).flow_value) * UNIT_WH
