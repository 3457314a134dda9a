"""Frames that show no usable face: things that are not a face, and faces that something covers."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vidface.demo.people.drawing import Frame
from vidface.demo.people.head import SIZE, Points, smooth


def draw_thing(index: int, *, seed: int) -> Frame:
    """Draw an object, a scene or a texture: uint8 [112, 112, 3] that no face is in."""
    rng = np.random.default_rng([seed, index, 4])
    base = rng.uniform(25, 225) + rng.normal(0, 25, 3)
    cells = int(rng.integers(2, 9))
    rough = base + rng.normal(0, 35, (cells, cells, 1)) + rng.normal(0, 15, (cells, cells, 3))
    ground = Image.fromarray(np.clip(rough, 0, 255).astype(np.uint8))
    picture = ground.resize((2 * SIZE, 2 * SIZE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture, "RGBA")
    painter = (_stripes, _blocks, _blobs, _landscape)[int(rng.integers(4))]
    painter(draw, rng)
    return _finish(picture.reduce(2), rng)


def occlude(frame: Frame, index: int, *, seed: int) -> Frame:
    """Cover most of a face, uint8 [112, 112, 3], in a copy; ``index`` and ``seed`` choose how (hand, cloth ...)."""
    rng = np.random.default_rng([seed, index, 5])
    picture = Image.fromarray(frame)
    layer = Image.new("RGBA", (2 * SIZE, 2 * SIZE))
    (_hand, _cloth, _board, _near_object)[int(rng.integers(4))](ImageDraw.Draw(layer), rng)
    cover = layer.reduce(2)
    if rng.random() < 0.5:
        cover = cover.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2.0))))
    picture.paste(cover, mask=cover.getchannel("A"))
    return _finish(picture, rng)


def _finish(picture: Image.Image, rng: np.random.Generator) -> Frame:
    grain = rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32) * float(rng.uniform(1, 5))
    grain += np.asarray(picture)
    return np.clip(grain, 0, 255, out=grain).astype(np.uint8)


def _any_colour(rng: np.random.Generator, alpha: int = 255) -> tuple[int, int, int, int]:
    grey = rng.uniform(25, 225)
    red, green, blue = np.clip(grey + rng.normal(0, 35, 3), 5, 250).astype(int).tolist()
    return red, green, blue, alpha


def _blob(rng: np.random.Generator, x: float, y: float, radius: float, wild: float = 0.3) -> list[float]:
    angle = np.arange(8) * (np.pi / 4) + rng.uniform(0, np.pi)
    reach = radius * rng.uniform(1 - wild, 1 + wild, 8)
    return _flat(smooth(np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)))


def _flat(points: Points) -> list[float]:
    flat: list[float] = points.ravel().tolist()
    return flat


def _stripes(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A fabric or a fence."""
    step, angle = rng.uniform(12, 50), rng.uniform(0, np.pi)
    colours = [_any_colour(rng, 200), _any_colour(rng, 120)]
    for turn, colour in zip((0.0, np.pi / 2)[: int(rng.integers(1, 3))], colours, strict=False):
        along = np.array([np.cos(angle + turn), np.sin(angle + turn)])
        across = np.array([-along[1], along[0]])
        for k in range(-12, 13):
            middle = SIZE + across * (k * step)
            draw.line(
                _flat(np.stack([middle - 350 * along, middle + 350 * along])), colour, int(step / 3) + 1
            )


