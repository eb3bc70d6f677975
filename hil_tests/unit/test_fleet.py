"""What the controller knows of its chargers, when it speaks to them, and who else might be speaking."""

from __future__ import annotations

from typing import Any

import pytest

from edge.config import ChargerConfig, ChargingConfig
from edge.core.model import CHARGING, FAULTED, FINISHED, NEVER, UNPLUGGED, WAITING, Command, Place
from edge.fleet import EPOCH_STEP, Fleet, next_epoch
from edge.planner import GO_MS, Proposal
from edge.ports import ChargerState, Message, Setpoint, Wish

BOOT = 77


class Site:
    """A fleet on a clock. ``say`` is telemetry from a charger, ``tell`` one tick's commands; what is due is sent."""

    def __init__(self, *ids: str, fallback_ma: int = 0, epoch: int = 5, phases: int = 1, known: bool = True) -> None:
        charging = ChargingConfig(fallback_ma, 60_000, 9000, 420, (), 8)
        rows = [ChargerConfig(name, phases, known, 32_000) for name in ids or ("a",)]
        self.fleet = Fleet(rows, charging, lambda wish, now_ms: now_ms + (wish.depart_s * 1000 if wish else 36_000_000))
        self.fleet.epoch = epoch
        self.fallback_ma = fallback_ma
        self.now_ms = 1_000_000
        self.broker_up = True

    def wait(self, seconds: float) -> Site:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)
        return self

    def state(self, name: str = "a", **changes: Any) -> ChargerState:  # noqa: ANN401 - fields of a state
        """Telemetry stamped now: an idle plugged car, unless said otherwise."""
        row = {
            "charger": name, "boot": BOOT, "tick_ms": self.now_ms, "epoch": self.fleet.epoch, "seq": 0, "plug": WAITING,
            "ma": (0, 0, 0), "w": 0, "wh": 0, "allowed_ma": self.fallback_ma, "lease_ms": 0,
            "fallback_ma": self.fallback_ma, "max_ma": 32_000,
        }  # fmt: skip
        return ChargerState(**{**row, **changes})

    def say(self, name: str = "a", **changes: Any) -> Site:  # noqa: ANN401 - fields of a state
        """A charger speaks and is heard."""
        self.fleet.hear([self.state(name, **changes)], self.now_ms)
        return self

    def obeyed(self, name: str = "a", **changes: Any) -> Site:  # noqa: ANN401 - fields of a state
        """A charger speaks after it has accepted its last setpoint: it echoes, allows and draws it."""
        unit = self.fleet.units[name]
        ma = unit.set_ma
        row = {
            "epoch": self.fleet.epoch_of(unit), "seq": unit.seq, "allowed_ma": ma, "ma": (ma, 0, 0),
            "plug": CHARGING if ma else WAITING, "lease_ms": 59_000,
        }  # fmt: skip
        return self.say(name, **{**row, **changes})

    def tell(self, ma: int, name: str = "a", *, renew: bool = True) -> list[Setpoint]:
        """One tick wants ``ma``; what was due and went out."""
        due = self.fleet.due([Command(name, ma, 0, -1, renew)], self.now_ms)
        if self.broker_up:
            for setpoint in due:
                self.fleet.sent(setpoint, self.now_ms)
        return due if self.broker_up else []

    def begin(self, number: int = 0) -> Site:
        """The start-up rule is fulfilled: the controller draws this number and begins."""
        self.fleet.tie_break = lambda: number
        self.fleet.begin_epoch(self.now_ms)
        return self

    def view(self, name: str = "a") -> Any:  # noqa: ANN401 - a Charger
        """The latched image of one charger."""
        return next(c for c in self.fleet.view(self.now_ms) if c.id == name)


# ------------------------------------------------------------------------------------------------- what is latched
def test_never_heard_counts_at_its_fallback_in_the_end() -> None:
    """A charger that has not spoken is silent; long after the beginning it counts at its fallback."""
    view = Site(fallback_ma=6000).view()
    assert (view.silent, view.possible_ma, view.plug, view.max_ma) == (True, 6000, UNPLUGGED, 32_000)


@pytest.mark.parametrize(
    ("plug", "silent_s"), [(CHARGING, 45), (WAITING, 270), (FINISHED, 270), (UNPLUGGED, 650), (FAULTED, 45), (9, 45)]
)
@pytest.mark.parametrize("step_ms", [-1, 0, 1])
def test_silent_after_two_heartbeats(plug: int, silent_s: int, step_ms: int) -> None:
    """Each plug state has its own heartbeat; a charger is silent a moment after two of them."""
    site = Site().say(plug=plug).wait(silent_s)
    site.now_ms += step_ms
    assert site.view().silent == (step_ms > 0)


@pytest.mark.parametrize(
    ("seconds", "most"), [(46, 16_000), (61.199, 16_000), (62.199, 16_000), (62.2, 6000), (100, 6000)]
)
def test_silent_charger_counts_its_lease_then_its_fallback(seconds: float, most: int) -> None:
    """What it last allowed counts until a clock 2 % slow must have ended its lease, then the fallback."""
    site = Site(fallback_ma=6000)
    site.say(plug=CHARGING, allowed_ma=16_000, lease_ms=60_000, epoch=5).wait(seconds)
    assert (site.view().silent, site.view().possible_ma) == (True, most)


