"""The control law for any input at all: what holds in every history, and that nothing ends it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import control
from edge.core.model import MIN_MA, NEVER, Charger, Command, Feeder, Meter, Place, Snapshot
from edge.core.sheet import Sheet, nothing
from hil_tests.unit.given import (
    HOUR_MS,
    MV,
    RATED_MA,
    RATED_VA,
    SETTINGS,
    awake,
    change,
    feeder,
    meter,
    snapshot,
    still,
)

BIG = 1 << 54
wild = st.integers(-BIG, BIG)
three = st.tuples(wild, wild, wild)
wild_meters = st.builds(
    Meter, wild, wild, wild, wild, three, three, st.none() | three, wild, st.sampled_from(["", "1", "2"])
)
currents = st.sampled_from([0, 5999, 6000, 6001, 10_000, 16_000, 32_000, 63_000])


@st.composite
def chargers(draw: st.DrawFn, feeders: int = 0, most: int = 6) -> tuple[Charger, ...]:
    """Chargers as the fleet makes them: what they draw and allow is possible, nothing is above the nameplate."""
    rows = []
    for k in range(draw(st.integers(0, most))):
        max_ma = draw(st.sampled_from([0, 5999, 6000, 16_000, 16_500, 32_000, 63_000]))
        allowed, set_ma, ma = (min(draw(currents), max_ma) for _ in range(3))
        fallback = min(draw(st.sampled_from([0, 0, 6000])), max_ma)
        silent = draw(st.booleans())
        more = draw(currents) if draw(st.booleans()) else 0
        possible = max(fallback, allowed, more) if silent else max(ma, allowed, more)
        need_wh = draw(st.integers(-5000, 60_000))
        rows.append(
            Charger(
                f"p{k}", draw(st.integers(0, 5 * (1 + feeders) - 1)), max_ma, fallback, draw(st.integers(0, 5)), ma,
                allowed, set_ma, possible, silent, draw(st.booleans()), need_wh,
                need_wh - draw(st.sampled_from([0, 0, 1000, 60_000])), draw(st.integers(-HOUR_MS, 30 * HOUR_MS)),
                draw(st.sampled_from([NEVER, NEVER, 0, 4000, HOUR_MS])), draw(st.booleans()),
                draw(st.integers(-9, 9)),
            )
        )  # fmt: skip
    return tuple(rows)


@st.composite
def readings(draw: st.DrawFn, at_ms: int) -> Meter:
    """A reading between an empty street and one and a half times the rating."""
    ma = tuple(draw(st.integers(0, RATED_MA * 3 // 2)) for _ in range(3))
    return meter(at_ms, draw(st.integers(0, RATED_VA * 3 // 2)), (ma[0], ma[1], ma[2]))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Snapshot, int]]:
    """Up to ten ticks, some without a fresh reading."""
    now_ms, reading, out = 0, None, []
    limits = st.sampled_from([10_000, 40_000, 100_000])
    others = st.tuples(*(st.sampled_from([0, 0, 8000, 45_000]) for _ in range(3)))
    feeders = tuple(feeder(draw(limits), (0, 0, 0)) for _ in range(draw(st.integers(0, 2))))
    fleet = draw(chargers(len(feeders)))
    for _ in range(draw(st.integers(1, 10))):
        now_ms += draw(st.sampled_from([200, 1000, 1000, 1000, 7000, 200_000]))
        if draw(st.integers(0, 4)):
            reading = draw(readings(now_ms))
            feeders = tuple(feeder(row.limit_ma, draw(others)) for row in feeders)
        if not draw(st.integers(0, 3)):
            others_say = draw(chargers(len(feeders)))
            some = len(others_say) == len(fleet) and draw(st.booleans())
            fleet = (
                tuple(draw(st.sampled_from(pair)) for pair in zip(fleet, others_say, strict=True))
                if some
                else others_say
            )
        out.append((snapshot(fleet, reading, draw(st.sampled_from([0, 500, 800, 1000])), feeders), now_ms))
    return out


def play(history: list[tuple[Snapshot, int]], state: control.State) -> list[tuple[Command, ...]]:
    """The commands of each tick."""
    out = []
    for shot, now_ms in history:
        state, commands = control.step(state, shot, SETTINGS, now_ms)
        out.append(commands)
    return out


beginnings = st.sampled_from([control.start(), awake(-1000), awake(-1000, feeders=1), awake(-1000, feeders=2)])


def constraints(place: Place) -> list[int]:
    """What binds here: phases 0, 1, 2, the total 3, then three a feeder."""
    phases = [p for p in range(3) if place.phases >> p & 1]
    return [*phases, 3, *(4 + 3 * place.feeder + p for p in phases if place.feeder >= 0)]


def summed(shot: Snapshot, currents_ma: list[int], *, lent: bool = False) -> list[int]:
    """One current a charger, summed by constraint; the total on all conductors.

    What a heard car of unknown phase draws is in the base of its phase already; ``lent`` is a difference anyway.
    """
    out = [0] * (4 + 3 * len(shot.feeders))
    for c, ma in zip(shot.chargers, currents_ma, strict=True):
        place = shot.places[c.place]
        seen = 0 if place.known or c.silent or lent else max(c.ma, 0)
        for i in constraints(place):
            out[i] += ma * place.lines if i == 3 else max(ma - seen, 0)
    return out


def residents(shot: Snapshot) -> list[int]:
    """What is not proven to be chargers', by constraint in mA: written out, not borrowed."""
    assert shot.meter is not None
    heard = [(c.ma, shot.places[c.place]) for c in shot.chargers if not c.silent]
    out = [
        max(shot.meter.ma[p] - sum(m for m, place in heard if place.known and place.phases >> p & 1), 0)
        for p in range(3)
    ]
    total_va = max(shot.meter.s_va - sum(m * place.lines for m, place in heard) * MV // 1_000_000, 0)
    out.append(total_va * 1_000_000 // MV)
    for k, row in enumerate(shot.feeders):
        behind = [(m, at) for m, at in heard if at.known and at.feeder == k]
        for p in range(3):
            proven = sum(max(m, 0) for m, at in behind if at.phases >> p & 1)
            out.append(0 if row.meter is None else max(row.meter.ma[p] - proven, 0))
    return out


def over_line(shot: Snapshot, commands: tuple[Command, ...], seen: list[list[int]], raised: int) -> list[str]:
    """Where a raise breaks its bounds: what is expected above the usual base, what may be above the highest."""
    pairs = list(zip(shot.chargers, commands, strict=True))
    may = [max(o.ma, c.possible_ma) for c, o in pairs]
    bound = summed(shot, may)
    lent = summed(
        shot,
        [max(m - c.ma - 1000, 0) if c.settled and not c.silent else 0 for (c, _), m in zip(pairs, may, strict=True)],
        lent=True,
    )
    expected = summed(
        shot,
        [c.ma if c.settled and not c.silent and o.ma <= c.set_ma else m for (c, o), m in zip(pairs, may, strict=True)],
    )
    rated = [RATED_MA, RATED_MA, RATED_MA, RATED_VA * 1_000_000 // MV]
    rated += [feeder.limit_ma for feeder in shot.feeders for _ in range(3)]
    wrong = []
    for i in constraints(shot.places[shot.chargers[raised].place]):
        limit = shot.limit_permille if i < 4 else 1000
        column = sorted(row[i] for row in seen)
        if column[len(column) // 2] + expected[i] > rated[i] * (limit - 15) // 1000:
            wrong.append(f"expected {i}")
        if column[-1] + bound[i] - min(lent[i], rated[i] * 30 // 1000) > rated[i] * limit // 1000:
            wrong.append(f"possible {i}")
    return wrong


@given(histories(), beginnings)
@settings(max_examples=400, deadline=None)
def test_any_history_keeps_the_promises(history: list[tuple[Snapshot, int]], first: control.State) -> None:
    """0 or 6 A to max; no raise without a fresh reading and five of them; nothing raised into what may already flow."""
    sample_ms = first.sample_ms
    seen: list[list[int]] = []
    for (shot, now_ms), commands in zip(history, play(history, first), strict=True):
        new = shot.meter is not None and shot.meter.at_ms > sample_ms
        if new:
            seen = [*(seen if now_ms - sample_ms <= 5000 else []), residents(shot)][-5:]
            sample_ms = now_ms
        assert [c.id for c in commands] == [c.id for c in shot.chargers]
        for k, (c, command) in enumerate(zip(shot.chargers, commands, strict=True)):
            assert command.ma == 0 or MIN_MA <= command.ma <= c.max_ma
            if command.ma > c.set_ma:
                assert new
                assert len(seen) == 5
                assert over_line(shot, commands, seen, k) == []


@given(histories(), beginnings)
@settings(max_examples=400, deadline=None)
def test_what_is_remembered_is_what_would_be_found_anew(
    history: list[tuple[Snapshot, int]], state: control.State
) -> None:
    """The step looks only at chargers that have changed; looking at all of them finds the same."""
    for shot, now_ms in history:
        before = state
        state, _ = control.step(state, shot, SETTINGS, now_ms)
        anew = Sheet(shot, SETTINGS, now_ms)
        release = control.releases(state.release_ms, state.feeders, shot)
        anew.admit(before.units, (), [], release, nothing())
        book = anew.add_up(nothing())
        assert (book.session, book.has, book.parts, book.sums) == state.book[:2] + state.book[6:8]
        assert anew.units == list(state.units)


@given(histories(), beginnings, st.permutations(range(15)), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_same_input_same_output_in_any_order(
    history: list[tuple[Snapshot, int]],
    first: control.State,
    numbers: list[int],
    random: Any,  # noqa: ANN401 - hypothesis gives a random.Random
) -> None:
    """Deterministic, and blind to the order of chargers and to how places are numbered: only ids decide."""
    told = play(history, first)
    assert told == play(history, first)
    mixed = []
    for shot, now_ms in history:
        order = [k for k in numbers if k < len(shot.places)]
        rows = [change(c, place=order.index(c.place)) for c in shot.chargers]
        random.shuffle(rows)
        rows.sort(key=lambda c: c.id)
        mixed.append((Snapshot(shot.meter, shot.limit_permille, tuple(shot.places[k] for k in order), shot.feeders,
                               tuple(rows)), now_ms))  # fmt: skip
    assert told == play(mixed, first)


@given(
    st.lists(
        st.builds(
            Charger, id=st.sampled_from("abcdef"), place=st.integers(0, 2), max_ma=wild, fallback_ma=wild, plug=wild,
            ma=wild, allowed_ma=wild, set_ma=wild, possible_ma=wild, silent=st.booleans(), settled=st.booleans(),
            need_wh=wild, aim_wh=wild, depart_ms=wild, start_ms=wild, now=st.booleans(), prio=wild,
        ),
        max_size=5, unique_by=lambda c: c.id,
    ),
    st.none() | wild_meters,
    wild,
    st.tuples(*(
        st.builds(Place, st.integers(0, 7), st.sampled_from([1, 3]), st.booleans(), st.sampled_from([-1, 0, 1]))
        for _ in range(3)
    )),
    st.tuples(*(st.builds(Feeder, wild, st.none() | wild_meters, wild) for _ in range(2))),
    beginnings,
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_bad_input_never_raises_an_exception(
    rows: list[Charger],
    reading: Meter | None,
    limit: int,
    wired: tuple[Place, ...],
    feeders: tuple[Feeder, ...],
    state: control.State,
) -> None:
    """Numbers that cannot be give defined commands, five ticks long."""
    for k in range(1, 6):
        fresh = None if reading is None else Meter(reading.at_ms + k, *reading[1:])
        shot = Snapshot(fresh, limit, wired, feeders, tuple(rows))
        state, commands = control.step(state, shot, SETTINGS, k * 1000)
        assert len(commands) == len(rows)
        assert all(c.ma == 0 or c.ma >= MIN_MA for c in commands)


@given(st.lists(st.sets(st.sampled_from("abcdef")), min_size=6, max_size=12), st.integers(0, 1_200_000))
@settings(max_examples=100, deadline=None)
def test_chargers_may_come_and_go(present: list[set[str]], base_ma: int) -> None:
    """Whatever chargers a snapshot lists from tick to tick, each gets its own command, 0 or at least 6 A."""
    state = awake()
    for k, names in enumerate(present, 1):
        rows = tuple(still(name, phases=7, lines=3) for name in sorted(names))
        state, commands = control.step(
            state, snapshot(rows, meter(k * 1000, 300_000, (base_ma, 0, 0))), SETTINGS, k * 1000
        )
        assert [c.id for c in commands] == sorted(names)
        assert all(c.ma == 0 or MIN_MA <= c.ma <= 32_000 for c in commands)


def test_nothing_at_all_gives_nothing() -> None:
    """No chargers and no meter: no commands, no exception."""
    assert control.step(control.start(), snapshot(), SETTINGS, 0)[1] == ()
