"""What a user meets at the command line: good answers, and one clear line with exit code 2 for each mistake."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest

from drivers.broker import BrokerChild
from edge import __main__ as daemon
from edge.fleet import EPOCH_STEP
from edge.memory import Memory, MemoryFile
from edge.scribe import at_once
from edge.state import State
from edge.vault import Vault
from hil_tests.rig.meter import MeterServer
from hil_tests.rig.plant import Busbar
from tools.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = """
[area]
id = "west"
rating_kva = 400
[meter]
model = "eastron_sdm630"
tcp = "127.0.0.1:{meter}"
[broker]
host = "127.0.0.1"
port = {broker}
[charging]
fallback_a = 0
valley = []
[[chargers]]
id = "cp-01"
phase = "A"
max_a = 32
"""


@pytest.fixture
def area(tmp_path: Path) -> Callable[..., Path]:
    """Write an area.toml with ports and, if wanted, one piece replaced."""

    def write(old: str = "", new: str = "", meter: int = 1, broker: int = 1) -> Path:
        path = tmp_path / "area.toml"
        text = GOOD.format(meter=meter, broker=broker)
        assert old in text
        path.write_text(text.replace(old, new) if old else text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must fail: exit code 2, nothing on standard output, no traceback; give its words."""
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rating_kva", "rating_kwa", "rating_kva"),
        ("rating_kva = 400", 'rating_kva = "400"', "rating_kva"),
        ('id = "west"', 'id = "west"\nlimit_pct = 0.8', "80"),
        ('phase = "A"', 'phase = "D"', "phase"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_bad_configuration_is_refused_by_every_command(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str], verb: str, old: str, new: str, words: str
) -> None:
    """A wrong key, type or value ends check and run alike, naming the file and the place."""
    err = fails(capsys, verb, str(area(old, new)))
    assert "area.toml" in err
    assert words in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("verb", ["check", "run"])
def test_missing_file_says_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    """A file that is not there is answered with the way to make one."""
    assert "taiqu example" in fails(capsys, verb, str(tmp_path / "nowhere.toml"))


