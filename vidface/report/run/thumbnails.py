"""Small pictures for a report: every video that is shown is read once, whatever it is shown for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from vidface.files.store import FeaturesInfo
from vidface.frames.frame import Pixels
from vidface.manifest.manifest import Manifest
from vidface.report.video.pictures import open_pictures
from vidface.runtime import cpu_count, map_ordered, progress

__all__ = ["SIZE", "read_thumbnails"]

SIZE = 64  # pixels on a side: some 2 kB each


def read_thumbnails(
    manifest: Manifest, info: FeaturesInfo, wanted: Mapping[int, set[int]]
) -> tuple[dict[tuple[int, int], Pixels], dict[str, str]]:
    """Read pictures of rows of videos.

    Args:
        manifest: says where the videos lie.
        info: the features file.
        wanted: place of a video in the features file -> rows within the video.

    Returns:
        (pictures, missing): (place, row) -> uint8 [SIZE, SIZE, 3]; video id -> why some of its pictures are missing.
    """
    found: dict[tuple[int, int], Pixels] = {}
    row_of = {video: row for row, video in enumerate(manifest.video_ids)}
    # Of a set whose videos are elsewhere, no process need be asked.
    gone = {place for place in wanted if not manifest.video_path(row_of[info.video_ids[place]]).exists()}
    absent = {info.video_ids[place]: "no such file or folder" for place in gone}
    there = [(place, rows) for place, rows in wanted.items() if place not in gone]
    with open_pictures(manifest, info) as pictures:

        def read(place: int, rows: set[int]) -> list[Pixels | None]:
            return pictures.thumbnails(place, sorted(rows), SIZE)

        with (
            closing(map_ordered(read, there, workers=cpu_count())) as all_shown,
            progress("pictures", len(there), "videos") as advance,
        ):
            for (place, rows), shown in zip(there, all_shown, strict=True):
                found |= {
                    (place, row): picture
                    for row, picture in zip(sorted(rows), shown, strict=True)
                    if picture is not None
                }
                advance(1)
        return found, dict(sorted((absent | pictures.missing).items()))
