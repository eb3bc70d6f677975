"""The whole system under faults, in simulated time: fifty seeded nights, and a checker that can fail.

Many more nights are ``taiqu bench safety --nights 2000``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edge.core import control, lease, ledger, watch
from edge.fleet import Fleet
from edge.voice import Voice
from hil_tests.rig.campaign import outcome, play_night
from hil_tests.rig.faults import BY_ID, CATALOGUE, WHOLE_NIGHT, Strike
from hil_tests.rig.nemesis import ACTS
from hil_tests.rig.rules import INVARIANTS, PROMISES
from hil_tests.rig.small import RATINGS_KVA, SMALL_KVA, draw
from hil_tests.rig.world import World, night
from tools.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.fleet import Unit
    from edge.ports import ChargerState
    from hil_tests.rig.campaign import Outcome
    from hil_tests.rig.faults import Value

NIGHTS = 50
MENDED: list[tuple[int, str, int | None, int]] = [
    # The last word of a charger said 20 A; it had gone down since and that word was lost: what the meter shows less
    # 20 A was too little for residents, and others were raised into the difference.
    (1, "net_loss", 20, 77),
    # Readings that never move, and readings a thousand times too small, were believed.
    (3, "meter_frozen", None, 400),
    (7, "meter_frozen", None, 400),
    (5, "meter_scale", None, 250),
    (11, "meter_scale", None, 630),
    (42, "meter_scale", None, 630),
    # A cut that was still landing when the load rose again was counted once more: 16 s over.
    (880008, "net_loss", None, 250),
    # A raise up to a draw that was past, its end lost on the way, cost no credit: 2 % in 10 s were passed.
    (7010, "net_reorder", 26, 100),
    (7001, "net_delay", 13, 50),
]
"""Seed, fault, number of chargers, kVA: nights in which something was broken once."""
KEPT: list[tuple[int, int, list[tuple[str, int, int, dict[str, Value], int]]]] = [
    # After a tick far ahead nobody was told to stay below its fallback: the last echo lay in the future.
    (65, 630, [
        ("car_overshoots", 538, 1020, {"factor": 1.0994434433788964}, 3481896146),
        ("charger_tick_ahead", 804, 849, {"by_ms": 4294967296}, 1686408409),
        ("charger_lies_low", 862, 1031, {"factor": 0.3398212950519421}, 2558520433),
        ("residents_over", 903, 1175, {}, 1464750046),
    ]),
    # Readings 7 s apart counted as ten in a row, on the way out of safe.
    (77, 400, [
        ("meter_nonsense", 526, 633, {"kind": "inf"}, 1007701159),
        ("meter_late", 609, 827, {"share": 0.5668936043559785}, 2409354551),
        ("charger_exports", 822, 1193, {"amps": 16}, 3338442546),
        ("broker_dead", 848, 942, {"jitter_s": 28}, 1379615761),
    ]),
    # Three appliances within 8 s: a cut on its way was cut again each second, and its car never followed.
    (126, 250, [
        ("net_loss", 734, 1127, {"share": 0.29557583372664364}, 4090036220),
        ("meter_crc", 746, 871, {"share": 0.08364511021175583}, 3808492306),
    ]),
    # A raise up to the draw that a charger claimed cost no credit: 56 A in 10 s.
    (987654046, 250, [
        ("charger_exports", 762, 1094, {"amps": 15}, 2774191933),
        ("net_all", 777, 1016, {}, 2522879675),
        ("malformed", 861, 985, {"share": 0.23236745462784106}, 3447925173),
    ]),
    # A raise back to a draw, or an allowance, of before the last lowering took no room: more might flow than fits.
    (20, 63, [
        ("net_reorder", 315, 804, {"late_s": 20, "share": 0.6272294750652945}, 2332291767),
        ("charger_rounds_up", 335, 597, {}, 3227815304),
        ("net_twice", 761, 1190, {"share": 0.2012192037825309}, 1563654530),
    ]),
    (48, 50, [
        ("charger_reboots", 580, 604, {"every_s": 60}, 4151786979),
        ("broker_restart", 752, 761, {"jitter_s": 7}, 2905478572),
        ("meter_crc", 762, 845, {"share": 0.08340834896141261}, 1085609424),
        ("meter_energy_back", 870, 912, {}, 2805886522),
    ]),
]  # fmt: skip
"""Seed, kVA, strikes: of several faults at once, written out, for what a seed draws changes with the catalogue."""
IDS = [fault.id for fault in CATALOGUE]


def told(one: Outcome) -> str:
    """A failing night, as the command would tell it."""
    return "\n".join([f"taiqu bench safety --nights 1 --seed {one.seed}", *one.story()])


@pytest.mark.parametrize("seed", range(1, NIGHTS + 1))
def test_no_invariant_is_broken(seed: int) -> None:
    """One to four faults of the catalogue, drawn from the seed."""
    one = play_night(seed)
    assert not one.violations, told(one)
    assert one.strikes


@pytest.mark.parametrize(
    ("fault", "promise"),
    [("meter_silent", "P1"), ("host_killed", "P2"), ("broker_dead", "P2"), ("net_all", "P2"), ("base_step", "P3")],
)
def test_promises_are_measured_and_kept(fault: str, promise: str) -> None:
    """The stopwatch of each promise runs in nights with its fault alone, and stops in time."""
    nights = [play_night(seed, fault) for seed in range(1, 5)]
    assert sum(one.measured[promise] for one in nights) > 0
    assert max(one.worst_s.get(promise, 0.0) for one in nights) <= PROMISES[promise][1]
    assert not any(one.violations for one in nights), "\n".join(told(one) for one in nights)


@pytest.mark.parametrize(("seed", "fault", "chargers", "kva"), MENDED)
def test_night_that_was_broken_once_stays_whole(seed: int, fault: str, chargers: int | None, kva: int) -> None:
    """What the simulator has found, and was mended."""
    one = play_night(seed, fault, chargers, kva)
    assert not one.violations, told(one)


@pytest.mark.parametrize(("seed", "kva", "strikes"), KEPT, ids=[str(seed) for seed, _, _ in KEPT])
def test_night_of_several_faults_that_was_broken_once_stays_whole(
    seed: int, kva: int, strikes: list[tuple[str, int, int, dict[str, Value], int]]
) -> None:
    """The same, with its faults written out."""
    struck = tuple(Strike(BY_ID[fault], *rest) for fault, *rest in strikes)
    one = outcome(seed, World(draw(seed, None, kva), struck))
    assert not one.violations, told(one)


def test_same_seed_same_night() -> None:
    """Two runs of a seed agree in every setpoint and every check."""
    first, second = (play_night(12) for _ in range(2))
    assert first == second
    assert first.setpoints > 0


@pytest.mark.slow
def test_a_night_with_324_chargers() -> None:
    """The size of the studied community, under the faults of a seed."""
    one = play_night(5, chargers=324)
    assert not one.violations, told(one)


def test_areas_are_small_and_large() -> None:
    """Every rating is drawn, a small one by a quarter of the seeds; a number of chargers alone changes no rating."""
    drawn = [draw(seed).community.rating_kva for seed in range(400)]
    assert set(drawn) == {*RATINGS_KVA, *SMALL_KVA}
    assert 0.2 < sum(kva in SMALL_KVA for kva in drawn) / len(drawn) < 0.3
    few = draw(3, chargers=1)
    assert few.count == 1
    assert few.community.rating_kva in {*RATINGS_KVA, *SMALL_KVA}
    assert draw(3, chargers=324).community.rating_kva == 1251
    assert draw(3, kva=30).community.rating_kva == 30


# ------------------------------------------------------------------------------------------------------- the catalogue
def test_every_fault_is_told_and_done() -> None:
    """Both languages, an act, and a reason wherever something is not owed or not ready."""
    assert len(set(IDS)) == len(IDS)
    assert set(ACTS) == set(IDS)
    for fault in CATALOGUE:
        assert fault.en.isascii()
        assert not fault.zh.isascii()
        assert fault.seconds == WHOLE_NIGHT or 0 < fault.seconds[0] <= fault.seconds[1]
        assert fault.voids <= set(INVARIANTS)
        assert bool(fault.voids) == bool(fault.because)
        assert not fault.promise or fault.promise in PROMISES


@pytest.mark.slow
@pytest.mark.parametrize("fault", IDS)
def test_every_fault_can_strike(fault: str) -> None:
    """Each fault by itself: the night is played to its end, and nothing is broken."""
    one = play_night(3, fault)
    assert one.strikes[0][0] == fault
    assert one.checked["I15"] > 0
    assert not one.violations, told(one)


# ----------------------------------------------------------------------------------------------- the checker can fail
def _ages_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(watch, "HOLD_MS", 1 << 40)
    patch.setattr(watch, "SAFE_MS", 1 << 40)


def _safe_is_left_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(watch, "RECOVER_SAMPLES", 1)
    patch.setattr(watch, "RECOVER_MS", 0)


def _no_wait_at_the_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(watch, "LEASE_MS_MAX", 0)


def _lease_from_receipt(patch: pytest.MonkeyPatch) -> None:
    real = lease.accept

    def accept(held: lease.Lease, asked: lease.Setpoint, *rest: int) -> tuple[lease.Lease, int]:
        return real(held, asked._replace(boot=held.boot, tick_ms=rest[-1]), *rest)

    patch.setattr(lease, "accept", accept)


def _outstanding_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = ledger.possible_ma
    patch.setattr(ledger, "possible_ma", lambda _sent, *rest: real((), *rest))


def _no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fleet, "_mind_foreign", lambda *_: None)
    patch.setattr(Fleet, "_fenced", lambda *_: True)


def _line_too_high(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("edge.config.limit_permille_at", lambda *_: 1000)


def _climbs_twice_as_fast(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(control, "RAISE_PERMILLE_PER_10S", 40)
    patch.setattr(control, "CREDIT_MA_MIN", 30_000)


def _silence_is_no_load(patch: pytest.MonkeyPatch) -> None:
    real = control._Law.observe

    def observe(law: control._Law) -> bool:
        fresh = real(law)
        if not fresh and law.bases:
            law.bases = (*law.bases[:-1], tuple(0 for _ in law.bases[-1]))
        return fresh

    patch.setattr(control._Law, "observe", observe)


def _epochs_begin_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("edge.fleet.next_epoch", lambda *_: 1 << 16)


def _one_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    real = Fleet._hear_state

    def hear(fleet: Fleet, unit: Unit, state: ChargerState, now_ms: int) -> None:
        if unit.config.id != "p002" or unit.state is None:
            real(fleet, unit, state, now_ms)

    patch.setattr(Fleet, "_hear_state", hear)


def _input_fails_the_tick(patch: pytest.MonkeyPatch) -> None:
    real = Fleet._hear_state

    def hear(fleet: Fleet, unit: Unit, state: ChargerState, now_ms: int) -> None:
        assert state.plug < 5
        real(fleet, unit, state, now_ms)

    patch.setattr(Fleet, "_hear_state", hear)


def _nothing_is_said(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Voice, "say", lambda *_: None)


@pytest.mark.parametrize(
    ("sabotage", "fault", "nights", "found"),
    [
        (_ages_do_not_matter, "meter_silent", 2, {"P1"}),
        (_ages_do_not_matter, "meter_silent", 2, {"I2"}),
        (_silence_is_no_load, "meter_silent", 2, {"I3"}),
        (_climbs_twice_as_fast, "car_leaves", 2, {"I6"}),
        (_epochs_begin_anew, "host_killed", 2, {"I9"}),
        (_line_too_high, "car_sleeps", 1, {"I14"}),
        (_one_is_not_heard, "charger_reboots", 2, {"I20"}),
        (_safe_is_left_at_once, "meter_silent", 2, {"I17"}),
        (_no_wait_at_the_start, "host_killed", 2, {"I12"}),
        (_lease_from_receipt, "net_delay", 4, {"I10", "I11"}),
        (_outstanding_forgotten, "net_loss", 2, {"I7"}),
        (_no_fence, "second_controller", 2, {"N2"}),
        (_line_too_high, "base_step", 4, {"I1", "X1", "P3"}),
        (_input_fails_the_tick, "malformed", 4, {"I15"}),
        (_nothing_is_said, "meter_frozen", 2, {"N3"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_sabotage_is_caught(
    sabotage: Callable[[pytest.MonkeyPatch], None],
    fault: str,
    nights: int,
    found: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A product broken on purpose is found out within so many nights, under the invariant that is broken."""
    sabotage(monkeypatch)
    assert _caught(lambda seed: night(seed, fault), nights, found)


