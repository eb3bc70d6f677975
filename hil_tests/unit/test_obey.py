"""Did it obey? Deaf, disobedient and lying chargers are isolated; a meter that does not follow is not believed."""

from __future__ import annotations

import pytest

from edge import reasons
from edge.core import obey
from edge.core.model import FULL, NEVER, Charger, Command, Snapshot
from hil_tests.unit.given import SETTINGS, at, change, meter, snapshot

TOLD_MS = 100_000


def after(rows: list[tuple[Charger, int]], told_ms: int = TOLD_MS) -> obey.State:
    """The state after these telegrams of one charger, each as (what it shows, when it was heard)."""
    state = obey.start()
    for row, heard_ms in rows:
        state = obey.look(state, [(row, heard_ms, told_ms)], heard_ms + 500)
    return state


DEAF_ROW = at("a", 6000, allowed_ma=32_000, ma=6000)
DRAWS_ROW = at("a", 6000, ma=16_000, possible_ma=16_000)


@pytest.mark.parametrize(("row", "code", "times"), [(DEAF_ROW, obey.DEAF, 5), (DRAWS_ROW, obey.DRAWS, 3)])
def test_charger_that_disobeys_is_isolated_by_its_telegrams(row: Charger, code: int, times: int) -> None:
    """From 15 s after it was told: the third isolates who draws too much, the fifth who is deaf; said twice is once."""
    telegrams = [(row, TOLD_MS + 15_000 + k * 5000) for k in range(times)]
    assert obey.isolated(after(telegrams[:-1])) == []
    assert obey.isolated(after([*telegrams[:-1], telegrams[-2]])) == []
    assert obey.isolated(after([telegrams[0], *telegrams[:-1]])) == []
    state = after(telegrams)
    assert (obey.isolated(state), state.suspects[0].code) == (["a"], code)


@pytest.mark.parametrize(("late_ms", "isolated"), [(14_999, []), (15_000, ["a"])])
def test_charger_that_applies_late_has_fifteen_seconds(late_ms: int, isolated: list[str]) -> None:
    """Before that a telegram may show what was told before."""
    assert obey.isolated(after([(DEAF_ROW, TOLD_MS + late_ms + 2500 * k) for k in range(5)])) == isolated


@pytest.mark.parametrize(
    "row",
    [
        at("a", 8000, ma=9500),  # rounds up
        at("a", 16_000, ma=18_000),  # an eighth more
        at("a", 0, ma=6000, allowed_ma=6000, fallback_ma=6000),  # its lease is over: its fallback is its right
        at("a", 16_000, ma=0),  # its car is full
        at("a", 6000, allowed_ma=32_000, silent=True),  # nothing was heard
    ],
)
def test_charger_that_obeys_as_well_as_it_can_is_left_alone(row: Charger) -> None:
    """Rounding, a class 2 meter, the fallback, a full car, silence: none of this is disobedience."""
    assert after([(row, TOLD_MS + 20_000 + k * 1000) for k in range(9)]).suspects == ()


@pytest.mark.parametrize("row", [at("a", 16_000, ma=18_001), at("a", 8000, ma=9501)])
def test_charger_that_draws_a_milliampere_too_much_is_found(row: Charger) -> None:
    """The tolerance to its last step."""
    assert obey.isolated(after([(row, TOLD_MS + 20_000 + k * 5000) for k in range(3)])) == ["a"]


@pytest.mark.parametrize(("lasts_ms", "isolated"), [(9999, []), (10_000, ["a"])])
def test_car_that_comes_down_in_small_steps_has_ten_seconds(lasts_ms: int, isolated: list[str]) -> None:
    """Each step is told of at once: many telegrams in a short time say no more than one."""
    telegrams = [(DRAWS_ROW, TOLD_MS + 15_000 + k * 500) for k in range(12)]
    assert obey.isolated(after([*telegrams, (DRAWS_ROW, TOLD_MS + 15_000 + lasts_ms)])) == isolated


def test_one_lost_setpoint_is_no_deafness() -> None:
    """Two telegrams show the old allowance, then the repeated setpoint has arrived: nothing stays."""
    rows = [(DEAF_ROW, TOLD_MS + 16_000), (DEAF_ROW, TOLD_MS + 20_000), (at("a", 6000), TOLD_MS + 25_000)]
    assert after(rows).suspects == ()


