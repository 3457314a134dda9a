"""Make a set of features of iQIYI-VID's size, of people who do not exist.

    python tools/make_iqiyi_size.py FOLDER [--share 1.0]

Writes FOLDER/features.h5 and FOLDER/manifest.csv: 203,848 videos, 6.3 million frames, 256 values in float16, 3.3 GB
(and as much again while it is made). 10,034 people: 60,566 videos enrol them (split `train`), 45,472 more are searched
among 97,810 of nobody (split `val`). --share 0.01 makes a hundredth of the videos and people.

People belong to families of look-alikes, so that impostors have a tail; a person looks different in every video
(light, age, pose), and in every frame a little. About a third of a video's frames are noise: strangers who stay for
some frames, and things that resemble nothing. So clustering has something to remove, and scores lie below 1.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidface.files.store import VideoRows, join_shards, write_shard
from vidface.manifest.manifest import read_manifest

VIDEOS, FRAMES, PEOPLE, ENROLLED, SEARCHED = 203_848, 6_300_000, 10_034, 60_566, 45_472
DIMENSION = 256
FAMILIES = 300
SHARD = 2048

Rows = NDArray[np.float32]


def unit(rows: Rows) -> Rows:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def directions(random: np.random.Generator, count: int) -> Rows:
    return unit(random.standard_normal((count, DIMENSION), dtype=np.float32))


def frame_counts(random: np.random.Generator, videos: int, frames: int) -> NDArray[np.int64]:
    """Log-normal lengths of at least one frame that add up."""
    raw = random.lognormal(0.0, 0.6, videos)
    counts = np.maximum(1, np.floor(raw * frames / raw.sum())).astype(np.int64)
    short = frames - int(counts.sum())
    counts[random.choice(videos, abs(short), replace=abs(short) > videos)] += np.sign(short)
    return np.maximum(1, counts)


def video_frames(random: np.random.Generator, person: Rows, strangers: Rows, count: int) -> Rows:
    """float32 [count, D]: a person's frames, and noise in runs among them."""
    look = unit(person + 0.75 * directions(random, 1)[0])  # in this video
    rows = np.repeat(look[None], count, axis=0)
    noisy = int(random.beta(1.5, 3.0) * count)
    at = 0
    while noisy > 0:
        run = min(noisy, int(random.integers(1, 6)), count - at)
        if run <= 0:
            break
        if random.random() < 0.7:
            rows[at : at + run] = strangers[random.integers(len(strangers))]
        else:
            rows[at : at + run] = directions(random, run)
        at += run + int(random.integers(0, 4))
        noisy -= run
    blur = random.uniform(0.4, 1.6, (count, 1)).astype(np.float32)
    return rows + blur * directions(random, count)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    asked = parser.parse_args()
    make(asked.folder, asked.share)


def make(folder: Path, share: float) -> None:
    """Write both files; the same bytes for the same share."""
    videos, frames, people, enrolled, searched = (
        max(1, round(share * count)) for count in (VIDEOS, FRAMES, PEOPLE, ENROLLED, SEARCHED)
    )
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(2019)
    families = directions(random, FAMILIES)
    faces = unit(1.1 * families[random.integers(FAMILIES, size=people)] + directions(random, people))
    # Everybody is enrolled once at least; nobody is -1.
    who = np.full(videos, -1)
    who[:enrolled] = np.concatenate([np.arange(people), random.integers(people, size=enrolled - people)])
    who[enrolled : enrolled + searched] = random.integers(people, size=searched)
    strangers = unit(1.1 * families[random.integers(FAMILIES, size=20_000)] + directions(random, 20_000))
    counts = frame_counts(random, videos, frames)
    split = np.where(np.arange(videos) < enrolled, "train", "val")
    order = random.permutation(videos)  # a file is in no order either
    ids = [f"v{video:06d}" for video in range(videos)]
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "path", "identity", "split"])
        for video, source in enumerate(order.tolist()):
            name = "" if who[source] < 0 else f"{who[source] + 1}"
            rows.writerow([ids[video], f"{ids[video]}.mp4", name, split[source]])
    with tempfile.TemporaryDirectory(dir=folder, prefix=".shards-") as scratch:
        shards = []
        for start in range(0, videos, SHARD):
            made = []
            for video in range(start, min(start + SHARD, videos)):
                source = order[video]
                if who[source] >= 0:
                    person = faces[who[source]]
                else:
                    person = unit(1.1 * families[random.integers(FAMILIES)] + directions(random, 1)[0])
                rows_ = video_frames(random, person, strangers, int(counts[source]))
                times = np.arange(len(rows_), dtype=np.float32) / 8
                made.append(VideoRows(ids[video], rows_.astype(np.float16), times, "ok", []))
            shards.append(Path(scratch) / f"{start:06d}.h5")
            write_shard(shards[-1], made, DIMENSION, "float16")
        made_from = {
            "manifest_sha256": read_manifest(folder / "manifest.csv").sha256,
            "model_name": "people who do not exist",
            "model_sha256": "0" * 64,
            "flip": False,
            "fps": "8",
            "decoder": "none",
            "program_version": "tools/make_iqiyi_size.py",
        }
        join_shards(shards, folder / "features.h5", made_from)


if __name__ == "__main__":
    main()
