"""What survives a restart: the epoch only goes up, and a configuration file that broke does not end control."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.config import ConfigError, from_text, load
from edge.fleet import EPOCH_STEP
from edge.memory import Memory, MemoryFile
from edge.scribe import at_once
from edge.state import State
from hil_tests.unit.yard import TEXT, Yard

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config import AreaConfig

MODELS = ["eastron_sdm630"]
ROWS = """[[feeders]]
id = "north"
limit_a = 400
[[chargers]]
id = "p1"
phase = "A"
max_a = 32
[[chargers]]
id = "p2"
phase = "B"
max_a = 32
feeder = "north"
"""
GOOD = TEXT + ROWS


def start(path: Path, epoch: int = 0) -> tuple[State, AreaConfig]:
    """A controller starts, cycles once and ends."""
    state = State(path.with_name("state"))
    config = state.load(path, MODELS)
    state.keep(max(epoch, state.epoch), 0, at_once)
    return state, config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration that has been accepted once."""
    one = tmp_path / "area.toml"
    one.write_text(GOOD, encoding="utf-8")
    start(one)
    return one


# ---------------------------------------------------------------------------------------------------------- the epoch
def test_epoch_is_known_again_after_a_restart(path: Path) -> None:
    """I9: what was begun is never begun again, and what is lower is not written."""
    assert start(path)[0].epoch == 0
    start(path, 7)
    state, _ = start(path)
    assert state.epoch == 7
    state.keep(3, 0, at_once)
    assert start(path)[0].epoch == 7


def test_epoch_begins_above_what_is_stored_and_what_is_seen() -> None:
    """Chargers that forgot everything: the stored one counts; chargers that know more: theirs does."""
    assert Yard().play(100).controller.epoch == EPOCH_STEP
    assert Yard(stored_epoch=41 * EPOCH_STEP + 5).play(100).controller.epoch == 42 * EPOCH_STEP
    yard = Yard(stored_epoch=41 * EPOCH_STEP)
    for pile in yard.piles.values():
        pile.lease = pile.lease._replace(epoch=1000 * EPOCH_STEP)
    assert yard.play(100).controller.epoch == 1001 * EPOCH_STEP


def test_epoch_of_a_single_charger_counts_when_it_is_near_the_stored_one() -> None:
    """One charger alone that is ahead of a stored epoch by a thousand at most is believed, beyond that it is odd."""
    for ahead, begins in ((1000, 6001), (1001, 5001)):
        yard = Yard(stored_epoch=5000 * EPOCH_STEP)
        pile = yard.piles["p0"]
        pile.lease = pile.lease._replace(epoch=(5000 + ahead) * EPOCH_STEP)
        assert yard.play(100).controller.epoch == begins * EPOCH_STEP


def test_epoch_is_written_once_and_not_in_every_cycle(path: Path) -> None:
    """H13: one write for each epoch, however often it is looked at."""
    state, _ = start(path, 5)
    done: list[int] = []

    def do(act: Callable[[], object]) -> None:
        done.append(state.epoch)
        act()

    for now_ms in range(0, 600_000, 1000):
        state.keep(6, now_ms, do)
    assert done == [6]


