"""Any bytes are read, or are an error of ours: every parser of foreign text and files, with bytes that nobody wrote.

Random bytes get no further than the first check, so most files here are whole ones with a few changes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.backbones.card import ModelCard, card_text
from vidface.backbones.card_file import read_card
from vidface.errors import VidfaceError
from vidface.features.foreign.arrays import read_arrays
from vidface.features.foreign.iqiyi import read_iqiyi_features
from vidface.files.faults import read_faults
from vidface.files.json_files import read_json
from vidface.manifest.manifest import check_manifest, read_manifest, write_manifest
from vidface.manifest.pairs.formats import parse_list
from vidface.manifest.sources import from_iqiyi, from_lfrc, from_trillionpairs
from vidface.manifest.sources.template_lists import read_crops, read_faces, read_subjects
from vidface.manifest.sources.template_pairs import read_template_pairs
from vidface.runs.recipe import read_recipe
from vidface.submission import check_iqiyi, check_lfrc, read_iqiyi, read_lfrc, sniff, write_iqiyi, write_lfrc
from vidface.training.datasets.open import open_images
from vidface.training.datasets.pairs import open_pairs, read_bin, write_bin
from vidface.training.datasets.recordio import encode_record, image_payload
from vidface.training.recipe import read_training_recipe

ROWS = [("0144686", "a/b.mp4", "7", "train"), ("b", "b.mp4", "", "val"), ("c d", "c", "Zo\u00eb", "val")]
JPEG, PNG = b"\xff\xd8\xff\xe0picture", b"\x89PNG\r\n\x1a\npicture"
CARD = ModelCard(
    name="m",
    input_size=(112, 112),
    colour_order="rgb",
    mean=(1, 2, 3),
    std=(1, 2, 3),
    dimension=4,
    licence="l",
    source="s",
)
RECIPE = """manifest = "set.csv"
output = "out"
[extract]
model = "m.onnx"
fps = 8
workers = 2
[cluster]
threshold = 0.4
[score]
protocol = "both"
targets = ["1e-2", "1e-3"]
[sweep]
thresholds = "none,0.2:0.6:0.05"
[submit]
formats = ["iqiyi"]
"""
TRAINING = """data = "faces"
output = "out"
architecture = "step0"
name = "n"
licence = "l"
[people]
validation = 0.1
[[stage]]
name = "first"
epochs = 2
loss = { classification = "arcface", m2 = 0.5 }
[[stage]]
name = "second"
schedule = "step"
milestones = [0.5, 0.75]
"""
# What is worth writing somewhere into a file: ends, quotes, nesting, numbers at their limits, marks of the encoding.
TOKENS = [
    *(
        b"",
        b"\0",
        b"\n",
        b"\r\n",
        b"\r",
        b'"',
        b",",
        b"'",
        b"\\",
        b" ",
        b"\t",
        b"\x1b[2J",
        b"\xff",
        b"\xed\xa0\x80",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xe2\x80\xae",
        b"\xe2\x80\xa8",
        b"../",
        b"/",
        b"..",
        b"=1",
        b"#",
        b"a" * 2000,
    ),
    *(
        b"0",
        b"-1",
        b"1e999",
        b"nan",
        b"NaN",
        b"inf",
        b"true",
        b"9" * 400,
        b"9" * 5000,
        b"1e-400",
        b"0x10",
        b"1_0",
    ),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b"[" * 3000,
        b'{"a":' * 3000,
        b"[[stage]]\n",
        b'"""',
        b"\\u0000",
        b"\\ud800",
        b".mp4",
    ),
    *(
        b"\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x80",
        b"\x01\x00\x00\x00",
        b"\xff" * 8,
        b"PAR1",
    ),
]


class Parser(NamedTuple):
    """A way in.

    Attributes:
        file: what the file is called.
        seed: writes a whole one; gets the path.
        read: reads it; returns, or raises an error of ours.
    """

    file: str
    seed: Callable[[Path], Any]
    read: Callable[[Path], Any]


