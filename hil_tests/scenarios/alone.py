"""One fault alone in one seeded night, and what its test may ask of it."""

from __future__ import annotations

from hil_tests.rig.campaign import play_night

WORK = ("normal", "shed")


class Alone:
    """The night of a seed with one fault; no invariant of the simulator is broken in it."""

    def __init__(self, fault: str, seed: int) -> None:
        self.one = one = play_night(seed, fault)
        assert not one.violations, "\n".join((f"--seed {seed} --fault {fault}", *one.story()))
        ((self.start_s, self.end_s),) = one.spans
        self.keys = {key for at, key in one.said if at >= self.start_s}
        """What was named since it began."""
        self.accused = self.keys & {"deaf", "draws", "lies"}
        self.doubts = self.keys - {"broker", "gap", "rival", "load", "dropped", "stranger"} - self.accused

    def reached(self, mode: str) -> int | None:
        """How long after it began the guard was in this mode, s."""
        return next((at - self.start_s for at, name in self.one.modes if name == mode and at >= self.start_s), None)

    def named(self, *keys: str) -> int | None:
        """How long after it began one of these was named, s."""
        return next((at - self.start_s for at, key in self.one.said if key in keys and at >= self.start_s), None)

    def raised(self, after_s: int) -> list[int]:
        """When somebody was raised while it lasted, later than this after it began, s."""
        return [at - self.start_s for at in self.one.raised_s if self.start_s + after_s < at < self.end_s]

    @property
    def at_work(self) -> bool:
        """Was control at work all the time, from its beginning on?"""
        return all(mode in WORK for at, mode in self.one.modes if at >= self.start_s)

    @property
    def back_s(self) -> float:
        """How long after its end control was normal."""
        return self.one.worst_s["P4"]

    def stops(self, *keys: str, hold_s: int = 5, safe_s: int = 10) -> None:
        """It is named; hold and safe come on time; nobody is raised meanwhile; half a minute later all is normal."""
        said_s = self.named(*keys)
        assert said_s is not None
        assert said_s <= hold_s
        assert (self.reached("hold"), self.reached("safe")) == (hold_s, safe_s)
        assert self.raised(hold_s) == []
        assert self.back_s <= 35
