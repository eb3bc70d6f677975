"""The hour of the day in the area: what the wall clock and the zone make of a moment.

Wall time only chooses windows, and only while it can be trusted: without it nothing here has an answer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

WALL_JUMP_S = 30.0
"""A wall clock that moved further than this against ours was set; less is its drift."""


class WallClock:
    """The wall clock of an area in ``timezone``, as the last tick has shown it: Unix seconds, None when not trusted."""

    def __init__(self, timezone: str) -> None:
        self.zone = ZoneInfo(timezone)
        self.wall_s: float | None = None
        self._at_zero_s: float | None = None
        """What it showed when ours was 0."""

    def show(self, wall_s: float | None, now_ms: int) -> bool:
        """Take over what it shows at ``now_ms`` on our clock. Is that a jump: was it set, or set right?"""
        self.wall_s = wall_s
        if wall_s is None:
            return False
        at_zero_s = wall_s - now_ms / 1000
        if self._at_zero_s is not None and abs(at_zero_s - self._at_zero_s) <= WALL_JUMP_S:
            return False
        self._at_zero_s = at_zero_s
        return True

    def minute(self) -> float | None:
        """Minutes of the local day."""
        return None if self.wall_s is None else local_minute(self.zone, self.wall_s)

    def month(self) -> str | None:
        """The local month, as 2026-01."""
        return None if self.wall_s is None else _local(self.zone, self.wall_s).strftime("%Y-%m")

    def utc_offset_s(self) -> int | None:
        """How far local time is ahead of UTC."""
        offset = None if self.wall_s is None else _local(self.zone, self.wall_s).utcoffset()
        return None if offset is None else round(offset.total_seconds())


def local_minute(zone: ZoneInfo, wall_s: float) -> float:
    """Minutes of the local day."""
    local = _local(zone, wall_s)
    return local.hour * 60 + local.minute + local.second / 60.0


def ahead_ms(zone: ZoneInfo, wall_s: float, minute_of_day: int) -> int:
    """How long it is to the next such minute of the local day."""
    local = _local(zone, wall_s)
    hour, minute = divmod(minute_of_day, 60)
    then = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= local:
        then += timedelta(days=1)  # by the calendar: seven is seven, also in the night the clock changes
    return round((then.timestamp() - wall_s) * 1000)


def _local(zone: ZoneInfo, wall_s: float) -> datetime:
    return datetime.fromtimestamp(wall_s, zone)
