"""How fast a stage is, beside what it cannot be faster than (its floor) and beside what people use today.

    python tools/bench.py STAGE [--quick] [--threads N]
    python tools/bench.py all

Every table is one run: the methods take turns, each one's best turn counts, and the ratio is to the floor of that
run. A method whose library is not installed is listed as absent (`pip install -e '.[bench]'` brings all of them).
`--quick` takes tiny sizes: it shows that everything runs and that the answers agree, its times mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmarks.common import machine_line, set_threads

# Stage -> module in tools/benchmarks/; each has `bench(quick: bool, threads: int) -> None`, which prints its tables
# and raises AssertionError where ours and a plain way to the same answer disagree.
STAGES = {
    "clustering": "clustering",
    "verification": "verification",
    "image-track": "image_track",
    "retrieval": "retrieval",
    "open-set": "open_set",
    "reading": "reading",
    "network": "network",
    "extract": "extract",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=[*STAGES, "all"], metavar="STAGE", help=", ".join([*STAGES, "all"]))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run, do the answers agree")
    parser.add_argument("--threads", type=int, default=1, help="compute threads, where a stage has them")
    asked = parser.parse_args()
    set_threads(asked.threads)
    print(machine_line(asked.threads), flush=True)
    for stage in STAGES if asked.stage == "all" else [asked.stage]:
        importlib.import_module(f"benchmarks.{STAGES[stage]}").bench(asked.quick, asked.threads)


if __name__ == "__main__":
    main()
