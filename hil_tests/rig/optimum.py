"""What a clairvoyant could deliver: sessions × slots as a maximum flow through rooms that lie inside one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil_tests.rig.community import Floats, Ints

    Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]

UNIT_WH = 1.0


def max_energy_wh(
    first: Ints,
    last: Ints,
    need_wh: Floats,
    slot_wh: Floats,
    at: Ints,
    rooms: Sequence[tuple[Floats, int]],
    open_slots: Flags | None = None,
) -> float:
    """The most energy all sessions together can get, Wh.

    Args:
        first: the first slot of each session.
        last: each session may use the slots ``first <= t < last``.
        need_wh: what each asks for.
        slot_wh: what each can take in one slot.
        at: the innermost room of each session, as an index of ``rooms``.
        rooms: each has what it holds in each slot, Wh, and the index of the room above it, -1 where there is none:
            a feeder's phase lies in a phase of the transformer, that in the transformer's total.
        open_slots: slots that may be used; all when None.
    """
    count, slots = len(need_wh), len(rooms[0][0])
    usable = np.arange(slots) if open_slots is None else np.flatnonzero(open_slots)
    # Nodes: the source 0, sessions, the slots of each room, the sink. A room's slots flow into those of the room above.
    node = 1 + count + np.arange(len(rooms) * slots).reshape(len(rooms), slots)
    sink = 1 + count + node.size
    session, which = np.nonzero((first[:, None] <= usable) & (usable < last[:, None]))
    edges = [
        (np.zeros(count, dtype=np.int64), 1 + np.arange(count), need_wh),
        (1 + session, node[at[session], usable[which]], slot_wh[session]),
    ]
    for room, (room_wh, above) in enumerate(rooms):
        onward = np.full(len(usable), sink) if above < 0 else node[above, usable]
        edges.append((node[room, usable], onward, room_wh[usable]))
    tails, heads, caps_wh = (np.concatenate(part) for part in zip(*edges, strict=True))
    capacity = np.maximum(np.floor(caps_wh / UNIT_WH + 0.5), 0).astype(np.int32)
    graph = coo_matrix((capacity, (tails, heads)), shape=(sink + 1, sink + 1)).tocsr()
    return float(maximum_flow(graph, 0, sink).flow_value) * UNIT_WH