def test_check_reads_the_area_back(area: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A good file is read back in words and numbers."""
    assert main(["check", str(area())]) == 0
    out = capsys.readouterr().out
    assert "400 kVA at 400 V = 577 A" in out


def test_check_json_of_a_bad_file_is_one_document_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get every error as a list on standard output; people read the same on standard error; exit code 2."""
    path = tmp_path / "area.toml"
    path.write_text('[area]\nid = "a"\n', encoding="utf-8")
    assert main(["check", str(path), "--json"]) == 2
    said = capsys.readouterr()
    errors = json.loads(said.out)["errors"]
    assert errors == said.err.splitlines()
    assert len(errors) > 2


def test_check_json_is_one_document(area: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json standard output is one JSON document."""
    assert main(["check", str(area()), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["area"]["rating_va"] == 400_000


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """What an area of 577 A has learned in seven days: residents' highest minute is 405 A on phase A."""
    path = tmp_path / "memory.json"
    MemoryFile(path, "west").save(Memory(highest_ma=[[7, 405_000, 100_000, 100_000]] * 96))
    return path


def test_check_shows_the_arithmetic_of_the_fallback(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is free at the worst hour, what 6 A for all take, what fits and what is set, for people and programs."""
    path = str(area("rating_kva = 400", "rating_kva = 400\nbase_p999_kva = 200"))
    text = Path(path).read_text(encoding="utf-8").replace("fallback_a = 0", "fallback_a = 6")
    Path(path).write_text(text, encoding="utf-8")
    assert main(["check", path]) == 0
    out = capsys.readouterr().out
    for topic in ("worst hour", "6 A for all", "fits alone", "as set"):
        assert f"\n{topic} " in out
    assert f"\n{'fits alone':<13} 6 A for all\n{'':<13} 全部 6 A\n" in out  # Chinese below
    assert main(["check", path, "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)["alone"]
    assert (alone["residents"], alone["fits_slots"], alone["as_set"]["load_ma"]) == ("stated", 1, 6000)


def test_check_holds_the_fallback_against_what_was_learned(
    area: Callable[..., Path], learned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Residents turn out to leave less than was stated: the table says what was learned, the error what to do."""
    path = area("rating_kva = 400", "rating_kva = 400\nbase_p999_kva = 200")
    text = path.read_text(encoding="utf-8").replace("fallback_a = 0", "fallback_a = 10")
    path.write_text(text, encoding="utf-8")
    assert main(["check", str(path)]) == 0
    capsys.readouterr()
    assert main(["check", str(path), "--memory", str(learned)]) == 2
    said = capsys.readouterr()
    assert "residents     at most 102.9 / 25.4 / 25.4 kVA on A, B, C: measured, the highest minute" in said.out
    assert said.err.startswith("area.toml: [charging] fallback_a = 10 does not fit: at 00:00 residents leave 7 A")


def test_run_says_when_what_was_learned_no_longer_bears_the_fallback(
    area: Callable[..., Path], learned: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon starts all the same (here it then finds no place for its journal), and says what has changed."""
    path = area("rating_kva = 400", "rating_kva = 400\nbase_p999_kva = 200")
    path.write_text(path.read_text(encoding="utf-8").replace("fallback_a = 0", "fallback_a = 10"), encoding="utf-8")
    assert main(["run", str(path), "--memory", str(learned), "--journal", str(path.parent / "no" / "j")]) == 2
    assert "west: by what was learned of residents fallback_a = 10 does not fit" in caplog.text


def test_check_live_names_silent_meter_and_absent_broker(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str], closed_port: int
) -> None:
    """Nobody at the meter's and the broker's address: two lines that name both, and exit code 2."""
    path = area(meter=closed_port, broker=closed_port)
    assert main(["check", str(path), "--live"]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 2
    assert f"meter 127.0.0.1:{closed_port}" in err[0]
    assert f"broker 127.0.0.1:{closed_port}" in err[1]


def test_check_live_reads_the_meters_of_feeders_too(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str], closed_port: int
) -> None:
    """Of two feeders one has a meter, which is silent: it is named with its feeder, the other is passed over."""
    feeders = '[[feeders]]\nid = "south"\nlimit_a = 200\n[[feeders]]\nid = "north"\nlimit_a = 200\n'
    own = f'[feeders.meter]\nmodel = "eastron_sdm630"\ntcp = "127.0.0.1:{closed_port}"\nunit = 7\n[[chargers]]'
    path = area("[[chargers]]", feeders + own, meter=closed_port, broker=closed_port)
    assert main(["check", str(path), "--live"]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 3
    assert f"meter 127.0.0.1:{closed_port} unit 1" in err[0]
    assert f"the meter of feeder north: meter 127.0.0.1:{closed_port} unit 7" in err[1]


def test_check_live_names_a_meter_that_does_not_answer(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str], closed_port: int
) -> None:
    """A meter that takes the request and stays silent is named with its time-out."""
    meter = MeterServer()
    meter.start()
    meter.mute = True
    try:
        assert main(["check", str(area(meter=meter.port, broker=closed_port)), "--live"]) == 2
    finally:
        meter.stop()
    assert "no reply within 0.8 s" in capsys.readouterr().err


def test_check_live_names_a_meter_that_is_another_one(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str], closed_port: int
) -> None:
    """The serial number that is configured is not that of the device: both are said, and what to write."""
    meter = MeterServer()
    meter.start()
    nothing = np.zeros(3)
    meter.show(Busbar(nothing, nothing, nothing, 0.0, 0.0, 0.0, 0.0, nothing), 1.0)
    path = area("[meter]", '[meter]\nserial = "77"', meter=meter.port, broker=closed_port)
    try:
        assert main(["check", str(path), "--live"]) == 2
    finally:
        meter.stop()
    err = capsys.readouterr().err
    assert "the meter says serial 20260115, and 77 is configured" in err
    assert 'set serial = "20260115"' in err


def test_check_live_succeeds_on_a_living_area(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str], require: Callable[[str], None]
) -> None:
    """Meter and broker answer: exit code 0 and both are said to."""
    require("mosquitto")
    meter = MeterServer()
    meter.start()
    nothing = np.zeros(3)
    meter.show(Busbar(nothing, nothing, nothing, 0.0, 0.0, 0.0, 0.0, nothing), 1.0)
    try:
        with BrokerChild.start("mosquitto") as broker:
            assert main(["check", str(area(meter=meter.port, broker=broker.port)), "--live"]) == 0
    finally:
        meter.stop()
    out = capsys.readouterr().out
    assert "the meter answers" in out
    assert "takes us in" in out


def test_demo_refuses_a_directory_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results are checked for before a night is played: a file in the way of --out ends the demo at once."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "--out" in fails(capsys, "demo", "--out", str(tmp_path / "file" / "dir"))


def test_demo_refuses_an_unwritable_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without write permission is named with what to do (root may write anywhere: then it is skipped)."""
    if os.geteuid() == 0:
        # Root ignores permissions, but not a file system that has none.
        assert "--out" in fails(capsys, "demo", "--out", "/proc/taiqu-demo")
        return
    tmp_path.chmod(0o500)
    assert "--out" in fails(capsys, "demo", "--out", str(tmp_path / "dir"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--piles", "0"), "--piles 0"),
        (("--piles", "1001"), "--piles 1001"),
        (("--seed", "-1"), "--seed -1"),
        (("--broker", "nonsense"), "HOST:PORT"),
        (("--broker", "127.0.0.1:99999"), "HOST:PORT"),
        (("--broker", "127.0.0.1:²"), "HOST:PORT"),
        (("--meter-port", "70000"), "--meter-port 70000"),
    ],
)
def test_demo_refuses_nonsense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    """Every option out of range is one line."""
    assert words in fails(capsys, "demo", "--out", str(tmp_path), *argv)


def test_demo_names_a_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], taken_port: int) -> None:
    """The emulated meter's port is taken: the port is named."""
    err = fails(capsys, "demo", "--piles", "2", "--out", str(tmp_path), "--meter-port", str(taken_port))
    assert str(taken_port) in err.strip().splitlines()[-1]


def test_demo_names_a_broker_that_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], closed_port: int) -> None:
    """A configured broker that is not there is named; no other is taken in its place."""
    err = fails(capsys, "demo", "--piles", "2", "--out", str(tmp_path), "--broker", f"127.0.0.1:{closed_port}")
    assert f"127.0.0.1:{closed_port}" in err.strip().splitlines()[-1]