@pytest.mark.parametrize("plug", [UNPLUGGED, FINISHED, FAULTED])
def test_free_socket_counts_what_its_lease_still_allows(plug: int) -> None:
    """Finished, unplugged or faulted with 16 A on a living lease: 16 A may flow until 0 is echoed or the lease ends."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed(plug=plug, ma=(0, 0, 0))
    assert site.view().possible_ma == 16_000
    assert [s.ma for s in site.tell(0)] == [0]
    assert site.wait(62).view().possible_ma == 0
    assert site.wait(-60).obeyed(plug=plug, allowed_ma=0, ma=(0, 0, 0)).view().possible_ma == 0


def test_a_late_word_of_an_earlier_run_hides_no_living_lease() -> None:
    """Telemetry of the boot before arrives after the present one's: what is allowed now still counts."""
    site = Site()
    old = site.state(boot=BOOT - 1)
    site.say()
    site.tell(32_000)
    site.wait(1).obeyed()
    assert site.view().possible_ma == 32_000
    site.wait(1)
    site.fleet.hear([old], site.now_ms)
    assert site.view().possible_ma == 32_000
    assert site.wait(1).obeyed().view().possible_ma == 32_000
    assert site.wait(1).say(boot=BOOT + 1).view().possible_ma == 32_000
    assert site.wait(62).say(boot=BOOT + 1).view().possible_ma == 0


def test_a_late_word_from_before_an_outage_disproves_nothing() -> None:
    """Charger and controller have started anew, epochs too: what the other run accepted is not what was sent."""
    site = Site(epoch=1)
    before = site.state(epoch=1, seq=1, boot=BOOT - 1)
    site.wait(100).say()
    assert [(s.epoch, s.seq, s.ma) for s in site.tell(16_000)] == [(1, 1, 16_000)]
    site.fleet.hear([before], site.now_ms)
    assert site.view().possible_ma == 16_000
    assert site.wait(1).obeyed(ma=(0, 0, 0), allowed_ma=0).view().possible_ma == 0
    assert site.wait(62).view().possible_ma == 0


def test_a_plugged_car_counts_its_fallback_whatever_it_is_told() -> None:
    """Told 0 above a fallback of 10 A: late telemetry may hide the end of the lease, so 10 A count throughout."""
    site = Site(fallback_ma=10_000).say()
    site.tell(0)
    assert site.wait(1).obeyed(plug=WAITING).view().possible_ma == 10_000


def test_c11_negative_and_c7_huge_claims_are_cut_to_the_nameplate() -> None:
    """Nobody counts for more than the current on its nameplate, whatever it claims."""
    lie = 1 << 52
    site = Site().say(plug=CHARGING, ma=(lie, 0, 0), allowed_ma=lie, fallback_ma=lie, max_ma=lie)
    view = site.view()
    assert (view.ma, view.allowed_ma, view.fallback_ma, view.max_ma) == (32_000, 32_000, 0, 32_000)
    assert view.possible_ma == 32_000


@pytest.mark.parametrize(("planned_ma", "claims_ma", "leave_ma"), [(0, 32_000, 0), (6000, 0, 0), (6000, 10_000, 6000)])
def test_c16_claimed_fallback_counts_but_gives_no_leave(planned_ma: int, claims_ma: int, leave_ma: int) -> None:
    """What it says it takes by itself may flow; what it is told and left is no more than the area was planned with."""
    site = Site(fallback_ma=planned_ma).say(fallback_ma=claims_ma, allowed_ma=claims_ma, plug=CHARGING)
    assert (site.view().fallback_ma, site.view().possible_ma) == (leave_ma, claims_ma)
    ((charger, _, _),) = site.fleet.evidence(site.fleet.view(site.now_ms), 0)
    assert charger.fallback_ma == leave_ma


def test_c16_charger_above_the_planned_fallback_is_told_so_without_a_renewal() -> None:
    """In SAFE nothing is renewed; who stands above the area's fallback by itself is lowered all the same, each time."""
    site = Site().say(fallback_ma=32_000, allowed_ma=32_000, ma=(31_000, 0, 0), plug=CHARGING)
    assert [s.ma for s in site.tell(0, renew=False)] == [0]
    site.wait(1).obeyed(fallback_ma=32_000)
    assert site.wait(15).say(seq=1, fallback_ma=32_000, allowed_ma=0, lease_ms=40_000).tell(0, renew=False) == []
    site.wait(50).say(seq=1, fallback_ma=32_000, allowed_ma=32_000, plug=CHARGING)
    assert [s.ma for s in site.tell(0, renew=False)] == [0]


def test_draw_proves_nothing_after_the_lease_it_was_drawn_on() -> None:
    """10 s of lease left, and no word since: 9.8 s later, on a fast clock, it may be over; 6 A it takes by itself."""
    for fallback_ma in (0, 6000):
        site = Site(fallback_ma=fallback_ma)
        site.say(plug=CHARGING, allowed_ma=32_000, ma=(31_000, 0, 0), lease_ms=10_000)
        site.now_ms += 9799
        assert site.view().ma == 31_000
        site.now_ms += 1
        assert (site.view().ma, site.view().silent) == (fallback_ma, False)
    site = Site().say(plug=CHARGING, allowed_ma=0, ma=(31_000, 0, 0), fallback_ma=32_000)
    assert site.wait(4).view().ma == 31_000  # it never had one: what flows is measured


def test_draw_proves_nothing_once_a_lowering_is_unanswered_for_five_seconds() -> None:
    """It may have landed, its answer been lost. Words that do not echo it, and a raise that follows, change nothing."""
    site = Site().say(plug=CHARGING)
    site.tell(32_000)
    site.wait(1).obeyed(ma=(31_000, 0, 0))
    site.wait(20).obeyed(ma=(31_000, 0, 0))
    site.tell(16_000)
    assert site.wait(4.9).view().ma == 31_000
    assert site.wait(0.1).view().ma == 16_000
    site.say(plug=CHARGING, seq=1, allowed_ma=32_000, ma=(31_000, 0, 0), lease_ms=40_000)
    assert site.view().ma == 16_000
    site.tell(20_000)
    assert site.wait(1).view().ma == 16_000
    site.obeyed(ma=(19_000, 0, 0))
    assert site.wait(6).view().ma == 19_000


