"""A model is tried once, before hours of work with it: on a few images, alone and in a batch, twice.

What would give wrong numbers is refused, with the reason and what to do: a model that gives another embedding each time
(it was exported in training mode), one whose embedding of a face depends on the other faces of its batch, one that
gives the same for everything, or nothing that is a number. What may be meant so is a warning: pixels far outside the
range that networks take, an output that looks like classes. No test can tell whether the order of colours is right.

The images are drawn here and always the same: noise, and two crude faces. Ten images are run: some 50 ms for a light
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidface.backbones.card import ModelCard
from vidface.backbones.onnx_facts import Facts, Range
from vidface.backbones.opened import Form, Opened
from vidface.errors import ModelError

# Distances of two embeddings of one image, as a share of their length. Rounding stays below 1e-5 in float32 and near
# 1e-3 in float16; dropout and batch statistics move an embedding by a tenth and more.
_SAME, _ROUNDING = 2e-2, 5e-3
_ONE_EMBEDDING = 1e-4  # what different images must at least differ by
# Of the pixels' range; networks take -1..1, 0..1, -2..3, 0..255 or, with a mean taken off alone, -132..164.
_LOWEST, _HIGHEST, _NARROWEST = -160.0, 300.0, 0.25
_MOST_NUMBERS = 4096


@dataclass(frozen=True)
class Findings:
    """What trying a model has shown.

    Attributes:
        form: what goes in and what comes out.
        pixels: lowest and highest number that the card makes of a pixel.
        inside: the same after the model's own shift and scale; None: it has none, or its graph does not show it.
        repeats: how far two runs of one image differ, as a share of the embedding's length; 0: not in a bit.
        alone: the same for an image alone and in a batch with others; None: it runs one image at a time.
        norms: smallest and largest length of an embedding.
        warnings: what may cost the user something, most costly first.
    """

    form: Form
    pixels: tuple[float, float]
    inside: tuple[float, float] | None
    repeats: float
    alone: float | None
    norms: tuple[float, float]
    warnings: tuple[str, ...]


def probe(opened: Opened, card: ModelCard, facts: Facts, path: Path) -> Findings:
    """Try a model; ``facts`` is what its graph gives away.

    Raises:
        ModelError: it cannot be relied on; see above.
    """
    if facts.batch_statistics:
        raise ModelError(
            f"{path}: exported in training mode: it computes with the mean and variance of each batch "
            f"({_some(facts.batch_statistics)}): {_EVAL}"
        )
    images = probe_images(card.input_size)
    form, run = opened.form, opened.run
    alone = np.concatenate([run(images[i : i + 1]) for i in range(len(images))])
    warnings = _refuse_useless(alone, path)
    repeats = _difference(run(images[:1]), alone[:1])
    if repeats > _ROUNDING:
        raise ModelError(
            f"{path}: gives a different embedding each time it runs (two runs of one image are "
            f"{repeats:.0%} of its length apart): exported in training mode{_by(facts.training)}: {_EVAL}"
        )
    together = None
    if form.batch != 1:
        most = form.batch or len(images)
        batch = images[:most]
        ways = [run(batch), run(batch[::-1])[::-1]]
        together = max(_difference(way, alone[:most]) for way in ways)
        if together > _SAME:
            raise ModelError(
                f"{path}: the embedding of a face depends on the others in its batch ({together:.0%} of its length): "
                f"exported in training mode{_by(facts.training)}, or with a batch frozen inside: {_EVAL}, and "
                "leave the batch free, or export it with a batch of 1"
            )
        if together > _ROUNDING:
            warnings.append(
                f"the embedding of a face depends on the others in its batch, by {together:.1%} of its length: results "
                "change with the batch size; export the model with a batch of 1"
            )
    inside = facts.normalised
    finite = alone[np.isfinite(alone).all(axis=1)]
    norms = np.linalg.norm(finite.astype(np.float64), axis=1)
    return Findings(
        form,
        _ends(pixel_range(card)),
        None if inside is None else _ends(inside),
        repeats,
        together,
        (float(norms.min()), float(norms.max())),
        (*range_warnings(card, inside), *warnings),
    )


_EVAL = "call network.eval() before the export, and pass training=torch.onnx.TrainingMode.EVAL"


def _refuse_useless(rows: NDArray[np.float32], path: Path) -> list[str]:
    """Refuse embeddings of different images that say nothing; returns warnings."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.any():
        raise ModelError(
            f"{path}: gives NaN or infinite numbers for every image: check its weights, and the mean and std of its "
            "card; one in float16 may overflow: export it in float32"
        )
    known = rows[finite].astype(np.float64)
    if not known.any():
        raise ModelError(f"{path}: gives zeros for every image: check its weights, and which output is taken")
    apart = max(float(np.linalg.norm(row - known[0])) for row in known)
    if len(known) > 1 and apart < _ONE_EMBEDDING * np.linalg.norm(known[0]):
        raise ModelError(
            f"{path}: gives the same embedding for noise and for two different faces: check its weights, the mean and "
            "std of its card, and which output is taken"
        )
    warnings = []
    if len(known) < len(rows):
        warnings.append(
            f"gives NaN or infinite numbers for {len(rows) - len(known)} of the {len(rows)} images tried"
        )
    if rows.shape[1] > 1 and np.all(known >= 0) and np.allclose(known.sum(axis=1), 1, atol=1e-3):
        warnings.append(
            "its output adds up to 1, as the probabilities of classes do: export the layer before the classifier"
        )
    elif rows.shape[1] > _MOST_NUMBERS:
        warnings.append(
            f"its output has {rows.shape[1]:,} numbers, as many as a classifier has classes: if so, export the layer "
            "before it"
        )
    return warnings