def test_a_full_disk_under_the_output_is_one_line(area: Callable[..., Path]) -> None:
    """``taiqu check area.toml > file`` on a full disk: said in one line, exit code 2."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", "check", str(area())],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "no space left where the output goes. Make room, or choose another place.\n"


def test_wrong_option_is_exit_code_2() -> None:
    """A misspelt option is refused by the parser with the usual exit code."""
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--comunity", "A"])
    assert caught.value.code == 2


def test_each_run_has_a_number_of_its_own(area: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two controllers started at once tell their epochs apart by a random number, drawn anew at each beginning."""
    drawn = []

    def controller(*_parts: Any, tie_break: Callable[[], int], **_named: Any) -> NoReturn:  # noqa: ANN401 - its own
        drawn.extend(tie_break() for _ in range(100))
        raise KeyboardInterrupt

    monkeypatch.setattr(daemon, "Controller", controller)
    with pytest.raises(KeyboardInterrupt):
        daemon.run(daemon.load(area()))
    assert len(set(drawn)) > 90
    assert 0 <= min(drawn) < max(drawn) < EPOCH_STEP


def test_run_refuses_an_unwritable_journal(area: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A journal that cannot be opened is said before anything is controlled."""
    assert "/proc/nowhere/journal" in fails(capsys, "run", str(area()), "--journal", "/proc/nowhere/journal")


def test_run_refuses_a_state_folder_that_is_a_file(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A state folder that cannot be one is said before anything is controlled."""
    path = area()
    assert str(path) in fails(capsys, "run", str(path), "--state", str(path))


def test_run_refuses_the_state_of_another_area(
    area: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One folder for two areas is one line that says whose it is."""
    folder = tmp_path / "state"
    folder.mkdir()
    Vault(folder / "epoch.json", "epoch").save({"area": "east", "epoch": 3})
    assert "is the state of area east, not west" in fails(capsys, "run", str(area()), "--state", str(folder))


def test_run_names_a_bench_that_is_not_there(
    area: Callable[..., Path], capsys: pytest.CaptureFixture[str], closed_port: int
) -> None:
    """No bench listens: its address and what to do, and not a word of paths."""
    err = fails(capsys, "run", str(area()), "--clock", f"127.0.0.1:{closed_port}")
    where = f"--clock 127.0.0.1:{closed_port}"
    assert err.splitlines()[-1] == f"{where}: Connection refused. Start the bench first, and name its address."
    err = fails(capsys, "run", str(area()), "--clock", "127.0.0.1:1", "--journal", "/proc/nowhere/journal")
    assert "/proc/nowhere/journal" in err
    assert "bench" not in err


def test_check_with_state_refuses_what_run_refuses(
    area: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without its last charger passes alone, and not against the one that was accepted last."""
    path = area()
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + '[[chargers]]\nid = "cp-02"\nphase = "B"\nmax_a = 32\n', encoding="utf-8")
    state = State(tmp_path / "state")
    state.load(path, ["eastron_sdm630"])
    state.keep(1, 0, at_once)
    path.write_text(whole, encoding="utf-8")
    assert main(["check", str(path)]) == 0
    assert main(["check", str(path), "--state", str(tmp_path / "state")]) == 2
    assert "it looks cut off" in capsys.readouterr().err
    path.write_text(whole + "# cp-02 was taken down\n", encoding="utf-8")
    assert main(["check", str(path), "--state", str(tmp_path / "state")]) == 0


def test_check_with_state_knows_what_was_learned_there(
    area: Callable[..., Path], learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --memory what run --state has learned counts, as it does for run; an empty folder is no error."""
    folder = tmp_path / "state"
    folder.mkdir()
    assert main(["check", str(area()), "--state", str(folder)]) == 0
    assert "measured, the highest minute" not in capsys.readouterr().out
    learned.rename(folder / "memory.json")
    assert main(["check", str(area()), "--state", str(folder)]) == 0
    assert "measured, the highest minute" in capsys.readouterr().out


def test_check_holds_a_wanted_late_fallback_against_what_was_learned(
    area: Callable[..., Path], learned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Residents fill the night, though the stated shape left room: an error, and the figures above it."""
    path = area("rating_kva = 400", "rating_kva = 400\nbase_p999_kva = 200")
    text = path.read_text(encoding="utf-8").replace("valley = []", "late_fallback = true")
    path.write_text(text + text[text.index("[[chargers]]") :].replace("cp-01", "cp-02"), encoding="utf-8")
    assert main(["check", str(path)]) == 0
    assert main(["check", str(path), "--memory", str(learned)]) == 2
    assert "area.toml: [charging] late_fallback = true does not fit" in capsys.readouterr().err


def test_example_passes_its_own_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `taiqu example` prints is a valid area.toml."""
    assert main(["example"]) == 0
    path = tmp_path / "area.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["check", str(path)]) == 0


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["demo", "--help"]])
def test_help_and_version_answer(argv: list[str]) -> None:
    """The command explains itself in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.cli", *argv], capture_output=True, text=True, check=True, timeout=60
    )
    assert "taiqu" in done.stdout
