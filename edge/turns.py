"""Fallbacks in turns: chargers that are left alone draw one after the other, and are counted so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.core.ledger import at_once
from edge.core.model import binding, fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.core.model import Charger, Place


def in_turns(
    images: tuple[Charger, ...], turns_ma: Sequence[int], places: Sequence[Place], slots: int
) -> tuple[Charger, ...]:
    """The chargers with what they may take in their turns: as much as flows at the worst moment, shared out.

    ``turns_ma``: what each may take alone in one of ``slots`` turns, 0 for who may not, or is counted already. Each
    counts its share on the wire where they are fewest, so that on no wire the shares sum up to less than its worst.
    """
    feeders = 1 + max((place.feeder for place in places), default=-1)
    counts = [0] * len(places)
    for image, ma in zip(images, turns_ma, strict=True):
        counts[image.place] += ma > 0
    wires = fold(tuple(places), counts, feeders)
    few = [min(wires[i] for i in binding(place, feeders)) if counts[k] else 0 for k, place in enumerate(places)]
    most = [at_once(count, slots) for count in few]
    out = []
    for image, ma in zip(images, turns_ma, strict=True):
        share_ma = -(-ma * most[image.place] // few[image.place]) if ma else 0
        out.append(image._replace(possible_ma=share_ma) if share_ma > image.possible_ma else image)
    return tuple(out)
