"""The charger's half of the echo lease: what it obeys, for how long, whatever the network does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.lease import ACCEPTED, BAD, OLD, STALE, Lease, Setpoint, accept, allowed_ma, start

FALLBACK, MAX = 6000, 32_000
RUNNING = Lease(boot=7, epoch=3, seq=10, ma=10_000, ends_ms=160_000)
NOW = 130_000
FRESH = Setpoint(epoch=3, seq=11, boot=7, tick_ms=NOW - 1000, ma=20_000, lease_ms=60_000)


def changed(row: Setpoint, **changes: int) -> Setpoint:
    """The same setpoint with other values."""
    return Setpoint(**{**row._asdict(), **changes})


def test_starts_without_authority() -> None:
    """A charger that has just started stands at its fallback."""
    assert allowed_ma(start(7), FALLBACK, 0) == FALLBACK


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
