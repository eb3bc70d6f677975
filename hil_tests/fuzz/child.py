"""The fuzzer itself, in a process of its own: libFuzzer ends it when it has done its runs or found something.

``python -m hil_tests.fuzz.child TARGET RUNS [libFuzzer's own options]``; ``hil_tests.fuzz`` starts it.
"""

from __future__ import annotations

import importlib
import random
import sys

import atheris

WATCHED = ("drivers", "edge.fleet", "edge.unit", "edge.schema", "edge.config", "edge.core.trust", "tomllib")
"""Whose branches guide the fuzzer: the decoders, and what stands behind them. All else runs at its own speed."""
_own = random.Random()
_sums = [0, 0, 0]
"""Runs, and in them messages, blocks or files, and how many of those were taken for real."""


def _main(name: str, runs: int, options: list[str]) -> None:
    with atheris.instrument_imports(include=list(WATCHED)):
        target = importlib.import_module(f"hil_tests.fuzz.{name}")

    def one(data: bytes) -> None:
        pieces, taken = target.play(data)
        for k, more in enumerate((1, pieces, taken)):
            _sums[k] += more
        if _sums[0] == runs:  # libFuzzer ends the process without asking anybody
            print(f"stat::pieces: {_sums[1]}\nstat::taken: {_sums[2]}", file=sys.stderr, flush=True)

    def mutated(data: bytes, size_max: int, seed: int) -> bytes:
        """Half of the time by bytes, as libFuzzer does; else by what the bytes mean."""
        _own.seed(seed)
        if _own.random() < 0.5:
            changed: bytes = atheris.Mutate(data, size_max)
            return changed
        for _ in range(_own.randint(1, 3)):
            data = target.mutate(data, _own)
        return data[:size_max]

    atheris.Setup([sys.argv[0], *options], one, custom_mutator=mutated, internal_libfuzzer=True)
    atheris.Fuzz()


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