def test_raise_on_one_reading_is_caught() -> None:
    """A controller that believes one fresh reading, with a meter whose replies often come too late."""

    def rash(seed: int) -> World:
        world = night(seed + 7, "meter_late")
        controller = world.hosts[0].controller
        assert controller is not None
        controller.settings = controller.settings._replace(raise_samples=1)
        return world

    assert _caught(rash, 4, {"I5"})


def _caught(begin: Callable[[int], World], nights: int, found: set[str]) -> bool:
    """Is one of these broken in one of the nights?"""
    return any(
        violation.invariant in found
        for seed in range(1, nights + 1)
        for violation in outcome(seed, begin(seed)).violations
    )


# ---------------------------------------------------------------------------------------------------------- the command
def test_the_command_prints_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """``--json``: nights, faults, invariants, promises; exit code 0 where nothing was broken."""
    assert main(["bench", "safety", "--nights", "2", "--seed", "3", "--jobs", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["nights"] == 2
    assert document["violations"] == 0
    assert {row["id"] for row in document["invariants"]} == set(INVARIANTS)
    assert {row["id"] for row in document["promises"]} == set(PROMISES)
    assert sum(row["nights"] for row in document["faults"]) >= 2


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """``--table``: a fault a row, with what happens and the worst of its nights; a line of totals below."""
    assert main(["bench", "safety", "--table", "--nights", "1", "--fault", "meter_silent", "--jobs", "1"]) == 0
    *head, row, empty, _star, _codes, _, totals = capsys.readouterr().out.splitlines()
    assert [line.count("|") for line in (*head, row)] == [6, 6, 6]
    assert head[0].endswith("| over a limit, s (worst of 1 nights) | normal again, s (worst of 1 nights) |")
    assert row.startswith("| `meter_silent` (M1) | The meter answers nothing. | ")
    assert row.endswith(" | 0 | 28 |")
    assert not empty
    assert totals.startswith("1 nights, ")


def test_the_table_plays_a_fault_where_it_can_happen(capsys: pytest.CaptureFixture[str]) -> None:
    """A feeder's meter is silenced only in an area that has one."""
    command = "bench safety --table --nights 1 --fault feeder_meter_silent --jobs 1 --json"
    assert main(command.split()) == 0
    (row,) = json.loads(capsys.readouterr().out)["faults"]
    assert row["named_s"] == 5


def test_the_command_names_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """``--fault list`` prints the whole catalogue; a fault that is none is one line and exit code 2."""
    assert main(["bench", "safety", "--fault", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in IDS)
    assert main(["bench", "safety", "--fault", "gremlins"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_says_its_defaults_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help``: the first seed, what exit code 1 means, and the extra that it needs."""
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "safety", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "of the first night (default 1)" in out
    assert "Exit code 1: an invariant was broken" in out
    assert "pip install '.[bench]'" in out