def test_late_word_is_as_old_as_its_clock_says() -> None:
    """A word that comes 40 s late proves, and is a sign of life, for 40 s less; its lease counts from when it came."""
    site = Site().say(plug=CHARGING)
    for _ in range(3):
        site.wait(20).say(plug=CHARGING)
    late = site.state(plug=CHARGING, ma=(31_000, 0, 0), allowed_ma=0, tick_ms=site.now_ms + 1000)
    site.wait(41).fleet.hear([late], site.now_ms)
    assert site.view().ma == 0
    assert not site.wait(8.9).view().silent
    assert site.wait(0.3).view().silent


def test_clock_of_a_charger_may_drift_and_may_be_set() -> None:
    """2 % slow is no lateness; one that was set back is believed again after ten times as long."""
    site, slow = Site(), 0
    for _ in range(100):
        slow += 400
        site.wait(20).say(plug=CHARGING, tick_ms=site.now_ms - slow)
    assert not site.wait(44.9).view().silent
    later = [site.wait(20).say(plug=CHARGING, tick_ms=site.now_ms - slow - 20_000).fleet.units["a"] for _ in range(11)]
    assert later[0].said_ms >= site.now_ms - 20_000


def test_one_tick_far_ahead_does_not_silence_a_charger_for_ever() -> None:
    """Its next words look old and are dropped; silent, with all leases over and at its fallback, it is heard again."""
    site = Site().say(plug=CHARGING)
    site.tell(16_000)
    site.wait(1).obeyed(tick_ms=1 << 52)
    site.wait(44).say(plug=CHARGING, seq=1, allowed_ma=16_000, lease_ms=14_000)
    assert site.view().allowed_ma == 16_000
    unit = site.fleet.units["a"]
    assert unit.state is not None
    assert unit.state.tick_ms == 1 << 52
    site.wait(5).say(plug=CHARGING, seq=1, allowed_ma=16_000, lease_ms=9000)
    assert unit.state.tick_ms == 1 << 52  # silent, but not at its fallback: an old word may say so
    site.wait(12).say(plug=CHARGING, seq=1)
    assert unit.state.tick_ms == 1 << 52  # what it had may still flow
    site.wait(1).say(plug=CHARGING, seq=1)
    assert unit.state.tick_ms == site.now_ms
    assert not site.wait(44).view().silent
    assert site.say(plug=CHARGING, seq=1).tell(9000) != []


def test_renewal_answers_a_clock_that_was_set_back() -> None:
    """The last echo was of a tick far ahead: who stands at its fallback, above what it was told, is told again."""
    site = Site(fallback_ma=6000).say(plug=CHARGING, tick_ms=1 << 40)
    assert [s.ma for s in site.tell(0)] == [0]
    site.wait(112).say(plug=CHARGING, seq=1, ma=(6000, 0, 0))
    assert [s.ma for s in site.tell(0)] == [0]


def test_c1_disobeying_charger_counts_as_measured() -> None:
    """What flows against its word is possible, for that is what flows."""
    site = Site().say(plug=CHARGING, ma=(0, 20_000, 0), allowed_ma=0, epoch=5)
    assert (site.view().ma, site.view().possible_ma) == (20_000, 20_000)


@pytest.mark.parametrize(("phases", "known", "lines"), [(1, True, 1), (4, True, 1), (7, True, 3), (7, False, 1)])
def test_lines_follow_from_the_wiring(phases: int, known: bool, lines: int) -> None:
    """Three phases known are three conductors; an unknown phase is one conductor on any of them."""
    site = Site(phases=phases, known=known).say()
    assert site.fleet.places[site.view().place] == Place(phases, lines, known, -1)


def test_chargers_wired_alike_share_a_place() -> None:
    """There is one place for each way of being wired, in an order of its own, whatever the chargers are called."""
    rows = [("d", 2, True, -1), ("c", 1, True, 0), ("b", 1, True, -1), ("a", 1, True, 0), ("e", 7, False, -1)]
    rows = [ChargerConfig(name, phases, known, 32_000, feeder) for name, phases, known, feeder in rows]
    fleet = Fleet(rows, ChargingConfig(0, 60_000, 9000, 420, (), 8), lambda _wish, now_ms: now_ms)
    assert fleet.places == tuple(sorted(fleet.places))
    wired = {c.id: fleet.places[c.place] for c in fleet.view(0)}
    assert wired == {
        "a": Place(1, 1, True, 0), "b": Place(1, 1, True, -1), "c": Place(1, 1, True, 0), "d": Place(2, 1, True, -1),
        "e": Place(7, 1, False, -1),
    }  # fmt: skip
    assert len(fleet.places) == 4


def test_q6_overtaken_telemetry_is_dropped() -> None:
    """An older stamp of the same run says nothing about the present."""
    site = Site().say(tick_ms=5000, epoch=5, seq=2, allowed_ma=6000)
    site.say(tick_ms=4999, epoch=5, seq=3, allowed_ma=32_000).say(tick_ms=5000, epoch=5, seq=1, allowed_ma=32_000)
    assert site.view().allowed_ma == 6000
    assert site.say(tick_ms=5000, epoch=5, seq=3, allowed_ma=32_000).view().allowed_ma == 32_000


def test_q4_repeated_telemetry_is_no_sign_of_life() -> None:
    """The same message again, kept and repeated by whoever: the charger is as silent as before."""
    site = Site()
    kept = site.state(plug=CHARGING)
    for _ in range(10):
        site.fleet.hear([kept], site.now_ms)
        site.wait(10)
    assert site.view().silent


