"""Each format in its exact shape, against the same pairs written down by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vidface.errors import ManifestError
from vidface.manifest.manifest import Manifest
from vidface.manifest.pairs import ListedPairs, read_pairs

PEOPLE = {"Ann_Lee": 4, "Bo_Li": 3, "Cy_Ng": 2}
# LFW numbers its images from 1; these are the pairs of two folds, two of each kind in a fold.
MATCHED = [
    [("Ann_Lee", 1, "Ann_Lee", 2), ("Bo_Li", 1, "Bo_Li", 3)],
    [("Ann_Lee", 3, "Ann_Lee", 4), ("Cy_Ng", 1, "Cy_Ng", 2)],
]
DIFFERENT = [
    [("Ann_Lee", 1, "Bo_Li", 2), ("Bo_Li", 3, "Cy_Ng", 1)],
    [("Ann_Lee", 4, "Cy_Ng", 2), ("Bo_Li", 1, "Cy_Ng", 2)],
]
EXPECTED = [
    (f"{one}/{n}", f"{other}/{m}", same, fold)
    for fold in (1, 2)
    for pairs, same in ((MATCHED[fold - 1], True), (DIFFERENT[fold - 1], False))
    for one, n, other, m in pairs
]


def set_of(ids: list[tuple[str, str]]) -> Manifest:
    names, identities = (list(column) for column in zip(*ids, strict=True))
    return Manifest(Path("set.csv"), Path(), names, names, identities, ["test"] * len(ids), "0" * 64)


def lfw_set(spelling: str) -> Manifest:
    return set_of([(spelling.format(p, n), p) for p, count in PEOPLE.items() for n in range(1, count + 1)])


def named(pairs: ListedPairs, manifest: Manifest) -> list[tuple[str, str, bool, int | None]]:
    folds = [None] * len(pairs.same) if pairs.folds is None else pairs.folds.tolist()
    return [
        (manifest.video_ids[one], manifest.video_ids[other], same, fold)
        for one, other, same, fold in zip(
            pairs.first.tolist(), pairs.second.tolist(), pairs.same.tolist(), folds, strict=True
        )
    ]


def spelled(spelling: str) -> list[tuple[str, str, bool, int | None]]:
    def name(of: str) -> str:
        person, number = of.split("/")
        return spelling.format(person, int(number))

    return [(name(one), name(other), same, fold) for one, other, same, fold in EXPECTED]


def lfw_lines(tab: str = "\t") -> list[str]:
    lines = []
    for fold in range(2):
        lines += [tab.join((one, str(n), str(m))) for one, n, _, m in MATCHED[fold]]
        lines += [tab.join((one, str(n), other, str(m))) for one, n, other, m in DIFFERENT[fold]]
    return lines


SPELLINGS = ["{0}/{0}_{1:04d}", "{0}/{0}_{1:04d}.jpg", "{0}_{1:04d}", "{0}_{1:04d}.png"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lfw_pairs_with_ids_of_every_spelling(tmp_path: Path, spelling: str, end: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(("\ufeff" + end.join(["2\t2", *lfw_lines()]) + end).encode())
    manifest = lfw_set(spelling)
    pairs = read_pairs(path, manifest)
    assert named(pairs, manifest) == spelled(spelling)
    assert (pairs.listed, pairs.left_out, pairs.problems, pairs.notes) == (8, {}, [], [])


def test_lfw_dev_test_has_one_number_and_no_folds(tmp_path: Path) -> None:
    path = tmp_path / "pairsDevTest.txt"
    lines = sorted(lfw_lines(" "), key=lambda line: len(line.split()))
    for head in ("4", "8"):  # matched pairs, as LFW counts; or all of them
        path.write_text("\n".join([head, *lines]))
        manifest = lfw_set("{0}/{0}_{1:04d}")
        pairs = read_pairs(path, manifest)
        assert pairs.folds is None and pairs.same.tolist() == [True] * 4 + [False] * 4
        assert (pairs.left_out, pairs.notes) == ({}, [])


def test_lfw_blocks_that_are_not_the_folds_are_none(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(["2 2", *lfw_lines()[:6]]))
    pairs = read_pairs(path, lfw_set("{0}/{0}_{1:04d}"))
    assert pairs.folds is not None and pairs.folds.tolist() == [1] * 4 + [2] * 2
    path.write_text("\n".join(["4 1", *lfw_lines()]))
    pairs = read_pairs(path, lfw_set("{0}/{0}_{1:04d}"))
    assert pairs.folds is None and "2 blocks of pairs, where its first line says 4 folds" in pairs.notes[0]


YTF = [
    f"{fold}, {number}, {one}, {other}, {int(same)}"
    for number, (one, other, same, fold) in enumerate(EXPECTED, 1)
]
HEADS = ([], ["split number, pair number, first name, second name, is same"])


@pytest.mark.parametrize("head", HEADS)
def test_splits_of_youtube_faces(tmp_path: Path, head: list[str]) -> None:
    path = tmp_path / "splits.txt"
    path.write_text("\n".join([*head, *YTF]) + "\n")
    manifest = lfw_set("{0}/{1}")
    pairs = read_pairs(path, manifest)
    assert named(pairs, manifest) == EXPECTED
    assert (pairs.left_out, pairs.problems, pairs.notes) == ({}, [], [])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    kind = {"pairs": "splits.txt", "pairs_kind": "YouTube Faces splits"}
    assert pairs.inputs == {**kind, "pairs_sha256": sha256}


def test_corrected_splits_take_the_last_field(tmp_path: Path) -> None:
    """Six fields; the third pair is said to be the same by the fifth field, different by the last."""
    path = tmp_path / "splits_corrected.txt"
    lines = [
        f"{line.rpartition(',')[0]}, {1 if n == 2 else line[-1]}, {line[-1]}" for n, line in enumerate(YTF)
    ]
    path.write_text("\n".join([*HEADS[1], *lines]))
    manifest = lfw_set("{0}/{1}")
    pairs = read_pairs(path, manifest)
    assert named(pairs, manifest) == EXPECTED
    assert pairs.notes == [
        "1 lines have another 0 or 1 in the field before the last one: the last one is taken"
    ]


@pytest.mark.parametrize("fold", [True, False])
def test_our_csv(tmp_path: Path, fold: bool) -> None:
    path = tmp_path / "pairs.csv"
    head = "first,second,same,fold" if fold else '"first","second","same"'
    rows = [f'"{a}",{b},{int(same)}' + (f", {f}" if fold else "") for a, b, same, f in EXPECTED]
    path.write_text("\n".join([head, "", *rows, ""]))
    manifest = lfw_set("{0}/{1}")
    pairs = read_pairs(path, manifest)
    assert named(pairs, manifest) == [(a, b, s, f if fold else None) for a, b, s, f in EXPECTED]


@pytest.mark.parametrize("line", ["{a}.jpg {b}.jpg {s}", "{s} {a}.jpg {b}.jpg", "{a}\t{b}\t{s}"])
def test_lists_of_three_words(tmp_path: Path, line: str) -> None:
    path = tmp_path / "agedb_30_pair.txt"
    path.write_text("\n".join(line.format(a=a, b=b, s=int(s)) for a, b, s, _ in EXPECTED))
    manifest = lfw_set("{0}/{1}")
    assert named(read_pairs(path, manifest), manifest) == [(a, b, s, None) for a, b, s, _ in EXPECTED]


def cfp(folder: Path, kind: str) -> Path:
    """Two folds of CFP: person 1 and 2, two frontal and two profile pictures each."""
    protocol = folder / "Protocol"
    for n, split in enumerate(("01", "02"), 1):
        place = protocol / "Split" / kind / split
        place.mkdir(parents=True)
        (place / "same.txt").write_text(f"{n},{n}\n")
        (place / "diff.txt").write_text(f"{n},{n + 2}\n\n")
    for letter, view in (("F", "frontal"), ("P", "profile")):
        images = [f"../Data/Images/00{p}/{view}/0{i}.jpg" for p in (1, 2) for i in (1, 2)]
        (protocol / f"Pair_list_{letter}.txt").write_text(
            "".join(f"{number} {path}\n" for number, path in enumerate(images, 1))
        )
    return protocol / "Split" / kind


def test_the_protocols_of_cfp(tmp_path: Path) -> None:
    manifest = set_of(
        [(f"00{p}/{v}/0{i}", f"00{p}") for p in (1, 2) for v in ("frontal", "profile") for i in (1, 2)]
    )
    pairs = read_pairs(cfp(tmp_path, "FP"), manifest)
    assert named(pairs, manifest) == [
        ("001/frontal/01", "001/profile/01", True, 1),
        ("001/frontal/01", "002/profile/01", False, 1),
        ("001/frontal/02", "001/profile/02", True, 2),
        ("001/frontal/02", "002/profile/02", False, 2),
    ]
    pairs = read_pairs(cfp(tmp_path / "other", "FF"), manifest)
    assert pairs.left_out == {"a video with itself": 2}  # 1,1 and 2,2 are pictures with themselves here
    assert named(pairs, manifest)[0] == ("001/frontal/01", "002/frontal/01", False, 1)


def csv_of(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["first,second,same", *rows]) + "\n")
    return path


def test_a_name_that_could_be_two_videos_is_neither(tmp_path: Path) -> None:
    manifest = set_of([("a/0.jpg", "a"), ("a/0.png", "a"), ("b/0", "b"), ("b/1", "b")])
    pairs = read_pairs(csv_of(tmp_path / "p.csv", "a/0,b/0,0", "a/0.png,b/0,0", "b/0.jpg,b/1,1"), manifest)
    assert named(pairs, manifest) == [("a/0.png", "b/0", False, None), ("b/0", "b/1", True, None)]
    assert pairs.left_out == {"more than one such video": 1}


def test_only_lfw_lists_leave_the_person_out(tmp_path: Path) -> None:
    """0 of A/0 is no id: the last part of a YouTube Faces name is nearly the same for everybody."""
    path = tmp_path / "splits.txt"
    path.write_text("\n".join(YTF))
    with pytest.raises(ManifestError, match="none of its 8 pairs"):
        read_pairs(path, set_of([(str(n), "") for n in range(6)]))


def test_a_fold_that_loses_all_its_pairs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "splits.txt"
    path.write_text("\n".join([*YTF, "7, 1, X/0, X/1, 1", "9, 1, X/0, Ann_Lee/1, 0"]))
    pairs = read_pairs(path, lfw_set("{0}/{1}"))
    assert pairs.notes == ["no pair is left of fold 7, 9"]