def text(content: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(content)


def raw(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


def records(path: Path) -> None:
    """Two people with two images each, as MXNet packs them, and the index beside it."""
    payloads = [
        image_payload((5.0, 7.0), 0),
        *(image_payload((float(label),), number, JPEG) for number, label in enumerate([0, 0, 1, 1], 1)),
        *(image_payload((float(a), float(b)), number) for number, (a, b) in enumerate([(1, 3), (3, 5)], 5)),
    ]
    content, index = b"", []
    for number, payload in enumerate(payloads):
        index.append(f"{number}\t{len(content)}\n")
        content += encode_record(payload)
    path.with_suffix(".rec").write_bytes(content)
    path.with_suffix(".idx").write_text("".join(index))


def open_records(path: Path) -> None:
    images = open_images(path.with_suffix(".rec"))
    for place in range(min(len(images.labels), 8)):
        images.read(place)


def feature_pickle(path: Path) -> None:
    face = [0, (0.0, 0.0, 1.0, 1.0), 0.9, 50.0, np.ones(4, np.float32)]
    path.write_bytes(pickle.dumps({b"b.mp4": [face], b"c d": [face, face]}, 2))


def manifest_of(path: Path) -> Any:
    other = path.parent / "truth.csv"
    if not other.exists():
        write_manifest(other, ROWS)
    return read_manifest(other)


def both(*calls: Callable[[], Any]) -> None:
    for call in calls:
        try:
            call()
        except VidfaceError as error:
            assert str(error)


def npy(path: Path) -> None:
    np.save(path, np.ones((3, 4), np.float32))
    (path.parent / "index.csv").write_text("video_id,time\nb,0\nb,0.125\nc d,0\n")


LFRC_SEED = np.eye(3, 4, dtype=np.float32)
TEMPLATES = np.array([1, 2, 3])
PARSERS = {
    **{
        f"manifest {suffix}": Parser(
            f"set{suffix}",
            lambda path: write_manifest(path, ROWS),
            lambda path: both(lambda: check_manifest(path), lambda: read_manifest(path)),
        )
        for suffix in (".csv", ".jsonl", ".parquet")
    },
    "submission": Parser(
        "ranking.txt",
        lambda path: write_iqiyi(path, {"7": ["b", "0144686"], "x": ["b"]}),
        lambda path: both(
            lambda: read_iqiyi(path), lambda: check_iqiyi(path, manifest_of(path)), lambda: sniff(path)
        ),
    ),
    "submission .bin": Parser(
        "matrix.bin",
        lambda path: write_lfrc(path, LFRC_SEED),
        lambda path: both(
            lambda: read_lfrc(path), lambda: check_lfrc(path, manifest_of(path)), lambda: sniff(path)
        ),
    ),
    "records": Parser("set.rec", records, open_records),
    "index of records": Parser("set.idx", records, open_records),
    "pairs .bin": Parser("set.bin", lambda path: write_bin(path, [JPEG, PNG] * 2, [True, False]), read_bin),
    "pairs .bin of numpy": Parser(
        "set.bin",
        lambda path: path.write_bytes(
            pickle.dumps(([np.frombuffer(JPEG, np.uint8)] * 4, np.array([True, False])))
        ),
        lambda path: open_pairs(path),
    ),
    "card": Parser("m.toml", text(card_text(CARD)), lambda path: read_card(path.with_suffix(".onnx"), {})),
    "recipe": Parser("run.toml", text(RECIPE), read_recipe),
    "training recipe": Parser("train.toml", text(TRAINING), read_training_recipe),
    "iqiyi train list": Parser(
        "train.txt",
        lambda path: (
            path.write_text("a.mp4 7\nb.mp4 0\n"),
            (path.parent / "val.txt").write_text("7 c.mp4 d.mp4\n"),
        ),
        lambda path: from_iqiyi(
            path, path.parent / "val.txt", path.parent, path.parent, path.parent / "out.csv"
        ),
    ),
    "iqiyi val list": Parser(
        "val.txt",
        lambda path: (
            path.write_text("7 c.mp4 d.mp4\n8 e.mp4\n"),
            (path.parent / "train.txt").write_text("a.mp4 7\n"),
        ),
        lambda path: from_iqiyi(
            path.parent / "train.txt", path, path.parent, path.parent, path.parent / "out.csv"
        ),
    ),
    "lfrc list": Parser(
        "filelist.txt", text("v1 32\nv2 12\nv3/x 8\n"), lambda path: from_lfrc(path, path.parent / "out.csv")
    ),
    "trillionpairs list": Parser(
        "images.txt",
        text("a/1.jpg\nb/2 3.jpg\n"),
        lambda path: from_trillionpairs(path, path.parent / "out.csv"),
    ),
    "template faces": Parser("faces.txt", text("1.jpg 1 5\n2.jpg 1 6\n3.jpg 2 7\n"), read_faces),
    "template crops": Parser("crops.txt", text("1.jpg 1 2 3 4 5 6 7 8 9 10 0.9\n"), read_crops),
    "template gallery": Parser(
        "gallery.csv",
        text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,10,a\n2,11,b\n"),
        lambda path: read_subjects(path, TEMPLATES, gallery=True),
    ),
    "template pairs": Parser(
        "pairs.txt", text("1 2 0\n1 1 1\n3 2 0\n"), lambda path: read_template_pairs(path, TEMPLATES)
    ),
    "lfw pairs": Parser("pairs.txt", text("2\t1\nAnn_B\t1\t2\nAnn_B\t1\tCal\t1\n"), parse_list),
    "lfw pairs, csv": Parser(
        "pairs.csv", text("name,imagenum1,imagenum2,\nAnn_B,1,2,\nAnn_B,1,Cal,1\n"), parse_list
    ),
    "pairs in two lines": Parser(
        "pairs.txt", text("A_0001.jpg 1\nA_0002.jpg 1\nA_0001.jpg 0\nB_0001.jpg 0\n"), parse_list
    ),
    "pairs of a spreadsheet": Parser(
        "pairs.csv", text('first;second;same\n"A/1";"A/2";True\n# no\nA/1;B/1;-1\n'), parse_list
    ),
    "feature pickle": Parser(
        "features.pickle",
        feature_pickle,
        lambda path: read_iqiyi_features([path], ["b", "c d"], path.parent),
    ),
    "feature array": Parser(
        "rows.npy", npy, lambda path: read_arrays(path, path.parent / "index.csv", ["b", "c d"])
    ),
    "index of an array": Parser(
        "index.csv",
        lambda path: npy(path.parent / "rows.npy"),
        lambda path: read_arrays(path.parent / "rows.npy", path, ["b"]),
    ),
    "scores": Parser("scores.json", raw(b'{"protocol": "both", "ci95": {"mAP@100": [0.1, 0.2]}}'), read_json),
    "faults": Parser("faults.jsonl", text('{"video": "a", "stage": "extract"}\n'), read_faults),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Path, bytes]]]:
    """A folder for every parser, with a whole file in it; the file's bytes."""
    made: dict[str, tuple[Path, bytes]] = {}

    def make(name: str) -> tuple[Path, bytes]:
        if name not in made:
            path = tmp_path_factory.mktemp("fuzz") / PARSERS[name].file
            PARSERS[name].seed(path)
            if name == "training recipe":
                (path.parent / "faces").mkdir()
            made[name] = path, path.read_bytes()
        return made[name]

    yield make