def test_c8_reboot_is_believed_and_its_old_setpoint_still_counts() -> None:
    """A new run begins at the fallback; the setpoint on its way counts until its lease must be over."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed().wait(1)
    site.tell(20_000)
    site.say(boot=78, tick_ms=5)
    assert (site.view().silent, site.view().possible_ma) == (False, 20_000)
    site.wait(62.2)
    assert site.view().possible_ma == 0


def test_c9_stranger_is_listed_and_never_commanded() -> None:
    """A charger that is not registered is named, bounded, and not in the view."""
    site = Site()
    messages: list[Message] = [site.state(f"x{k}") for k in range(1500)]
    site.fleet.hear(messages, 0)
    assert len(site.fleet.strangers) == 1000
    assert [c.id for c in site.fleet.view(0)] == ["a"]


def test_view_is_sorted_and_blind_to_the_order_of_messages() -> None:
    """Whatever order chargers are registered or heard in, the image is the same."""
    one, two = Site("b", "a", "c"), Site("c", "b", "a")
    for name in "abc":
        one.say(name, allowed_ma=0, wh=ord(name))
    for name in "cab":
        two.say(name, allowed_ma=0, wh=ord(name))
    assert one.fleet.view(one.now_ms) == two.fleet.view(two.now_ms)
    assert [c.id for c in one.fleet.view(one.now_ms)] == ["a", "b", "c"]


def test_wish_holds_for_one_session() -> None:
    """A wish sets need and departure, survives until the car leaves, and is gone for the next one."""
    site = Site()
    site.fleet.hear([Wish("a", 20_000, 3600)], site.now_ms)
    site.say(wh=1500)
    assert (site.view().need_wh, site.view().depart_ms) == (18_500, 1_000_000 + 3_600_000)
    site.wait(1).say(plug=UNPLUGGED)
    assert site.fleet.units["a"].depart_ms == NEVER
    site.wait(1).say(wh=0)
    assert (site.view().need_wh, site.view().depart_ms) == (9000, site.now_ms + 36_000_000)


# ------------------------------------------------------------------------------------------------- settled or not
def settling(site: Site, seconds: float, **changes: Any) -> bool:  # noqa: ANN401 - fields of a state
    """Let a charger speak every 5 s for so long; is it settled then?"""
    end_ms = site.now_ms + round(seconds * 1000)
    while site.now_ms + 5000 <= end_ms:
        site.wait(5).obeyed(**changes)
    site.now_ms = end_ms
    return bool(site.view().settled)


@pytest.mark.parametrize(("seconds", "settled"), [(59.999, False), (60, True), (60.001, True)])
def test_charger_settles_in_a_minute(seconds: float, settled: bool) -> None:
    """What it draws has stood still for 60 s, to the millisecond: then it is settled."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed(ma=(10_000, 0, 0))
    assert settling(site, seconds, ma=(10_000, 0, 0)) == settled


@pytest.mark.parametrize(("ma", "settled"), [(9000, True), (10_500, True), (10_501, False)])
def test_only_a_rise_unsettles(ma: int, settled: bool) -> None:
    """Less, or half an ampere more, is settled still; more than that begins anew."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed(ma=(10_000, 0, 0))
    assert settling(site, 60, ma=(10_000, 0, 0))
    assert site.wait(1).obeyed(ma=(ma, 0, 0)).view().settled == settled


def test_slow_rise_unsettles_too() -> None:
    """A rise in small steps counts from the least it drew, so that it does not pass unseen."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed(ma=(10_000, 0, 0))
    assert settling(site, 60, ma=(10_000, 0, 0))
    seen = [site.wait(1).obeyed(ma=(10_000 + step_ma, 0, 0)).view().settled for step_ma in (200, 400, 600)]
    assert seen == [True, True, False]


