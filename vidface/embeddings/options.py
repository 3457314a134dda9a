"""What `cluster` is told; what of it stands in an embeddings file."""

from __future__ import annotations

from typing import Literal

from vidface.features.options import CARRIED, ShareOptions
from vidface.files.options import Options, in_order, option


class ThresholdOptions(Options):
    """Which frames of a video are one cluster."""

    threshold: float | Literal["none"] = option(
        0.4, "Cosine from which two frames are joined, or none.", in_file="always", reads="threshold"
    )

    def cosine(self) -> float | None:
        """``threshold`` as `vidface.embeddings.embed` takes it: None joins all frames."""
        return None if self.threshold == "none" else self.threshold


class PoolOptions(Options):
    """Which frames count, and how much."""

    pool: Literal["largest", "size", "size-norm"] = option(
        "largest",
        "Average the largest cluster; or all frames, weighted by the size of their cluster, or by that and their norm.",
        in_file="always",
        attribute="pooling",
    )


class ThreadOptions(Options):
    """How many threads cluster."""

    workers: int | None = option(
        None, "Threads [default: one per core]; with ray the Ray cluster decides.", ge=1
    )


class PoolingOptions(PoolOptions, ThresholdOptions):
    """How the frames of a video become one embedding: what `inspect` takes."""


class SweepPoolOptions(ThreadOptions, PoolOptions):
    """What `sweep` takes, which has thresholds of its own."""


class RecipeClusterOptions(ThreadOptions, PoolingOptions):
    """``[cluster]`` of a recipe."""


class ClusterOptions(ShareOptions, RecipeClusterOptions):
    """What the command line and `vidface.embeddings.cluster.cluster` take."""

    by: Literal["video", "track"] = option(
        "video",
        "One embedding per video, or per track of a video (after extract --faces detect): VIDEO#TRACK.",
        in_file="unless default",
    )


# What an embeddings file was made from.
MADE_FROM = in_order(("features_sha256", "threshold", "pooling", "shard", "by"), ClusterOptions)
EMBEDDINGS_ATTRIBUTES = (
    *("kind", "schema_version", *MADE_FROM, *CARRIED),
    *("features_shard", "program_version", "warnings", "dimension"),
)