def check(name: str, path: Path) -> None:
    try:
        PARSERS[name].read(path)
    except VidfaceError as error:
        assert str(error)


@pytest.mark.parametrize("name", PARSERS)
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / PARSERS[name].file
    PARSERS[name].seed(path)
    path.unlink()
    os.mkfifo(path)
    with timeouts(10):
        if "scores" in name or "manifest" in name or "submission" in name:
            check(name, path)
        else:
            with contextlib.suppress(VidfaceError, OSError):  # the command line makes one line of both
                PARSERS[name].read(path)


@contextlib.contextmanager
def timeouts(seconds: int) -> Iterator[None]:
    """End what waits for too long with an error that is nobody's."""

    def stop(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["lfrc list", "trillionpairs list"])
def test_a_name_that_no_file_system_has(tmp_path: Path, name: str) -> None:
    """Found by the changed files: it is missing, as any name that is not there."""
    path = tmp_path / PARSERS[name].file
    path.write_text("x" * 400 + "\nb\n")
    assert PARSERS[name].read(path).missing == 2


PLACE = st.floats(0, 1, exclude_max=True)
CHANGE = st.one_of(
    st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("insert"), PLACE, st.sampled_from(TOKENS)),
    st.tuples(st.just("overwrite"), PLACE, st.sampled_from(TOKENS)),
    st.tuples(st.just("cut"), PLACE, st.integers(1, 30)),
    st.tuples(st.just("end"), PLACE, st.none()),
    st.tuples(st.just("repeat"), PLACE, st.integers(1, 30)),
)


def changed(content: bytes, changes: list[tuple[str, float, Any]]) -> bytes:
    for kind, where, what in changes:
        place = int(where * len(content))
        before, after = content[:place], content[place:]
        if kind == "flip" and after:
            content = before + bytes([after[0] ^ (1 << what)]) + after[1:]
        elif kind == "insert":
            content = before + what + after
        elif kind == "overwrite":
            content = before + what + after[len(what) :]
        elif kind == "cut":
            content = before + after[what:]
        elif kind == "end":
            content = before
        elif kind == "repeat":
            content = before + after[:what] * 3 + after[what:]
    return content


FEW = settings(max_examples=40)


@pytest.mark.parametrize("name", PARSERS)
def test_the_whole_file_is_read(folders: Callable[[str], tuple[Path, bytes]], name: str) -> None:
    path, content = folders(name)
    path.write_bytes(content)
    PARSERS[name].read(path)


@pytest.mark.parametrize("name", PARSERS)
def test_changed_files(folders: Callable[[str], tuple[Path, bytes]], name: str) -> None:
    path, content = folders(name)

    @FEW
    @given(st.lists(CHANGE, min_size=1, max_size=4))
    def one(changes: list[tuple[str, float, Any]]) -> None:
        path.write_bytes(changed(content, changes))
        check(name, path)

    one()


@pytest.mark.parametrize("name", PARSERS)
def test_random_bytes(folders: Callable[[str], tuple[Path, bytes]], name: str) -> None:
    path, _ = folders(name)

    @settings(FEW, max_examples=15)
    @given(st.binary(max_size=200) | st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))
    def one(content: bytes) -> None:
        path.write_bytes(content)
        check(name, path)

    one()
