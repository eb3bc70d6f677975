"""``taiqu why JOURNAL [CHARGER]``: why a charger has the current it has, from the journal of its controller."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge import reasons
from tools.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

_KEYS = {reasons.key(code, phase): (code, phase) for code in reasons.TEXTS for phase in (-1, 0, 1, 2, 4)}
"""What a key of the journal speaks of, as ``reasons.sentence`` takes it."""
_WHY_LESS = {
    "": ("all of it will be there", "可全部满足"),
    "room": ("the transformer has no room for more", "配变容量不足"),
    "stay": ("its charger can give no more before it leaves", "停留时间内充电桩功率不足"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``taiqu why``."""
    parser.add_argument("journal", type=Path, help="the file that taiqu run --journal writes")
    parser.add_argument("charger", nargs="?", help="the story of this charger; without it the present of all")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Print the reasons. Raises UserError when the journal cannot be read or knows no such charger."""
    rows = list(_rows(args.journal))
    if not rows:
        raise UserError(
            f"{args.journal} is no journal, or an empty one. Give the file that taiqu run --journal writes."
        )
    known = sorted({row["charger"] for row in rows})
    if args.charger is None:
        now = {row["charger"]: row for row in rows if row["what"] == "reason"}
        rows = [now[name] for name in known if name in now]
    elif args.charger in known:
        rows = list(_story(row for row in rows if row["charger"] == args.charger))
    else:
        some = f" Known: {', '.join(known[:5])}{' …' if len(known) > 5 else ''}." if known else ""
        raise UserError(f"{args.journal}: nothing about {args.charger}.{some} Is it the journal of its area?")
    if args.json:
        json.dump(rows, sys.stdout, ensure_ascii=False, indent=1)
        sys.stdout.write("\n")
        return 0
    for row in rows:
        print(f"{row['time']:<19}  {row['charger']:<12}  {row['english']}  {row['chinese']}")
    return 0


def _story(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without the reasons that differ only in which phase is the fuller one."""
    last: object = None
    for row in rows:
        if row["what"] == "reason":
            code, _ = _KEYS.get(row["key"].partition(" ")[0], (row["key"], -1))
            if code == last:
                continue
            last = code
        yield row


def _rows(journal: Path) -> Iterator[dict[str, Any]]:
    """Every reason and promise in order of time; a reason that is only said again is left out."""
    told: dict[str, str] = {}
    for entry in _entries(journal):
        wall_s = entry.get("wall_s")
        if wall_s is None:
            time = f"{entry['now_ms'] / 1000:.0f} s"
        else:
            zone = timezone(timedelta(seconds=entry.get("utc_offset_s") or 0))
            time = datetime.fromtimestamp(wall_s, zone).strftime("%Y-%m-%d %H:%M:%S")
        for charger, key in entry.get("reasons", []):
            if told.get(charger) != key:
                told[charger] = key
                english, chinese = _sentences(key)
                yield _row(time, wall_s, charger, "reason", key, english, chinese)
        for charger, wh, why in entry.get("promised", []):
            english, chinese = _WHY_LESS.get(why, (why, why))
            kwh = f"{wh / 1000:.1f} kWh"
            more = f"promised: {kwh} by its departure, {english}", f"承诺：离开前 {kwh}，{chinese}"
            yield _row(time, wall_s, charger, "promise", why, *more)


def _sentences(key: str) -> tuple[str, str]:
    """A reason of the journal in both languages; behind its key may stand the name of a feeder."""
    plain, _, feeder = key.partition(" ")
    if plain not in _KEYS:
        return key, key
    code, phase = _KEYS[plain]
    return reasons.sentence(code, phase, feeder=feeder), reasons.sentence(code, phase, chinese=True, feeder=feeder)


def _row(
    time: str, wall_s: float | None, charger: str, what: str, key: str, english: str, chinese: str
) -> dict[str, Any]:
    return {
        "time": time,
        "wall_s": wall_s,
        "charger": charger,
        "what": what,
        "key": key,
        "english": english,
        "chinese": chinese,
    }


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    """The lines of both generations; half a line, as a killed controller leaves it, is passed over."""
    if not journal.is_file():
        raise UserError(f"{journal} is no file. Give the file that taiqu run --journal writes.")
    for path in (journal.with_suffix(journal.suffix + ".1"), journal):
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        entry = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(entry, dict) and "now_ms" in entry:
                        yield entry
        except OSError as err:
            raise UserError(f"{path}: {err.strerror or err}. Choose a journal that can be read.") from None
