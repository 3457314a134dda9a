"""Draw docs/clusters.png from a finished demo: frames of some videos, green where kept, red where removed.

.venv/bin/python tools/draw_readme_figure.py runs/demo docs/clusters.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vidface.frames import ReadReport, read_frames
from vidface.store import read_embeddings

KEPT, REMOVED = (46, 160, 67), (218, 54, 51)
VIDEOS, FRAMES, BORDER, GAP = 5, 14, 4, 4


def main() -> None:
    demo, output = Path(sys.argv[1]), Path(sys.argv[2])
    found = read_embeddings(demo / "results" / "embeddings.h5")
    starts = np.cumsum(found.frames) - found.frames
    with (demo / "manifest.csv").open(newline="") as file:
        places = {row["video_id"]: row["path"] for row in csv.DictReader(file)}
    rows = []
    for video in np.linspace(0, len(found.video_ids) - 1, VIDEOS).astype(int):
        labels = found.labels[starts[video] :][:FRAMES]
        frames = read_frames(demo / places[found.video_ids[video]], report=ReadReport())
        tiles = [
            ImageOps.expand(Image.fromarray(frame.pixels), BORDER, KEPT if label == 0 else REMOVED)
            for frame, label in zip(frames, labels, strict=False)
        ]
        rows.append(
            np.concatenate(
                [
                    np.pad(np.asarray(tile), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
                    for tile in tiles
                ],
                axis=1,
            )
        )
    Image.fromarray(np.concatenate(rows)).quantize(128).save(output, optimize=True)


if __name__ == "__main__":
    main()