@pytest.mark.parametrize(("told", "settled"), [(11_000, True), (10_000, True), (9999, False), (17_000, False)])
def test_being_told_less_than_it_draws_or_more_unsettles(told: int, settled: bool) -> None:
    """A lowering that does not touch what it draws leaves a charger settled; a raise, or a real cut, does not."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed(ma=(10_000, 0, 0))
    assert settling(site, 60, ma=(10_000, 0, 0))
    site.tell(told)
    site.wait(1).obeyed(ma=(min(told, 10_000), 0, 0))
    assert site.view().settled == settled


@pytest.mark.parametrize(("seconds", "settled"), [(60, False), (62.199, False), (62.2, True)])
def test_charger_is_not_settled_while_more_is_on_its_way(seconds: float, settled: bool) -> None:
    """A raise that was sent and taken back unheard may still flow: until its lease must be over nothing is settled."""
    site = Site().say()
    site.tell(10_000)
    site.wait(1).obeyed()
    site.tell(16_000)
    site.tell(10_000)
    assert settling(site, seconds, ma=(10_000, 0, 0), seq=1) == settled


def test_new_plug_state_unsettles() -> None:
    """A car that begins, ends or leaves is no longer settled."""
    site = Site().say()
    assert settling(site, 61, plug=WAITING, ma=(0, 0, 0))
    site.wait(1).say(plug=FINISHED)
    assert not site.view().settled


# -------------------------------------------------------------------------------------------- plan, charge now, prio
def test_plan_is_followed_for_one_session() -> None:
    """A plan sets when a car begins and what is aimed for; the next session begins as newcomers do."""
    site = Site().say(wh=1000)
    before = site.view()
    assert (before.start_ms, before.aim_wh, before.need_wh) == (GO_MS, 8000, 8000)
    site.fleet.follow(Proposal(start_ms={"a": 5_000_000}, aim_wh={"a": 7000}, newcomer_ms=(6_000_000,)))
    view = site.view()
    assert (view.start_ms, view.aim_wh, view.need_wh) == (5_000_000, 6000, 8000)
    assert site.wait(1).say(wh=2000).view().aim_wh == 5000
    site.wait(1).say(plug=UNPLUGGED)
    site.wait(1).say()
    assert (site.view().start_ms, site.view().aim_wh) == (6_000_000, 9000)


def test_plan_never_aims_for_more_than_is_asked() -> None:
    """An aim above the request is the request."""
    site = Site().say()
    site.fleet.follow(Proposal(start_ms={"a": 0}, aim_wh={"a": 50_000}, newcomer_ms=(0,)))
    assert site.view().aim_wh == site.view().need_wh == 9000


def test_arrivals_are_told_once() -> None:
    """Each session that is seen to begin counts once; a car found there came at another hour, but is news."""
    site = Site("a", "b").say("a").say("b", plug=UNPLUGGED)
    assert (site.fleet.arrivals, site.fleet.news) == (0, True)
    site.wait(1).say("a").say("b")
    assert site.fleet.arrivals == 1
    site.wait(1).say("a", plug=CHARGING).say("b", plug=FINISHED)
    assert site.fleet.arrivals == 1
    site.wait(1).say("a", plug=UNPLUGGED).wait(1).say("a")
    assert site.fleet.arrivals == 2


def test_charge_now_is_granted_once_a_session() -> None:
    """A request to be charged at once is asked for once, holds however often it is said, and ends with the session."""
    site = Site().say()
    asked: list[str] = []

    def grant(name: str) -> bool:
        asked.append(name)
        return True

    site.fleet.grant_now = grant
    for _ in range(3):
        site.fleet.hear([Wish("a", 20_000, 3600, now=True)], site.now_ms)
    assert (asked, site.view().now) == (["a"], True)
    site.fleet.hear([Wish("a", 20_000, 3600)], site.now_ms)
    assert not site.view().now
    site.fleet.hear([Wish("a", 20_000, 3600, now=True)], site.now_ms)
    site.wait(1).say(plug=UNPLUGGED)
    assert not site.view().now


def test_charge_now_that_is_refused_is_an_ordinary_wish() -> None:
    """When the month is used up the wish counts as any other."""
    site = Site().say()
    site.fleet.grant_now = lambda _name: False
    site.fleet.hear([Wish("a", 20_000, 3600, now=True)], site.now_ms)
    assert (site.view().now, site.view().need_wh) == (False, 20_000)


def test_priority_of_a_wish_holds_for_its_session() -> None:
    """The priority asked for is seen by control until the car leaves."""
    site = Site().say()
    assert site.view().prio == 0
    site.fleet.hear([Wish("a", 20_000, 3600, prio=-3)], site.now_ms)
    assert site.view().prio == -3
    assert site.wait(1).say(plug=UNPLUGGED).view().prio == 0


# ----------------------------------------------------------------------------------------------------- what is due
def test_change_is_sent_at_once_and_once() -> None:
    """A new value leaves on its tick; the same value does not leave again before the charger has spoken."""
    site = Site().say()
    (setpoint,) = site.tell(9000)
    assert setpoint == Setpoint("a", 5, 1, BOOT, site.now_ms, 9000, 60_000)
    for _ in range(100):
        assert site.wait(1).tell(9000) == []
    assert [s.seq for s in site.tell(10_000)] == [2]


@pytest.mark.parametrize(("after_s", "renewals"), [(14.999, 0), (15, 1), (15.001, 1)])
def test_renewal_answers_telemetry_at_most_every_quarter_lease(after_s: float, renewals: int) -> None:
    """A renewal needs a stamp a quarter of a lease newer than the one last echoed."""
    site = Site().say()
    site.tell(16_000)
    site.wait(after_s).obeyed()
    due = site.tell(16_000)
    assert len(due) == renewals
    assert all(s.tick_ms == site.now_ms for s in due)


def test_chatter_brings_no_more_renewals() -> None:
    """Telemetry each second, also with another value than told: four renewals a minute, no more."""
    site = Site().say()
    site.tell(16_000)
    sent = 0
    for _ in range(60):
        site.wait(1).obeyed(allowed_ma=12_000)
        sent += len(site.tell(16_000))
    assert sent == 4


def test_lost_lowering_is_repeated_with_each_telemetry() -> None:
    """While the charger still allows more and has not echoed the lowering, each word of it is answered."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed()
    old_seq = site.fleet.units["a"].seq
    site.tell(6000)
    for _ in range(3):
        assert site.wait(1).tell(6000) == []
        site.obeyed(seq=old_seq, allowed_ma=16_000)
        assert [s.ma for s in site.tell(6000)] == [6000]
    site.wait(1).obeyed()
    assert site.tell(6000) == []


def test_lost_lowering_is_repeated_in_safe_too() -> None:
    """Without renewals, too: what stands above what is wanted is told again."""
    site = Site(fallback_ma=6000).say()
    site.tell(16_000)
    site.wait(1).obeyed()
    old_seq = site.fleet.units["a"].seq
    site.tell(6000, renew=False)
    site.wait(1).obeyed(seq=old_seq, allowed_ma=16_000)
    assert [s.ma for s in site.tell(6000, renew=False)] == [6000]


def test_safe_renews_nothing() -> None:
    """A charger at or below its fallback that is to stay there is left alone, lease or no lease."""
    for told in (0, 6000):
        site = Site(fallback_ma=6000).say()
        site.tell(told)
        site.wait(20).obeyed()
        assert site.tell(told, renew=False) == []
        site.wait(60).obeyed(allowed_ma=6000, lease_ms=0)
        assert site.tell(told, renew=False) == []


def test_refused_raise_is_asked_again() -> None:
    """A raise on an old echo is refused and answered with fresh telemetry; then it is sent once more."""
    site = Site().say().wait(100)
    site.tell(9000)
    site.wait(1).say()
    assert [(s.ma, s.tick_ms) for s in site.tell(9000)] == [(9000, site.now_ms)]


