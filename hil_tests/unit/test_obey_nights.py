"""How soon a liar is found, and that nobody else is accused, among residents: a few nights of the long count."""

from __future__ import annotations

import pytest

from hil_tests.rig.liars import Site


@pytest.mark.parametrize(("kva", "full_a", "cuts"), [(250, 32, 6), (400, 32, 7), (1250, 32, 19), (250, 16, 14)])
def test_charger_that_claims_is_found_on_transformers_of_every_size(kva: int, full_a: int, cuts: int) -> None:
    """Among up to three others that are cut with it, and the bench's kettles: so many cuts of its own."""
    site = Site(kva, full_a=full_a)
    assert site.night(7, 500) == (cuts, [], False)


@pytest.mark.parametrize("worse", [1.0, 4.0])
@pytest.mark.parametrize("kva", [250, 1250])
def test_honest_chargers_are_not_accused_for_what_residents_do(kva: int, worse: float) -> None:
    """300 cuts of one phase among kettles, and among steps four times as large: nobody is named, nor is the meter."""
    assert Site(kva, liar=False, worse=worse).night(7, 300) == (0, [], False)
