"""Two generations on a disk that fails: whatever moment the power goes, the old value or the new one is found again.

The operations of real saves are recorded and played again up to every moment: what was not flushed by then may be
there, in part, or not at all, and folder entries that were not flushed may be there in any choice.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.vault import RETRY_MS, Kept, Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VALUES = ({"epoch": 1}, {"epoch": 2, "area": "west"}, {"epoch": 3}, {"epoch": 4, "area": "west-3", "x": [1, 2]})


def as_is(data: Any) -> Any:  # noqa: ANN401 - whatever was kept
    """Understand everything."""
    return data


def found(folder: Path) -> Any:  # noqa: ANN401 - whatever was kept
    """What a controller that starts now finds."""
    return Vault(folder / "v", "value").load(as_is)


# ----------------------------------------------------------------------------------------- a disk that writes down
OS = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "unlink")}


@dataclass
class Recorder:
    """Stands before ``os`` and writes down what changes the disk. Who has an open file is known by its number."""

    ops: list[tuple[Any, ...]] = field(default_factory=list)
    inodes: int = 0
    files: dict[int, int | None] = field(default_factory=dict)
    """By handle: which file, None for a folder."""

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of the functions that change a disk."""
        for name in OS:
            patch.setattr(os, name, getattr(self, name))

    def open(self, path: Any, flags: int, *more: Any, **most: Any) -> int:  # noqa: ANN401 - as os.open
        """A new file, or the folder."""
        handle = int(OS["open"](path, flags, *more, **most))
        self.files[handle] = None
        if flags & os.O_CREAT:
            self.inodes += 1
            self.files[handle] = self.inodes
            self.ops.append(("create", Path(path).name, self.inodes))
        return handle

    def write(self, handle: int, data: bytes) -> int:
        """Bytes that are not flushed yet."""
        count = int(OS["write"](handle, data))
        self.ops.append(("write", self.files[handle], bytes(data[:count])))
        return count

    def fsync(self, handle: int) -> None:
        """What was written, or the entries of the folder, are on the disk."""
        OS["fsync"](handle)
        inode = self.files[handle]
        self.ops.append(("sync folder",) if inode is None else ("sync", inode))

    def replace(self, old: Any, new: Any) -> None:  # noqa: ANN401 - as os.replace
        """An entry moves."""
        OS["replace"](old, new)
        self.ops.append(("replace", Path(old).name, Path(new).name))

    def unlink(self, path: Any) -> None:  # noqa: ANN401 - as os.unlink
        """Nothing is removed while all goes well."""
        raise AssertionError(path)


Files = dict[str, bytes]


def after_power_cut(ops: list[tuple[Any, ...]]) -> Iterator[Files]:
    """Every state of the folder that a power cut after these operations may leave."""
    written: dict[int, bytes] = {}
    safe: dict[int, int] = {}
    entries: dict[str, int] = {}
    durable: dict[str, int] = {}
    pending: list[tuple[str, str, int]] = []
    for op in ops:
        if op[0] == "create":
            written[op[2]], safe[op[2]], entries[op[1]] = b"", 0, op[2]
            pending.append(("", op[1], op[2]))
        elif op[0] == "write":
            written[op[1]] += op[2]
        elif op[0] == "sync":
            safe[op[1]] = len(written[op[1]])
        elif op[0] == "replace":
            entries[op[2]] = entries.pop(op[1])
            pending.append((op[1], op[2], entries[op[2]]))
        elif op[0] == "sync folder":
            durable, pending = dict(entries), []
    for chosen in itertools.product((False, True), repeat=len(pending)):
        names = dict(durable)
        for (gone, name, inode), there in zip(pending, chosen, strict=True):
            if there:
                names.pop(gone, None)
                names[name] = inode
        yield from _contents(names, written, safe)


def _contents(names: dict[str, int], written: dict[int, bytes], safe: dict[int, int]) -> Iterator[Files]:
    """These names with what their files may hold: each that is not flushed is cut anywhere, or holds zeros."""
    whole = {name: written[inode] for name, inode in names.items()}
    yield whole
    for name in (name for name, inode in names.items() if safe[inode] < len(written[inode])):
        data, sure = written[names[name]], safe[names[name]]
        for length in range(sure, len(data)):
            yield {**whole, name: data[:length]}
        yield {**whole, name: data[:sure] + bytes(len(data) - sure)}  # the length was kept, the content was not


def violations(moments: list[tuple[int, Any, Any]], ops: list[tuple[Any, ...]], folder: Path) -> tuple[int, list[str]]:
    """Play every power cut: (how many states, what was found that is neither the old value nor the new one)."""
    states, wrong = 0, []
    begin = 0
    for end, old, new in moments:
        for cut in range(begin, end + 1):
            for files in after_power_cut(ops[:cut]):
                for path in folder.iterdir():
                    path.unlink()
                for name, data in files.items():
                    (folder / name).write_bytes(data)
                states += 1
                legal = (new,) if cut == end else (old, new)
                first, again = found(folder), found(folder)
                if first not in legal or again != first:
                    wrong.append(f"after {ops[:cut][-1:]}: {first}, then {again}; legal {legal}")
        begin = end
    return states, wrong


