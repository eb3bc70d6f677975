"""``taiqu``: one command, one verb for each thing people do."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    import logging
    from pathlib import Path
    from edge.__main__ import load, run
    a = argv or sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    h, p = a[a.index("--clock")+1].split(":")
    j = Path(a[a.index("--journal")+1])
    return run(load(Path(a[1])), journal=j, clock=(h,int(p)))

if __name__ == "__main__":
    sys.exit(main())
