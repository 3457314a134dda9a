"""Features and embeddings files that are damaged, foreign or hostile, through the commands."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import vidface, write_manifest

from vidface.errors import StoreError
from vidface.files import store
from vidface.files.store.checksums import content_of, rest_of, sum_of_rows

PEOPLE, TAKES, FRAMES, SIDE = 3, 3, 4, 8
IDS = [f"p{person}-{take}" for person in range(PEOPLE) for take in range(TAKES)]
MADE_WITH = {
    "manifest_sha256": "m",
    "model_name": "n",
    "model_sha256": "s",
    "flip": False,
    "fps": "8",
    "decoder": "pyav",
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, features of its videos and their embeddings."""
    folder = tmp_path_factory.mktemp("good")
    rows = [(name, name, name[:2], "train" if name.endswith("0") else "val") for name in IDS]
    write_manifest(folder / "set.csv", rows)
    random = np.random.default_rng(0)
    base = np.repeat(random.normal(size=(PEOPLE, SIDE)), TAKES, axis=0)
    videos = [
        store.VideoRows(
            name,
            (base[i] + 0.4 * random.normal(size=(FRAMES, SIDE))).astype(np.float32),
            np.arange(FRAMES, dtype=np.float32) / 8,
            "ok",
            [],
        )
        for i, name in enumerate(IDS)
    ]
    store.write_shard(folder / "shard.h5", videos, SIDE, "float32")
    store.join_shards([folder / "shard.h5"], folder / "features.h5", MADE_WITH)
    (folder / "shard.h5").unlink()
    vidface("cluster", folder / "features.h5", "-o", folder / "embeddings.h5", "--json", code=0)
    return folder


@pytest.fixture
def files(good: Path, tmp_path: Path) -> Path:
    """A copy of them, to be spoilt."""
    shutil.copytree(good, tmp_path / "files")
    return tmp_path / "files"


def cluster(folder: Path, features: str = "features.h5") -> str:
    """The error of clustering these features; no output may be left."""
    output = folder / "new.h5"
    error = vidface("cluster", folder / features, "-o", output, code=1).error
    assert not output.exists() and str(folder / features) in error
    return error


def score(folder: Path, embeddings: str = "embeddings.h5") -> str:
    error = vidface("score", folder / embeddings, "--manifest", folder / "set.csv", code=1).error
    assert str(folder / embeddings) in error
    return error


def reseal(path: Path) -> None:
    """Make the digests right again, as a program would that writes such a file on purpose."""
    with h5py.File(path, "a") as file:
        kind = file.attrs["kind"]
        file.attrs["content_sha256"] = content_of(file, kind)
        if "rows_sum" in file.attrs:
            rows = file["features"]
            file.attrs["rows_sum"] = f"{sum_of_rows(rows[:], 0) if rows.ndim == 2 and rows.size else 0:016x}"
        if "rest_sha256" in file.attrs:
            file.attrs["rest_sha256"] = rest_of(file, kind)