def test_isolated_charger_comes_back_after_five_minutes_of_obeying() -> None:
    """Told 0 A and drawing none: trusted again after five minutes, not before; disobeying again it stays isolated."""
    state = after([(DRAWS_ROW, TOLD_MS + 15_000 + k * 5000) for k in range(3)])
    began_ms = TOLD_MS + 25_000
    calm = at("a", 0, allowed_ma=0, ma=0)
    for k in range(1, 300):
        state = obey.look(state, [(calm, began_ms + k * 1000, TOLD_MS)], began_ms + k * 1000)
        assert obey.isolated(state) == ["a"]
    again = obey.look(state, [(DRAWS_ROW, began_ms + 299_500, TOLD_MS)], began_ms + 299_500)
    assert obey.isolated(again) == ["a"]
    assert obey.isolated(obey.look(again, [(calm, began_ms + 301_000, TOLD_MS)], began_ms + 301_000)) == ["a"]
    assert obey.isolated(obey.look(state, [(calm, began_ms + 299_999, TOLD_MS)], began_ms + 299_999)) == ["a"]
    assert obey.look(state, [(calm, began_ms + 300_000, TOLD_MS)], began_ms + 300_000).suspects == ()


def test_start_suspects_nobody() -> None:
    """No suspects, no cut, nothing that speaks against anybody, nothing learned."""
    assert obey.start() == obey.State((), None, (), (0, 0, 0), NEVER)


# 400 A a phase: residents change by 10 A in 12 s, squared 100 A², and that is what the evidence below is reckoned with.
SMALL = SETTINGS._replace(rated_ma=400_000)
LAND_MS = 12_000


def tell(rows: tuple[Charger, ...], *ma: int) -> tuple[Command, ...]:
    """These setpoints for these chargers."""
    return tuple(Command(c.id, each, FULL, -1, True) for c, each in zip(rows, ma, strict=True))


class Cutting:
    """A small transformer with cars on phase A; each round some are told 0 A, and the meter sees it or does not."""

    def __init__(self, **cars: int) -> None:
        self.state = obey.start()
        self.now_ms = 1_000_000
        self.rows = {name: at(name, ma) for name, ma in sorted(cars.items())}

    def shot(self, metered_ma: int, rows: dict[str, Charger]) -> Snapshot:
        """The present, with so much on the meter's phase A."""
        return snapshot(tuple(rows.values()), meter(self.now_ms, 0, (metered_ma, 300_000, 300_000)))

    def cut(self, *names: str, hides: str = "", blind: bool = False, up_ma: int = 0, late_ms: int = 0) -> Cutting:
        """Tell these cars 0 A, and judge 12 s later; the meter sees all but who ``hides``, or nothing if ``blind``.

        ``up_ma``: what residents take more meanwhile.
        """
        before = self.shot(300_000, self.rows)
        told = tell(before.chargers, *(0 if c.id in names else c.set_ma for c in before.chargers))
        self.state = obey.told(self.state, before, told, self.now_ms)
        rows = self.rows | {name: at(name, 0) for name in names}
        gone_ma = sum(self.rows[name].ma for name in names if not blind and name not in hides)
        self.now_ms += LAND_MS + late_ms
        self.state = obey.seen(self.state, self.shot(300_000 - gone_ma + up_ma, rows), SMALL)
        self.now_ms += 60_000
        return self

    @property
    def isolated(self) -> list[str]:
        """Who is."""
        return obey.isolated(self.state)

    def score(self, name: str) -> int:
        """What speaks against it."""
        return dict(self.state.scores).get(name, 0)


def cutting() -> Cutting:
    """Four cars at 32 A, and a small one."""
    return Cutting(a=32_000, b=32_000, c=32_000, d=32_000, s=7000)


def test_charger_that_claims_is_isolated_after_four_cuts_the_meter_did_not_see() -> None:
    """It says 0 A and the transformer's meter sees its 32 A go on: four times, and it is named."""
    site = cutting()
    for _ in range(4):
        assert site.isolated == []
        site.cut("a", blind=True)
    assert (site.isolated, obey.unmoved(site.state)) == (["a"], False)
    assert site.state.suspects == (obey.Suspect("a", obey.LIES, 3, 1_228_000, True, 1_228_000),)
    assert "wrong phase" in reasons.OFFENCES[site.state.suspects[0].code][0]