def recorded(folder: Path, patch: pytest.MonkeyPatch) -> tuple[Recorder, list[tuple[int, Any, Any]]]:
    """Save every value once: the operations; for each value, how many until it was saved, the value before, and it."""
    recorder = Recorder()
    vault = Vault(folder / "v", "value")
    moments = []
    with patch.context() as inside:
        recorder.install(inside)
        for old, new in itertools.pairwise((None, *VALUES)):
            assert vault.save(new)
            moments.append((len(recorder.ops), old, new))
    return recorder, moments


def test_host_power_cut_at_any_moment_leaves_the_old_value_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: every prefix of four saves, every length of what was not flushed, every choice of folder entries."""
    caplog.set_level(logging.CRITICAL)
    (tmp_path / "real").mkdir()
    (tmp_path / "cut").mkdir()
    recorder, moments = recorded(tmp_path / "real", monkeypatch)
    assert [op[0] for op in recorder.ops[:5]] == ["create", "write", "sync", "replace", "sync folder"]
    states, wrong = violations(moments, recorder.ops, tmp_path / "cut")
    print(f"{len(recorder.ops)} operations, {states} states of the disk")
    assert wrong == []
    assert states > 500


@pytest.mark.parametrize("left_out", ["sync", "sync folder"])
def test_the_power_cut_test_finds_a_vault_that_does_not_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, left_out: str
) -> None:
    """Without the flush of the file, or of the folder, the same play must find a loss."""
    caplog.set_level(logging.CRITICAL)
    (tmp_path / "real").mkdir()
    (tmp_path / "cut").mkdir()
    recorder, moments = recorded(tmp_path / "real", monkeypatch)
    lazy = [(at, op) for at, op in enumerate(recorder.ops) if op[0] != left_out]
    ends = [(sum(at < end for at, _ in lazy), old, new) for end, old, new in moments[:2]]
    _, wrong = violations(ends, [op for _, op in lazy], tmp_path / "cut")
    assert wrong


def test_host_power_cut_truncates_a_file_at_any_byte(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """H3: the newest file, or the older one, cut at every byte: what is left is the other generation, or none."""
    vault = Vault(tmp_path / "v", "value")
    for value in VALUES[:2]:
        vault.save(value)
    older, newest = (tmp_path / "v").read_bytes(), (tmp_path / "v.2").read_bytes()
    for name, data, other in (("v.2", newest, VALUES[0]), ("v", older, VALUES[1])):
        for length in range(len(data)):
            (tmp_path / "v").write_bytes(older)
            (tmp_path / "v.2").write_bytes(newest)
            (tmp_path / name).write_bytes(data[:length])
            assert found(tmp_path) == other
            (aside,) = tmp_path.glob("*.bad")
            assert aside.name == f"{name}.bad"
            assert aside.read_bytes() == data[:length]
            aside.unlink()
    assert "(it ends after 10 bytes)" in caplog.text


def test_host_power_cut_flips_any_bit(tmp_path: Path) -> None:
    """H3: a wrong bit in any byte of the newest file: one generation or the other is in force, never a mixture."""
    vault = Vault(tmp_path / "v", "value")
    for value in VALUES[:2]:
        vault.save(value)
    newest = (tmp_path / "v.2").read_bytes()
    for at in range(len(newest)):
        torn = bytearray(newest)
        torn[at] ^= 1 << at % 8
        (tmp_path / "v.2").write_bytes(torn)
        assert found(tmp_path) in (VALUES[0], VALUES[1])


# --------------------------------------------------------------------------------------------------- a disk that fails
def failing(name: str, number: int, *, folder: bool | None = None) -> Callable[[pytest.MonkeyPatch], None]:
    """Let ``os.name`` fail from now on with this error; of fsync only the folder's, or only the file's."""

    def install(patch: pytest.MonkeyPatch) -> None:
        real = getattr(os, name)

        def fail(*args: Any, **more: Any) -> Any:  # noqa: ANN401 - as the real one
            if name == "fsync" and folder is not os.path.isdir(f"/proc/self/fd/{args[0]}"):  # noqa: PTH112 - by number
                return real(*args, **more)
            if name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise OSError(number, os.strerror(number))

        patch.setattr(os, name, fail)

    return install


FAULTS = {
    "disk_full": failing("write", errno.ENOSPC),
    "disk_read_only": failing("open", errno.EROFS),
    "fsync_eio": failing("fsync", errno.EIO, folder=False),
    "fsync_eio_of_the_folder": failing("fsync", errno.EIO, folder=True),
    "rename_eio": failing("replace", errno.EIO),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_write_that_fails_counts_as_not_written_and_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    fault: Callable[[pytest.MonkeyPatch], None],
) -> None:  # fmt: skip
    """Said once, the last whole generation untouched, nothing left beside; the next write that succeeds is found."""
    caplog.set_level(logging.INFO, "taiqu")
    vault = Vault(tmp_path / "v", "value")
    assert vault.save(VALUES[0])
    assert vault.save(VALUES[1])
    newest = (tmp_path / "v.2").read_bytes()
    with monkeypatch.context() as broken:
        fault(broken)
        assert not vault.save(VALUES[2])
        assert not vault.save(VALUES[2])
    assert (tmp_path / "v.2").read_bytes() == newest
    assert found(tmp_path) in (VALUES[1], VALUES[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v", "v.2"]
    assert vault.save(VALUES[3])
    assert found(tmp_path) == VALUES[3]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert str(tmp_path / "v") in caplog.text
    assert "control goes on" in caplog.text


def test_a_disk_that_takes_a_little_at_a_time_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write is no error and no damage."""
    real = os.write
    with monkeypatch.context() as slow:
        slow.setattr(os, "write", lambda handle, data: real(handle, bytes(data[:7])))
        assert Vault(tmp_path / "v", "value").save(VALUES[3])
    assert found(tmp_path) == VALUES[3]


