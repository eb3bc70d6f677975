"""Did it obey? Deaf, disobedient and lying chargers are isolated; a meter that does not follow is not believed."""

from __future__ import annotations

import pytest

from edge import reasons
from edge.core import obey
from edge.core.model import FULL, NEVER, Charger, Command, Snapshot
from hil_tests.unit.given import RATED_MA, at, change, meter, snapshot, still

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
    assert obey.look(state, [(calm, began_ms + 300_000, TOLD_MS)], began_ms + 300_000).suspects == ()


def test_start_suspects_nobody() -> None:
    """No suspects, no cut, nothing missed."""
    assert obey.start() == obey.State((), None, 0, (), NEVER)


class Cutting:
    """A transformer with cars on phase A; each round some are told 0 A, and the meter sees it or does not."""

    def __init__(self, *names: str) -> None:
        self.state = obey.start()
        self.now_ms = 1_000_000
        self.rows = {name: at(name, 32_000) for name in names}
        self.base_ma = 300_000

    def shot(self, drawn_ma: int) -> Snapshot:
        """The present, with so much of the cars' draw on the meter's phase A."""
        ma = (self.base_ma + drawn_ma, 300_000, 300_000)
        return snapshot(tuple(self.rows[k] for k in sorted(self.rows)), meter(self.now_ms, 400_000, ma))

    def cut(self, *names: str, seen: bool = True, hides: str = "", raised: int = 0, claims: bool = True) -> Cutting:
        """Tell these cars 0 A; 12 s later judge. ``raised``: what others were given meanwhile, mA.

        Which the meter sees, or not, or all but of who ``hides``.
        """
        drawn = sum(row.ma for row in self.rows.values())
        before = self.shot(drawn)
        commands = tuple(Command(c.id, 0 if c.id in names else c.set_ma, FULL, -1, True) for c in before.chargers)
        self.state = obey.told(self.state, before, commands, RATED_MA, self.now_ms)
        rows = dict(self.rows)
        for name in names if claims else ():
            self.rows[name] = at(name, 0)
        self.rows["other"] = at("other", 32_000 + raised)
        self.now_ms += 11_999
        early = self.state
        self.state = obey.seen(self.state, self.shot(drawn))
        assert self.state == early
        self.now_ms += 1
        left = drawn - sum(rows[name].ma for name in names if seen and name != hides) + raised
        self.state = obey.seen(self.state, self.shot(left))
        self.rows = rows
        self.now_ms += 60_000
        return self


def cutting() -> Cutting:
    """Four cars and one that is never cut."""
    return Cutting("a", "b", "c", "d", "other")


def test_charger_that_lies_low_is_isolated_after_three_cuts_the_meter_did_not_see() -> None:
    """It says 0 A and the transformer's meter sees all of its 48 A go on: three times, and it is named."""
    site = cutting()
    site.rows["a"] = at("a", 48_000)
    for k in range(3):
        assert obey.isolated(site.state) == ([] if k < 3 else ["a"])
        site.cut("a", seen=False)
    assert obey.isolated(site.state) == ["a"]
    assert (site.state.misses, obey.unmoved(site.state)) == (1, False)
    assert "wrong phase" in reasons.OFFENCES[site.state.suspects[0].code][0]


PAIR = obey.Cut(0, 0, ("a", "b"), (20_000, 10_000), 30_000, 10_000, 400_000, 100_000, 150_000)
"""Two cars on phase A were to give 20 A and 10 A, and said that they did."""


def suspects(missing_ma: int, cut: obey.Cut = PAIR, state: obey.State | None = None) -> dict[str, int]:
    """How often each is suspected after a cut of which all was claimed and the meter missed so much."""
    before = (state or obey.start())._replace(cut=cut)
    after = judge(before, cut.draw_ma - cut.ma, cut.meter_ma - cut.ma + missing_ma)
    return {s.id: s.count for s in after.suspects}


def test_of_some_cut_together_whoever_the_meter_misses_is_suspected() -> None:
    """More than seven tenths of a share missing may be that one; who gave less than can be told is left out."""
    assert suspects(7000) == {}
    assert suspects(7001) == {"b": 1}
    assert suspects(14_000) == {"b": 1}
    assert suspects(14_001) == {"a": 1, "b": 1}
    assert suspects(14_001, PAIR._replace(least_ma=10_001)) == {"a": 1}
    assert suspects(14_001, PAIR._replace(gives=(9999, 20_001))) == {"b": 1}
    assert suspects(21_001) == {}  # hardly anything was seen: then it is the meter that is doubted


