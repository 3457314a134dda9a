"""Whatever a list holds: an error of one line, or pairs that add up to what it lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vidface.errors import ManifestError
from vidface.manifest.manifest import Manifest
from vidface.manifest.pairs import read_pairs

IDS = ["A_B/0", "A_B/1", "C_D/A_0001", "C_D/C_D_0001", "C_D/C_D_0002.jpg", "e", "0", "1"]
SET = Manifest(
    Path("set.csv"), Path(), IDS, IDS, ["a", "a", *["c"] * 3, "", "", ""], [""] * len(IDS), "0" * 64
)
OTHERS = "C_D first second same fold 2 10 -1 True # name imagenum1 A_B\\0 e.MOV \" ' é \x1b[0m"
WORDS = [*IDS, *OTHERS.split(), "", "\u2028", "9" * 30]
HEADS = "first,second,same|first,second,same,fold|first;second;same|name,imagenum1|# x|1 2|3|"

text = st.lists(
    st.sampled_from([*WORDS, ",", ", ", ";", " ", "\t", "\n", "\r\n", "\r", "\n\n"]), max_size=40
).map("".join)
line = st.lists(st.sampled_from(WORDS), min_size=3, max_size=7)
lines = st.tuples(
    st.sampled_from([head + "\n" * bool(head) for head in HEADS.split("|")]),
    st.sampled_from([",", ", ", ";", " ", "\t"]),
    st.lists(line, max_size=12),
).map(lambda parts: parts[0] + "\n".join(parts[1].join(words) for words in parts[2]))


@settings(max_examples=300)
@given(st.one_of(text, lines, st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))))
@example("1, 1, A_B/0, A_B/1, 1\nx")
@example("first,second,same\nA_B/0,A_B/1,1\nA_B/1,A_B/0,0")
@example("1 1\nC_D 1 2")
@example("e 1\nA_B/0 1\nA_B/1 0\n0 0")
@example("e 1\nA_B/0 0")
@example("A_B/0 A_B/1 0\nA_B/0 e -1\n#")
def test_any_text(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(content.encode())
    try:
        pairs = read_pairs(path, SET)
    except ManifestError as error:
        assert "\n" not in str(error) and str(error).isprintable() and str(path) in str(error)
        return
    assert pairs.listed == len(pairs.same) + sum(pairs.left_out.values())
    missing = pairs.left_out.get("promised by the first line, not there", 0)
    told = sum(pairs.left_out.values()) - missing + pairs.repeated + pairs.against_manifest
    assert len(pairs.problems) == told
    assert all(problem.isprintable() and problem.startswith(f"{path}:") for problem in pairs.problems)
    assert ((pairs.first >= 0) & (pairs.first < len(IDS)) & (pairs.first != pairs.second)).all()
    assert pairs.folds is None or pairs.folds.shape == pairs.same.shape
    labels: dict[tuple[int, int], bool] = {}
    for one, other, same in zip(
        pairs.first.tolist(), pairs.second.tolist(), pairs.same.tolist(), strict=True
    ):
        assert labels.setdefault((min(one, other), max(one, other)), same) == same


@pytest.mark.parametrize("cut", range(0, 160, 7))
def test_a_list_cut_short_anywhere(tmp_path: Path, cut: int) -> None:
    """No pair of the whole list changes: those before the cut stay, the line that is cut is none or the same."""
    rows = ["A_B/0,A_B/1,1,1", "A_B/0,e,0,2", "C_D/C_D_0001,C_D/C_D_0002,1,3", "A_B/1,C_D/A_0001,0,4"]
    whole = "\n".join(["first,second,same,fold", *rows])
    path = tmp_path / "list.csv"
    path.write_text(whole)
    full = read_pairs(path, SET)
    path.write_text(whole[:cut])
    try:
        part = read_pairs(path, SET)
    except ManifestError:
        return
    count = len(part.same)
    for ours, theirs in ((part.first, full.first), (part.second, full.second), (part.same, full.same)):
        assert np.array_equal(ours, theirs[:count])
