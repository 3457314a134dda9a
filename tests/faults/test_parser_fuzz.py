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
COLOURS = {"colour_order": "rgb", "mean": (1, 2, 3), "std": (1, 2, 3)}
CARD = ModelCard(name="m", input_size=(112, 112), dimension=4, licence="l", source="s", **COLOURS)
PIPELINES = Path(__file__).parents[2] / "pipelines"
# What is worth writing somewhere into a file: ends, quotes, nesting, numbers at their limits, marks of the encoding.
TOKENS = [
    *(text.encode() for text in ("", "\0", "\n", "\r\n", "\r", '"""', "a" * 2000, "9" * 400, "9" * 5000)),
    *(text.encode() for text in ("[" * 3000, '{"a":' * 3000, "[[stage]]\n", "\x1b[2J", " ", "\t")),
    *b"\" , ' \\ ../ / .. =1 # 0 -1 1e999 nan NaN inf true 1e-400 0x10 1_0 [ ] { }".split(),
    *rb"\u0000 \ud800 .mp4 PAR1".split(),
    *(b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xff" * 8),
    *(number.to_bytes(4, "little") for number in (1, 2**31 - 1, 2**31, 2**32 - 1)),
]


class Parser(NamedTuple):
    """A way in: what the file is called, what writes a whole one, what reads it or raises an error of ours."""

    file: str
    seed: Callable[[Path], Any]
    read: Callable[[Path], Any]


def check(read: Callable[[Path], Any], path: Path) -> None:
    try:
        read(path)
    except VidfaceError as error:
        assert str(error)


def text(content: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(content)


def pipeline(name: str) -> Callable[[Path], Any]:
    """One of our own recipes, without its comments."""
    lines = (PIPELINES / name).read_text("utf-8").splitlines()
    return text("\n".join(line for line in lines if not line.startswith("#")))


def two(content: str, other: str, more: str) -> Callable[[Path], Any]:
    """A list, and the one that is read with it."""
    return lambda path: (path.write_text(content), path.with_name(other).write_text(more))


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
    other = path.with_name("truth.csv")
    if not other.exists():
        write_manifest(other, ROWS)
    return read_manifest(other)


def all_of(*calls: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Read by each of them."""

    def read(path: Path) -> None:
        for call in calls:
            check(call, path)

    return read


def npy(path: Path) -> None:
    np.save(path.with_name("rows.npy"), np.ones((3, 4), np.float32))
    path.with_name("index.csv").write_text("video_id,time\nb,0\nb,0.125\nc d,0\n")


def bin_of_numpy(path: Path) -> None:
    path.write_bytes(pickle.dumps(([np.frombuffer(JPEG, np.uint8)] * 4, np.array([True, False]))))


def arrays_beside(path: Path) -> Any:
    return read_arrays(path.with_name("rows.npy"), path.with_name("index.csv"), ["b", "c d"])


def iqiyi_beside(path: Path) -> Any:
    root = path.parent
    return from_iqiyi(root / "train.txt", root / "val.txt", root, root, root / "out.csv")


LFRC_SEED = np.eye(3, 4, dtype=np.float32)
TEMPLATES = np.array([1, 2, 3])
WRITE_ROWS, READ_ROWS = (lambda path: write_manifest(path, ROWS)), all_of(check_manifest, read_manifest)
GALLERY = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,10,a\n2,11,b\n"
PAIRS_LFW, PAIRS_CSV = (
    "2\t1\nAnn_B\t1\t2\nAnn_B\t1\tCal\t1\n",
    "name,imagenum1,imagenum2,\nAnn_B,1,2,\nAnn_B,1,Cal,1\n",
)
PAIRS_TWO = "A_0001.jpg 1\nA_0002.jpg 1\nA_0001.jpg 0\nB_0001.jpg 0\n"
PAIRS_SHEET = 'first;second;same\n"A/1";"A/2";True\n# no\nA/1;B/1;-1\n'
RANKING, MATRIX = "ranking.txt", "matrix.bin"
PARSERS = {
    "manifest .csv": Parser("set.csv", WRITE_ROWS, READ_ROWS),
    "manifest .jsonl": Parser("set.jsonl", WRITE_ROWS, READ_ROWS),
    "manifest .parquet": Parser("set.parquet", WRITE_ROWS, READ_ROWS),
    "submission": Parser(
        RANKING,
        lambda path: write_iqiyi(path, {"7": ["b", "0144686"], "x": ["b"]}),
        all_of(read_iqiyi, lambda path: check_iqiyi(path, manifest_of(path)), sniff),
    ),
    "submission .bin": Parser(
        MATRIX,
        lambda path: write_lfrc(path, LFRC_SEED),
        all_of(read_lfrc, lambda path: check_lfrc(path, manifest_of(path)), sniff),
    ),
    "records": Parser("set.rec", records, open_records),
    "index of records": Parser("set.idx", records, open_records),
    "pairs .bin": Parser("set.bin", lambda path: write_bin(path, [JPEG, PNG] * 2, [True, False]), read_bin),
    "pairs .bin of numpy": Parser("set.bin", bin_of_numpy, open_pairs),
    "card": Parser("m.toml", text(card_text(CARD)), lambda path: read_card(path.with_suffix(".onnx"), {})),
    "recipe": Parser("run.toml", pipeline("iqiyi.toml"), read_recipe),
    "training recipe": Parser("train.toml", pipeline("progressive.toml"), read_training_recipe),
    "iqiyi train list": Parser(
        "train.txt", two("a.mp4 7\nb.mp4 0\n", "val.txt", "7 c.mp4 d.mp4\n"), iqiyi_beside
    ),
    "iqiyi val list": Parser(
        "val.txt", two("7 c.mp4 d.mp4\n8 e.mp4\n", "train.txt", "a.mp4 7\n"), iqiyi_beside
    ),
    "lfrc list": Parser(
        "l.txt", text("v1 32\nv2 12\nv3/x 8\n"), lambda path: from_lfrc(path, path.with_name("o.csv"))
    ),
    "trillionpairs list": Parser(
        "l.txt", text("a/1.jpg\nb/2 3.jpg\n"), lambda path: from_trillionpairs(path, path.with_name("o.csv"))
    ),
    "template faces": Parser("l.txt", text("1.jpg 1 5\n2.jpg 1 6\n3.jpg 2 7\n"), read_faces),
    "template crops": Parser("l.txt", text("1.jpg 1 2 3 4 5 6 7 8 9 10 0.9\n"), read_crops),
    "template gallery": Parser(
        "l.csv", text(GALLERY), lambda path: read_subjects(path, TEMPLATES, gallery=True)
    ),
    "template pairs": Parser(
        "l.txt", text("1 2 0\n1 1 1\n3 2 0\n"), lambda path: read_template_pairs(path, TEMPLATES)
    ),
    "lfw pairs": Parser("pairs.txt", text(PAIRS_LFW), parse_list),
    "lfw pairs, csv": Parser("pairs.csv", text(PAIRS_CSV), parse_list),
    "pairs in two lines": Parser("pairs.txt", text(PAIRS_TWO), parse_list),
    "pairs of a spreadsheet": Parser("pairs.csv", text(PAIRS_SHEET), parse_list),
    "feature pickle": Parser(
        "f.pickle", feature_pickle, lambda path: read_iqiyi_features([path], ["b", "c d"], path.parent)
    ),
    "feature array": Parser("rows.npy", npy, arrays_beside),
    "index of an array": Parser("index.csv", npy, arrays_beside),
    "scores": Parser("scores.json", text('{"protocol": "both", "ci95": {"mAP@100": [0.1, 0.2]}}'), read_json),
    "faults": Parser("faults.jsonl", text('{"video": "a", "stage": "extract"}\n'), read_faults),
}


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, Path, bytes]:
    """A parser, and a whole file for it in a folder of its own."""
    name = request.param
    path = tmp_path_factory.mktemp("fuzz") / PARSERS[name].file
    PARSERS[name].seed(path)
    return name, path, path.read_bytes()


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


@pytest.mark.parametrize("name", PARSERS)
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / PARSERS[name].file
    PARSERS[name].seed(path)
    path.unlink()
    os.mkfifo(path)
    ours = name.partition(" ")[0] in ("scores", "manifest", "submission")
    # The command line makes one line of errors of the system as well.
    with timeouts(10), contextlib.suppress(*(() if ours else (OSError,))):
        check(PARSERS[name].read, path)


@pytest.mark.parametrize("name", ["lfrc list", "trillionpairs list"])
def test_a_name_that_no_file_system_has(tmp_path: Path, name: str) -> None:
    """Found by the changed files: it is missing, as any name that is not there."""
    path = tmp_path / PARSERS[name].file
    path.write_text("x" * 400 + "\nb\n")
    assert PARSERS[name].read(path).missing == 2


PLACE = st.floats(0, 1, exclude_max=True)
WITH = {"flip": st.integers(0, 7), "insert": st.sampled_from(TOKENS), "overwrite": st.sampled_from(TOKENS)}
WITH |= {"cut": st.integers(1, 30), "end": st.none(), "repeat": st.integers(1, 30)}
CHANGE = st.one_of(*(st.tuples(st.just(kind), PLACE, what) for kind, what in WITH.items()))


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


@pytest.mark.parametrize("whole", PARSERS, indirect=True)
def test_changed_files(whole: tuple[str, Path, bytes]) -> None:
    """The file as it is is read; changed, it is read or refused."""
    name, path, content = whole
    PARSERS[name].read(path)

    @settings(max_examples=40)
    @given(st.lists(CHANGE, min_size=1, max_size=4))
    def one(changes: list[tuple[str, float, Any]]) -> None:
        path.write_bytes(changed(content, changes))
        check(PARSERS[name].read, path)

    one()


@pytest.mark.parametrize("whole", ["manifest .parquet"], indirect=True)
def test_one_bit_anywhere_in_a_parquet_file(whole: tuple[str, Path, bytes]) -> None:
    """Found by the changed files: names that are not UTF-8, values that are not in their dictionary."""
    _, path, content = whole
    for place in range(len(content)):
        for bit in (0x20, 0x80):
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            check(read_manifest, path)


@pytest.mark.parametrize("whole", PARSERS, indirect=True)
def test_random_bytes(whole: tuple[str, Path, bytes]) -> None:
    name, path, _ = whole

    @settings(max_examples=15)
    @given(st.binary(max_size=200) | st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))
    def one(content: bytes) -> None:
        path.write_bytes(content)
        check(PARSERS[name].read, path)

    one()
