"""Run the real commands, in the test's own process if the promise allows (milliseconds), and make what they run on.

Videos, folders and models are made without vidface, with PyAV, Pillow and onnx.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import av
import av.logging
import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from vidface.commands.main import main

SIDE, CELLS = 112, 4  # a picture of 4 x 4 flat cells: the small model's pooling gives their values back
MODULE = [sys.executable, "-m", "vidface"]


class Ran(NamedTuple):
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which must hold one JSON object on one line and nothing else."""
        assert self.out.count("\n") == 1, f"more than one line on stdout: {self.out!r}\n{self.err}"
        value = json.loads(self.out, parse_constant=lambda token: (_ for _ in ()).throw(ValueError(token)))
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> str:
        """The one line of the error, which must be all that stderr holds; never a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), (
            f"not a one-line error:\n{self.err}\n{self.out}"
        )
        return lines[0]


class Small(NamedTuple):
    """Where the files of the small set lie."""

    manifest: Path
    model: Path
    features: Path
    embeddings: Path


def vidface(*arguments: object, code: int | None = None, cwd: Path | None = None) -> Ran:
    """Run one command in this process, checking its exit `code`; other exceptions fail the test, like tracebacks."""
    out, err = io.StringIO(), io.StringIO()
    words = ["vidface", *map(str, arguments)]
    logs = logging.getLogger()
    with (
        patch.object(sys, "argv", words),
        patch.object(logs, "handlers", []),  # the command sets its own, on the stderr below
        contextlib.chdir(cwd or Path.cwd()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            found = 0
        except SystemExit as stop:
            found = stop.code if isinstance(stop.code, int) else 1
    return _checked(Ran(found, out.getvalue(), err.getvalue()), code)


def vidface_process(*arguments: object, code: int | None = None, **options: Any) -> Ran:
    """Run one command in a process of its own; `options` go to `subprocess.run`. It never shows a traceback."""
    words = [*MODULE, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)
    return _checked(Ran(done.returncode, done.stdout, done.stderr), code)


def _checked(ran: Ran, code: int | None) -> Ran:
    assert "Traceback" not in ran.err, ran.err
    assert code is None or ran.code == code, f"exit code {ran.code}, not {code}:\n{ran.err}\n{ran.out}"
    return ran


def picture(cells: np.ndarray) -> np.ndarray:
    """uint8 [112, 112, 3] of flat cells; `cells` [4, 4, 3] in 0..255."""
    flat = np.clip(np.rint(cells), 0, 255).astype(np.uint8)
    return np.repeat(np.repeat(flat, SIDE // CELLS, axis=0), SIDE // CELLS, axis=1)


def frames_of(person: int, count: int, *, spread: float = 10.0, seed: int = 0) -> np.ndarray:
    """uint8 [count, 112, 112, 3]: the cells of one person, each frame a little different."""
    base = np.random.default_rng([1, person]).uniform(30, 225, (CELLS, CELLS, 3))
    random = np.random.default_rng([2, person, seed])
    cells = base + random.normal(0, spread, (count, *base.shape))
    return np.array([picture(frame) for frame in cells], np.uint8).reshape(count, SIDE, SIDE, 3)


def write_folder(folder: Path, frames: Sequence[np.ndarray] | np.ndarray) -> Path:
    """A folder of PNG files, 0.png, 1.png, ..."""
    folder.mkdir(parents=True)
    for index, pixels in enumerate(frames):
        Image.fromarray(pixels).save(folder / f"{index}.png", compress_level=1)
    return folder


def write_video(
    path: Path, frames: np.ndarray, *, lossless: bool = True, rate: int = 8, **container: str
) -> Path:
    """An h264 video; the suffix decides the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, form, options = "libx264rgb", "rgb24", {"qp": "0"}
    if not lossless:
        codec, form, options = "libx264", "yuv420p", {"crf": "15", "g": "4"}
    options |= {"preset": "ultrafast", "threads": "1"}
    size = frames.shape[2], frames.shape[1]
    return encode(
        path, frames, size, codec=codec, rate=rate, pix_fmt=form, options=options, container=container
    )


def encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    size: tuple[int, int],
    *,
    codec: str = "libx264",
    rate: int = 25,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    form: str | None = None,
    aspect: Fraction = Fraction(1),
    turn: int = 0,
) -> Path:
    """A video of RGB pictures of one size (width, height); their pixels are said to be so wide, and to be turned so."""
    with av.logging.Capture(), av.open(str(path), "w", format=form, container_options=container or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options or {"preset": "ultrafast", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(turn)
        for number, pixels in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture = picture.reformat(format=pix_fmt)
            picture.pts, picture.time_base = number, Fraction(1, rate)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def write_manifest(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """A CSV manifest of (video_id, path, identity, split); shorter rows are filled with nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "path", "identity", "split"])
        writer.writerows([*row, *[""] * (4 - len(row))] for row in rows)
    return path


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pooling_model(path: Path, cell: int = SIDE // CELLS, *, mean: float = 127.5, root: bool = False) -> Path:
    """An ONNX model, with its card, whose embedding is the mean of every cell of the picture.

    With `root` it gives square roots: NaN if a cell is darker than `mean`.
    """
    dimension = 3 * (SIDE // cell) ** 2
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Sqrt" if root else "Identity", ["flat"], ["y"]),
    ]
    card_beside(path, dimension=dimension, mean=[mean] * 3)
    return write_graph(path, nodes, outputs=[("y", ["N", dimension])])


def write_graph(
    path: Path,
    nodes: list[Any],
    stored: Sequence[Any] = (),
    *,
    given: tuple[str, int, list[Any] | None] = ("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE]),
    outputs: Sequence[tuple[str, list[Any] | None]] = (("y", None),),
    opset: int = 17,
) -> Path:
    """An ONNX model of these nodes and stored tensors; ``given``: name, type and shape of its input."""
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in outputs]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*given)], made, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def card_beside(model: Path, **fields: object) -> None:
    """The card of a model; what is not given is made up."""
    usual = {"name": model.stem, "input_size": [SIDE, SIDE], "colour_order": "rgb", "mean": [127.5] * 3}
    usual |= {"std": [64.0] * 3, "licence": "CC0", "source": "a test"}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in (usual | fields).items()]
    model.with_suffix(".toml").write_text("".join(lines))


def read_features(path: Path) -> tuple[list[str], list[str], list[np.ndarray]]:
    """Ids, status and the features of every video, read without vidface."""
    with h5py.File(path, "r") as file:
        offsets = file["offsets"][:]
        rows = file["features"][:]
        ids = [text.decode() for text in file["video_ids"][:]]
        status = [text.decode() for text in file["status"][:]]
    return ids, status, [rows[a:b] for a, b in pairwise(offsets)]


def cells_of(frames: np.ndarray, mean: float = 127.5) -> np.ndarray:
    """What the small model gives for pictures of flat cells."""
    cells = frames[:, ::28, ::28].astype(np.float64).transpose(0, 3, 1, 2)
    return ((cells - mean) / 64.0).reshape(len(frames), -1)