def test_one_cut_says_no_more_than_a_third() -> None:
    """However large: three are the least."""
    site = Cutting(a=150_000)
    for k in range(3):
        assert (site.isolated, site.score("a")) == ([], 595 * k)
        site.cut("a", blind=True)
    assert (site.isolated, site.score("a")) == (["a"], 1200)


def test_kettles_accuse_nobody() -> None:
    """Three of 9 A, each just after a cut of 12 A of the only charger of its phase."""
    site = Cutting(a=12_000)
    for _ in range(3):
        site.cut("a", up_ma=9000)
    assert (site.isolated, obey.unmoved(site.state)) == ([], False)
    assert site.score("a") < 200


def test_charger_that_claims_beside_a_small_honest_one_is_not_blamed_on_the_meter() -> None:
    """The meter sees 7 of 39 A: that clears the small one in time, and the meter stays believed."""
    site = cutting()
    for _ in range(4):
        assert site.isolated == []
        site.cut("a", "s", hides="a")
    assert (site.isolated, obey.unmoved(site.state)) == (["a"], False)


def test_charger_that_claims_is_found_among_those_cut_with_it() -> None:
    """With another each time it stands out, and they begin anew."""
    site = cutting()
    for other in "bcdbc":
        assert site.isolated == []
        site.cut("a", other, hides="a")
    assert site.isolated == ["a"]
    assert site.state.scores == (("a", 1200),)


def test_charger_that_claims_always_with_the_same_other_is_not_told_from_it() -> None:
    """Either may be it: none is isolated, until one of them is cut alone."""
    site = cutting()
    for _ in range(9):
        site.cut("a", "b", hides="a")
    assert site.isolated == []
    assert site.score("a") == site.score("b") < 1300
    site.cut("b")
    assert site.cut("a", hides="a").cut("a", "b", hides="a").isolated == ["a"]


def test_two_that_claim_are_found_one_after_the_other() -> None:
    """As long as honest ones are cut too, so that the meter is believed."""
    site = cutting()
    found = []
    for _ in range(9):
        site.cut("a", hides="a")
        site.cut("c").cut("b", hides="b")
        found.append(list(site.isolated))
        site.rows |= {name: at(name, 0, silent=True) for name in site.isolated}
    assert found[3] == ["a"]
    assert found[-1] == ["a", "b"]
    assert not obey.unmoved(site.state)


def test_one_cut_that_was_seen_clears() -> None:
    """As much as one that was not seen had said."""
    site = cutting().cut("a", blind=True)
    assert site.score("a") > 400
    assert site.cut("a").score("a") < 50


def test_meter_on_another_cable_is_not_believed_after_three_cuts_it_did_not_see() -> None:
    """Of several cars; one that it sees clears that; ten minutes give a chance, and the next unseen cut ends it."""
    site = cutting()
    site.cut("a", "b", blind=True).cut("c", "d", blind=True)
    assert not obey.unmoved(site.state)
    assert not obey.unmoved(site.cut("a", "b").cut("a", "c", blind=True).state)
    site.cut("a", "b", "c", blind=True)
    assert (obey.unmoved(site.state), site.isolated) == (True, [])
    since_ms = site.state.unmoved_ms
    assert since_ms == site.now_ms - 60_000
    assert obey.unmoved(obey.look(site.state, [], since_ms + 599_999))
    site.state = obey.look(site.state, [], since_ms + 600_000)
    assert not obey.unmoved(site.state)
    assert obey.unmoved(site.cut("a", "b", blind=True).state)


def test_meter_that_sees_none_of_single_cuts_is_not_believed() -> None:
    """One car after the other: it is not each of them."""
    site = cutting()
    for name in "abcd":
        assert not obey.unmoved(site.state)
        site.cut(name, blind=True)
    assert (obey.unmoved(site.state), site.isolated) == (True, [])


@pytest.mark.parametrize(("late_ms", "judged"), [(0, True), (3000, True), (3001, False)])
def test_cut_is_judged_within_three_periods_or_not_at_all(late_ms: int, judged: bool) -> None:
    """A meter that was away says nothing of a cut of long ago: too much of what it shows are residents."""
    site = cutting().cut("a", blind=True, late_ms=late_ms)
    assert bool(site.state.scores) == judged
    assert site.state.cut is None