def test_of_some_cut_together_whoever_the_meter_sees_is_cleared() -> None:
    """Three tenths of a share missing is nothing; in between nothing is said."""
    both = obey.start()._replace(suspects=tuple(obey.Suspect(k, obey.LIES, 2, 7, False, 7) for k in "ab"))
    assert suspects(3000, state=both) == {}
    assert suspects(3001, state=both) == {"b": 2}
    assert suspects(6000, state=both) == {"b": 2}
    assert suspects(6001, state=both) == {"a": 2, "b": 2}


def test_charger_that_lies_is_found_among_those_cut_with_it() -> None:
    """Three times with others each time: it stands out and is isolated, they are not."""
    site = cutting()
    site.rows |= {name: at(name, 48_000) for name in "abcd"}
    for other in "bcd":
        assert obey.isolated(site.state) == []
        site.cut("a", other, hides="a")
    assert obey.isolated(site.state) == ["a"]
    assert {s.id: s.count for s in site.state.suspects} == {"a": 3, "b": 1, "c": 1, "d": 1}
    assert site.cut("b", "c", "d").state.suspects == (obey.Suspect("a", obey.LIES, 3, 1_144_000, True, 1_000_000),)


def test_charger_that_lies_always_with_the_same_other_is_not_told_from_it() -> None:
    """Either may be it: none is isolated, until one of them is seen."""
    site = cutting()
    site.rows |= {name: at(name, 48_000) for name in "abcd"}
    for _ in range(4):
        site.cut("a", "b", hides="a")
    assert obey.isolated(site.state) == []
    assert obey.isolated(site.cut("b").cut("a", "b", hides="a").state) == ["a"]


def test_one_cut_that_was_seen_ends_the_suspicion() -> None:
    """A kettle may hide a cut: twice unseen and once seen is an honest charger."""
    site = cutting()
    site.rows["a"] = at("a", 48_000)
    site.cut("a", seen=False).cut("a", seen=False).cut("a").cut("a", seen=False).cut("a", seen=False)
    assert obey.isolated(site.state) == []


def test_meter_on_another_cable_is_not_believed_after_three_cuts_it_did_not_see() -> None:
    """Three cuts of several cars in a row leave it unmoved; one that it sees clears that; ten minutes give a chance."""
    site = cutting()
    site.cut("a", "b", seen=False).cut("c", "d", seen=False)
    assert not obey.unmoved(site.state)
    assert not obey.unmoved(Cutting.cut(cutting(), "a", "b").state)
    site.cut("a", "b", "c", seen=False)
    assert obey.unmoved(site.state)
    assert obey.isolated(site.state) == []
    since_ms = site.state.since_ms
    assert obey.unmoved(obey.look(site.state, [], since_ms + 599_999))
    chance = obey.look(site.state, [], since_ms + 600_000)
    assert not obey.unmoved(chance)
    site.state = chance
    assert obey.unmoved(site.cut("a", "b", seen=False).state)


def test_cut_whose_amperes_others_took_says_nothing() -> None:
    """While one goes down another goes up: the meter need not move."""
    site = cutting()
    for _ in range(5):
        site.cut("a", "b", seen=True, raised=60_000)
    assert (site.state.misses, obey.isolated(site.state)) == (0, [])


def test_cut_that_the_chargers_have_not_confirmed_says_nothing() -> None:
    """Telegrams that are late are no lie, and no fault of the meter."""
    site = cutting()
    for _ in range(5):
        site.cut("a", "b", seen=False, claims=False)
    assert (site.state.misses, obey.isolated(site.state)) == (0, [])


@pytest.mark.parametrize(
    ("rated_ma", "ma", "watched"),
    [
        (RATED_MA + 33, 44_999, False),
        (RATED_MA + 33, 45_000, True),
        (100_000, 9999, False),
        (100_000, 10_000, True),
    ],
)
def test_only_a_cut_that_stands_out_is_watched(rated_ma: int, ma: int, watched: bool) -> None:
    """3 % of a phase's rating, 45 A here, and never less than 10 A: less drowns in what residents do."""
    rows = (at("a", ma), still("b"))
    shot = snapshot(rows, meter(1000, 400_000))
    state = obey.told(obey.start(), shot, tell(rows, 0, 0), rated_ma, 0)
    assert (state.cut is not None) == watched


