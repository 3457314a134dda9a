"""What two faces of one tracklet differ by, and what two people at the same place differ by."""

from __future__ import annotations

import numpy as np

from faces.material import Array, Material
from vidface.frames import ReadReport, read_frames
from vidface.frames.faces import track
from vidface.frames.faces.align import align_faces
from vidface.frames.faces.faces import Faces
from vidface.frames.frame import Pixels

CLIPS = ("short_hamilton_clip.mp4", "grid_pwij3p.mpg", "grid_sbwe5n.mpg", "grid_bbaf2n.mpg")


def followed(material: Material, clip: str) -> list[tuple[float, Faces, Pixels, Array]]:
    """Time, faces, crops and tracklets of every frame."""
    tracker, out = track.Tracker(), []
    for frame in read_frames(material.folder / "clips" / clip, report=ReadReport()):
        faces = material.detector(frame.pixels)
        crops = align_faces(frame.pixels, faces.points)
        out.append((frame.pts_seconds, faces, crops, tracker.step(faces, crops, frame.pts_seconds)))
    return out


def costs(before: list[track._Seen], after: list[track._Seen]) -> Array:
    return track._costs(before, after)


def table(material: Material) -> list[list[str]]:
    same: dict[int, list[float]] = {1: [], 2: [], 3: [], 4: []}
    for clip in CLIPS:
        seen: dict[int, list[tuple[int, track._Seen]]] = {}
        for index, (time, faces, crops, tracklets) in enumerate(followed(material, clip)):
            for box, crop, tracklet in zip(faces.boxes.astype(np.float64), crops, tracklets, strict=True):
                seen.setdefault(int(tracklet), []).append((index, track._look(box, crop, time)))
        for faces_of_one in seen.values():
            for k, (index, face) in enumerate(faces_of_one):
                for other, later in faces_of_one[k + 1 : k + 5]:
                    if other - index in same:
                        same[other - index].append(float(costs([face], [later])[0, 0]))
    rows = [["pairs", "count", "median", "90 %", "99 %", f"below {track._LIMIT}"]]
    for gap, values in same.items():
        rows.append([f"one tracklet, {gap} {'frame' if gap == 1 else 'frames'} apart", *summary(values)])
    # Photographs of LFW as if a cut put one exactly in the other's place: nothing but looks tells them apart.
    faces, who = material.people(6, 3)
    faces, who = faces[:360], who[:360]
    box = np.array([100.0, 100, 200, 230])
    looks = [track._look(box, face, 0.0) for face in faces]
    later = [track._look(box, face, 1 / 8) for face in faces]
    cost, upper = costs(looks, later), np.triu_indices(len(faces), 1)
    other = (who[:, None] != who)[upper]
    rows.append(["two people of LFW at the very same place", *summary(cost[upper][other].tolist())])
    return rows


def summary(values: list[float]) -> list[str]:
    cost = np.array(values)
    quantiles = [f"{value:.2f}" for value in np.quantile(cost, (0.5, 0.9, 0.99))]
    return [f"{len(cost):,}", *quantiles, f"{100 * (cost < track._LIMIT).mean():.2f} %"]