def test_cut_is_not_judged_before_it_has_landed() -> None:
    """Twelve seconds; without a reading, or without a cut, nothing is judged either."""
    site = cutting()
    rows = tuple(site.rows.values())
    state = obey.told(obey.start(), site.shot(300_000, site.rows), tell(rows, 0, 0, 0, 0, 0), site.now_ms)
    early = snapshot(rows, meter(site.now_ms + 11_999))
    assert obey.seen(state, early, SMALL) == state
    assert obey.seen(state, snapshot(rows, None), SMALL) == state
    assert obey.seen(obey.start(), early, SMALL) == obey.start()
    assert obey.away(state) == obey.start()


WORN = obey.State((obey.Suspect("z", obey.LIES, 1, 7, True, 7),), None, (("z", 9),), (1, 2, 3), 5)
"""A state in which each field says something."""


@pytest.mark.parametrize("p", range(3))
def test_cut_is_noted_on_its_phase_with_those_who_give(p: int) -> None:
    """Who gives, 1 mA is enough; not who is told as before, gives nothing, is not heard, or hangs elsewhere."""
    phases, other = 1 << p, 1 << (p + 1) % 3
    rows = (
        at("a", 60_000, phases=phases),
        at("b", 6001, phases=phases),
        at("c", 16_000, ma=17_000, phases=phases),
        at("d", 16_000, ma=6000, phases=phases),
        at("e", 50_000, phases=other),
        at("f", 32_000, phases=phases, silent=True),
        at("g", 32_000, phases=7, known=False),
    )
    shot = snapshot(rows, meter(1000, 400_000, (1, 2, 3)))
    commands = tell(rows, 10_000, 6000, 16_000, 10_000, 0, 0, 0)
    cut = obey.Cut(9, p, ("a", "b"), (1, 2, 3), rows)
    assert obey.told(WORN, shot, commands, 9) == WORN._replace(cut=cut)


def test_largest_cut_is_watched_and_of_equal_ones_the_first() -> None:
    """Of three phases on which something goes the one with the most; a charger on three phases is looked for on A."""
    rows = (at("a", 46_000), at("b", 60_000, phases=2), at("c", 59_999, phases=4))
    noted = obey.told(obey.start(), snapshot(rows, meter(1000)), tell(rows, 0, 0, 0), 0).cut
    assert (noted.phase, noted.names) == (1, ("b",))
    three = (at("a", 60_000, phases=7, lines=3),)
    assert obey.told(obey.start(), snapshot(three, meter(1000)), tell(three, 0), 0).cut.phase == 0


def test_only_one_cut_is_watched_at_a_time_and_a_look_at_residents_gives_way() -> None:
    """6 A on a phase are a cut; less, and residents alone are looked at until there is one. Not without a meter."""
    rows = (at("a", 6000), at("b", 60_000))
    shot = snapshot(rows, meter(1000, 400_000))
    look = obey.told(obey.start(), shot, tell(rows, 1, 60_000), 0)
    assert look.cut == obey.Cut(0, 0, (), shot.meter.ma, rows)
    assert obey.told(look, shot, tell(rows, 6000, 60_000), 1000) == look
    first = obey.told(look, shot, tell(rows, 0, 60_000), 2000)
    assert (first.cut.at_ms, first.cut.names) == (2000, ("a",))
    assert obey.told(first, shot, tell(rows, 6000, 0), 3000) == first
    assert obey.told(obey.start(), shot._replace(meter=None), tell(rows, 0, 0), 0) == obey.start()


def learned(ma: tuple[int, int, int], known: tuple[int, int, int] = (0, 0, 0)) -> tuple[int, int, int]:
    """What is known of residents after one look in which they took so much more on each phase."""
    state = obey.told(obey.start()._replace(residents=known), snapshot((), meter(0, 0, (9, 9, 9))), (), 0)
    after = obey.seen(state, snapshot((), meter(LAND_MS, 0, (ma[0] + 9, ma[1] + 9, ma[2] + 9))), SMALL)
    assert after == obey.start()._replace(residents=after.residents)
    assert [type(square) for square in after.residents] == [int] * 3
    residents: tuple[int, int, int] = after.residents
    return residents


