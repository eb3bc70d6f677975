"""The charger's half of the echo lease: what it obeys, for how long, whatever the network does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.lease import (
    ACCEPTED,
    BAD,
    OLD,
    SLOT_MS,
    STALE,
    Late,
    Lease,
    Setpoint,
    accept,
    allowed_ma,
    alone_ma,
    late_of,
    start,
    turn_of,
)
from edge.core.ledger import at_once

FALLBACK, MAX = 6000, 32_000
RUNNING = Lease(boot=7, epoch=3, seq=10, ma=10_000, ends_ms=160_000)
NOW = 130_000
FRESH = Setpoint(epoch=3, seq=11, boot=7, tick_ms=NOW - 1000, ma=20_000, lease_ms=60_000)


def changed(row: Setpoint, **changes: int) -> Setpoint:
    """The same setpoint with other values."""
    return Setpoint(**{**row._asdict(), **changes})


def test_starts_without_authority() -> None:
    """A charger that has just started stands at its fallback; of before it keeps the epoch alone."""
    assert allowed_ma(start(7), FALLBACK, 0) == FALLBACK
    assert start(7) == Lease(7, 0, 0, 0, 0)
    assert start(7, 3) == Lease(7, 3, 0, 0, 0)


def test_accepts_a_fresh_raise_and_counts_from_its_own_stamp() -> None:
    """The lease counts from the echoed stamp, not from receipt."""
    lease, verdict = accept(RUNNING, FRESH, FALLBACK, MAX, NOW)
    assert (verdict, lease) == (ACCEPTED, Lease(7, 3, 11, 20_000, NOW - 1000 + 60_000))


@pytest.mark.parametrize(("now_ms", "allowed"), [(159_999, 10_000), (160_000, FALLBACK), (160_001, FALLBACK)])
def test_lease_ends_on_the_millisecond(now_ms: int, allowed: int) -> None:
    """Up to its last millisecond the setpoint holds, then the fallback."""
    assert allowed_ma(RUNNING, FALLBACK, now_ms) == allowed


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"ma": 5999}, BAD),
        ({"ma": 6000}, ACCEPTED),
        ({"ma": 1}, BAD),
        ({"ma": 0}, ACCEPTED),
        ({"ma": -1}, BAD),
        ({"ma": MAX - 1}, ACCEPTED),
        ({"ma": MAX}, ACCEPTED),
        ({"ma": MAX + 1}, BAD),
        ({"lease_ms": 59_999}, ACCEPTED),
        ({"lease_ms": 60_000}, ACCEPTED),
        ({"lease_ms": 60_001}, BAD),
        ({"lease_ms": -1}, BAD),
        ({"lease_ms": 0}, STALE),
        ({"tick_ms": NOW - 29_999}, ACCEPTED),
        ({"tick_ms": NOW - 30_000}, ACCEPTED),
        ({"tick_ms": NOW - 30_001}, STALE),
        ({"tick_ms": NOW}, ACCEPTED),
        ({"tick_ms": NOW + 1}, STALE),
        ({"tick_ms": NOW - 19_999, "lease_ms": 20_000}, ACCEPTED),
        ({"tick_ms": NOW - 20_000, "lease_ms": 20_000}, STALE),
        ({"boot": 8}, STALE),
        ({"seq": 10}, OLD),
        ({"seq": 9}, OLD),
        ({"epoch": 2, "seq": 99}, OLD),
        ({"epoch": 4, "seq": 1}, ACCEPTED),
    ],
)
def test_boundaries(changes: dict[str, int], verdict: int) -> None:
    """Each limit, one step below, on it and above it; what is not accepted changes nothing."""
    lease, got = accept(RUNNING, changed(FRESH, **changes), FALLBACK, MAX, NOW)
    assert got == verdict
    assert (lease == RUNNING) == (verdict != ACCEPTED)


@pytest.mark.parametrize("echo", [{"tick_ms": NOW - 30_001}, {"boot": 8}, {"tick_ms": NOW + 1}])
@pytest.mark.parametrize(("ma", "verdict"), [(9999, ACCEPTED), (10_000, ACCEPTED), (10_001, STALE)])
def test_lowering_passes_on_any_echo_and_extends_nothing(echo: dict[str, int], ma: int, verdict: int) -> None:
    """What proves nothing about the present may lower, and leaves the end of the lease where it was."""
    lease, got = accept(RUNNING, changed(FRESH, ma=ma, **echo), FALLBACK, MAX, NOW)
    assert got == verdict
    assert lease.ends_ms == RUNNING.ends_ms
    assert lease.ma == (ma if verdict == ACCEPTED else RUNNING.ma)


def test_q5_duplicate_is_idempotent() -> None:
    """The same setpoint a second time changes nothing, however much later."""
    once, _ = accept(RUNNING, FRESH, FALLBACK, MAX, NOW)
    for later_ms in (0, 1, 20_000, 300_000):
        assert accept(once, FRESH, FALLBACK, MAX, NOW + later_ms) == (once, OLD)


def test_q6_overtaken_setpoint_is_ignored() -> None:
    """A raise that arrives after the lowering sent behind it is dropped."""
    lease, _ = accept(RUNNING, changed(FRESH, seq=12, ma=0), FALLBACK, MAX, NOW)
    lease, verdict = accept(lease, FRESH, FALLBACK, MAX, NOW + 10)
    assert (verdict, allowed_ma(lease, FALLBACK, NOW + 10)) == (OLD, 0)


def test_q7_setpoint_delayed_five_minutes_is_refused() -> None:
    """A raise that was held up on the way spends no current twice."""
    late_ms = NOW + 300_000
    lease, verdict = accept(RUNNING, FRESH, FALLBACK, MAX, late_ms)
    assert (verdict, allowed_ma(lease, FALLBACK, late_ms)) == (STALE, FALLBACK)


def test_q4_retained_or_stale_echo_never_raises() -> None:
    """A setpoint kept from another run of the charger raises nothing."""
    for tick_ms in (0, NOW - 1, NOW):
        lease, verdict = accept(start(8), changed(FRESH, tick_ms=tick_ms), FALLBACK, MAX, NOW)
        assert (verdict, lease) == (STALE, start(8))


def test_c8_rebooted_charger_obeys_only_its_new_life() -> None:
    """After a reboot the old echo is refused, and a fresh one of the same controller is obeyed."""
    assert accept(start(8), FRESH, FALLBACK, MAX, NOW)[1] == STALE
    assert accept(start(8), changed(FRESH, boot=8), FALLBACK, MAX, NOW)[1] == ACCEPTED


def test_h14_older_controller_is_fenced_even_when_it_lowers() -> None:
    """Once a newer epoch was seen, the older one moves nothing."""
    lease, _ = accept(RUNNING, changed(FRESH, epoch=4, seq=1), FALLBACK, MAX, NOW)
    assert accept(lease, changed(FRESH, seq=500, ma=0), FALLBACK, MAX, NOW) == (lease, OLD)


def test_h14_older_controller_is_fenced_over_a_restart() -> None:
    """The newest epoch outlives a restart: an older controller moves nothing, the newest is obeyed."""
    again = start(8, 4)
    assert accept(again, changed(FRESH, boot=8), FALLBACK, MAX, NOW) == (again, OLD)
    assert accept(again, changed(FRESH, boot=8, epoch=4, seq=1), FALLBACK, MAX, NOW)[1] == ACCEPTED


@pytest.mark.parametrize(("ma", "verdict"), [(0, ACCEPTED), (9999, ACCEPTED), (10_000, ACCEPTED), (10_001, STALE)])
def test_h14_a_fence_is_taken_as_long_as_it_does_not_raise(ma: int, verdict: int) -> None:
    """Without a lease a setpoint of a newer controller can only lower, on any echo; the charger takes its epoch."""
    fence = Setpoint(epoch=4, seq=1, boot=0, tick_ms=0, ma=ma, lease_ms=0)
    lease, got = accept(RUNNING, fence, FALLBACK, MAX, NOW)
    assert got == verdict
    assert lease == (Lease(7, 4, 1, ma, RUNNING.ends_ms) if verdict == ACCEPTED else RUNNING)


# --------------------------------------------------------------------------------------------------- left alone
LATE = Late(ma=6000, from_ms=1_000_000, to_ms=2_000_000)


@pytest.mark.parametrize("fallback_ma", [0, 6000, 10_000])
@pytest.mark.parametrize(
    ("now_ms", "takes"),
    [(0, 0), (999_999, 0), (1_000_000, 6000), (1_999_999, 6000), (2_000_000, None), (9_000_000, None)],
)
def test_late_fallback_stands_in_until_its_end(fallback_ma: int, now_ms: int, takes: int | None) -> None:
    """Nothing until its moment, then 6 A, and from its end on the static fallback (None), on the millisecond."""
    assert alone_ma(LATE, fallback_ma, 1, 0, now_ms) == (fallback_ma if takes is None else takes)
    assert alone_ma(LATE._replace(ma=0), fallback_ma, 1, 0, now_ms) == (fallback_ma if takes is None else 0)
    assert alone_ma(None, fallback_ma, 1, 0, now_ms) == fallback_ma


def test_car_left_alone_in_the_evening_is_charged_in_the_valley() -> None:
    """16 A under a lease, nothing after it, 6 A in the valley, and then the static fallback of nothing."""
    now_ms = NOW
    lease, verdict = accept(RUNNING, changed(FRESH, ma=16_000), 0, MAX, now_ms)
    late = late_of(lease, FRESH, 6000, 3600, 36_000, now_ms)
    assert verdict == ACCEPTED
    ends_ms = NOW - 1000 + 60_000
    for at_ms, takes in (
        (now_ms, 16_000), (ends_ms - 1, 16_000), (ends_ms, 0), (NOW - 1000 + 3_599_999, 0),
        (NOW - 1000 + 3_600_000, 6000), (NOW - 1000 + 35_999_999, 6000), (NOW - 1000 + 36_000_000, 0),
    ):  # fmt: skip
        assert allowed_ma(lease, alone_ma(late, 0, 1, 0, at_ms), at_ms) == takes


@pytest.mark.parametrize(
    ("ma", "after_s", "until_s", "kept"),
    [
        (6000, 0, 1, True),
        (0, 0, 1, True),
        (6000, 3600, 172_800, True),
        (6000, 3600, 172_801, False),
        (6000, 3600, 3600, False),
        (6000, 3601, 3600, False),
        (6000, -1, 3600, False),
        (5999, 0, 3600, False),
        (6001, 0, 3600, False),
        (32_000, 0, 3600, False),
        (-6000, 0, 3600, False),
        (0, 0, 0, False),
    ],
)
def test_late_fallback_is_none_or_six_amperes_and_ends(ma: int, after_s: int, until_s: int, kept: bool) -> None:
    """0 or 6 A, a beginning before its end, an end within two days: anything else is no late fallback."""
    late = late_of(RUNNING, FRESH, ma, after_s, until_s, NOW)
    stamp_ms = FRESH.tick_ms
    assert late == (Late(ma, stamp_ms + after_s * 1000, stamp_ms + until_s * 1000) if kept else None)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"tick_ms": NOW - 30_000}, True),
        ({"tick_ms": NOW - 30_001}, False),
        ({"tick_ms": NOW}, True),
        ({"tick_ms": NOW + 1}, False),
        ({"boot": 8}, False),
        ({"tick_ms": NOW - 19_999, "lease_ms": 20_000}, True),
        ({"tick_ms": NOW - 20_000, "lease_ms": 20_000}, False),
    ],
)
def test_late_fallback_needs_a_recent_echo(changes: dict[str, int], kept: bool) -> None:
    """A lowering on an old echo, or one of another run, passes; it brings no late fallback, and leaves none."""
    setpoint = changed(FRESH, ma=0, **changes)
    assert accept(RUNNING, setpoint, FALLBACK, MAX, NOW)[1] == ACCEPTED
    assert (late_of(RUNNING, setpoint, 6000, 60, 3600, NOW) is not None) == kept


def test_later_setpoint_replaces_the_late_fallback_and_one_without_takes_it_away() -> None:
    """What is kept is what the last accepted setpoint brought."""
    first = late_of(RUNNING, FRESH, 6000, 60, 3600, NOW)
    second = late_of(RUNNING, changed(FRESH, seq=12), 6000, 600, 7200, NOW)
    assert first is not None
    assert second is not None
    assert second.from_ms - first.from_ms == 540_000
    assert late_of(RUNNING, changed(FRESH, seq=13), 0, 0, 0, NOW) is None


@pytest.mark.parametrize(
    ("slots", "turn", "now_ms", "ma"),
    [
        (3, 1, 1_799_999, 0),
        (3, 1, 1_800_000, FALLBACK),
        (3, 1, 2_699_999, FALLBACK),
        (3, 1, 2_700_000, 0),
        (3, 4, 1_800_000, FALLBACK),
        (1, 1, 0, FALLBACK),
        (0, 1, 0, FALLBACK),
    ],
)
def test_a_turn_begins_and_ends_on_the_millisecond(slots: int, turn: int, now_ms: int, ma: int) -> None:
    """Of three turns the last is that of 1, from 30 to 45 minutes; with one turn or none it is always its own."""
    assert alone_ma(None, FALLBACK, slots, turn, now_ms) == ma


@given(st.integers(2, 8), st.integers(0, 65_535), st.integers(0, 1 << 40))
def test_a_turn_comes_once_in_a_round_and_lasts_a_quarter_of_an_hour(slots: int, turn: int, now_ms: int) -> None:
    """Of as many quarters of an hour in a row as there are turns exactly one is a charger's own, and wholly."""
    starts = [(now_ms // SLOT_MS + k) * SLOT_MS for k in range(slots)]
    on = [alone_ma(None, FALLBACK, slots, turn, at_ms) for at_ms in starts]
    assert sorted(on) == [0] * (slots - 1) + [FALLBACK]
    for at_ms, ma in zip(starts, on, strict=True):
        assert alone_ma(None, FALLBACK, slots, turn, at_ms + SLOT_MS - 1) == ma
        assert alone_ma(Late(6000, 0, 1 << 41), 0, slots, turn, at_ms) == ma
        assert alone_ma(None, FALLBACK, slots, turn + 1, at_ms + (slots - 1) * SLOT_MS) == ma


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("p{:03d}", 324), ("cp-{:02d}", 99), ("p{:04d}", 3000), ("b1-{}", 900), ("{}", 60), ("pile_{:03d}_a", 300)],
)
@pytest.mark.parametrize("slots", [2, 3, 4, 5, 6, 7, 8])
def test_clocks_that_start_together_are_spread_by_the_ids(pattern: str, count: int, slots: int) -> None:
    """After an outage all clocks begin at once: no turn of a numbered site has more than the counted worst."""
    turns = [turn_of(pattern.format(k + 1)) % slots for k in range(count)]
    assert max(turns.count(k) for k in range(slots)) <= at_once(count, slots)


