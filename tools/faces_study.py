"""Measure what docs/faces.md says: sizes of faces, alignment, sharpness, tracklets and tracks, on real faces.

    .venv/bin/python tools/faces_study.py DATA [--write docs/faces.md] [sizes alignment sharpness tracking linking]

DATA is the folder with lfw/, clips/ and models/. Only what stands between the marks of a table is replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from faces import alignment, linking, sharp, sizes, tracking
from faces.material import Material

TABLES = {
    "sizes": sizes.table,
    "alignment": alignment.table,
    "sharpness": sharp.table,
    "tracking": tracking.table,
    "linking": linking.table,
}
END = "<!-- end of table -->"


def markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []])
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    material = Material(asked.data)
    for name in asked.tables or TABLES:
        text = markdown(TABLES[name](material))
        print(f"{name}\n{text}\n", flush=True)
        if name == "alignment":
            print(alignment.agreement(material), "\n", flush=True)
        if asked.write is not None:
            begin = f"<!-- table: tools/faces_study.py {name} -->"
            before, mark, rest = asked.write.read_text(encoding="utf-8").partition(begin)
            if not mark:
                raise SystemExit(f"{asked.write} has no mark {begin}")
            _, end, after = rest.partition(END)
            if not end:
                raise SystemExit(f"{asked.write} has no {END} after {begin}")
            asked.write.write_text(f"{before}{begin}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