def test_what_fails_is_tried_again_every_minute_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest value, not the one that failed first; and nothing is written that is on the disk already."""
    kept = Kept(Vault(tmp_path / "v", "value"))
    tried: list[int] = []
    now_ms, again = 0, RETRY_MS // 2

    def do(act: Callable[[], object]) -> None:
        tried.append(now_ms)
        act()

    kept.step(now_ms, do)
    kept.set(VALUES[0])
    with monkeypatch.context() as broken:
        FAULTS["disk_full"](broken)
        for now_ms in range(0, 2 * RETRY_MS, 1000):
            if now_ms == again:
                kept.set(VALUES[1])
            kept.step(now_ms, do)
    for now_ms in range(2 * RETRY_MS, 4 * RETRY_MS, 1000):
        kept.step(now_ms, do)
    assert tried == [0, again, again + RETRY_MS, again + 2 * RETRY_MS]
    assert found(tmp_path) == VALUES[1]


# ------------------------------------------------------------------------------------------------ files of another kind
@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"v": 1', b'"v": 2'), (b'"taiqu": "value"', b'"taiqu": "other"'), (b'"generation": 2', b'"generation": "2"')],
)
def test_host_downgrade_a_newer_format_or_another_value_is_ignored_and_put_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, old: bytes, new: bytes
) -> None:
    """H16: what this version does not read is not guessed at, not overwritten, and named."""
    vault = Vault(tmp_path / "v", "value")
    for value in VALUES[:2]:
        vault.save(value)
    theirs = (tmp_path / "v.2").read_bytes().replace(old, new)
    (tmp_path / "v.2").write_bytes(theirs)
    assert found(tmp_path) == VALUES[0]
    assert (tmp_path / "v.2.bad").read_bytes() == theirs
    assert "v.2.bad" in caplog.text


def test_damaged_files_are_kept_for_a_person_to_look_at(tmp_path: Path) -> None:
    """None takes the place of another, up to nine; a folder does not fill without end."""
    for k in range(12):
        (tmp_path / "v").write_bytes(b"%d" % k)
        assert found(tmp_path) is None
    kept = sorted((p.name, p.read_bytes()) for p in tmp_path.iterdir())
    assert kept == [("v.bad", b"0"), *((f"v.bad{n}", b"%d" % (n - 1)) for n in range(2, 9)), ("v.bad9", b"11")]


def test_what_the_reader_does_not_understand_is_damage(tmp_path: Path) -> None:
    """A whole file with the wrong value in it leaves the other generation in force."""

    def read(data: Any) -> int:  # noqa: ANN401 - whatever was kept
        if data["epoch"] != 1:
            raise ValueError("not the first")
        return 1

    vault = Vault(tmp_path / "v", "value")
    for value in VALUES[:2]:
        vault.save(value)
    assert Vault(tmp_path / "v", "value").load(read) == 1


def test_a_damaged_file_that_cannot_be_moved_is_named_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only disk with a damaged file on it: said, and nothing raised."""
    (tmp_path / "v").write_bytes(b"half")
    FAULTS["rename_eio"](monkeypatch)
    assert found(tmp_path) is None
    assert "the file is now v" in caplog.text
    assert (tmp_path / "v").read_bytes() == b"half"


def test_a_file_that_cannot_be_read_is_said_and_the_other_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """EIO while reading is no damage: the file stays, and the other generation is in force."""
    vault = Vault(tmp_path / "v", "value")
    for value in VALUES[:2]:
        vault.save(value)
    real = Path.open

    def broken(self: Path, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as Path.open
        if self.name == "v.2":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, *args, **more)

    monkeypatch.setattr(Path, "open", broken)
    assert found(tmp_path) == VALUES[0]
    assert "Input/output error" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v", "v.2"]