def tell(rows: tuple[Charger, ...], *ma: int) -> tuple[Command, ...]:
    """These setpoints for these chargers."""
    return tuple(Command(c.id, each, FULL, -1, True) for c, each in zip(rows, ma, strict=True))


WORN = obey.State((obey.Suspect("z", obey.LIES, 1, 7, False, 7),), None, 2, ("z",), 5)
"""A state in which each field says something."""


@pytest.mark.parametrize("p", range(3))
def test_cut_is_noted_on_its_phase_with_those_who_give(p: int) -> None:
    """Who gives, 1 mA is enough, how much, and what flowed; not who is told as before, gives nothing, is not heard."""
    phases, other = 1 << p, 1 << (p + 1) % 3
    rows = (
        at("a", 60_000, phases=phases),
        at("b", 6001, phases=phases),
        at("c", 16_000, ma=17_000, phases=phases),
        at("d", 16_000, ma=6000, phases=phases),
        at("e", 50_000, phases=other),
        at("f", 32_000, phases=phases, silent=True),
    )
    shot = snapshot(rows, meter(1000, 400_000, (400_000 + p, 500_000 + p, 600_000 + p)))
    commands = tell(rows, 10_000, 6000, 16_000, 10_000, 0, 0)
    cut = obey.Cut(9, p, ("a", "b"), (50_000, 1), 50_001, 45_000, (p + 4) * 100_000 + p, 89_001, 139_001)
    assert obey.told(WORN, shot, commands, RATED_MA, 9) == WORN._replace(cut=cut)


def test_largest_cut_is_watched_and_of_equal_ones_the_first() -> None:
    """Of three phases on which something goes the one with the most; a charger on three phases is looked for on A."""
    rows = (at("a", 46_000), at("b", 60_000, phases=2), at("c", 59_999, phases=4))
    noted = obey.told(obey.start(), snapshot(rows, meter(1000, 400_000)), tell(rows, 0, 0, 0), RATED_MA, 0).cut
    assert (noted.phase, noted.names) == (1, ("b",))
    three = (at("a", 60_000, phases=7, lines=3),)
    noted = obey.told(obey.start(), snapshot(three, meter(1000, 400_000)), tell(three, 0), RATED_MA, 0).cut
    assert (noted.phase, noted.ma) == (0, 60_000)


BOTH = obey.Cut(0, 0, ("a", "b"), (25_000, 25_000), 50_000, 45_000, 400_000, 100_000, 150_000)
"""Two cars on phase A were to give 50 A; the meter showed 400 A there, all cars together drew 150 A."""


def judge(state: obey.State, drawn_ma: int, metered_ma: int, elsewhere_ma: int = 50_000) -> obey.State:
    """What is thought of a cut when cars draw so much on phase A and on B, and the meter shows so much on A."""
    rows = (at("a", drawn_ma), at("c", elsewhere_ma, phases=2))
    return obey.seen(state, snapshot(rows, meter(12_000, 400_000, (metered_ma, 300_000, 300_000))))


@pytest.mark.parametrize(
    ("drawn_ma", "elsewhere_ma", "judged"),
    [(70_001, 49_999, False), (70_000, 50_000, True), (70_000, 50_001, False), (69_999, 50_001, True)],
)
def test_cut_is_judged_once_sixty_percent_of_it_are_claimed(drawn_ma: int, elsewhere_ma: int, judged: bool) -> None:
    """30 A of 50, on its phase and of all that is drawn, to the milliampere; else it is forgotten, and nothing more."""
    state = judge(WORN._replace(cut=BOTH), drawn_ma, 400_000, elsewhere_ma)
    assert state == (WORN._replace(misses=3, last=("a", "b"), since_ms=12_000) if judged else WORN)


@pytest.mark.parametrize(("metered_ma", "misses"), [(391_001, 3), (391_000, 0), (390_999, 0)])
def test_meter_follows_when_it_sees_thirty_percent_of_what_is_claimed(metered_ma: int, misses: int) -> None:
    """9 A of 30, to the milliampere: then it is believed again, from the start."""
    state = judge(WORN._replace(cut=BOTH), 70_000, metered_ma)
    doubted = {"misses": misses, "last": ("a", "b"), "since_ms": 12_000}
    assert state == WORN._replace(**doubted if misses else {"misses": 0, "last": ()})


