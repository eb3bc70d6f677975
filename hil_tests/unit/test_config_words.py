"""The words a configuration is said back in, and the advice that comes with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edge.words import advise, as_json
from hil_tests.unit.area_file import AREA, BROKER, FEEDER, METER, document, loaded, stated, words

if TYPE_CHECKING:
    from pathlib import Path


def test_words_of_feeders_export_and_charge_now(tmp_path: Path) -> None:
    """What may surprise at the cabinet is said back: feeders, power that flows back, who may jump the queue."""
    plain = words(loaded(tmp_path, document()))
    assert not {"feeders", "export"} & set(plain)
    assert plain["requests"] == "a car that asked nothing gets 9 kWh by 07:00; charge now 8 times a month each"
    text = document("area", "exports = true").replace("[charging]", "[charging]\nnow_per_month = 0") + FEEDER
    config = loaded(tmp_path, text)
    rich = words(config)
    assert rich["feeders"].endswith("400 A per phase for 0 charger(s) together")
    assert rich["export"].startswith("power may flow back")
    assert rich["requests"].endswith("nobody may ask to be charged at once")
    assert any("1 feeder(s) without a charger" in line for line in advise(config))


def test_words_of_the_transformer(tmp_path: Path) -> None:
    """The rating is said back in the amperes that stand on its plate."""
    assert words(loaded(tmp_path, document()))["transformer"] == (
        "1250 kVA at 400 V = 1804 A per phase; 80 % = 1443 A, 1000 kVA"
    )
    text = document("area", "rating_kva = 1000")
    assert (
        words(loaded(tmp_path, text))["transformer"] == "1000 kVA at 400 V = 1443 A per phase; 80 % = 1155 A, 800 kVA"
    )
    text = document("area", "rating_kva = 630", "limit_pct = 78.5")
    assert words(loaded(tmp_path, text))["transformer"] == "630 kVA at 400 V = 909 A per phase; 78.5 % = 714 A, 495 kVA"


def test_words_of_the_chargers(tmp_path: Path) -> None:
    """Chargers are counted by phase, and what they could draw together is held against the limit."""
    rows = [("A", 40), ("B", 20), ("C", 10), ("ABC", 5), ("unknown", 3)]
    text = stated(AREA) + METER + BROKER + "[charging]\nfallback_a = 6\n"
    for phase, count in rows:
        text += "".join(
            f'[[chargers]]\nid = "{phase.lower()}{at}"\nphase = "{phase}"\nmax_a = 32\n' for at in range(count)
        )
    said = words(loaded(tmp_path, text))
    assert (
        said["chargers"] == "78: 40 on A, 20 on B, 10 on C, 5 on three phases, 3 on an unknown phase (counted on all)"
    )
    # 48 chargers × 32 A = 1536 A of 1804 A = 85.1 %
    assert said["all at once"].startswith("1536 A on phase A = 85.1 % of rating, 5.1 points above the limit")
    assert said["fallback"] == "a charger that hears nothing for 60 s goes to 6 A by itself"


def test_a_feeder_above_the_transformer_limits_nothing(tmp_path: Path) -> None:
    """400 A typed with a zero too many: said, for it would be accepted as a limit that never acts."""
    text = document("chargers", 'feeder = "north"') + FEEDER
    assert not [line for line in advise(loaded(tmp_path, text)) if "limits nothing" in line]
    (line,) = [one for one in advise(loaded(tmp_path, text.replace("400", "4000"))) if "limits nothing" in one]
    assert line.startswith("Feeder north bears 4000 A, more than the whole transformer's 1804 A")


def test_all_at_once_is_held_against_the_lowest_limit(tmp_path: Path) -> None:
    """A window of 5 % is what 1.7 % must be compared with."""
    text = document() + '[[area.windows]]\nfrom = "22:00"\nto = "08:00"\nlimit_pct = 5\n'
    assert "3.3 points below the lowest limit before" in words(loaded(tmp_path, text))["all at once"]


def test_words_of_the_smallest_file(tmp_path: Path) -> None:
    """What nobody wrote is said in words as well, and nothing is said that does not hold."""
    said = words(loaded(tmp_path, document()))
    assert said["windows"] == "80 % at all hours"
    assert said["meter silent"] == "nothing is raised after 5 s, everybody is at fallback after 10 s"
    assert said["broker"] == "127.0.0.1:1883, no password"
    assert said["meter"] == "eastron_sdm630 at 10.0.0.5:502, unit 1, every 1 s"
    assert said["chargers"] == "1: 1 on A, 0 on B, 0 on C, 0 on three phases"
    assert said["all at once"] == (
        "32 A on phase A = 1.7 % of rating, 78.3 points below the limit before residents are counted"
    )


def test_words_of_the_rest(tmp_path: Path) -> None:
    """Meter, broker, windows, valley and requests are said back as they will be used."""
    text = document("broker", 'username = "me"', 'password_file = "/run/secret"')
    text = text.replace('tcp = "10.0.0.5:502"', 'tcp = "[::1]:502"\nct_ratio = 400\nperiod_s = 2.5')
    text += '[[area.windows]]\nfrom = "22:00"\nto = "08:00"\nlimit_pct = 75.5\n'
    text += '[[area.windows]]\nfrom = "00:00"\nto = "00:00"\nlimit_pct = 79\n'
    said = words(loaded(tmp_path, text))
    assert said["meter"] == "eastron_sdm630 at [::1]:502, unit 1, every 2.5 s, readings × 400 (CT)"
    assert said["meter silent"] == "nothing is raised after 7.5 s, everybody is at fallback after 12.5 s"
    assert said["broker"] == "127.0.0.1:1883 as me, password from /run/secret"
    assert said["windows"] == "22:00-08:00 75.5 %; all day 79 %; the lowest limit wins"
    assert said["valley"] == "23:00-08:00"
    assert said["margin"] == "control stays 1.5 points of rating below the limit"
    assert said["fallback"] == "a charger that hears nothing for 60 s stops by itself"
    assert said["requests"] == "a car that asked nothing gets 9 kWh by 07:00; charge now 8 times a month each"


def test_json_is_plain(tmp_path: Path) -> None:
    """The JSON form survives a round trip and carries core units."""
    plain = as_json(loaded(tmp_path, document("broker", 'username = "me"', 'password_file = "secret"')))
    assert json.loads(json.dumps(plain)) == plain
    assert plain["charging"]["valley"] == [[1380, 480]]
    assert plain["broker"]["password_file"] == str(tmp_path / "secret")
    assert plain["chargers"][0] == {
        "id": "cp-01", "phases": 1, "phase_known": True, "max_ma": 32_000, "feeder": -1, "leased": True,
    }  # fmt: skip
    assert plain["feeders"] == []


ADVICE = [
    (document("area", "margin_pct = 0"), "margin_pct = 0"),
    (document("area", "limit_pct = 29.9"), "only 29.9 % of rating"),
    (document("chargers", 'phase = "unknown"'), "1 charger(s) with unknown phase"),
    (document("charging", "lease_s = 59"), "lease_s = 59"),
    (document("charging", "valley = []"), "valley is empty"),
    (document() + '[[area.windows]]\nfrom = "01:00"\nto = "02:00"\nlimit_pct = 80\n', "1 window(s)"),
    (document("broker", 'username = "me"'), "username without password_file"),
    (document("broker", 'username = "me"', 'password_file = "nowhere"'), "No such file or directory"),
]


@pytest.mark.parametrize(("text", "expected"), ADVICE)
def test_advice(tmp_path: Path, text: str, expected: str) -> None:
    """What may be meant is accepted, with exactly one line of advice."""
    (line,) = advise(loaded(tmp_path, text))
    assert expected in line


def test_no_advice_at_the_edge(tmp_path: Path) -> None:
    """A limit of exactly 30 % draws no remark."""
    assert advise(loaded(tmp_path, document("area", "limit_pct = 30"))) == []


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_advice_on_password_file_mode(tmp_path: Path, mode: int, count: int) -> None:
    """A password file that others can read is pointed out with the command that mends it."""
    secret = tmp_path / "secret"
    secret.write_text("x", encoding="utf-8")
    secret.chmod(mode)
    advice = advise(loaded(tmp_path, document("broker", 'username = "me"', 'password_file = "secret"')))
    assert [f"chmod 600 {secret}" in line for line in advice] == [True] * count