def test_residents_are_learned_phase_by_phase() -> None:
    """A thirty-second of the square each time, at most nine times what is known, never below 0.25 A of the rating."""
    floor = 100_000_000
    assert learned((42_000 // 2, -30_000, 31_000)) == (110_656_250, 125_000_000, 125_000_000)
    assert learned((0, 0, 10_000), (1, floor * 33, floor)) == (96_875_000, 3_196_875_000, floor)
    site, worse = cutting().cut("a", blind=True), cutting()
    worse.state = worse.state._replace(residents=(4 * floor, 0, 0))
    assert (site.score("a"), worse.cut("a", blind=True).score("a")) == (462, 118)


def claims(cut: tuple[Charger, ...], now: tuple[Charger, ...], phase: int = 0) -> tuple[object, ...]:
    """What is said between these two, of a cut of all of them; the meter shows no change."""
    noted = obey.Cut(0, phase, tuple(c.id for c in cut), (5, 5, 5), cut)
    return obey._claims(noted, snapshot(now, meter(0, 0, (5, 5, 5))), phase)


def test_what_chargers_say_they_gave_back() -> None:
    """Each by itself and all together; a thirty-second of it need not be seen."""
    before = (
        at("a", 32_000),
        at("b", 10_001),
        at("c", 6000),
        at("d", 9000, phases=2),
        at("e", 9000, phases=7, lines=3),
    )
    after = (at("a", 0), at("b", 10_000), at("c", 10_000), at("d", 0, phases=2), at("e", 0, phases=7, lines=3))
    assert claims(before, after) == ([("a", 32_000), ("b", 1), ("e", 9000)], 37_001, 37_001 - 1156)
    assert claims(before, after, 1) == ([("d", 9000), ("e", 9000)], 18_000, 18_000 - 562)
    assert claims(before, before) == ([], 0, 0)


def test_who_is_not_heard_says_nothing_and_who_was_not_cut_is_not_judged() -> None:
    """Silent before or after is no word; a car that came up takes from what is missed; the unknown may have come up."""
    was, gone = at("a", 32_000), at("a", 0)
    assert claims((change(was, silent=True),), (gone,)) == ([], 0, 0)
    assert claims((was,), (change(gone, silent=True),)) == ([], 0, 0)
    assert claims((gone,), (was,)) == ([], -32_000, -33_000)
    lost = {"phases": 7, "known": False}
    assert claims((at("a", 32_000, **lost),), (at("a", 0, **lost),)) == ([], 0, 0)
    assert claims((at("a", 0, **lost),), (at("a", 32_000, **lost),)) == ([], -32_000, -33_000)
    assert claims((was, at("b", 0, **lost)), (gone, at("b", 7000, **lost)))[1] == 25_000
    noted = obey.Cut(0, 0, ("b",), (5, 5, 5), (was,))
    assert obey._claims(noted, snapshot((gone,), meter(0, 0, (5, 5, 5))), 0) == ([], 32_000, 31_000)


def test_what_is_claimed_together_makes_a_cut_less_sure() -> None:
    """A sixteenth of it may be wrong: a large cut says less of each of its chargers than a small one."""
    state = obey.start()._replace(cut=obey.Cut(0, 0, ("a",), (0, 0, 0), (at("a", 20_000), at("b", 0))))
    alone = obey.seen(state, snapshot((at("a", 0), at("b", 0)), meter(LAND_MS, 0, (0, 0, 0))), SMALL)
    more = state._replace(cut=state.cut._replace(chargers=(at("a", 20_000), at("b", 160_000))))
    beside = obey.seen(more, snapshot((at("a", 0), at("b", 0)), meter(LAND_MS, 0, (-160_000, 0, 0))), SMALL)
    assert (dict(alone.scores)["a"], dict(beside.scores)["a"]) == (184, 39)
    assert {type(score) for _, score in (*alone.scores, *beside.scores)} == {int}


def weighed(scores: dict[str, int], *names: str, missing_ma: int = 30_000) -> dict[str, int]:
    """What speaks against each after a cut of 30 A each."""
    gave = [(name, 30_000) for name in names]
    return dict(obey._weigh(tuple(sorted(scores.items())), gave, 30_000 * len(gave), missing_ma, 100_000_000))


def test_share_that_is_missing_speaks_against_its_owner_and_one_that_is_there_for_it() -> None:
    """What one share explains exactly says 450; what nothing explains, nothing."""
    assert weighed({}, "a") == {"a": 450, "": 450}
    assert weighed({"a": 460, "": 460}, "a", missing_ma=0) == {"a": 10, "": 10}
    assert weighed({"a": 440}, "a", missing_ma=0) == {"a": 0, "": 0}
    assert weighed({"a": 7, "": 8}, "a", missing_ma=90_000) == {"a": 7, "": 8}
    assert weighed({"a": 7, "": 8}, "a", missing_ma=-90_000) == {"a": 7, "": 8}
    assert weighed({"a": 7, "": 8}, "a", missing_ma=15_000) == {"a": 7, "": 8}


def test_what_a_doubted_one_explains_speaks_against_nobody_else() -> None:
    """From 1200 on, with this cut: its companions and the meter take only what it does not explain."""
    assert weighed({"a": 750}, "a", "b") == {"a": 1200, "b": 450, "": 0}
    assert weighed({"a": 850}, "a", "b") == {"a": 1300, "b": 350, "": 0}
    assert weighed({"a": 850, "b": 850}, "a", "b") == {"a": 1200, "b": 1200, "": 0}
    assert weighed({"a": 850, "": 500}, "a") == {"a": 1300, "": 850}


def test_looking_at_chargers_keeps_what_is_known_of_the_meter() -> None:
    """The cut that is watched and what was learned stay; who is suspected stays sorted."""
    cut = obey.Cut(1, 0, ("a",), (0, 0, 0), ())
    state = WORN._replace(cut=cut)
    assert obey.look(state, [], 1000) == state
    seen = obey.look(state, [(change(DEAF_ROW, id="zz"), 20_000, 0), (DEAF_ROW, 20_000, 0)], 20_000)
    assert [s.id for s in seen.suspects] == ["a", "z", "zz"]
    assert seen._replace(suspects=WORN.suspects) == state


def test_liar_has_a_chance_after_half_an_hour_and_the_next_missed_cut_ends_it() -> None:
    """Its own word frees it, for only when it is trusted can it be cut; what spoke against it is not forgotten."""
    site = cutting()
    site.rows["a"] = at("a", 48_000)
    for _ in range(3):
        site.cut("a", blind=True)
    since_ms = site.now_ms - 60_000
    calm = at("a", 0, allowed_ma=0)
    for later_ms, names in ((1_799_999, ["a"]), (1_800_000, [])):
        now_ms = since_ms + later_ms
        free = obey.look(site.state, [(calm, now_ms, 0)], now_ms)
        assert obey.isolated(free) == names
    site.state = free
    assert site.cut("a", blind=True).isolated == ["a"]
    site.state = free
    assert site.cut("a").cut("a", blind=True).isolated == []


def test_naming_one_keeps_those_who_are_isolated_and_forgets_the_rest() -> None:
    """What spoke against the others, and against the meter, may have been its; who is named is kept sorted."""
    rows = (obey.Suspect("b", obey.DRAWS, 1, 7, False, 7), obey.Suspect("z", obey.LIES, 3, 7, True, 7))
    state = obey.start()._replace(suspects=rows, unmoved_ms=NEVER)
    after = obey._name(state, (("", 1900), ("b", 1700), ("c", 1699), ("z", 1200)), 99)
    assert after.suspects == (obey.Suspect("b", obey.LIES, 3, 99, True, 99), rows[1])
    assert after.scores == (("b", 1200), ("z", 1200))
    assert not obey.unmoved(after)
    kept = obey._name(state, (("", 1699), ("c", 1699), ("d", 0), ("z", 1)), 99)
    assert kept == state._replace(scores=(("", 1699), ("c", 1699), ("z", 1)))
    assert obey._name(state, (("", 1700), ("c", 1699)), 99) == state._replace(
        scores=(("", 1200), ("c", 1699)), unmoved_ms=99
    )


def test_liar_that_then_disobeys_openly_is_counted_anew() -> None:
    """A suspicion of one kind does not add to another; an isolation stays one."""
    liar = obey.start()._replace(suspects=(obey.Suspect("a", obey.LIES, 3, 7, True, 7),))
    state = obey.look(liar, [(DRAWS_ROW, 20_000, 0)], 20_000)
    assert state.suspects == (obey.Suspect("a", obey.DRAWS, 1, 20_000, True, 20_000),)