def test_current_at_or_below_fallback_needs_no_lease() -> None:
    """Zero with a fallback of zero is renewed never; zero with a fallback of 6 A is, or the car would begin to draw."""
    quiet = Site().say()
    assert [len(quiet.wait(20).say().tell(0)) for _ in range(5)] == [0] * 5
    held = Site(fallback_ma=6000).say()
    assert [s.ma for s in held.tell(0)] == [0]
    assert [len(held.wait(20).obeyed().tell(0)) for _ in range(5)] == [1] * 5


def test_c1_charger_that_acknowledges_and_does_not_obey_is_told_again() -> None:
    """It echoes the zero and allows 16 A all the same: told again, at the pace of renewals."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed()
    site.tell(0)
    assert [len(site.wait(5).obeyed(allowed_ma=16_000).tell(0)) for _ in range(6)] == [0, 0, 1, 0, 0, 1]


def test_unplugged_charger_with_a_living_setpoint_is_told_again() -> None:
    """A lost goodbye is repeated; one without a lease needs none."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed(plug=UNPLUGGED)
    assert len(site.tell(0)) == 1
    site.wait(1).say(plug=UNPLUGGED, epoch=5, seq=1, allowed_ma=16_000, lease_ms=40_000)
    assert len(site.tell(0)) == 1
    site.wait(1).say(plug=UNPLUGGED, epoch=5, seq=2)
    assert site.tell(0) == []


def test_lowerings_leave_first() -> None:
    """In one tick everything that goes down leaves before anything that goes up."""
    site = Site("a", "b", "c").say("a").say("b").say("c")
    site.tell(16_000, "b")
    due = site.fleet.due(
        [Command("a", 9000, 0, -1, True), Command("b", 6000, 0, -1, True), Command("c", 9000, 0, -1, True)],
        site.now_ms,
    )
    assert [s.charger for s in due] == ["b", "a", "c"]


def test_c2_late_charger_keeps_old_value_in_ledger() -> None:
    """Until telemetry echoes the lowering, the raise before it still counts; then the lower value does."""
    site = Site().say()
    site.tell(32_000)
    site.wait(1).obeyed()
    old_seq = site.fleet.units["a"].seq
    site.tell(6000)
    for _ in range(30):
        site.wait(2).obeyed(seq=old_seq, allowed_ma=32_000, lease_ms=50_000)
        site.tell(6000)
        assert site.view().possible_ma == 32_000
    site.wait(1).obeyed()
    assert site.view().possible_ma == 6000


# ----------------------------------------------------------------------------------------------- outages and epochs
def test_q2_after_an_outage_the_old_setpoint_is_history() -> None:
    """A lease that ended takes its setpoint with it: what is present is the fallback, and from there leads a ramp."""
    site = Site(fallback_ma=6000).say()
    site.tell(32_000)
    site.wait(1).obeyed()
    assert site.view().set_ma == 32_000
    site.broker_up = False
    site.wait(600)
    assert (site.view().silent, site.view().set_ma, site.view().possible_ma) == (True, 6000, 6000)
    site.broker_up = True
    site.say(epoch=5, seq=1, plug=CHARGING, allowed_ma=6000, ma=(6000, 0, 0))
    assert (site.view().silent, site.view().set_ma, site.view().possible_ma) == (False, 6000, 6000)
    assert [s.ma for s in site.tell(8000)] == [8000]


def test_setpoint_on_its_way_is_present_although_no_lease_is_told_yet() -> None:
    """Telemetry made before the raise arrived does not take it back."""
    site = Site().say()
    site.tell(9000)
    site.wait(1).say()
    assert (site.view().set_ma, site.view().possible_ma) == (9000, 9000)


def test_derated_charger_keeps_its_setpoint() -> None:
    """A charger that allows less than told, under a living lease, is not told something new each tick."""
    site = Site().say()
    site.tell(32_000)
    site.wait(1).obeyed(allowed_ma=20_000, ma=(20_000, 0, 0))
    assert (site.view().set_ma, site.view().possible_ma) == (32_000, 20_000)


def test_q18_what_the_broker_did_not_take_is_not_remembered() -> None:
    """A setpoint that could not be sent changes nothing, and is due again."""
    site = Site().say()
    site.broker_up = False
    assert site.tell(9000) == []
    assert (site.view().set_ma, site.view().possible_ma, site.fleet.units["a"].seq) == (0, 0, 0)
    site.broker_up = True
    assert [s.ma for s in site.tell(9000)] == [9000]


def counter(count: int, number: int = 0) -> int:
    """The epoch with this counter, of the controller that has drawn this number."""
    return count * EPOCH_STEP + number


@pytest.mark.parametrize(
    ("own", "echoed", "begins"),
    [
        (0, {"a": 0, "b": 0}, 1),
        (0, {"a": 7, "b": 3}, 8),
        (0, {"a": 1000, "b": 3}, 1001),
        (0, {"a": 1001, "b": 3}, 4),
        (0, {"a": 50_000, "b": 50_000}, 50_001),
        (500, {"a": 1500, "b": 3}, 1501),
        (500, {"a": 1501, "b": 3}, 501),
    ],
)
def test_epoch_begins_above_what_counts(own: int, echoed: dict[str, int], begins: int) -> None:
    """Newest + 1, never below its own; an epoch counts when it is at most own + 1000 or two chargers echo it."""
    site = Site("a", "b", epoch=counter(own, 9))
    for name, count in echoed.items():
        site.say(name, epoch=counter(count, 50))
    site.fleet.rival = True
    site.begin(number=3)
    assert (site.fleet.epoch, site.fleet.rival) == (counter(begins, 3), False)
    for name, count in echoed.items():
        (fence,) = site.tell(9000, name)
        assert fence.epoch > counter(count, 50)
        assert site.wait(1).obeyed(name).view(name).possible_ma == 0


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (40_000, 65_535)])
def test_h14_two_that_begin_at_once_have_unequal_epochs(first: int, second: int) -> None:
    """Both have heard the same; the numbers they drew tell them apart, and a later one is newer than both."""
    one, two = (
        Site(epoch=0).say(epoch=counter(6, 77)).begin(first),
        Site(epoch=0).say(epoch=counter(6, 77)).begin(second),
    )
    assert one.fleet.epoch != two.fleet.epoch
    assert counter(6, 77) < min(one.fleet.epoch, two.fleet.epoch)
    assert next_epoch(min(one.fleet.epoch, two.fleet.epoch), 0) > max(one.fleet.epoch, two.fleet.epoch)


