"""What `extract` is told, and whoever opens a model or an engine; what of it stands in a features file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vidface.files.options import Options, in_order, option
from vidface.files.shares import Shard

if TYPE_CHECKING:
    from vidface.backbones import Backbone


class EngineOptions(Options):
    """Where the work runs: ``[engine]`` of a recipe."""

    name: Literal["local", "ray"] = option(
        "local", "Where the work runs; ray needs the extra vidface[ray].", flag="--engine"
    )
    address: str | None = option(
        None, "Address of the Ray cluster: auto, or HOST:PORT [default: one is started here]."
    )


class ShareOptions(Options):
    """Which share of the work is done."""

    shard: Shard | None = option(
        None,
        "Share I of N of the videos only; `vidface merge` joins the N files.",
        in_file="unless default",
        metavar="I/N",
        reads="shard",
    )


class RecipeModelOptions(Options):
    """Which model runs, and where."""

    model: Path = option(..., "ONNX model, or weights (safetensors, plain .pth).")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "Where the network runs; auto: on a GPU if there is one."
    )
    half: bool = option(False, "Half precision, on a GPU.", in_file="always")


class ModelOptions(RecipeModelOptions):
    """The same with what a card says, for a model that has none."""

    input_size: tuple[int, int] | None = option(
        None, "HEIGHTxWIDTH, e.g. 112x112 (if there is no card).", reads="size"
    )
    colour_order: Literal["rgb", "bgr"] | None = option(None, "Of the network's input (if there is no card).")
    mean: tuple[float, ...] | None = option(
        None, "Of pixels 0..255: three numbers (if there is no card).", reads="numbers"
    )
    std: tuple[float, ...] | None = option(
        None, "Of pixels 0..255: three numbers (if there is no card).", reads="numbers"
    )
    model_output: str | None = option(
        None, "Which output of an ONNX model is the embedding (if the card names none).", metavar="NAME"
    )

    def card(self) -> dict[str, object]:
        """The fields of a card that were said."""
        told = {name: getattr(self, name) for name in ("input_size", "colour_order", "mean", "std")}
        told["output"] = self.model_output
        return {name: value for name, value in told.items() if value is not None}

    def load(self) -> Backbone:
        """The model; errors as `vidface.backbones.load_backbone` raises them."""
        from vidface.backbones import load_backbone  # here, since --help of a command imports this module

        return load_backbone(self.model, overrides=self.card(), device=self.device, half=self.half)


class RecipeExtractOptions(RecipeModelOptions):
    """``[extract]`` of a recipe."""

    decoder: Literal["pyav", "decord"] = option(
        "pyav", "What decodes videos.", in_file="always", carried=True
    )
    fps: float | Literal["all"] = option(
        8.0, "Frames per second by presentation time, or all.", in_file="always", carried=True, reads="fps"
    )
    folder_frames: int | None = option(
        None,
        "Of a folder of frames at most N, evenly spaced [default: all].",
        in_file="unless default",
        carried=True,
        metavar="N",
        ge=1,
    )
    faces: Literal["aligned", "detect"] = option(
        "aligned",
        "Each frame is an aligned face, or faces are found in it. The next seven options are for detect.",
        in_file="unless default",
        carried=True,
    )
    detector: str | None = option(
        None,
        "yunet, or uniface:NAME of that package [default: yunet].",
        in_file="unless default",
        metavar="NAME",
    )
    detector_weights: Path | None = option(None, "Its weights [default: looked for in the cache].")
    track: Literal["main", "centre", "all"] | None = option(
        None,
        "Keep each video's main person (large and long in view), the one in the middle, or everybody [default: main].",
        in_file="unless default",
        carried=True,
    )
    min_score: float | None = option(
        None,
        "Leave out faces with a lower detection score [default: 0.7].",
        in_file="unless default",
        ge=0,
        le=1,
    )
    min_face: float | None = option(
        None, "Leave out smaller faces [default: none].", in_file="unless default", metavar="PIXELS", ge=0
    )
    min_sharpness: float | None = option(
        None,
        "Leave out faces that are less sharp [default: none].",
        in_file="unless default",
        metavar="SHARPNESS",
        ge=0,
    )
    max_yaw: float | None = option(
        None,
        "Leave out faces with a larger yaw, in degrees [default: none].",
        in_file="unless default",
        metavar="DEGREES",
        ge=0,
        le=90,
    )
    flip: bool = option(False, "Add the mirrored frame's embedding.", in_file="always", carried=True)
    resize: bool = option(
        False, "Resize frames of another size (the challenge forbids it).", in_file="always"
    )
    dtype: Literal["float32", "float16"] = option(
        "float32", "Number type of the stored features.", in_file="always"
    )
    batch_size: int = option(32, "Faces that the network takes at a time.", ge=1)
    decoder_timeout: float = option(
        120.0,
        "Give up a video whose decoder returns no frame for so long; raise it if the disk is slow.",
        metavar="SECONDS",
        gt=0,
    )
    workers: int | None = option(
        None,
        "Decoding processes; 0: threads of this process [default: one per core]. With ray: actors, 1 or more.",
        ge=0,
    )


class ExtractOptions(ShareOptions, RecipeExtractOptions, ModelOptions):
    """What the command line and `vidface.features.extract.extract` take."""

    def frame_rate(self) -> float | None:
        """``fps`` as `vidface.frames` takes it: None is every frame."""
        return None if self.fps == "all" else float(self.fps)


# What a features file was made from.
MADE_FROM = in_order(
    (
        *("manifest_sha256", "model_name", "model_sha256", "colour_order", "decoder", "fps", "flip"),
        *("resize", "half", "dtype", "faces", "detector_sha256", "detector", "track", "min_score"),
        *("min_face", "min_sharpness", "max_yaw", "folder_frames", "template"),
    ),
    ExtractOptions,
)
FEATURES_ATTRIBUTES = (
    *("kind", "schema_version", *MADE_FROM),
    *("device", "program_version", "warnings", "dimension"),
)
# What an embeddings file says of the features that it was made from.
CARRIED = in_order(
    (
        *("manifest_sha256", "model_name", "model_sha256", "flip", "fps", "decoder", "faces", "track"),
        "folder_frames",
    ),
    ExtractOptions,
    carried=True,
)
