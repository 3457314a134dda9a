"""Faces of one frame after the other joined to tracklets: one person, followed without a cut.

Frames come some eight times a second, so a face may move by half its size between two, and after a cut another face
may be where the last one was. So both count: where a face is, and how its aligned picture looks. A tracklet that ends
too early costs little, since tracklets of one person are joined later by their features (`vidface.frames.faces.link`);
one that holds two people cannot be mended, so in doubt it ends. `docs/faces.md` has the measurements behind the
constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.frames.faces.align import opencv
from vidface.frames.faces.faces import Faces
from vidface.frames.frame import Pixels

Array = npt.NDArray[np.float64]

PATIENCE = 0.5  # seconds for which a tracklet may be without a face and still go on

# What two faces of one tracklet may differ by in each respect if they agreed in all others. Of faces of one person in
# one shot 99 of 100 differ by less, seen at eight frames a second.
_REACH, _REACH_PER_SECOND = 0.5, 1.2  # of centres, in sizes of the face
_GROWTH = 0.4  # of the logarithm of sizes
_COLOURS = 0.12  # of their colours, as one minus the overlap of their histograms
_PICTURE = 0.9  # of their pictures, as one minus their correlation

# The four together: the sum of these shares from which on two faces are not joined.
_LIMIT = 1.5

_BINS = 8  # of each colour
_SIDE = 16  # pixels of the picture that is compared


@dataclass
class _Seen:
    """A tracklet's last face."""

    tracklet: int
    time: float
    centre: Array  # [2], pixels
    speed: Array  # [2], pixels a second
    size: float  # pixels
    colours: Array  # [512], unit length: roots of a histogram
    picture: Array  # [768], mean 0 and unit length


class Tracker:
    """Joins faces to tracklets, frame by frame. One for each video; it keeps only the last face of each tracklet.

    A face may go on with a tracklet if they agree in place (where the tracklet was, or would be at its last speed,
    whichever is nearer), size, colours and picture. The best pair is joined first, then the best of the rest. That is
    chosen over the assignment of least total cost, which breaks a sure pair in order to make room for a doubtful one:
    people who cross would be exchanged for the sake of a third who comes in. Ties go to the lower tracklet, then to
    the earlier face.
    In frames that are further apart than `PATIENCE` nothing is followed, and all is left to the features.
    """

    def __init__(self) -> None:
        self._time = -np.inf
        self._count = 0
        self._alive: list[_Seen] = []

    def step(self, faces: Faces, crops: Pixels, time: float) -> npt.NDArray[np.int32]:
        """Take the n >= 0 faces of the next frame, and their aligned crops, uint8 [n, h, w, 3] RGB.

        Call it for every sampled frame, also one without faces, and before faces are filtered: a face that is too
        blurred to keep still carries its tracklet. ``time`` is in seconds, not before the last frame's.

        Returns int32 [n], the tracklet of every face. Numbers count up from 0 in order of appearance; those that appear
        together, in the order of ``faces``. A tracklet has at most one face in a frame.

        Raises:
            UsageError: frames out of order, or not a crop for each face.
        """
        if not time >= self._time:
            raise UsageError(f"frames must come in order of time: {time} s after {self._time} s")
        if len(crops) != len(faces.boxes):
            raise UsageError(f"{len(faces.boxes)} faces need as many crops, not {len(crops)}")
        self._time = time
        self._alive = [seen for seen in self._alive if time - seen.time <= PATIENCE]
        found = [
            _look(box, crop, time)
            for box, crop in zip(np.asarray(faces.boxes, np.float64), crops, strict=True)
        ]
        cost = _costs(self._alive, found)
        while cost.size and cost.min() < _LIMIT:
            old, new = map(int, np.unravel_index(int(cost.argmin()), cost.shape))
            last, face = self._alive[old], found[new]
            wait = face.time - last.time
            face.tracklet = last.tracklet
            face.speed = (face.centre - last.centre) / wait if wait > 0 else last.speed
            self._alive[old] = face
            cost[old, :] = cost[:, new] = np.inf
        for face in found:
            if face.tracklet < 0:
                face.tracklet = self._count
                self._count += 1
                self._alive.append(face)
        return np.array([face.tracklet for face in found], np.int32)


def _look(box: Array, crop: Pixels, time: float) -> _Seen:
    """What is remembered of a face; it has no tracklet yet."""
    cv2 = opencv()
    height, width = crop.shape[:2]
    step = 256 // _BINS
    binned = (crop // step).reshape(-1, 3).astype(np.int64) @ (_BINS * _BINS, _BINS, 1)
    colours = np.sqrt(np.bincount(binned, minlength=_BINS**3) / (height * width))
    picture = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    picture -= picture.mean()
    length = float(np.linalg.norm(picture))
    return _Seen(
        tracklet=-1,
        time=time,
        centre=(box[:2] + box[2:]) / 2,
        speed=np.zeros(2),
        size=float(np.sqrt((box[2:] - box[:2]).prod())),
        colours=colours,
        picture=picture / length if length > 0 else picture,
    )


def _costs(alive: list[_Seen], found: list[_Seen]) -> Array:
    """How much every face [n] differs from every tracklet's last one [m]: float64 [m, n]."""
    if not alive or not found:
        return np.zeros((len(alive), len(found)))
    wait = np.array([[found[0].time - seen.time] for seen in alive])
    was = np.array([seen.centre for seen in alive])[:, None]
    speed = np.array([seen.speed for seen in alive])[:, None]
    now = np.array([face.centre for face in found])[None]
    sizes = np.log([seen.size for seen in alive])[:, None], np.log([face.size for face in found])[None]
    away = np.minimum(
        np.linalg.norm(now - was, axis=2), np.linalg.norm(now - was - speed * wait[..., None], axis=2)
    ) / np.exp((sizes[0] + sizes[1]) / 2)
    colours = np.array([seen.colours for seen in alive]) @ np.array([face.colours for face in found]).T
    pictures = np.array([seen.picture for seen in alive]) @ np.array([face.picture for face in found]).T
    return np.asarray(
        away / (_REACH + _REACH_PER_SECOND * wait)
        + np.abs(sizes[0] - sizes[1]) / _GROWTH
        + (1 - colours) / _COLOURS
        + (1 - pictures) / _PICTURE
    )