def test_same_single_charger_again_says_nothing_of_the_meter() -> None:
    """Of one charger's cuts only the first counts against the meter; another one, or the same two again, do."""
    site = cutting()
    site.rows = {name: at(name, 48_000) for name in site.rows}
    misses = []
    for names in (("a",), ("a",), ("b",), ("a", "b"), ("a", "b")):
        site.cut(*names, seen=False)
        misses.append(site.state.misses)
    assert misses == [1, 1, 2, 3, 4]


def test_no_reading_or_no_cut_judges_nothing() -> None:
    """Without a meter the cut waits; where none is watched a reading changes nothing."""
    state = WORN._replace(cut=BOTH)
    assert obey.seen(state, snapshot((), None)) == state
    assert obey.seen(WORN, snapshot((), meter(12_000))) == WORN


def test_looking_at_chargers_keeps_what_is_known_of_the_meter() -> None:
    """The cut that is watched, the misses and the last names stay; who is suspected stays sorted."""
    state = WORN._replace(cut=BOTH)
    assert obey.look(state, [], 1000) == state
    seen = obey.look(state, [(change(DEAF_ROW, id="zz"), 20_000, 0), (DEAF_ROW, 20_000, 0)], 20_000)
    assert [s.id for s in seen.suspects] == ["a", "z", "zz"]
    assert seen._replace(suspects=WORN.suspects) == state


def test_liar_is_trusted_again_five_minutes_after_its_last_cut() -> None:
    """Isolated by three cuts the meter did not see, it counts from the third; before that nothing frees it."""
    site = cutting()
    site.rows["a"] = at("a", 48_000)
    for _ in range(3):
        site.cut("a", seen=False)
    told_ms = site.now_ms - 72_000
    calm = at("a", 0, allowed_ma=0)
    for later_ms, names in ((299_999, ["a"]), (300_000, [])):
        now_ms = told_ms + later_ms
        assert obey.isolated(obey.look(site.state, [(calm, now_ms, told_ms)], now_ms)) == names


def test_silent_and_unknown_cars_are_no_evidence() -> None:
    """Who is not heard, or hangs on an unknown phase, gives nothing back that could be looked for."""
    rows = (at("a", 60_000, silent=True), at("b", 60_000, phases=7, known=False))
    shot = snapshot(rows, meter(1000, 400_000))
    commands = tuple(Command(c.id, 0, FULL, -1, True) for c in rows)
    assert obey.told(obey.start(), shot, commands, RATED_MA, 0).cut is None
    assert obey.told(obey.start(), shot._replace(meter=None), commands, RATED_MA, 0).cut is None


def test_liar_that_then_disobeys_openly_is_counted_anew() -> None:
    """A suspicion of one kind does not add to another; an isolation stays one."""
    site = cutting()
    site.rows["a"] = at("a", 48_000)
    site.cut("a", seen=False).cut("a", seen=False)
    shows = change(DRAWS_ROW, id="a")
    heard_ms = site.now_ms
    state = obey.look(site.state, [(shows, heard_ms, 0)], heard_ms)
    assert [(s.code, s.count, s.isolated) for s in state.suspects] == [(obey.DRAWS, 1, False)]
    site.state = state
    assert [s.code for s in site.cut("a", seen=False).state.suspects] == [obey.DRAWS]


def test_only_one_cut_is_watched_at_a_time() -> None:
    """The second cut is not looked for, and where nobody is told less there is none."""
    rows = (at("a", 60_000), at("b", 60_000))
    shot = snapshot(rows, meter(1000, 400_000))
    same = tuple(Command(c.id, c.set_ma, FULL, -1, True) for c in rows)
    assert obey.told(obey.start(), shot, same, RATED_MA, 0) == obey.start()
    first = obey.told(obey.start(), shot, (same[0]._replace(ma=0), same[1]), RATED_MA, 0)
    assert first.cut is not None
    assert first.cut.names == ("a",)
    assert obey.told(first, shot, (same[0], same[1]._replace(ma=0)), RATED_MA, 1000) == first