def test_epoch_in_a_damaged_file_is_the_one_before(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """H3: the newest generation is torn: the one before counts, which what chargers echo makes good."""
    start(path, 5)
    start(path, 6)
    newest = path.with_name("state") / "epoch.json.2"
    newest.write_bytes(newest.read_bytes()[:-3])
    assert start(path)[0].epoch == 5
    assert "epoch.json.2.bad" in caplog.text


def test_epoch_that_is_no_number_is_damage(path: Path) -> None:
    """A whole file with nonsense in it is put aside."""
    start(path, 5)
    state = State(path.with_name("state"))
    state._epoch.vault.save({"area": "yard", "epoch": "six"})
    assert start(path)[0].epoch == 5


def test_state_of_another_area_is_refused(path: Path) -> None:
    """P5: a folder that was copied from another site, or one folder for two areas."""
    start(path, 5)
    path.write_text(GOOD.replace('id = "yard"', 'id = "east"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="is the state of area yard, not east"):
        start(path)


@pytest.mark.parametrize("left", ["config.json", "epoch.json", "memory.json"])
def test_state_of_another_area_is_known_by_any_of_its_files(path: Path, left: str) -> None:
    """P5: only a part of the folder was copied: the folder is named, which was given, and no memory, which was not."""
    start(path, 5)
    folder = path.with_name("state")
    MemoryFile(folder / "memory.json", "yard").save(Memory())
    for file in folder.iterdir():
        if file.name != left:
            file.unlink()
    path.write_text(GOOD.replace('id = "yard"', 'id = "east"'), encoding="utf-8")
    for act in (start, lambda one: State(folder).check(one, load(one, MODELS), MODELS)):
        with pytest.raises(ConfigError) as refused:
            act(path)
        assert refused.value.problems == [
            f"--state {folder} is the state of area yard, not east. Choose another folder."
        ]


# --------------------------------------------------------------------------------------------- the last good one (H15)
def test_host_config_is_kept_once_accepted_and_not_before(tmp_path: Path) -> None:
    """Loaded is not accepted: the copy is written by the first cycle, and again only when the file has changed."""
    path, copy = tmp_path / "area.toml", tmp_path / "state" / "config.json"
    path.write_text(GOOD, encoding="utf-8")
    state = State(tmp_path / "state")
    config = state.load(path, MODELS)
    assert not copy.exists()
    state.keep(0, 0, at_once)
    before = copy.read_bytes()
    assert start(path)[1] == config
    assert [p.name for p in copy.parent.iterdir()] == ["config.json"]
    path.write_text(GOOD.replace("max_a = 32", "max_a = 16"), encoding="utf-8")
    assert start(path)[1] != config
    assert copy.read_bytes() == before
    assert copy.with_name("config.json.2").exists()


def test_host_config_truncated_at_any_byte_is_not_in_force(path: Path) -> None:
    """H15: a file that was cut anywhere, also where what is left is valid: the last good one holds, errors are said."""
    good = load(path, MODELS)
    valid = 0
    for length in range(len(GOOD.rstrip())):
        path.write_text(GOOD[:length], encoding="utf-8")
        state, config = start(path)
        assert config == good
        assert state.problems
        try:
            valid += from_text(GOOD[:length], path, MODELS) != good
        except ConfigError:
            continue
    assert valid >= 3, "hardly a cut left a valid file: the case that needs the comparison was not tried"


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4096),
    "utf_16": GOOD.encode("utf-16"),
    "half_written": GOOD.encode()[:200] + bytes(300),
    "two_errors": GOOD.replace("rating_kva = 100", "rating_kva = 1").replace('"A"', '"D"').encode(),
    "not_toml": b"[area\n",
    "too_large": GOOD.encode() + b"#" * 2_000_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_host_config_broken_is_said_and_the_last_good_one_holds(
    path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """H15: loud, with every error and what to do; again at every start until it is mended."""
    good = load(path, MODELS)
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(path, MODELS)
    for _ in range(2):
        caplog.clear()
        state, config = start(path)
        assert config == good
        assert state.problems == refused.value.problems
        said = [record.getMessage().strip() for record in caplog.records if record.levelno == logging.ERROR]
        assert said[0] == f"{path} is broken and NOT in force:"
        assert said[1:-1] == state.problems
        assert f"taiqu check {path} --state {state.folder} is content" in said[-1]
    path.write_text(GOOD, encoding="utf-8")
    assert start(path)[0].problems == []


def test_host_config_missing_or_unreadable_leaves_the_last_good_one(path: Path) -> None:
    """H15: a file that is gone, and a folder in its place."""
    good = load(path, MODELS)
    path.unlink()
    assert start(path)[1] == good
    path.mkdir()
    assert start(path)[1] == good


def test_host_config_with_a_byte_order_mark_is_accepted(path: Path) -> None:
    """H15: what an editor on Windows puts before the first letter is no error."""
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    state, config = start(path)
    assert state.problems == []
    assert len(config.chargers) == 2


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_host_config_broken_at_the_first_start_is_refused(tmp_path: Path, content: bytes) -> None:
    """H15: without a last good one there is nothing to control by."""
    path = tmp_path / "area.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(path, MODELS)
    with pytest.raises(ConfigError) as same:
        start(path)
    assert same.value.problems == refused.value.problems


def test_host_config_of_another_path_or_area_is_no_last_good_one(path: Path, tmp_path: Path) -> None:
    """A copy stands in for its own file and its own area alone."""
    other = tmp_path / "other.toml"
    other.write_text("[area\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"other\.toml"):
        start(other)
    path.write_text(GOOD.replace('id = "yard"', 'id = "east"').replace('"A"', '"D"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="phase"):
        start(path)


def test_an_id_that_is_none_is_an_error_like_others(path: Path) -> None:
    """A misspelt area id does not make it another area's file."""
    path.write_text(GOOD.replace('id = "yard"', 'id = "Yard!"'), encoding="utf-8")
    assert start(path)[1].area_id == "yard"


def test_host_config_cut_off_is_named_by_check_as_by_the_start(path: Path) -> None:
    """H15: a file that lost its last charger is valid by itself; held against the one accepted last it is refused."""
    good = path.read_bytes()
    path.write_text(GOOD[: GOOD.rindex("[[chargers]]")], encoding="utf-8")
    state, _ = start(path)
    kept = {file: file.read_bytes() for file in path.with_name("state").iterdir()}
    with pytest.raises(ConfigError) as refused:
        State(path.with_name("state")).check(path, load(path, MODELS), MODELS)
    assert refused.value.problems == state.problems
    assert {file: file.read_bytes() for file in path.with_name("state").iterdir()} == kept
    path.write_bytes(good)
    State(path.with_name("state")).check(path, load(path, MODELS), MODELS)


def test_check_against_a_state_that_is_not_there_or_damaged_is_content(path: Path, tmp_path: Path) -> None:
    """Before the first start nothing was accepted, and what cannot be read cannot be compared; nothing is made."""
    State(tmp_path / "nowhere").check(path, load(path, MODELS), MODELS)
    assert not (tmp_path / "nowhere").exists()
    copy = path.with_name("state") / "config.json"
    copy.write_bytes(b"{}")
    State(path.with_name("state")).check(path, load(path, MODELS), MODELS)
    assert copy.read_bytes() == b"{}"


def test_an_end_taken_out_on_purpose_is_accepted_with_a_comment(path: Path) -> None:
    """A technician removes the last charger: looks cut off, is said so with the way out, and the way out works."""
    shorter = GOOD[: GOOD.rindex("[[chargers]]")]
    path.write_text(shorter, encoding="utf-8")
    state, config = start(path)
    assert len(config.chargers) == 2
    assert "comment (#)" in state.problems[0]
    path.write_text(shorter + "# p2 was taken down\n", encoding="utf-8")
    state, config = start(path)
    assert state.problems == []
    assert len(config.chargers) == 1


def test_comments_taken_out_of_the_end_change_nothing(path: Path) -> None:
    """What is cut off is only words: the same area, no error."""
    path.write_text(GOOD + "# the end\n", encoding="utf-8")
    start(path)
    path.write_text(GOOD, encoding="utf-8")
    assert start(path)[0].problems == []


def test_host_config_copy_that_is_damaged_is_the_one_before(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """H3, H15: file and newest copy both broken by the same power cut: the copy before is in force."""
    path.write_text(GOOD.replace("max_a = 32", "max_a = 16"), encoding="utf-8")
    start(path)
    path.write_bytes(b"")
    newest = path.with_name("state") / "config.json.2"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert [charger.max_ma for charger in start(path)[1].chargers] == [32_000, 32_000]
    assert "config.json.2.bad" in caplog.text


def test_a_copy_that_is_no_longer_accepted_is_none(path: Path) -> None:
    """A newer version refuses what an older one took: then the error of the file itself ends the start."""
    state = State(path.with_name("state"))
    state._config.vault.save({"area": "yard", "path": str(path.absolute()), "text": "[area]\nold = 1\n"})
    path.write_bytes(b"[area\n")
    with pytest.raises(ConfigError, match="line 1"):
        start(path)
    State(path.with_name("state"))._config.vault.save(["no", "text"])
    with pytest.raises(ConfigError, match="line 1"):
        start(path)


# ------------------------------------------------------------------------------------------------- a disk that fails
def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Nothing can be made or written any more."""

    def fail(*args: Any, **_: object) -> Any:  # noqa: ANN401 - never returns
        raise OSError(number, os.strerror(number), str(args[0]))

    real = Path.open

    def read_only(self: Path, mode: str = "r", *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as Path.open
        return fail(self) if mode[0] != "r" else real(self, mode, *args, **more)

    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(os, "open", fail)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EIO])
def test_disk_read_only_under_the_state_is_no_reason_not_to_control(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """H4, H5: what was kept is known; what cannot be kept is said once for each file, and written when it can be."""
    start(path, 5)
    path.write_text(GOOD.replace("max_a = 32", "max_a = 16"), encoding="utf-8")
    with monkeypatch.context() as broken:
        refuse(broken, number)
        state = State(path.with_name("state"))
        config = state.load(path, MODELS)
        for now_ms in range(0, 200_000, 1000):
            state.keep(6, now_ms, at_once)
    assert (config.chargers[0].max_ma, state.memory is not None) == (16_000, True)
    assert sum(os.strerror(number) in record.getMessage() for record in caplog.records) == 2
    state.keep(6, 300_000, at_once)
    path.unlink()
    state, config = start(path)
    assert (config.chargers[0].max_ma, state.epoch) == (16_000, 6)


def test_disk_read_only_before_there_is_a_folder_is_no_reason_not_to_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """H5: the very first start on a read-only disk: nothing is kept, nothing is looked for, and it is said."""
    path = tmp_path / "area.toml"
    path.write_text(GOOD, encoding="utf-8")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", fail)
    state, config = start(path, 3)
    assert len(config.chargers) == 2
    assert state.memory is None
    assert "Nothing is kept" in caplog.text


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file where the folder should be is a mistake, and said before anything is controlled."""
    path = tmp_path / "area.toml"
    path.write_text(GOOD, encoding="utf-8")
    path.with_name("state").write_text("", encoding="utf-8")
    with pytest.raises(FileExistsError):
        start(path)
