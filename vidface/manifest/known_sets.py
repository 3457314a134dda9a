"""The sets that the program knows: a data manifest (TOML) for each, in ``data_manifests/``.

``data_manifests/README.md`` explains the fields.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import vidface
from vidface.errors import UsageError, printable
from vidface.files.toml import listed, read_told

FOLDER = "data_manifests"
ROWS = ("videos", "images", "faces")
COMPARABLE = (*ROWS, "identified", "distractors", "identities")

_Text = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Count(_Table):
    """How many of something a set has, exactly, about or at least.

    ``faces`` are crops; ``identified`` and ``distractors`` are rows with and without an identity. ``compared``: a
    complete manifest has this many. ``source`` is a key of ``[sources]``.
    """

    of: Literal[
        "videos",
        "images",
        "faces",
        "identified",
        "distractors",
        "identities",
        "pairs",
        "same pairs",
        "templates",
        "frames",
    ]
    value: Annotated[int, Field(ge=0, strict=True)]
    known: Literal["exactly", "about", "at least"] = "exactly"
    split: str = ""
    protocol: str = ""
    compared: bool = False
    source: _Text

    @model_validator(mode="after")
    def _can_be_compared(self) -> Count:
        if self.compared and self.of not in COMPARABLE:
            raise ValueError(
                f"a manifest does not say how many {self.of} there are, so compared must be false"
            )
        if self.compared and (self.known == "about" or self.protocol):
            raise ValueError("a rounded number, or one of a protocol, cannot be compared")
        return self


class Checksum(_Table):
    """The published SHA-256 of a file of a set, as 64 lower-case hexadecimal digits."""

    file: _Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: _Text


class InManifest(_Table):
    """What a complete manifest of a set looks like.

    ``splits`` has patterns of video ids by split, with the wildcards of a shell; the split ``*`` is any. ``identities``
    are patterns as well. ``listed`` is a manifest beside the TOML with every row of the set, absolute once it is read.
    ``not_comparable`` says why a manifest cannot be compared with the set.
    """

    command: _Text
    rows: Literal["videos", "images", "faces"] = "videos"
    splits: dict[str, tuple[_Text, ...]] = Field(default_factory=dict)
    identities: tuple[_Text, ...] = ()
    listed: Path | None = None
    example: str = ""
    not_comparable: str = ""

    @model_validator(mode="after")
    def _lies_beside(self) -> InManifest:
        if self.listed is not None and self.listed.name != str(self.listed):
            raise ValueError("listed is the name of a manifest in the same folder, without a path")
        return self


class KnownSet(_Table):
    """A data manifest."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: _Text
    what: _Text
    origin: _Text
    licence: _Text
    protocols: tuple[_Text, ...] = ()
    layout: _Text
    notes: tuple[_Text, ...] = ()
    papers: tuple[_Text, ...] = ()
    sources: dict[str, _Text] = Field(default_factory=dict)
    counts: tuple[Count, ...] = ()
    checksums: tuple[Checksum, ...] = ()
    manifest: InManifest

    @model_validator(mode="after")
    def _fits_together(self) -> KnownSet:
        cited = [entry.source for entry in self.counts] + [entry.source for entry in self.checksums]
        if unknown := [source for source in cited if source not in self.sources]:
            raise ValueError(f"source {unknown[0]!r} is not a key of [sources]")
        compared = [count for count in self.counts if count.compared]
        keys = [(count.of, count.split) for count in compared]
        if twice := [of for of, split in keys if keys.count((of, split)) > 1]:
            raise ValueError(f"{twice[0]} are counted twice for one split")
        for of, split in keys:
            if of in ROWS and of != self.manifest.rows:
                raise ValueError(f"{of} cannot be compared: rows of the manifest are {self.manifest.rows}")
            if split and self.manifest.splits and not {split, "*"} & self.manifest.splits.keys():
                raise ValueError(f"split {split!r} of a count is not in [manifest.splits]")
        if bool(self.manifest.not_comparable) == bool(compared or self.manifest.listed):
            raise ValueError("say compared = true of a count, or manifest.listed, or manifest.not_comparable")
        return self


def known_names() -> list[str]:
    """The names of the sets that come with the program, in order."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def read_known(name: str) -> KnownSet:
    """Read the data manifest of one of `known_names`, or of your own, whose path ends in ``.toml``.

    Raises:
        UsageError: There is no such set or file, or it is not TOML, or fields are unknown, missing or wrong; all of
            those are named.
    """
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not name.endswith(".toml") and name not in known_names():
        raise UsageError(_no_such_set(name))
    content = read_told(path, "data manifest")
    try:
        found = KnownSet.model_validate(content)
    except ValidationError as error:
        wrong = []
        for each in error.errors():  # at "counts 3 split" for the third table [[counts]]
            parts = [str(part + 1) if isinstance(part, int) else part for part in each["loc"]]
            place = f"{' '.join(parts)}: " if parts else ""
            wrong.append(place + each["msg"].removeprefix("Value error, "))
        raise UsageError(f"{path}: {listed(wrong)}") from None
    rows = found.manifest.listed
    if rows is None:
        return found
    return found.model_copy(
        update={"manifest": found.manifest.model_copy(update={"listed": path.parent / rows})}
    )


def _no_such_set(name: str) -> str:
    known = known_names()
    asked = name.lower().replace("_", "-")
    near = [other for other in known if asked and other.startswith(asked)] or get_close_matches(
        asked, known, n=1
    )
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"no known set {printable(name)!r}; {hint}there are {', '.join(known)}, and your own FILE.toml"


def _folder() -> Path:
    """In the package where a wheel was installed, at the top of the repository where it was not."""
    package = Path(vidface.__file__).parent
    inside = package / FOLDER
    return inside if inside.is_dir() else package.parent / FOLDER
