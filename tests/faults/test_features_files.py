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
from fault_material import MADE_WITH, features_file

from vidface.errors import StoreError
from vidface.files import store
from vidface.files.shares import shard_text
from vidface.files.store.checksums import content_of, rest_of, sum_of_rows

PEOPLE, TAKES, FRAMES, SIDE = 3, 3, 4, 8
IDS = [f"p{person}-{take}" for person in range(PEOPLE) for take in range(TAKES)]
FEATURES, EMBEDDINGS = BOTH = "features.h5", "embeddings.h5"
MUST = ("kind", "schema_version", "dimension", "content_sha256")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, features of its videos and their embeddings."""
    folder = tmp_path_factory.mktemp("good")
    rows = [(name, name, name[:2], "train" if name.endswith("0") else "val") for name in IDS]
    write_manifest(folder / "set.csv", rows)
    random = np.random.default_rng(0)
    base = np.repeat(random.normal(size=(PEOPLE, SIDE)), TAKES, axis=0)
    videos = {name: base[i] + 0.4 * random.normal(size=(FRAMES, SIDE)) for i, name in enumerate(IDS)}
    features_file(folder / FEATURES, videos)
    vidface("cluster", folder / FEATURES, "-o", folder / EMBEDDINGS, "--json", code=0)
    return folder


@pytest.fixture
def files(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "files")
    return tmp_path / "files"


def words(folder: Path, name: str, command: str = "") -> tuple[object, ...]:
    """What reads this file: cluster of features, score of embeddings."""
    if (command or name) in (FEATURES, "cluster"):
        return "cluster", folder / name, "-o", folder / "new.h5"
    return command or "score", folder / name, "--manifest", folder / "set.csv"


def refused(folder: Path, name: str, command: str = "") -> str:
    """The error, which names the file; no output may be left."""
    error = vidface(*words(folder, name, command), code=1).error
    assert not (folder / "new.h5").exists() and str(folder / name) in error
    return error


def put(file: h5py.File, name: str, value: Any) -> None:
    """Another array, with digests that are right, as a program would write it on purpose."""
    del file[name]
    file[name] = value
    kind = file.attrs["kind"]
    file.attrs["content_sha256"] = content_of(file, kind)
    if "rows_sum" in file.attrs:
        rows = file["features"]
        file.attrs["rows_sum"] = f"{sum_of_rows(rows[:], 0) if rows.ndim == 2 and rows.size else 0:016x}"
    if "rest_sha256" in file.attrs:
        file.attrs["rest_sha256"] = rest_of(file, kind)


def rows_of(file: h5py.File) -> str:
    return "features" if "features" in file else "embeddings"


def scaled(place: Any, factor: float, dtype: type = np.float32) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        rows = file[rows_of(file)][:].astype(dtype)
        rows[place] *= factor
        put(file, rows_of(file), rows)

    return change


def texts(values: list[str], length: int) -> np.ndarray:
    return np.array([value.encode() for value in values], h5py.string_dtype("utf-8", length))


def status_of(word: str) -> Callable[[h5py.File], None]:
    return lambda file: put(file, "status", texts([*["ok"] * 8, word], 8))


def empty_status(kind: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["status"]
        file.create_dataset("status", (len(IDS),), kind)

    return change


def beside(file: h5py.File) -> Path:
    return Path(file.filename).parent


def external(file: h5py.File) -> None:
    name = rows_of(file)
    with h5py.File(beside(file) / "elsewhere.h5", "w") as other:
        other[name] = file[name][:]
    del file[name]
    file[name] = h5py.ExternalLink("elsewhere.h5", name)


def soft(file: h5py.File) -> None:
    name = rows_of(file)
    file["there"] = file[name][:]
    del file[name]
    file[name] = h5py.SoftLink("/there")


def stored_elsewhere(file: h5py.File) -> None:
    name = rows_of(file)
    rows, raw = file[name][:], beside(file) / "raw"
    raw.write_bytes(rows.tobytes())
    del file[name]
    file.create_dataset(name, rows.shape, rows.dtype, external=[(str(raw), 0, rows.nbytes)])


def virtual(file: h5py.File) -> None:
    name = rows_of(file)
    shape = file[name].shape
    external(file)
    del file[name]
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[:] = h5py.VirtualSource(beside(file) / "elsewhere.h5", name, shape)
    file.create_virtual_dataset(name, layout)


def a_bomb(file: h5py.File) -> None:
    """Chunks of zeros: 1,000 times smaller than what they unpack to."""
    del file["labels"]
    count, packed = 40_000_000, zlib.compress(bytes(4_000_000), 9)
    file.create_dataset("labels", (count,), np.int32, chunks=(1_000_000,), compression="gzip")
    for chunk in range(0, count, 1_000_000):
        file["labels"].id.write_direct_chunk((chunk,), packed)


FIRST = b"\x89HDF\r\n\x1a\n"
NO_NUMBERS = "row 13 of its features holds NaN or infinity"
LINK, AWAY = "a link to somewhere else", "lies in other files"
POINTERS = "status holds neither numbers nor text of one length"
TYPES = {"text of any length": h5py.string_dtype(), "references": h5py.ref_dtype, "opaque": np.dtype("V8")}
TYPES |= {"lists": h5py.vlen_dtype(np.int32), "fields": np.dtype([("a", np.int32)])}
NO_STATUS = ("", "OK", "fine", "\x1b[31m")
TWICE = texts([*IDS[:-1], IDS[0]], 4)
BELOW_0 = np.full(len(IDS) * FRAMES, -1, np.int32)
OLD, NEW = (
    "schema version 0, this program reads 1: make it",
    "schema version 2, this program reads 1: a newer",
)
SPOILT: dict[str, tuple[tuple[str, ...], Callable[[h5py.File], None], str]] = {
    **{f"{x} in features": (BOTH[:1], scaled((13, 3), x), NO_NUMBERS) for x in (np.nan, np.inf, -np.inf)},
    "NaN in half": (BOTH[:1], scaled((13, 3), np.nan, np.float16), NO_NUMBERS),
    **{
        f"{x} in embeddings": (BOTH[1:], scaled(4, x), f"embedding of video {IDS[4]} has length {length}")
        for x, length in {np.nan: "nan, not 1 or 0", np.inf: "", 2: "2, not", 1e-9: "1e-09, not"}.items()
    },
    "a video twice": (BOTH, lambda file: put(file, "video_ids", TWICE), f"video {IDS[0]} is there 2 times"),
    "old": (BOTH, lambda file: file.attrs.__setitem__("schema_version", 0), OLD),
    "new": (BOTH, lambda file: file.attrs.__setitem__("schema_version", 2), NEW),
    "external link": (BOTH, external, LINK),
    "soft link": (BOTH, soft, LINK),
    "stored elsewhere": (BOTH, stored_elsewhere, AWAY),
    "virtual": (BOTH, virtual, AWAY),
    "a bomb": (BOTH[1:], a_bomb, "labels claims 160,000,000 bytes"),
    **{name: (BOTH, empty_status(kind), POINTERS) for name, kind in TYPES.items()},
    **{f"status {word!r}": (BOTH, status_of(word), "status: no video is") for word in NO_STATUS},
    "negative clusters": (BOTH[1:], lambda file: put(file, "labels", BELOW_0), "labels below 0"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_file_that_is_refused(files: Path, case: str) -> None:
    """By cluster or score; what inspect reads of it is refused there as well."""
    names, spoil, said = SPOILT[case]
    for name in names:
        with h5py.File(files / name, "a") as file:
            spoil(file)
        assert (files / name).stat().st_size < 1_000_000
        assert said in refused(files, name), name
    if said in (NO_NUMBERS, LINK, AWAY):
        more = () if said == NO_NUMBERS else ("--embeddings", files / EMBEDDINGS)
        assert said in vidface("inspect", files / FEATURES, IDS[13 // FRAMES], *more, code=1).error
    if said == NO_NUMBERS:
        assert "row 13" in refused(files, FEATURES, "sweep")


def test_a_video_of_zero_rows_is_counted(files: Path) -> None:
    with h5py.File(files / FEATURES, "a") as file:
        scaled(slice(4 * FRAMES, 5 * FRAMES), 0)(file)
    vidface("cluster", files / FEATURES, "-o", files / "new.h5", code=0)
    ran = vidface(*words(files, "new.h5", "score"), "--json", code=1)
    assert ran.json["counts"]["zero_embeddings"] == 1 and ran.json["warnings"]


def test_files_that_belong_elsewhere(files: Path) -> None:
    """Of another kind, of another manifest, and shards of another dimension."""
    assert "expected a vidface features file, found embeddings" in refused(files, EMBEDDINGS, "cluster")
    assert "expected a vidface embeddings file, found features" in refused(files, FEATURES, "score")
    write_manifest(files / "set.csv", [(name, name, name[:2], "val") for name in [*IDS, "more\u202ename"]])
    error = refused(files, EMBEDDINGS)
    assert "lacks 1 of the 10 videos" in error and r"\u202e" in error
    for part, side in ((1, 8), (2, 6)):
        shard = {"joined": {"keep_faults": True}, "shard": shard_text((part, 2))}
        features_file(files / f"{part}.h5", {f"v{part}": np.ones((2, side))}, **shard)
    ran = vidface("merge", files / "1.h5", files / "2.h5", "-o", files / "merged.h5", code=2)
    assert "dimension is 6, but 8" in ran.error and not (files / "merged.h5").exists()


@pytest.mark.parametrize("attribute", MUST)
def test_attributes_that_must_be_there(files: Path, attribute: str) -> None:
    for name in BOTH:
        with h5py.File(files / name, "a") as file:
            del file.attrs[attribute]
        error = refused(files, name)
        assert any(word in error for word in ("another HDF5 file", attribute, "schema"))


def test_attributes_that_may_be_missing(files: Path) -> None:
    """A file of another program: every command works, or says in one line what it misses."""
    for name in BOTH:
        with h5py.File(files / name, "a") as file:
            for attribute in set(file.attrs) - {*MUST, "features_sha256"}:
                del file.attrs[attribute]
    vidface("cluster", files / FEATURES, "-o", files / "new.h5", code=0)
    vidface(*words(files, FEATURES, "sweep"), code=0)
    outs = [vidface(*words(files, name, "score"), code=0).out for name in (EMBEDDINGS, "new.h5")]
    assert outs[0] == outs[1]
    inspect = ("inspect", files / FEATURES, IDS[0])
    assert "? fps" in vidface(*inspect, code=0).out
    error = vidface(*inspect, "--embeddings", files / EMBEDDINGS, code=1).error
    assert "does not say how it was made (threshold, pooling)" in error
    compared = words(files, EMBEDDINGS, "compare")
    vidface(*compared, files / "new.h5", "-o", files / "compared", code=0)


@pytest.mark.parametrize("value", [np.array([1, 2]), ["a", "b"], 5, 2.5, "", b"x"], ids=repr)
@pytest.mark.parametrize("attribute", [*MUST, "flip", "faces"])
def test_attributes_of_another_type(files: Path, attribute: str, value: Any) -> None:
    for name in BOTH:
        with h5py.File(files / name, "a") as file:
            file.attrs[attribute] = value
            del file.attrs["rest_sha256"]
        ran = vidface(*words(files, name))
        assert ran.code == 0 or ran.error
        assert ran.code == 0 or attribute != "flip"


# Damage


def flipped(source: bytes, random: np.random.Generator) -> bytes:
    spoilt = bytearray(source)
    for place in random.integers(0, len(spoilt), random.integers(1, 3)):
        spoilt[place] ^= 1 << int(random.integers(8))
    return bytes(spoilt)


def content(path: Path) -> str:
    """Everything that a reader gets of a file, once it is compared with its digests; or the error."""
    try:
        if path.name == EMBEDDINGS:
            found = store.read_embeddings(path)
            arrays = [found.embeddings, found.frames, found.kept, found.labels]
        else:
            found = store.read_features(path)
            store.verify_file(path, found.attributes)
            rows = int(found.offsets[-1])
            arrays = [found.offsets, store.read_rows(path, 0, rows), store.read_timestamps(path, 0, rows)]
    except StoreError as error:
        return f"error: {error}"
    # What anybody asks for; the digest itself, and what its name may become, is nobody's.
    asked = (*MADE_WITH, "dimension", "threshold", "pooling", "features_sha256")
    told = [found.video_ids, found.status, [found.attributes.get(name) for name in asked]]
    return str([array.tolist() for array in arrays]) + str(told)


def read_spoilt(connection: Any, source: Path, count: int) -> None:
    """In a process of its own, as nobody knows what HDF5 does with a damaged file."""
    random, whole = np.random.default_rng(1), source.read_bytes()
    connection.send(content(source))
    for _ in range(count):
        source.write_bytes(flipped(whole, random))
        try:
            connection.send(content(source))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            connection.send(f"escaped: {type(error).__name__}: {error}")
    connection.close()


@pytest.mark.parametrize("name", BOTH)
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
    noticed = [text for text in others if text.startswith("error: ")]
    assert len(others) == count and right.startswith("[") and set(others) <= {right, *noticed}
    assert len(noticed) > count / 4 and all(text.isprintable() for text in noticed)


def test_damage_through_the_commands(files: Path) -> None:
    """Flipped bits, and files that are cut short anywhere."""
    random = np.random.default_rng(2)
    for name in BOTH:
        whole = (files / name).read_bytes()
        with h5py.File(files / name) as file:
            begin = file[rows_of(file)].id.get_offset()
        for place in random.integers(begin, begin + 200, 10).tolist():
            (files / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert "damaged" in refused(files, name)
        for length in [0, 1, 7, 8, 100, *range(512, len(whole), len(whole) // 20), len(whole) - 1]:
            (files / name).write_bytes(whole[:length])
            refused(files, name)


def test_replaced_while_it_is_read(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidface.embeddings import cluster as stage

    other, real = files / "other.h5", stage.over_blocks
    shutil.copyfile(files / FEATURES, other)

    def read_then_replaced(*arguments: Any) -> Any:
        results = real(*arguments)
        if other.exists():
            other.replace(files / FEATURES)
        return results

    monkeypatch.setattr(stage, "over_blocks", read_then_replaced)
    assert "was changed while it was read" in refused(files, FEATURES)


CHUNKS = {"chunks": (1024, SIDE)}


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        *(((10**12, SIDE), CHUNKS), ((2**62, SIDE), CHUNKS)),  # nothing was ever written
        *(((10**9, SIDE), {**CHUNKS, "compression": "gzip"}), ((10**6, SIDE), {"chunks": (10**6, SIDE)})),
        *(((10**12, SIDE), {}), ((10**8,), {"chunks": (1024,)})),
    ],
)
def test_shapes_that_claim_terabytes(files: Path, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    for name in BOTH:
        whole = (files / name).read_bytes()
        with h5py.File(files / name) as file:
            there = set(file)
        for dataset in there & {
            "features",
            "timestamps",
            "offsets",
            "embeddings",
            "labels",
            "kept",
            "video_ids",
        }:
            with h5py.File(files / name, "a") as file:
                del file[dataset]
                file.create_dataset(dataset, shape, np.float32 if len(shape) > 1 else np.int64, **options)
            assert (files / name).stat().st_size < 1_000_000
            refused(files, name)
            (files / name).write_bytes(whole)


@pytest.mark.parametrize("tracks", [[-1, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 2**31 - 1]])
def test_tracks_that_are_negative_or_out_of_order(files: Path, tracks: list[int]) -> None:
    boxes, points, ones = np.ones((4, 4), np.float32), np.ones((4, 5, 2), np.float32), np.ones(4, np.float32)
    faces = store.FaceRows(boxes, points, ones, ones, np.array(tracks, np.int32))
    rows, times = np.eye(4, SIDE, dtype=np.float32), np.arange(4, dtype=np.float32)
    video = store.VideoRows("v", rows, times, "ok", [], faces, (4, 0, 4, 0, 0, 0, 0, 0))
    store.write_shard(files / "s.h5", [video], SIDE, "float32")
    store.join_shards([files / "s.h5"], files / FEATURES, {**MADE_WITH, "faces": "detect"})
    ran = vidface(*words(files, FEATURES), "--by", "track")
    seen = vidface("inspect", files / FEATURES, "v")
    if tracks == sorted(tracks) and tracks[0] >= 0:
        assert ran.code == seen.code == 0
    else:
        assert "damaged (tracks of a video are not in order)" in ran.error
        assert seen.code == 0 or "tracks below 0" in seen.error


@pytest.mark.parametrize("dataset", ["offsets", "timestamps", "features", "status", "video_ids"])
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8, "S3", np.complex64])
def test_arrays_of_another_type(files: Path, dataset: str, dtype: Any) -> None:
    with h5py.File(files / FEATURES, "a") as file:
        shape, was = file[dataset].shape, file[dataset].dtype
        del file[dataset]
        file[dataset] = np.zeros(shape, dtype)
    if was.kind != np.dtype(dtype).kind or dataset in ("offsets", "status"):
        refused(files, FEATURES)


def test_a_heap_of_texts_that_has_no_end(files: Path) -> None:
    """HDF5 would look through it for ever: found by flipping bits."""
    for name in BOTH:
        whole = bytearray((files / name).read_bytes())
        place = whole.index(b"GCOL") + 16
        while whole[place : place + 2] != b"\0\0":
            place += 16 + (int.from_bytes(whole[place + 8 : place + 16], "little") + 7) // 8 * 8
        whole[place + 8 : place + 16] = struct.pack("<Q", 64)  # of what is left; then comes one of no length
        (files / name).write_bytes(whole)
        assert "damaged (its texts at byte" in refused(files, name)


def test_what_is_no_file_or_open_elsewhere(files: Path) -> None:
    """A notebook that has it open for writing holds the lock that HDF5 asks for."""
    for name in BOTH:
        with (files / name).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert refused(files, name) == (
                f"error: {files / name}: is open in a program that writes it: close it there, or set "
                "HDF5_USE_FILE_LOCKING=FALSE"
            )
        for begin in (FIRST, FIRST + struct.pack("<20Q", *[2**64 - 1] * 20)):
            (files / name).write_bytes(begin)
            assert "not a readable HDF5 file" in refused(files, name)
        (files / name).unlink()
        (files / name).mkdir()
        assert refused(files, name) == f"error: {files / name}: is a folder"


# As HDF5 puts them, the reason after a line end.
READ = (
    "(file read failed: time = Mon Jan  1 00:00:00 2024\n, filename = 'f', errno = {}, error message = 'x')"
)
OPEN = "Unable to synchronously open file (unable to open file: name = 'f', errno = {}, error message = 'x')"
LOCK = "Unable to synchronously open file (unable to lock file, errno = {}, error message = 'x')"
NO_LOCK = "cannot be locked (No locks available): set HDF5_USE_FILE_LOCKING=FALSE"
SYSTEM = {
    "EMFILE": (OPEN, "cannot be read: Too many open files"),
    "EACCES": (OPEN, "cannot be read: Permission denied"),
    "ENAMETOOLONG": (OPEN, "cannot be read: File name too long"),
    "ESTALE": (READ, "cannot be read: Stale file handle"),
    "EIO": (READ, "cannot be read: Input/output error"),
    "ENOLCK": (LOCK, NO_LOCK),
}


@pytest.mark.parametrize("reason", SYSTEM)
def test_what_the_system_says_of_a_file_is_told(
    files: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """With its number or with words alone, at the opening or later; and of a new file, which then is not there."""
    real, number = h5py.File, getattr(errno, reason)
    text, said = SYSTEM[reason]
    errors = [OSError(number, text.format(number)), OSError(text.format(number))]

    def fails(*_given: object) -> None:
        raise errors[0]

    def fails_later(*given: object) -> h5py.File:
        file = real(*given)
        monkeypatch.setattr(h5py.Dataset, "__getitem__", fails)
        return file

    def fails_to_write(path: object, mode: str) -> h5py.File:
        return real(path, mode) if mode == "r" else fails()

    with monkeypatch.context() as patched:
        patched.setattr(h5py, "File", fails_to_write)
        error = vidface(*words(files, FEATURES), code=1).error
        assert error.startswith(f"error: {files / 'new.h5'}: {said.removeprefix('cannot be read: ')}")
        assert not [path.name for path in files.iterdir() if "new" in path.name]
    for _ in range(2):
        for opened in (fails, fails_later):
            monkeypatch.setattr(h5py, "File", opened)
            assert refused(files, EMBEDDINGS).startswith(f"error: {files / EMBEDDINGS}: {said}")
        errors.reverse()