def _blocks(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Furniture, windows, books."""
    for _ in range(int(rng.integers(4, 14))):
        x, y, wide, high = rng.uniform((-30, -30, 15, 15), (210, 210, 110, 110)).tolist()
        draw.rectangle(
            (x, y, x + wide, y + high), _any_colour(rng), _any_colour(rng), int(rng.integers(1, 6))
        )


def _blobs(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(3, 16))):
        x, y, radius = rng.uniform((0, 0, 12), (224, 224, 70)).tolist()
        colour = _any_colour(rng)
        draw.polygon(_blob(rng, x, y, radius), colour)
        light = tuple(min(255, c + 35) for c in colour[:3])
        draw.polygon(_blob(rng, x - radius / 4, y - radius / 4, radius / 3), light)


def _landscape(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Hills, a street or a table with something on it."""
    for level in np.sort(rng.uniform(40, 210, int(rng.integers(2, 5)))).tolist():
        x = np.linspace(-10, 234, 8)
        ridge = np.stack([x, level + rng.normal(0, 14, 8)], axis=1)
        shape = np.concatenate([smooth(ridge, closed=False), [(240.0, 240.0), (-20.0, 240.0)]])
        draw.polygon(_flat(shape), _any_colour(rng))
    for _ in range(int(rng.integers(0, 6))):
        x, y, high = rng.uniform((10, 60, 20), (210, 200, 120)).tolist()
        draw.rectangle((x, y - high, x + high / 4, y), _any_colour(rng))


def _hand(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    share = rng.uniform(0, 1)
    red, green, blue = (np.array((95, 62, 46)) + share * np.array((140, 130, 124))).astype(int).tolist()
    tone, edge = (red, green, blue), (int(0.7 * red), int(0.7 * green), int(0.7 * blue))
    x, y = rng.uniform((95, 115), (130, 145)).tolist()
    lean = rng.uniform(-0.35, 0.35)
    for finger in range(4):
        angle = -np.pi / 2 + lean + (finger - 1.5) * 0.3
        way = np.array([np.cos(angle), np.sin(angle)])
        reach = rng.uniform(118, 138)
        for colour, half in ((edge, 19), (tone, 16)):
            line = np.array([x, y]) + np.array([[50.0], [reach]]) * way
            draw.line(_flat(line), colour, 2 * half)
            tip_x, tip_y = line[1].tolist()
            draw.ellipse((tip_x - half, tip_y - half, tip_x + half, tip_y + half), colour)
    draw.polygon(_blob(rng, x, y, 76, 0.1), tone)


def _cloth(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    colour, fold = _any_colour(rng), _any_colour(rng)
    low = float(rng.uniform(75, 95))
    gap = float(rng.uniform(14, 34))
    x = np.linspace(-10, 234, 6)
    upper = smooth(np.stack([x, low + rng.normal(0, 6, 6)], axis=1), closed=False)
    lower = smooth(np.stack([x, low + gap + rng.normal(0, 6, 6)], axis=1), closed=False)
    draw.polygon(_flat(np.concatenate([upper, [(240.0, -10.0), (-20.0, -10.0)]])), colour)
    draw.polygon(_flat(np.concatenate([lower, [(240.0, 240.0), (-20.0, 240.0)]])), colour)
    for k in range(5):
        draw.line(_flat(lower + np.array((0.0, 14.0 + 18 * k))), fold, 4)


def _board(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A book, a sheet or a microphone box across most of the face."""
    x, y = rng.uniform((-10, -10), (45, 60)).tolist()
    wide, high = rng.uniform((165, 150), (220, 215)).tolist()
    draw.rectangle((x, y, x + wide, y + high), _any_colour(rng), _any_colour(rng), 5)
    for k in range(int(rng.integers(0, 7))):
        draw.line(
            (x + 15, y + 20 + 20 * k, x + wide * rng.uniform(0.5, 0.9), y + 20 + 20 * k), _any_colour(rng), 5
        )


def _near_object(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    x, y = rng.uniform((85, 85), (140, 145)).tolist()
    red, green, blue, _ = _any_colour(rng)
    draw.polygon(_blob(rng, x, y, 98, 0.15), (red, green, blue))
    draw.polygon(
        _blob(rng, x - 20, y - 25, 40, 0.3), (min(255, red + 30), min(255, green + 30), min(255, blue + 30))
    )