def replace(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = value
    reseal(path)


# Numbers


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numbers_that_are_none_in_the_features(files: Path, value: float, dtype: type) -> None:
    with h5py.File(files / "features.h5") as file:
        rows = file["features"][:].astype(dtype)
    rows[13, 3] = value
    replace(files / "features.h5", "features", rows)
    assert "row 13 of its features holds NaN or infinity" in cluster(files)
    sweep = vidface("sweep", files / "features.h5", "--manifest", files / "set.csv", code=1)
    assert "row 13" in sweep.error
    with h5py.File(files / "features.h5") as file:
        video = int(np.searchsorted(file["offsets"][:], 13, side="right")) - 1
    inspect = vidface("inspect", files / "features.h5", IDS[video], code=1)
    assert "row 13 of its features holds NaN or infinity" in inspect.error


@pytest.mark.parametrize(
    ("factor", "length"), [(np.nan, "nan"), (np.inf, "nan|inf"), (2.0, "2"), (1e-9, "1e-09")]
)
def test_embeddings_that_are_not_of_length_1(files: Path, factor: float, length: str) -> None:
    with h5py.File(files / "embeddings.h5") as file:
        rows = file["embeddings"][:]
    rows[4] *= factor
    replace(files / "embeddings.h5", "embeddings", rows)
    error = score(files)
    assert f"embedding of video {IDS[4]} has length" in error
    assert any(f"length {one}, not 1 or 0" in error for one in length.split("|"))


def test_a_video_of_zero_rows_is_counted(files: Path) -> None:
    with h5py.File(files / "features.h5") as file:
        rows = file["features"][:]
    rows[4 * FRAMES : 5 * FRAMES] = 0
    replace(files / "features.h5", "features", rows)
    vidface("cluster", files / "features.h5", "-o", files / "new.h5", code=0)
    ran = vidface("score", files / "new.h5", "--manifest", files / "set.csv", "--json", code=1)
    assert ran.json["counts"]["zero_embeddings"] == 1 and ran.json["warnings"]


# Parts that do not fit


def test_a_video_that_is_there_twice(files: Path) -> None:
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        ids = [*IDS[:-1], IDS[0]]
        replace(
            files / name,
            "video_ids",
            np.array([text.encode() for text in ids], h5py.string_dtype("utf-8", 4)),
        )
        assert f"video {IDS[0]} is there 2 times" in said(files)


def test_videos_of_another_manifest(files: Path) -> None:
    write_manifest(files / "set.csv", [(name, name, name[:2], "val") for name in [*IDS, "more\u202ename"]])
    assert r"lacks 1 of the 10 videos" in score(files)
    assert r"\u202e" in score(files)


def test_shards_of_another_dimension(files: Path) -> None:
    from vidface.files.shares import shard_text

    for part, side in ((1, 8), (2, 6)):
        videos = [
            store.VideoRows(f"v{part}", np.ones((2, side), np.float32), np.zeros(2, np.float32), "ok", [])
        ]
        store.write_shard(files / "s.h5", videos, side, "float32")
        attributes = {**MADE_WITH, "shard": shard_text((part, 2))}
        store.join_shards([files / "s.h5"], files / f"{part}.h5", attributes, keep_faults=True)
    ran = vidface("merge", files / "1.h5", files / "2.h5", "-o", files / "merged.h5", code=2)
    assert "dimension is 6, but 8" in ran.error
    assert not (files / "merged.h5").exists()


@pytest.mark.parametrize("name", ["features.h5", "embeddings.h5"])
@pytest.mark.parametrize(
    ("version", "said"), [(0, "make it again"), (2, "a newer program wrote it"), (99, "a newer")]
)
def test_another_schema(files: Path, name: str, version: int, said: str) -> None:
    with h5py.File(files / name, "a") as file:
        file.attrs["schema_version"] = version
    error = cluster(files) if name == "features.h5" else score(files)
    assert f"schema version {version}, this program reads 1" in error and said in error


def test_a_file_of_another_kind(files: Path) -> None:
    assert "expected a vidface features file, found embeddings" in cluster(files, "embeddings.h5")
    assert "expected a vidface embeddings file, found features" in score(files, "features.h5")


OPTIONAL = {  # attribute -> of which file; without it the numbers are the same
    **dict.fromkeys(MADE_WITH, "features.h5"),
    **dict.fromkeys(
        ("threshold", "pooling", "model_name", "fps", "flip", "program_version"), "embeddings.h5"
    ),
}


@pytest.mark.parametrize("attribute", ["kind", "schema_version", "dimension", "content_sha256"])
def test_attributes_that_must_be_there(files: Path, attribute: str) -> None:
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        with h5py.File(files / name, "a") as file:
            del file.attrs[attribute]
        assert "another HDF5 file" in said(files) or attribute in said(files) or "schema" in said(files)


def test_attributes_that_may_be_missing(files: Path) -> None:
    """A file of another program: every command works, or says in one line what it misses."""
    for name in ("features.h5", "embeddings.h5"):
        with h5py.File(files / name, "a") as file:
            for attribute in set(file.attrs) - {"kind", "schema_version", "dimension", "content_sha256"}:
                if attribute != "features_sha256":
                    del file.attrs[attribute]
    manifest = ("--manifest", files / "set.csv")
    vidface("cluster", files / "features.h5", "-o", files / "new.h5", code=0)
    vidface("sweep", files / "features.h5", *manifest, code=0)
    assert vidface("score", files / "embeddings.h5", *manifest, code=0).out == (
        vidface("score", files / "new.h5", *manifest, code=0).out
    )
    assert "? fps" in vidface("inspect", files / "features.h5", IDS[0], code=0).out
    error = vidface(
        "inspect", files / "features.h5", IDS[0], "--embeddings", files / "embeddings.h5", code=1
    ).error
    assert "does not say how it was made (threshold, pooling)" in error
    vidface("compare", files / "embeddings.h5", files / "new.h5", *manifest, "-o", files / "compared", code=0)


@pytest.mark.parametrize(
    "value", [np.array([1, 2]), np.array(["a", "b"], h5py.string_dtype()), 5, 2.5, "", b"x"]
)
@pytest.mark.parametrize(
    "attribute", ["kind", "schema_version", "dimension", "content_sha256", "flip", "faces"]
)
def test_attributes_of_another_type(files: Path, attribute: str, value: Any) -> None:
    for name, command in (
        ("features.h5", ["cluster"]),
        ("embeddings.h5", ["score", "--manifest", files / "set.csv"]),
    ):
        with h5py.File(files / name, "a") as file:
            file.attrs[attribute] = value
            del file.attrs["rest_sha256"]
        where = ["-o", files / "new.h5"] if command[0] == "cluster" else []
        ran = vidface(command[0], files / name, *command[1:], *where)
        assert ran.code == 0 or ran.error
        assert ran.code == 0 or attribute not in ("flip",)


# Damage


def flipped(source: bytes, random: np.random.Generator) -> bytes:
    spoilt = bytearray(source)
    for place in random.integers(0, len(spoilt), random.integers(1, 3)):
        spoilt[place] ^= 1 << int(random.integers(8))
    return bytes(spoilt)


def said_of(attributes: dict[str, Any]) -> dict[str, Any]:
    """What anybody asks for; the digest itself, and what its name may become, is nobody's."""
    return {
        name: attributes.get(name)
        for name in (*MADE_WITH, "dimension", "threshold", "pooling", "features_sha256")
    }


def content(path: Path) -> str:
    """Everything that a reader gets of a file, once it is compared with its digests; or the error."""
    try:
        if path.name.startswith("embeddings"):
            found = store.read_embeddings(path)
            arrays = [found.embeddings, found.frames, found.kept, found.labels]
            told = [found.video_ids, found.status, said_of(found.attributes)]
        else:
            info = store.read_features(path)
            store.verify_file(path, info.attributes)
            rows = int(info.offsets[-1])
            arrays = [info.offsets, store.read_rows(path, 0, rows), store.read_timestamps(path, 0, rows)]
            told = [info.video_ids, info.status, said_of(info.attributes)]
    except StoreError as error:
        return f"error: {error}"
    return str([array.tolist() for array in arrays]) + str(told)


def read_spoilt(connection: Any, source: Path, count: int) -> None:
    """In a process of its own, as nobody knows what HDF5 does with a damaged file."""
    random = np.random.default_rng(1)
    whole = source.read_bytes()
    connection.send(content(source))
    for _ in range(count):
        source.write_bytes(flipped(whole, random))
        try:
            connection.send(content(source))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            connection.send(f"escaped: {type(error).__name__}: {error}")
    connection.close()


@pytest.mark.parametrize("name", ["features.h5", "embeddings.h5"])
def test_flipped_bits_are_noticed_or_change_nothing(files: Path, name: str) -> None:
    """150 files with one or two bits flipped anywhere: one line, or exactly what the whole file holds."""
    count = 150
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    worker = context.Process(target=read_spoilt, args=(there, files / name, count))
    worker.start()
    there.close()
    said: list[str] = []
    with contextlib.suppress(EOFError):
        while here.poll(60):
            said.append(here.recv())
    worker.join(10)
    assert worker.exitcode == 0, f"ended by {worker.exitcode} after {len(said)} files"
    right, *others = said
    assert len(others) == count and right.startswith("[")
    noticed = [text for text in others if text.startswith("error: ")]
    assert all(text == right or text in noticed for text in others), next(
        text for text in others if text != right and text not in noticed
    )
    assert len(noticed) > count / 4 and all(text.isprintable() for text in noticed)


def test_flipped_bits_through_the_commands(files: Path) -> None:
    random = np.random.default_rng(2)
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        whole = (files / name).read_bytes()
        with h5py.File(files / name) as file:
            begin = file["features" if said is cluster else "embeddings"].id.get_offset()
        for place in random.integers(begin, begin + 200, 10).tolist():
            (files / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert "damaged" in said(files)


def test_cut_short_anywhere(files: Path) -> None:
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        whole = (files / name).read_bytes()
        for length in [0, 1, 7, 8, 100, *range(512, len(whole), len(whole) // 20), len(whole) - 1]:
            (files / name).write_bytes(whole[:length])
            said(files)


def test_replaced_while_it_is_read(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidface.embeddings import cluster as stage

    other = files / "other.h5"
    shutil.copyfile(files / "features.h5", other)

    def read_then_replaced(*arguments: Any) -> Any:
        for block in real(*arguments):
            yield block
            if other.exists():
                other.replace(files / "features.h5")

    real = stage.video_blocks
    monkeypatch.setattr(stage, "video_blocks", read_then_replaced)
    assert "was changed while it was read" in cluster(files)


# What leads elsewhere, or is too much


def external(files: Path, name: str) -> None:
    with h5py.File(files / name, "a") as file:
        dataset = "features" if name == "features.h5" else "embeddings"
        with h5py.File(files / "elsewhere.h5", "w") as other:
            other[dataset] = file[dataset][:]
        del file[dataset]
        file[dataset] = h5py.ExternalLink("elsewhere.h5", dataset)


def soft(files: Path, name: str) -> None:
    with h5py.File(files / name, "a") as file:
        dataset = "features" if name == "features.h5" else "embeddings"
        file["there"] = file[dataset][:]
        del file[dataset]
        file[dataset] = h5py.SoftLink("/there")


def stored_elsewhere(files: Path, name: str) -> None:
    dataset = "features" if name == "features.h5" else "embeddings"
    with h5py.File(files / name, "a") as file:
        rows = file[dataset][:]
        (files / "raw").write_bytes(rows.tobytes())
        del file[dataset]
        file.create_dataset(dataset, rows.shape, rows.dtype, external=[(str(files / "raw"), 0, rows.nbytes)])


def virtual(files: Path, name: str) -> None:
    external(files, name)
    dataset = "features" if name == "features.h5" else "embeddings"
    with h5py.File(files / name, "a") as file:
        shape = h5py.File(files / "elsewhere.h5")[dataset].shape
        del file[dataset]
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[:] = h5py.VirtualSource(files / "elsewhere.h5", dataset, shape)
        file.create_virtual_dataset(dataset, layout)


@pytest.mark.parametrize("name", ["features.h5", "embeddings.h5"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (external, "a link to somewhere else"),
        (soft, "a link to somewhere else"),
        (stored_elsewhere, "lies in other files"),
        (virtual, "lies in other files"),
    ],
)
def test_data_in_other_files(files: Path, name: str, make: Callable[[Path, str], None], says: str) -> None:
    make(files, name)
    assert says in (cluster(files) if name == "features.h5" else score(files))
    command = ["inspect", files / "features.h5", IDS[0], "--embeddings", files / "embeddings.h5"]
    assert says in vidface(*command, code=1).error


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((10**12, SIDE), {"chunks": (1024, SIDE)}),  # nothing was ever written
        ((2**62, SIDE), {"chunks": (1024, SIDE)}),
        ((10**9, SIDE), {"chunks": (1024, SIDE), "compression": "gzip"}),
        ((10**6, SIDE), {"chunks": (10**6, SIDE)}),
        ((10**12, SIDE), {}),
        ((10**8,), {"chunks": (1024,)}),
    ],
)
def test_shapes_that_claim_terabytes(files: Path, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        for dataset in ("features", "timestamps", "offsets", "embeddings", "labels", "kept", "video_ids"):
            spoilt = files / name
            whole = spoilt.read_bytes()
            with h5py.File(spoilt, "a") as file:
                if dataset in file:
                    del file[dataset]
                    file.create_dataset(dataset, shape, np.float32 if len(shape) > 1 else np.int64, **options)
                    assert spoilt.stat().st_size < 1_000_000
            if spoilt.read_bytes() != whole:
                said(files)
            spoilt.write_bytes(whole)


def test_a_compressed_bomb(files: Path) -> None:
    """A chunk of zeros: 1,000 times smaller than what it unpacks to."""
    with h5py.File(files / "embeddings.h5", "a") as file:
        del file["labels"]
        count = 40_000_000
        file.create_dataset(
            "labels", (count,), np.int32, chunks=(1_000_000,), compression="gzip", fillvalue=0
        )
        packed = zlib.compress(bytes(4_000_000), 9)
        for chunk in range(0, count, 1_000_000):
            file["labels"].id.write_direct_chunk((chunk,), packed)
    assert (files / "embeddings.h5").stat().st_size < 1_000_000
    assert "labels claims 160,000,000 bytes" in score(files)


@pytest.mark.parametrize(
    "kind",
    [
        h5py.string_dtype(),
        h5py.ref_dtype,
        h5py.vlen_dtype(np.int32),
        np.dtype([("a", np.int32)]),
        np.dtype("V8"),
    ],
    ids=["text of any length", "references", "lists", "fields", "opaque"],
)
def test_types_that_hold_pointers(files: Path, kind: np.dtype[Any]) -> None:
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        with h5py.File(files / name, "a") as file:
            del file["status"]
            file.create_dataset("status", (len(IDS),), kind)
        assert "status holds neither numbers nor text of one length" in said(files)


@pytest.mark.parametrize("status", ["", "OK", "fine", "\x1b[31m"])
def test_a_status_that_is_none(files: Path, status: str) -> None:
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        replace(
            files / name, "status", np.array([b"ok"] * 8 + [status.encode()], h5py.string_dtype("utf-8", 8))
        )
        assert "status: no video is" in said(files)


def test_negative_clusters(files: Path) -> None:
    replace(files / "embeddings.h5", "labels", np.full(len(IDS) * FRAMES, -1, np.int32))
    assert "labels below 0" in score(files)


@pytest.mark.parametrize("tracks", [[-1, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 2**31 - 1]])
def test_tracks_that_are_negative_or_out_of_order(files: Path, tracks: list[int]) -> None:
    boxes, points, ones = np.ones((4, 4), np.float32), np.ones((4, 5, 2), np.float32), np.ones(4, np.float32)
    faces = store.FaceRows(boxes, points, ones, ones, np.array(tracks, np.int32))
    rows = np.eye(4, SIDE, dtype=np.float32)
    counts = (4, 0, 4, 0, 0, 0, 0, 0)
    video = store.VideoRows("v", rows, np.arange(4, dtype=np.float32), "ok", [], faces, counts)
    store.write_shard(files / "s.h5", [video], SIDE, "float32")
    store.join_shards([files / "s.h5"], files / "features.h5", {**MADE_WITH, "faces": "detect"})
    ran = vidface("cluster", files / "features.h5", "-o", files / "new.h5", "--by", "track")
    seen = vidface("inspect", files / "features.h5", "v")
    if tracks == sorted(tracks) and tracks[0] >= 0:
        assert ran.code == seen.code == 0
        return
    assert "damaged (tracks of a video are not in order)" in ran.error
    assert seen.code == 0 or "tracks below 0" in seen.error


@pytest.mark.parametrize("dataset", ["offsets", "timestamps", "features", "status", "video_ids"])
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8, "S3", np.complex64])
def test_arrays_of_another_type(files: Path, dataset: str, dtype: Any) -> None:
    with h5py.File(files / "features.h5", "a") as file:
        shape, was = file[dataset].shape, file[dataset].dtype
    value: Any = np.zeros(shape, dtype)
    replace_raw(files / "features.h5", dataset, value)
    if was.kind != np.dtype(dtype).kind or dataset in ("offsets", "status"):
        cluster(files)


def test_a_heap_of_texts_that_has_no_end(files: Path) -> None:
    """HDF5 would look through it for ever: found by flipping bits."""
    for name, said in (("features.h5", cluster), ("embeddings.h5", score)):
        whole = bytearray((files / name).read_bytes())
        place = whole.index(b"GCOL") + 16
        while whole[place : place + 2] != b"\0\0":
            place += 16 + (int.from_bytes(whole[place + 8 : place + 16], "little") + 7) // 8 * 8
        whole[place + 8 : place + 16] = struct.pack("<Q", 64)  # of what is left; then comes one of no length
        (files / name).write_bytes(whole)
        assert "damaged (its texts at byte" in said(files)


def replace_raw(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = value


def test_a_file_that_is_open_elsewhere(files: Path) -> None:
    """A notebook that has it open for writing holds the lock that HDF5 asks for."""
    for name, command in (("features.h5", cluster), ("embeddings.h5", score)):
        with (files / name).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            said = command(files)
        assert said == (
            f"error: {files / name}: is open in a program that writes it: close it there, or set "
            "HDF5_USE_FILE_LOCKING=FALSE"
        )


# As HDF5 puts them, the reason after a line end.
READ_FAILED = (
    "(file read failed: time = Mon Jan  1 00:00:00 2024\n, filename = 'f', errno = {}, error message = 'x')"
)
OPEN_FAILED = (
    "Unable to synchronously open file (unable to open file: name = 'f', errno = {}, error message = 'x')"
)
LOCK_FAILED = "Unable to synchronously open file (unable to lock file, errno = {}, error message = 'x')"


@pytest.mark.parametrize(
    ("number", "text", "said"),
    [
        (errno.EMFILE, OPEN_FAILED, "cannot be read: Too many open files"),
        (errno.EACCES, OPEN_FAILED, "cannot be read: Permission denied"),
        (errno.ENAMETOOLONG, OPEN_FAILED, "cannot be read: File name too long"),
        (errno.ESTALE, READ_FAILED, "cannot be read: Stale file handle"),
        (errno.EIO, READ_FAILED, "cannot be read: Input/output error"),
        (errno.ENOLCK, LOCK_FAILED, "cannot be locked (No locks available): set HDF5_USE_FILE_LOCKING=FALSE"),
    ],
    ids=lambda value: str(value)[:12],
)
@pytest.mark.parametrize("numbered", [True, False], ids=["with a number", "words alone"])
def test_what_the_system_says_of_a_file_is_told(
    files: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str, said: str, numbered: bool
) -> None:
    def fails(*_given: object) -> None:
        raise OSError(number, text.format(number)) if numbered else OSError(text.format(number))

    def fails_later(*given: object) -> h5py.File:
        file = real(*given)
        monkeypatch.setattr(h5py.Dataset, "__getitem__", fails)
        return file

    real = h5py.File
    for opened in (fails, fails_later):
        monkeypatch.setattr(h5py, "File", opened)
        error = vidface("score", files / "embeddings.h5", "--manifest", files / "set.csv", code=1).error
        assert error.startswith(f"error: {files / 'embeddings.h5'}: {said}"), error


@pytest.mark.parametrize(
    ("number", "text", "said"),
    [
        (errno.ENOLCK, LOCK_FAILED, "cannot be locked (No locks available): set HDF5_USE_FILE_LOCKING=FALSE"),
        (errno.EMFILE, OPEN_FAILED, "Too many open files"),
        (errno.ESTALE, OPEN_FAILED, "Stale file handle"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_the_system_says_of_a_new_file_is_told(
    files: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str, said: str
) -> None:
    def fails(path: object, mode: str) -> h5py.File:
        if mode == "r":
            return real(path, mode)
        raise OSError(number, text.format(number))

    real = h5py.File
    monkeypatch.setattr(h5py, "File", fails)
    error = vidface("cluster", files / "features.h5", "-o", files / "new.h5", code=1).error
    assert error.startswith(f"error: {files / 'new.h5'}: {said}")
    assert not [path.name for path in files.iterdir() if "new" in path.name]


def test_a_folder_in_place_of_a_file(files: Path) -> None:
    for name, command in (("features.h5", cluster), ("embeddings.h5", score)):
        (files / name).unlink()
        (files / name).mkdir()
        assert command(files) == f"error: {files / name}: is a folder"


def test_a_magic_number_and_nothing_else(files: Path) -> None:
    for content in (b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + struct.pack("<20Q", *[2**64 - 1] * 20)):
        (files / "features.h5").write_bytes(content)
        (files / "embeddings.h5").write_bytes(content)
        assert "not a readable HDF5 file" in cluster(files)
        assert "not a readable HDF5 file" in score(files)
