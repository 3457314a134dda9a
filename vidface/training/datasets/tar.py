"""Open tar shards without unpacking them: one pass over the headers, then bytes are read where they lie. Write them."""

from __future__ import annotations

import io
import tarfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidface.errors import MediaError, StoreError
from vidface.files.atomic import natural_key, write_atomic
from vidface.files.pointers import pointer_at
from vidface.manifest.rows import show
from vidface.training.datasets.images import (
    IMAGE_SUFFIXES,
    ImageSet,
    LeftOut,
    Stamp,
    packed_names,
    read_at,
    stamp_of,
    usable_name,
)

BLOCK = 512
PNG = b"\x89PNG"

# What tarfile raises on damaged archives: its maps of sparse files are read without a check.
TAR_ERRORS = (tarfile.TarError, ValueError, IndexError, OverflowError)


def open_tars(shards: Sequence[Path], source: str) -> ImageSet:
    """Open the images PERSON/IMAGE of one or more uncompressed tar files; a person may be in several of them.

    Folders above PERSON are allowed where they are the same for all images. Links, devices, absolute names,
    names with "..", hidden and other files are left out and counted in ``problems``; where a name comes
    twice, the later one counts, as it does on unpacking.

    Raises:
        StoreError: a shard is compressed, cut short, damaged or not a tar file; there is no image; or it is
            not clear which folder names the person.
    """
    left_out = LeftOut()
    found: dict[str, dict[str, int]] = {}  # person -> file -> its row of `places`
    places = array("q")  # shard, offset, size, shard ...: millions of tuples would fill the memory
    above: tuple[str, str] | None = None  # the folders above PERSON, and the image that showed them
    stamps = tuple(stamp_of(shard) for shard in shards)
    for number, shard in enumerate(shards):
        for member in _files(shard):
            called = f"{shard.name}:{member.name}"
            parts = _parts(member, called, left_out)
            if parts is None:
                continue
            *folders, person, file = parts
            prefix = "/".join(folders)
            if above is None:
                above = prefix, called
            elif above[0] != prefix:
                raise StoreError(
                    f"{source}: which folder names the person is not clear: {show(above[1])} and {show(called)} "
                    f"lie under different folders; pack them as PERSON/IMAGE"
                )
            files = found.setdefault(person, {})
            if file in files:
                left_out.add("images whose name comes again later", f"{person}/{file}")
            files[file] = len(places) // 3
            places.extend((number, member.offset_data, member.size))
    if not found:
        why = "; ".join(left_out.lines()) or "nothing is in it"
        raise StoreError(f"{source}: no PERSON/IMAGE with .jpg, .jpeg or .png files in it ({why})")
    identities = tuple(sorted(found, key=natural_key))
    ordered = [(person, file) for person in identities for file in sorted(found[person], key=natural_key)]
    names = packed_names(f"{person}/{file}" for person, file in ordered)
    rows = [found[person][file] for person, file in ordered]
    counts = [len(found[person]) for person in identities]
    return ImageSet(
        identities=identities,
        labels=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        names=names,
        read=partial(_read, stamps, np.array(places, np.int64).reshape(-1, 3)[rows], names),
        source=source,
        problems=left_out.lines(),
    )


def _files(shard: Path) -> Iterator[tarfile.TarInfo]:
    """Every member; an archive without its end marker, or with more behind it, is an error."""
    size = shard.stat().st_size
    if advice := pointer_at(shard):
        raise StoreError(f"{shard}: {advice}")
    with shard.open("rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
                while (member := archive.next()) is not None:
                    if member.size < 0 or archive.offset <= member.offset:
                        raise StoreError(f"{shard}: damaged: {show(member.name)} has an impossible size")
                    if archive.offset > size:
                        raise StoreError(f"{shard}: cut short in {show(member.name)}; fetch or pack it again")
                    yield member
                    archive.members.clear()  # type: ignore[attr-defined]  # or it keeps them all
                end = archive.offset
        except TAR_ERRORS as error:
            raise StoreError(f"{shard}: damaged, or not a tar file: {error}") from None
        # tarfile stops without a word at a header that it cannot read.
        file.seek(end)
        marker = file.read(BLOCK)
        if len(marker) < BLOCK:
            raise StoreError(f"{shard}: cut short: it has no end marker; fetch or pack it again")
        if any(marker):
            raise StoreError(f"{shard}: damaged: the header at byte {end} cannot be read")
        while block := file.read(1 << 20):
            if any(block):
                raise StoreError(
                    f"{shard}: more follows its end marker, as when archives are joined with cat; "
                    f"put them side by side in a folder instead"
                )


def _parts(member: tarfile.TarInfo, called: str, left_out: LeftOut) -> list[str] | None:
    """The folders and the file of an image; None for what is not one, counted where that says something."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if member.isdir():
        return None
    if member.issym() or member.islnk():
        left_out.add("links", called)
    elif not member.isreg() or member.issparse():
        left_out.add("devices and other members that are no plain files", called)
    elif member.name.startswith("/") or ".." in parts:
        left_out.add("names that lead out of the archive", called)
    elif not usable_name(member.name):
        left_out.add("names that are not UTF-8 on one line", called)
    elif any(part.startswith(".") for part in parts):
        left_out.add("hidden files", called)
    elif not member.name.lower().endswith(IMAGE_SUFFIXES):
        left_out.add("files that are not .jpg, .jpeg or .png", called)
    elif len(parts) < 2:
        left_out.add("images in no person's folder", called)
    else:
        return parts
    return None


def _read(stamps: Sequence[Stamp], places: NDArray[np.int64], names: Sequence[str], index: int) -> bytes:
    shard, offset, size = places[index].tolist()
    content = read_at(stamps[shard], offset, size)
    if len(content) < size:
        raise MediaError("unreadable-image", f"{stamps[shard].path}: cut short in {names[index]}")
    return content


def write_tar(
    path: Path, images: ImageSet, places: Sequence[int], advance: Callable[[int], None] = lambda _done: None
) -> None:
    """Write the images at ``places`` as PERSON/IMAGE, in the order given; the same images give the same bytes.

    A name that is not PERSON/IMAGE already, as in .rec files, becomes PERSON/PLACE.jpg (or .png, by its content).

    Raises:
        StoreError: the file cannot be written.
        MediaError: an image cannot be read.
    """
    with (
        write_atomic(path) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive,
    ):
        for place in places:
            content = images.read(place)
            person, name = images.identities[images.labels[place]], images.names[place]
            if not name.startswith(f"{person}/") or name.count("/") != 1:
                name = f"{person}/{place:08d}{'.png' if content.startswith(PNG) else '.jpg'}"
            member = tarfile.TarInfo(name)  # no owner, and a time of 0
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            archive.members.clear()  # type: ignore[attr-defined]  # or it keeps them all
            advance(1)