def range_warnings(card: ModelCard, inside: Range | None) -> list[str]:
    """What is wrong with the numbers that the network gets, by its card and its own first steps."""
    mean, std = np.array(card.mean), np.array(card.std)
    low, high = pixel_range(card) if inside is None else inside
    width = float((high - low).min())
    from_to = f"{low.min():.4g} to {high.max():.4g}"
    warnings = []
    small = {
        name: values
        for name, values in (("mean", mean), ("std", std))
        if 0 <= values.min() <= values.max() <= 1
    }
    scaled = ", ".join(f"{name} = {_numbers(values * 255)}" for name, values in small.items())
    if not (np.isfinite([low, high]).all() and low.min() >= _LOWEST and high.max() <= _HIGHEST):
        why = "networks take about -1 to 1, or 0 to 255"
        if std.max() < 0.1:
            why = f"std on its card is divided by; if these are factors, write std = {_numbers(1 / std)}"
        elif "std" in small:
            names = " and ".join(small)
            why = f"{names} on its card: values for pixels 0..1, it seems; for pixels 0..255 write {scaled}"
        warnings.append(f"the network gets pixels from {from_to}: {why}")
    elif list(small) == ["mean"] and mean.any():
        warnings.append(
            f"mean on its card: values for pixels 0..1, it seems; for pixels 0..255 write {scaled}"
        )
    elif width < _NARROWEST or np.any(low > 0.1 * (high - low)) or np.any(high < -0.1 * (high - low)):
        why = "check mean and std on its card"
        if inside is not None and (set(card.mean) != {0.0} or set(card.std) != {1.0}):
            why = "it normalises them itself as well: write mean = [0, 0, 0], std = [1, 1, 1] on its card"
        warnings.append(f"the network gets pixels from {from_to}, neither around 0 nor about 1 wide: {why}")
    red, blue = (0, 2) if card.colour_order == "rgb" else (2, 0)
    if mean[blue] > mean[red] + (0.02 if mean.max() <= 1 else 5):
        warnings.append(
            f"the mean of its blue channel is above that of its red one, which never happens with faces, for "
            f'colour_order = "{card.colour_order}": mean and std must be in the order of the model\'s channels'
        )
    return warnings


def pixel_range(card: ModelCard) -> Range:
    """What a card makes of a pixel of 0 and of one of 255, [3] each."""
    mean, std = np.array(card.mean), np.array(card.std)
    return (0 - mean) / std, (255 - mean) / std


def probe_images(size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 RGB [3, H, W, 3]: noise, and two crude faces, always the same."""
    height, width = size
    noise = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    # Eyes, mouth (x, y of the middle, half-axes; shares of the side) and colours of skin and ground.
    round_face = _drawn(height, width, ((0.35, 0.42), (0.65, 0.42)), 0.44, (224, 178, 148), (60, 90, 140))
    long_face = _drawn(height, width, ((0.38, 0.36), (0.62, 0.36)), 0.33, (122, 84, 62), (200, 200, 170))
    return np.concatenate([noise, round_face[np.newaxis], long_face[np.newaxis]])


def _drawn(
    height: int,
    width: int,
    eyes: Sequence[tuple[float, float]],
    broad: float,
    skin: tuple[int, int, int],
    ground: tuple[int, int, int],
) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    y, x = (y + 0.5) / height, (x + 0.5) / width

    def within(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        return inside

    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = ground
    picture[within(0.5, 0.52, broad, 0.5)] = skin
    for cx, cy in eyes:
        picture[within(cx, cy, 0.07, 0.04)] = (245, 245, 245)
        picture[within(cx, cy, 0.03, 0.04)] = (40, 30, 25)
    picture[within(0.5, 0.78, broad / 2, 0.05)] = (150, 50, 60)
    return picture


def _difference(rows: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest distance between rows of two arrays, as a share of the second's length; equal bits are equal."""
    same = np.array([a.tobytes() == b.tobytes() for a, b in zip(rows, wanted, strict=True)])
    a, b = rows[~same].astype(np.float64), wanted[~same].astype(np.float64)
    if not len(a):
        return 0.0
    with np.errstate(all="ignore"):
        lengths = np.maximum(np.linalg.norm(b, axis=1), np.finfo(np.float32).tiny)
        shares = np.linalg.norm(a - b, axis=1) / lengths
    return float(np.nan_to_num(shares, nan=np.inf).max())


def _ends(pixels: Range) -> tuple[float, float]:
    return float(pixels[0].min()), float(pixels[1].max())


def _numbers(values: NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def _by(names: Sequence[str]) -> str:
    return f" (its graph has {_some(names)})" if names else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
