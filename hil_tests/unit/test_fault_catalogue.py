"""The fault catalogue is told, tested by name and shown in the README; and where its other rows are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hil_tests.rig.ear import PIECES
from hil_tests.rig.faults import BY_ID, CATALOGUE
from hil_tests.rig.rules import ELSEWHERE as ELSEWHERE_RULES
from hil_tests.rig.rules import INVARIANTS, MEASURED
from tools.safety import NOTES, markdown

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->"
NOT_YET = "not built yet: "
SITE = "not software: "

ELSEWHERE = {
    # Rows of the safety catalogue that no night plays: the tests that hold them, or why there is none.
    "M6": "test_m6_swapped_words_are_far_from_the_value",
    "M11": NOT_YET + "a phase's power factor is not judged; a cut that the meter does not see gives it away",
    "M16": "test_meter_wire_spoilt_is_read_again",
    "M17": "test_an_answer_that_comes_too_late_is_not_taken_for_a_new_one",
    "M22": NOT_YET + "a meter that shows whole percents is not played",
    "Q8": "test_only_fresh_messages_with_readable_topics_are_heard",
    "Q10": "test_q10_a_client_of_the_same_name_is_suspected_and_not_fought",
    "Q11": "test_silent_after_two_heartbeats",  # there are no last wills: silence is what counts
    "Q12": NOT_YET + "access rules of the broker come with provisioning",
    "Q13": NOT_YET + "access rules of the broker come with provisioning",
    "Q15": NOT_YET + "access rules of the broker come with provisioning",
    "Q16": NOT_YET + "there is no TLS",
    "Q17": NOT_YET + "there is no TLS",
    "Q18": "test_q18_nothing_is_queued_while_disconnected_and_nothing_is_retained",
    "Q19": NOT_YET + "the broker's configuration (persistence false) comes with provisioning",
    "C4": "test_nothing_stands_between_zero_and_six",
    "C10": "test_unknown_phase_counts_on_every_phase",
    "C13": "test_broker_restart_brings_everybody_back",
    "H1": "test_beside_killed_at_work_has_no_answer_and_answers_the_next_question",
    "H3": "test_host_power_cut_truncates_a_file_at_any_byte",
    "H4": "test_disk_full_is_said_once",
    "H5": "test_disk_read_only_at_the_start_is_no_reason_not_to_control",
    "H6": "test_disk_eio_in_the_middle_of_a_line_spoils_no_other",
    "H12": "test_a_virtual_day_stays_within_its_limits",
    "H13": "test_host_disk_stalls_and_nobody_waits",
    "H15": "test_host_config_truncated_at_any_byte_is_not_in_force",
    "H16": "test_no_content_of_the_file_keeps_the_controller_from_starting",
    "H17": SITE + "the configuration names the port by its id",
    "H18": "test_host_out_of_threads_surfaces_in_the_tick",
    "H20": "test_host_monotonic_clock_may_begin_anywhere",
    "G3": "test_guard_line_is_the_limit_on_each_phase",  # amperes, whatever the voltage
    "G7": "test_rating_bounds_with_confirmation",
    "G8": "test_feeder_over_its_limit_cuts_its_own",
    "P1": "test_standard_ratings_need_no_confirmation",
    "P2": "test_core_units_and_defaults",
    "P3": "test_refused_credentials_are_said_once_and_tried_again",
    "P4": "test_controller_stopped_lowers_everybody_before_it_ends",
    "P5": "test_run_refuses_the_state_of_another_area",
    "P6": NOT_YET + "nothing imports CSV",
    "P7": NOT_YET + "there is no test mode",
    "S1": NOT_YET + "access rules of the broker come with provisioning",
    "S2": NOT_YET + "access rules of the broker come with provisioning",
    "S3": "test_q4_retained_or_stale_echo_never_raises",
    "S4": NOT_YET + "there are no demand response events",
    "S5": NOT_YET + "there is no configuration tool",
    "S6": NOT_YET + "nothing is uploaded",
    "S7": "test_s7_ids_at_the_door",
    "S8": "test_s7_ids_at_the_door",  # what is no id is never written into a log
    "S9": NOT_YET + "there is no login",
    "S10": SITE + "who takes the card has its secrets; they are the site's own",
    "S11": "test_starts_of_the_valley_are_spread_over_ten_minutes",
    "S12": NOT_YET + "there are no updates by wire",
}


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names of all tests."""
    found: set[str] = set()
    for path in ROOT.glob("hil_tests/**/test_*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in found if name.startswith("test_")}


def test_every_fault_has_a_test_of_its_name(tests: set[str]) -> None:
    """``test_meter_silent_…``; a name that begins with two ids (meter_crc, meter_crc_burst) is that of the longer."""
    owners = {
        max((fault for fault in BY_ID if name.startswith(f"test_{fault}_")), key=len, default="") for name in tests
    }
    assert owners - {""} == set(BY_ID)


def test_every_other_row_has_a_test_or_a_reason(tests: set[str]) -> None:
    """Rows of the safety catalogue that are no fault of the simulator."""
    named = {text for text in ELSEWHERE.values() if not text.startswith((NOT_YET, SITE))}
    assert named <= tests
    assert not set(ELSEWHERE) & {fault.code for fault in CATALOGUE}


def test_every_invariant_has_a_check_or_a_test_of_its_own(tests: set[str]) -> None:
    """I1 to I22 of the safety catalogue: judged second by second, or held by a test, or measured; none is both."""
    assert {f"I{number}" for number in range(1, 23)} == {*ELSEWHERE_RULES, *(i for i in INVARIANTS if i[0] == "I")}
    assert not set(ELSEWHERE_RULES) & set(INVARIANTS)
    assert {text for text in ELSEWHERE_RULES.values() if not text.startswith(MEASURED)} <= tests


def test_every_fault_says_what_happens() -> None:
    """One sentence; it says "named" of those that have a key in the log, and of no other."""
    for fault in CATALOGUE:
        assert fault.answer.endswith(".")
        assert ("named" in fault.answer.lower()) == bool(fault.named), fault.id
        assert set(fault.named) <= set(PIECES)
        assert bool(fault.named) or not fault.named_within_s
        assert fault.shows in ("", "draw", "told")
        assert "|" not in fault.en + fault.answer


def test_the_table_in_the_readme_is_that_of_the_catalogue() -> None:
    """Ids, codes, words and answers; what was measured stands as it was."""
    text = (ROOT / "README.md").read_text("utf-8")
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
    rows = [
        {"fault": f.id, "code": f.code, "fails": f.en, "happens": f.answer, "over_s": None, "back_s": None}
        | {"nights": 4, "voids": f.voids}
        for f in CATALOGUE
    ]
    totals = {"faults": rows, "nights": 0, "hours": 0, "setpoints": 0, "violations": 0, "wall_s": 0, "machine": ""}
    made = markdown(totals)
    assert words(table) == words(made)
    assert made.splitlines()[0] in table
    assert NOTES in table
    assert [row for row in table.splitlines() if "\\* |" in row] == [
        row for row in table.splitlines() if row.startswith(("| `meter_ratio_half`", "| `meter_other`"))
    ]


def words(table: str) -> list[list[str]]:
    """The first three cells of every row."""
    return [line.split(" | ")[:3] for line in table.splitlines() if line.startswith("|")]