def test_h14_a_controller_that_begins_knows_nothing_of_what_flows() -> None:
    """What a charger said under an older controller is no promise: it counts at its nameplate until it echoes ours."""
    site = Site("a", "b").say("a").say("b", plug=UNPLUGGED).begin()
    for name in "ab":
        assert (site.view(name).possible_ma, site.view(name).settled) == (32_000, False)
        assert [s.ma for s in site.tell(16_000, name)] == [0]
        assert site.wait(1).say(name, epoch=5).view(name).possible_ma == 32_000
        assert site.wait(1).obeyed(name).view(name).possible_ma == 0
        assert [s.ma for s in site.tell(16_000, name)] == [16_000]


@pytest.mark.parametrize("step_ms", [-1, 0, 1])
@pytest.mark.parametrize("heard", [False, True])
def test_a_charger_that_says_nothing_is_doubted_for_ten_minutes(heard: bool, step_ms: int) -> None:
    """Since the beginning, or since its last word if that is later; a dead charger does not block its nameplate."""
    site = Site(fallback_ma=6000).begin()
    if heard:
        site.wait(300).say(epoch=5, plug=FAULTED)
    site.wait(600)
    site.now_ms += step_ms
    assert site.view().silent
    assert site.view().possible_ma == (6000 if step_ms >= 0 else 32_000)


def test_a_charger_that_speaks_and_takes_no_fence_is_doubted_for_ever() -> None:
    """Whoever it obeys, it is not us."""
    site = Site().say().begin()
    for _ in range(100):
        site.wait(30).say(epoch=5)
    assert site.view().possible_ma == 32_000


@pytest.mark.parametrize(
    ("fallback_ma", "heard", "told", "fence_ma"),
    [
        (0, None, 0, 0),
        (0, None, 32_000, 0),
        (6000, None, 32_000, 6000),
        (6000, None, 0, 0),
        (0, 16_000, 32_000, 0),
        (6000, 16_000, 32_000, 6000),
        (6000, 16_000, 0, 0),
        (6000, 0, 32_000, 0),
        (6000, 5999, 32_000, 0),
        (10_000, 7000, 32_000, 7000),
    ],
)
def test_a_fence_can_only_lower(fallback_ma: int, heard: int | None, told: int, fence_ma: int) -> None:
    """No lease, and no more than the charger has: its fallback, what it allows, what is wanted, whichever is least."""
    site = Site(fallback_ma=fallback_ma)
    if heard is not None:
        site.say(allowed_ma=heard, lease_ms=50_000)
    site.begin(number=3)
    stamp = (0, 0) if heard is None else (BOOT, site.now_ms)
    assert site.tell(told) == [Setpoint("a", counter(1, 3), 1, *stamp, fence_ma, 0)]
    assert site.fleet.units["a"].sent == ()


@pytest.mark.parametrize("step_ms", [-1, 0])
@pytest.mark.parametrize(("heard", "again_s"), [(True, 10), (False, 60)])
def test_a_lost_fence_is_repeated(heard: bool, again_s: int, step_ms: int) -> None:
    """Every 10 s where the charger was heard lately, every minute where not, until it is echoed."""
    site = Site()
    if heard:
        site.say()
    site.begin()
    for _ in range(3):
        assert len(site.tell(0)) == 1
        site.wait(again_s)
        site.now_ms += step_ms
        assert len(site.tell(0)) == (step_ms == 0)
        site.wait(again_s)
    site.obeyed()
    assert site.wait(again_s).tell(0) == []


def test_less_is_told_at_once_to_who_is_not_fenced_yet() -> None:
    """A lowering never waits its turn: the guard wants less than the fence of a second ago said."""
    site = Site(fallback_ma=6000).say().begin()
    assert [s.ma for s in site.tell(6000)] == [6000]
    assert site.wait(1).tell(6000) == []
    assert [s.ma for s in site.tell(0)] == [0]


def test_c13_fences_of_many_chargers_are_no_flood() -> None:
    """3,000 chargers: fifty a tick, who was heard first, and everybody within a minute; then each ten seconds later."""
    ids = [f"p{k:04d}" for k in range(3000)]
    site = Site(*ids)
    for name in ids[1000:]:
        site.say(name)
    site.begin()
    order: list[str] = []
    for _ in range(60):
        due = site.fleet.due([Command(name, 0, 0, -1, True) for name in ids], site.now_ms)
        for setpoint in due:
            site.fleet.sent(setpoint, site.now_ms)
            site.wait(0.0).obeyed(setpoint.charger)
        order += [setpoint.charger for setpoint in due]
        assert len(due) == 50
        site.wait(1)
    assert order == ids[1000:] + ids[:1000]


def test_c8_a_charger_that_keeps_the_epoch_over_a_restart_stays_ours() -> None:
    """After a restart it echoes our epoch and no setpoint: it is believed. One that forgot is fenced anew."""
    site = Site().say().begin()
    site.tell(0)
    site.wait(1).obeyed()
    assert site.wait(1).say(boot=78).view().possible_ma == 0
    assert site.wait(1).say(boot=79, epoch=0).view().possible_ma == 32_000
    assert [s.lease_ms for s in site.wait(10).tell(16_000)] == [0]
    assert site.wait(1).obeyed(boot=79).view().possible_ma == 0