def test_turns_never_change() -> None:
    """The number of an id stands in firmware for years."""
    assert [turn_of(name) for name in ("p001", "cp-01", "a", "x" * 32)] == [42_506, 38_477, 46_902, 30_169]


numbers = st.integers(-(1 << 60), 1 << 60)
near = st.integers(0, 400_000)
setpoints = st.builds(
    Setpoint,
    epoch=st.integers(0, 3),
    seq=st.integers(0, 6),
    boot=st.integers(7, 8),
    tick_ms=near | numbers,
    ma=st.sampled_from([0, 6000, 7000, 16_000, 32_000]) | st.integers(-10, 40_000) | numbers,
    lease_ms=st.sampled_from([0, 20_000, 60_000]) | numbers,
)


@given(st.lists(st.tuples(st.integers(0, 40_000), setpoints), max_size=12))
@settings(max_examples=300)
def test_above_fallback_only_on_a_stamp_of_the_last_minute(history: list[tuple[int, Setpoint]]) -> None:
    """Whatever arrives: more than the fallback flows only within 60 s of a stamp of this run that was recent then."""
    lease, now_ms, proofs = start(7), 100_000, [-1]
    for wait_ms, setpoint in history:
        now_ms += wait_ms
        before = allowed_ma(lease, FALLBACK, now_ms)
        lease, verdict = accept(lease, setpoint, FALLBACK, MAX, now_ms)
        after = allowed_ma(lease, FALLBACK, now_ms)
        recent = setpoint.boot == 7 and 0 <= now_ms - setpoint.tick_ms <= 30_000
        if recent:
            proofs.append(setpoint.tick_ms)
        assert after <= before or (verdict == ACCEPTED and recent)
        assert lease.ends_ms <= max(proofs) + 60_000 or lease.ends_ms == 0
        assert after in (0, FALLBACK) or 6000 <= after <= MAX
        assert accept(lease, setpoint, FALLBACK, MAX, now_ms)[0] == lease
