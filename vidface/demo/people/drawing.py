"""Pictures of drawn people: the same person under any pose, light and expression, 112x112 RGB.

Shapes are painted three times as large and reduced, which smooths edges; light and soft shadows are laid over that.
Everything follows from integers: the same call gives the same picture.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from vidface.demo.people.features import paint_face
from vidface.demo.people.hair import paint_back, paint_front
from vidface.demo.people.head import SIZE, Brush, Head, Points, oval
from vidface.demo.people.people import Person, make_person

__all__ = ["SIZE", "Frame", "draw_person"]

Frame = NDArray[np.uint8]
"""A picture, uint8 [112, 112, 3], RGB."""

_OVER = 3
_BIG = SIZE * _OVER


def draw_person(person: int, view: int, *, seed: int, scene: int | None = None) -> Frame:
    """Draw picture ``view`` of a person of the population ``seed``, uint8 [112, 112, 3] RGB.

    Pictures with the same ``scene``, by default one per view, share light, clothes and background, as a video's frames.
    """
    rng = np.random.default_rng([seed, person, view, 1])
    setting = np.random.default_rng([seed, person, view, 2] if scene is None else [seed, person, scene, 3])
    who, pose, face, where = _person(person, seed), _pose(rng), _face(rng), _scene(setting, rng)

    head = Head(who, pose, _BIG)
    backdrop = Image.fromarray(where.backdrop.astype(np.uint8))
    picture = backdrop.resize((SIZE, SIZE), Image.Resampling.BICUBIC).resize(
        (_BIG, _BIG), Image.Resampling.NEAREST
    )
    paint_back(Brush(picture, head), who, head, where.clothes)
    skin = picture.copy()
    paint_face(Brush(skin, head), who, head, face, float(where.light[0]))
    mask = Image.new("L", (_BIG, _BIG))
    ImageDraw.Draw(mask).polygon(head.outline().ravel().tolist(), fill=255)
    picture.paste(skin, mask=mask)
    paint_front(Brush(picture, head), who, head, pose.yaw)
    return _develop(picture.reduce(_OVER), mask.reduce(_OVER), who, head, where, rng)


@lru_cache(maxsize=256)
def _person(person: int, seed: int) -> Person:
    return make_person(person, seed=seed)


def _pose(rng: np.random.Generator) -> SimpleNamespace:
    yaw, pitch, roll, scale, x, y = rng.normal(0, 1, 6).tolist()
    return SimpleNamespace(
        yaw=min(0.75, max(-0.75, 0.33 * yaw)),
        pitch=min(0.4, max(-0.4, 0.17 * pitch)),
        roll=0.06 * roll,
        scale=0.86 + 0.03 * scale,
        shift_x=1.5 * x,
        shift_y=1.5 * y,
    )


def _face(rng: np.random.Generator) -> SimpleNamespace:
    talk, blink, smile, lift, frown, lids, x, y = rng.random(8).tolist()
    return SimpleNamespace(
        smile=1.5 * smile - 0.5,
        mouth_open=max(0.0, 2 * talk - 1),
        brow_lift=lift,
        frown=max(0.0, 2 * frown - 1),
        eyes_open=0.08 if blink < 0.05 else 0.7 + 0.4 * lids,
        gaze_x=1.2 * (x - 0.5),
        gaze_y=0.6 * (y - 0.5),
    )


def _scene(setting: np.random.Generator, rng: np.random.Generator) -> SimpleNamespace:
    wobble = rng.normal(0, 1, 4).tolist()
    side, height = setting.uniform(-1.3, 1.3), setting.uniform(-1.1, 0.25)
    light = np.array([side + 0.25 * wobble[0], height + 0.15 * wobble[1], 0.9])
    warm = setting.normal(0, 0.09)
    red, green, blue = setting.uniform(15, 225, 3).tolist()
    return SimpleNamespace(
        light=light / np.sqrt((light * light).sum()),
        tint=np.array([1 + warm, 1 + setting.normal(0, 0.02), 1 - warm]),
        ambient=float(setting.uniform(0.35, 0.8)),
        gain=float(setting.uniform(0.75, 1.25)) * (1 + 0.06 * wobble[2]),
        blur=float(setting.uniform(0, 0.7)) + max(0.0, 0.45 * (abs(wobble[3]) - 1.2)),
        noise=float(setting.uniform(1, 6)),
        clothes=(red, green, blue),
        backdrop=_backdrop(setting),
    )


def _backdrop(setting: np.random.Generator) -> Points:
    """A blurred room: few colours, more in brightness than in hue; float [6, 6, 3]."""
    base = setting.uniform(30, 220) + setting.normal(0, 22, 3)
    spread = setting.normal(0, 32, (6, 6, 1)) + setting.normal(0, 12, (6, 6, 3))
    return np.clip(base + spread, 0, 255)


def _develop(
    picture: Image.Image,
    mask: Image.Image,
    who: Person,
    head: Head,
    scene: SimpleNamespace,
    rng: np.random.Generator,
) -> Frame:
    """Lay light, soft shadows, blur and noise over the painted shapes."""
    nx, ny, nz = head.normals()
    lx, ly, lz = scene.light.tolist()
    facing = np.maximum(0.0, nx * lx + ny * ly + nz * lz)
    shade = scene.ambient + (1 - scene.ambient) * 1.15 * facing
    # Halfway between light and viewer the skin shines.
    hx, hy, hz = ((scene.light + np.array((0.0, 0.0, 1.0))) / np.sqrt(2 + 2 * lz)).tolist()
    shine = np.maximum(0.0, nx * hx + ny * hy + nz * hz) ** 2
    for _ in range(3):
        shine = shine * shine
    shine = shine * (30.0 * (1 - scene.ambient))
    soft = np.asarray(_soft_shadows(who, head), dtype=np.float32) / 160.0
    inside = np.asarray(mask, dtype=np.float32) / 255.0
    shade = shade * (1 + inside * (soft - 1)) * scene.gain
    shine = shine * inside
    lit = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
    for channel, plane in enumerate(picture.split()):  # plane by plane: much faster than [H, W, 3]
        colour = np.asarray(plane, dtype=np.float32) * (shade * np.float32(scene.tint[channel])) + shine
        lit[..., channel] = np.clip(colour, 0, 255, out=colour)
    out = Image.fromarray(lit)
    if scene.blur > 0.2:
        out = out.filter(ImageFilter.GaussianBlur(scene.blur))
    grain = rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32)
    grain *= scene.noise
    grain += np.asarray(out)
    return np.clip(grain, 0, 255, out=grain).astype(np.uint8)


def _soft_shadows(who: Person, head: Head) -> Image.Image:
    """A grey map, 160 = unchanged: eye sockets, cheeks, under nose and lip, blurred."""
    spots = [
        (0.0, -0.62, 0.4, 0.2, 170),
        (0.0, who.nose_length + 0.07, who.nose_width, 0.05, 128),
        (0.0, who.mouth_y + who.lip_lower + 0.06, 0.2, 0.05, 128),
        (0.0, who.chin - 0.14, 0.16, 0.08, 168),
    ]
    for side in (-1.0, 1.0):
        spots += [
            (side * 0.80 * who.jaw, 0.62, 0.16, 0.3, 140),
            (side * 0.62, 0.34, 0.2, 0.12, 172),
            (side * (who.eye_x - 0.02), -0.06, 0.26, 0.17, 134),
            (side * 0.12, 0.0, 0.06, 0.16, 138),
        ]
    points = head.surface(np.concatenate([oval(x, y, rx, ry, 12) for x, y, rx, ry, _ in spots])) / _OVER
    soft = Image.new("L", (SIZE, SIZE), 160)
    draw = ImageDraw.Draw(soft)
    for shape, spot in zip(points.reshape(len(spots), -1).tolist(), spots, strict=True):
        draw.polygon(shape, fill=spot[4])
    return soft.filter(ImageFilter.GaussianBlur(2.5))