@pytest.mark.parametrize(
    ("ahead", "lease_ms", "rival"),
    [(0, 50_000, False), (1, 50_000, True), (1000, 50_000, True), (1001, 50_000, False), (1, 0, True), (1, 1, True)],
)
def test_h14_a_newer_epoch_is_a_rival(ahead: int, lease_ms: int, rival: bool) -> None:
    """Another controller commands here, with or without a lease; one odd charger far ahead is none."""
    site = Site("a", "b", epoch=counter(5, 9))
    site.say("a", epoch=counter(5 + ahead, 9), lease_ms=lease_ms, allowed_ma=16_000)
    assert site.fleet.rival == rival
    assert site.fleet.epoch == counter(5, 9)


@pytest.mark.parametrize(("seq", "lease_ms", "rival"), [(7, 0, False), (8, 0, True), (7, 1, True)])
def test_h14_only_a_new_word_of_a_rival_or_its_lease_is_a_sign_of_life(seq: int, lease_ms: int, rival: bool) -> None:
    """What a charger was told long ago it echoes for ever; that does not keep this controller silent."""
    site = Site().say(epoch=counter(1), seq=7)
    site.fleet.rival = False
    site.wait(30).say(epoch=counter(1), seq=seq, lease_ms=lease_ms)
    assert site.fleet.rival == rival


def test_h14_two_chargers_far_ahead_are_a_rival() -> None:
    """What one odd charger may dream of, two do not; also when the first was outdone in between."""
    for outdone in (False, True):
        site = Site("a", "b").say("a", epoch=counter(9000), lease_ms=50_000)
        assert not site.fleet.rival
        if outdone:
            site.tell(0, "a")
            site.wait(1).obeyed("a")
        site.say("b", epoch=counter(9000), lease_ms=50_000)
        assert (site.fleet.rival, site.fleet.newest_epoch) == (True, counter(9000))


def test_one_odd_charger_is_handled_alone() -> None:
    """An absurd epoch costs nobody but the charger that claims it: it is outdone there, and the fleet goes on."""
    far = (1 << 48) - (1 << 17)
    site = Site("a", "b").say("a", epoch=far - 1).say("b")
    assert (site.fleet.epoch, site.fleet.rival) == (5, False)
    assert [s.epoch for s in site.tell(9000, "b")] == [5]
    assert site.view("a").possible_ma == 32_000
    assert [(s.epoch, s.ma) for s in site.tell(9000, "a")] == [(far + 5, 0)]
    assert site.wait(1).obeyed("a").view("a").possible_ma == 0
    assert [(s.epoch, s.ma) for s in site.tell(9000, "a")] == [(far + 5, 9000)]


def test_no_epoch_is_told_that_no_charger_may_say() -> None:
    """The last epochs cannot be outdone: such a charger stays unfenced, counts at its nameplate, gets no raise."""
    last = (1 << 48) - 1
    site = Site("a", "b").say("a", epoch=last).say("b")
    assert [(s.epoch, s.ma, s.lease_ms) for s in site.tell(9000, "a")] == [(5, 0, 0)]
    assert site.view("a").possible_ma == 32_000
    site.say("b", epoch=last)
    site.begin()
    assert site.fleet.epoch < 1 << 48


def test_h14_a_twin_with_the_same_epoch_is_a_rival() -> None:
    """A seq we never sent, in our own epoch: a twin. Both fall silent, and begin anew with other numbers."""
    site = Site().say()
    site.tell(9000)
    site.wait(1).say(epoch=5, seq=40, allowed_ma=16_000, lease_ms=50_000, plug=CHARGING)
    assert site.fleet.rival
    site.wait(700).begin(number=8)
    assert (site.fleet.epoch, site.fleet.rival) == (counter(1, 8), False)


def test_what_was_told_in_an_epoch_before_is_history() -> None:
    """A controller that begins anew has told nobody anything: all it gives is a raise that needs room."""
    site = Site().say()
    site.tell(16_000)
    site.wait(1).obeyed()
    assert site.view().set_ma == 16_000
    assert site.begin().view().set_ma == 0


def test_nobody_is_a_rival_before_authority() -> None:
    """While starting up, every epoch is only heard."""
    site = Site(epoch=0).say(epoch=900, lease_ms=50_000)
    assert not site.fleet.rival


def test_a_changed_wish_forgets_what_the_plan_lacked_of_the_old_one() -> None:
    """40 kWh are asked and 20 aimed at; lowered to 10 kWh, all of it is aimed at until the next plan."""
    site = Site()
    site.fleet.hear([Wish("a", 40_000, 3600)], site.now_ms)
    site.say(wh=0)
    site.fleet.follow(Proposal(start_ms={"a": 0}, aim_wh={"a": 20_000.0}))
    assert site.view().aim_wh == 20_000
    site.fleet.hear([Wish("a", 10_000, 3600)], site.now_ms)
    assert (site.view().need_wh, site.view().aim_wh) == (10_000, 10_000)


@pytest.mark.parametrize(("after_s", "proven_ma"), [(0, 20_000), (4.999, 20_000), (5, 7_000), (30, 7_000)])
def test_draw_above_what_is_allowed_proves_nothing_after_five_seconds(after_s: float, proven_ma: int) -> None:
    """Its last word says 20 A and 7 allowed: it was falling. What may flow counts it on, the proof does not."""
    site = Site()
    site.say(plug=CHARGING, ma=(20_000, 0, 0), allowed_ma=7000, lease_ms=50_000)
    site.wait(after_s)
    assert (site.view().ma, site.view().possible_ma) == (proven_ma, 20_000)
    ((row, heard_ms, told_ms),) = site.fleet.evidence((site.view(),), 0)
    assert (row.ma, heard_ms, told_ms) == (20_000, 1_000_000, NEVER)
