from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidface.errors import StoreError
from vidface.manifest.manifest import Manifest
from vidface.manifest.rows import Problem
from vidface.submission import check as check_module
from vidface.submission import check_lfrc, lfrc, read_lfrc, sniff, write_lfrc

Matrix = npt.NDArray[np.float32]


def make_manifest(count: int) -> Manifest:
    ids = [f"v{row}" for row in range(count)]
    return Manifest(Path("set.csv"), Path(), ids, ids, [""] * count, ["test"] * count, "")


def unit_rows(rows: int, columns: int = 8, seed: int = 0) -> Matrix:
    matrix = np.random.default_rng(seed).normal(size=(rows, columns))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def kinds(problems: list[Problem]) -> list[tuple[int, str]]:
    return [(problem.line, problem.kind) for problem in problems]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test crosses the seams between blocks."""
    monkeypatch.setattr(lfrc, "BLOCK", 3)
    monkeypatch.setattr(check_module, "BLOCK", 3)


# Writing and reading


def test_golden_bytes(tmp_path: Path) -> None:
    path = tmp_path / "submission.bin"
    write_lfrc(path, np.array([[1.0, -2.5, 0.0], [0.125, 3.0, 1e-3]], np.float32))
    expected = bytes.fromhex("02000000 03000000 0c000000 05000000")
    expected += struct.pack("<6f", 1.0, -2.5, 0.0, 0.125, 3.0, 1e-3)
    assert path.read_bytes() == expected
    assert sniff(path) == "lfrc"


@settings(max_examples=40)
@given(matrix=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_every_bit_comes_back(tmp_path: Path, matrix: Matrix) -> None:
    write_lfrc(tmp_path / "submission.bin", matrix)
    back = read_lfrc(tmp_path / "submission.bin")
    assert isinstance(back, np.memmap) and not back.flags.writeable
    assert (back.dtype, back.shape) == (np.float32, matrix.shape)
    assert back.tobytes() == matrix.tobytes()


def test_other_layouts_and_sources_give_the_same_bytes(tmp_path: Path) -> None:
    matrix = unit_rows(10)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["embeddings"] = matrix
        sources = [matrix, np.asfortranarray(matrix), matrix.astype(">f4"), matrix.astype(np.float64)]
        sources += [np.repeat(matrix, 2, axis=0)[::2], file["embeddings"]]
        seen = set()
        for source in sources:
            write_lfrc(tmp_path / "submission.bin", source)
            seen.add((tmp_path / "submission.bin").read_bytes())
    assert seen == {struct.pack("<4i", 10, 8, 32, 5) + matrix.tobytes()}
    assert sniff(tmp_path / "data.h5") == "hdf5"


@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [
        *(((3,), "f4", "a matrix of floats"), ((0, 3), "f4", "a matrix of floats")),
        *(((3, 0), "f4", "a matrix of floats"), ((3, 3), "i4", "a matrix of floats")),
        *(((1, 2**29), "f4", "32-bit"), ((2**31, 1), "f4", "32-bit")),
    ],
)
def test_what_the_format_cannot_hold_is_not_written(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, says: str
) -> None:
    with pytest.raises(StoreError, match=f"not written: .*{says}"):
        write_lfrc(tmp_path / "submission.bin", np.broadcast_to(np.zeros((), dtype), shape))
    assert list(tmp_path.iterdir()) == []


GOOD = struct.pack("<4i", 2, 3, 12, 5) + bytes(24)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "the header is 0 bytes"),
        (GOOD[:15], "the header is 15 bytes"),
        (GOOD[:16], "cut short: 16 bytes, where 2 rows of 3 need 40"),
        (GOOD[:-1], "cut short: 39 bytes"),
        (GOOD + b"\0", "followed by something else: 41 bytes"),
        (struct.pack(">4i", 2, 3, 12, 5) + bytes(24), "the header is"),
        (struct.pack("<4i", 2, 3, 24, 5) + bytes(24), "the header is [2, 3, 24, 5]"),
        (struct.pack("<4i", 2, 3, 12, 6) + bytes(24), "the header is [2, 3, 12, 6]"),
        (struct.pack("<4i", -2, 3, 12, 5) + bytes(24), "the header is"),
        (struct.pack("<4i", 2, -3, -12, 5) + bytes(24), "the header is"),
        (struct.pack("<4i", 0, 3, 12, 5), "the header is"),
        (struct.pack("<4i", 2**31 - 1, 2**29 - 1, 2**31 - 4, 5), "cut short"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, raw: bytes, says: str) -> None:
    path = tmp_path / "submission.bin"
    path.write_bytes(raw)
    with pytest.raises(StoreError) as caught:
        read_lfrc(path)
    assert says in str(caught.value)
    problems = check_lfrc(path, make_manifest(2))
    assert kinds(problems) == [(0, "format")]
    assert says in problems[0].message
    assert str(path) not in problems[0].message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        read_lfrc(tmp_path / "gone.bin")
    with pytest.raises(StoreError, match="No such file"):
        check_lfrc(tmp_path / "gone.bin", make_manifest(2))


def test_sniffing_tells_a_damaged_file_by_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(GOOD[:20])
    assert sniff(path) == "lfrc"
    path.write_bytes(b"1 a.mp4 \xff\n")
    assert sniff(path) == "iqiyi"
    for other in (b"", b"{}", b"video_id,path\n", b"\0\0\0\0a.mp4" * 9):
        path.write_bytes(other)
        with pytest.raises(StoreError, match="empty" if not other else "not an embeddings file"):
            sniff(path)


# Checking


def check(tmp_path: Path, matrix: Matrix, count: int | None = None, **sources: object) -> list[Problem]:
    write_lfrc(tmp_path / "submission.bin", matrix)
    manifest = make_manifest(len(matrix) if count is None else count)
    return check_lfrc(tmp_path / "submission.bin", manifest, **sources)  # type: ignore[arg-type]


def test_a_good_matrix_has_no_problems(tmp_path: Path) -> None:
    matrix = unit_rows(10, 512)
    assert check(tmp_path, matrix) == []
    assert check(tmp_path, matrix.astype(np.float16)) == []
    assert check(tmp_path, matrix, embeddings=matrix) == []


def test_bad_rows_are_named(tmp_path: Path) -> None:
    matrix = unit_rows(8)
    matrix[0] = 0
    matrix[2, 5] = np.nan
    matrix[3, 0] = -np.inf
    matrix[4] *= 1.002
    matrix[5] *= 1.0005
    matrix[7] *= 0.998
    problems = check(tmp_path, matrix)
    assert kinds(problems) == [
        (1, "zero-row"),
        (3, "not-finite"),
        (4, "not-finite"),
        (5, "not-unit"),
        (8, "not-unit"),
    ]
    assert problems[0].message == "row 1 (video 'v0') is zero: it had no usable frame"
    assert problems[1].message == "row 3 (video 'v2') holds NaN or infinite numbers"
    assert problems[3].message == "row 5 (video 'v4') has length 1.002; normalise it to 1"


def test_the_number_of_rows_and_columns(tmp_path: Path) -> None:
    for count in (3, 5):
        problems = check(tmp_path, unit_rows(4), count)
        assert kinds(problems) == [(0, "row-count")]
        assert problems[0].message == f"4 rows, but the manifest has {count} videos"
    assert kinds(check(tmp_path, unit_rows(4, 513))) == [(0, "dimension")]
    matrix = unit_rows(4)
    matrix[3] = 0
    assert "row 4 (of no video)" in check(tmp_path, matrix, 3)[1].message


def test_rows_out_of_order_are_found_by_value(tmp_path: Path) -> None:
    matrix = unit_rows(12)
    swapped = matrix.copy()
    swapped[[4, 10]] = matrix[[10, 4]]
    assert check(tmp_path, swapped) == []  # rows carry no ids
    problems = check(tmp_path, swapped, embeddings=matrix)
    assert kinds(problems) == [(5, "order")]
    assert (
        problems[0].message == "row 5 (video 'v4') holds the embedding of video 'v10' (1 more rows like it)"
    )


def test_embeddings_may_be_in_another_order_than_the_manifest(tmp_path: Path) -> None:
    matrix = unit_rows(12)
    order = np.random.default_rng(1).permutation(12)
    ids = [f"v{row}" for row in order]
    assert check(tmp_path, matrix, embeddings=matrix[order], video_ids=ids) == []
    problems = check(tmp_path, matrix[order], embeddings=matrix[order], video_ids=ids)
    first = int(np.flatnonzero(order != np.arange(12))[0])
    assert kinds(problems) == [(first + 1, "order")]
    assert f"holds the embedding of video 'v{order[first]}'" in problems[0].message


def test_equal_nan_and_rounding_are_no_difference(tmp_path: Path) -> None:
    matrix = unit_rows(4)
    matrix[2, 1] = np.nan
    assert kinds(check(tmp_path, matrix + np.float32(3e-7), embeddings=matrix)) == [(3, "not-finite")]
    assert (1, "order") in kinds(check(tmp_path, matrix + np.float32(3e-6), embeddings=matrix))


def test_a_row_that_is_nobodys(tmp_path: Path) -> None:
    matrix = unit_rows(6)
    matrix[3] = 0  # a zero row could be any failed video's: nobody is named
    changed = matrix.copy()
    changed[5] *= -1
    changed[1] = 0
    problems = check(tmp_path, changed, embeddings=matrix)
    assert kinds(problems) == [(2, "zero-row"), (2, "order"), (4, "zero-row")]
    assert (
        problems[1].message == "row 2 (video 'v1') differs from the video's embedding (1 more rows like it)"
    )


def test_embeddings_that_do_not_fit(tmp_path: Path) -> None:
    matrix = unit_rows(4)
    assert kinds(check(tmp_path, matrix, embeddings=unit_rows(4, 9))) == [(0, "other-dimension")]
    problems = check(tmp_path, matrix, embeddings=matrix[1:], video_ids=["v1", "v2", "v3"])
    assert kinds(problems) == [(1, "no-embedding")]
    with pytest.raises(ValueError, match="3 ids for 4"):
        check(tmp_path, matrix, embeddings=matrix, video_ids=["v1", "v2", "v3"])
    assert kinds(
        check(tmp_path, matrix, 5, embeddings=matrix, video_ids=[f"v{row}" for row in range(4)])
    ) == [(0, "row-count")]


@settings(max_examples=30)
@given(order=st.permutations(range(9)))
def test_any_change_of_order_is_found(tmp_path: Path, order: list[int]) -> None:
    matrix = unit_rows(9)
    wrong = [row for row, place in enumerate(order) if row != place]
    problems = check(tmp_path, matrix[order], embeddings=matrix)
    assert [problem.line for problem in problems] == [row + 1 for row in wrong[:1]]
