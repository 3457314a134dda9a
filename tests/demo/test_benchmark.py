"""The benchmark's files against its plan, and against the pictures they were made from."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from vidface.demo.benchmark import Plan, make_benchmark
from vidface.demo.sources import drawn_faces, faces_from_folder
from vidface.errors import MediaError, UsageError

NUMBERS = ("identities", "videos_per_identity", "frames_per_video", "noise_frames", "distractors", "seed")
PLAN = dict(zip(NUMBERS, (3, 3, 5, 6, 2, 11), strict=True))
REAL = dict(zip(NUMBERS, (4, 2, 3, 6, 2, 3), strict=True))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def clip(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of drawn people, as lossless clips."""
    output = tmp_path_factory.mktemp("drawn")
    made = make_benchmark(output, drawn_faces(60, seed=4), Plan(**PLAN), lossless=True)
    assert made == output / "manifest.csv"
    return output


def test_manifest_and_truth_agree_with_the_plan(drawn: Path) -> None:
    rows = table(drawn / "manifest.csv")
    assert len(rows) == 3 * 3 + 2
    by_identity = defaultdict(list)
    for row in rows:
        by_identity[row["identity"]].append(row)
        assert (drawn / row["path"]).is_file()
    assert len(by_identity.pop("")) == 2
    assert len(by_identity) == 3
    for videos in by_identity.values():
        assert sorted(v["split"] for v in videos) == ["train", "val", "val"]
    assert all(row["split"] == "val" for row in rows if not row["identity"])

    truth = table(drawn / "truth.csv")
    assert [r["video_id"] for r in truth] == [row["video_id"] for row in rows for _ in range(11)]
    stars = set()
    for row in rows:
        frames = [r for r in truth if r["video_id"] == row["video_id"]]
        assert [int(r["frame"]) for r in frames] == list(range(11))
        assert Counter(r["kind"] for r in frames) == {"person": 5, "other": 4, "not-a-face": 1, "occluded": 1}
        (star,) = {r["person"] for r in frames if r["kind"] in ("person", "occluded")}
        assert row["identity"] in (star, "")
        stars.add(star)
        assert len(clip(drawn / row["path"])) == 11
        # Whoever passes through stays for consecutive frames, if nothing else came in between.
        others = [r["person"] for r in frames if r["kind"] == "other"]
        assert len(set(others)) == len([name for name, _ in groupby(others)]) <= 2
        # ... and never for as long as the person himself, who must stay the largest cluster.
        assert max(Counter(others).values()) <= 5 // 2
    assert len(stars) == 3 + 2
    assert stars.isdisjoint(r["person"] for r in truth if r["kind"] == "other")
    assert all((r["person"] == "") == (r["kind"] == "not-a-face") for r in truth)


def test_noise_is_not_always_at_the_same_place(drawn: Path) -> None:
    places = defaultdict(set)
    for row in table(drawn / "truth.csv"):
        if row["kind"] != "person":
            places[row["video_id"]].add(row["frame"])
    assert len({frozenset(p) for p in places.values()}) > 5


def test_same_seed_same_bytes_with_any_number_of_workers(drawn: Path, tmp_path: Path) -> None:
    make_benchmark(tmp_path, drawn_faces(60, seed=4), Plan(**PLAN), lossless=True, workers=2)
    assert contents(tmp_path) == contents(drawn)


def test_another_seed_makes_another_benchmark(drawn: Path, tmp_path: Path) -> None:
    make_benchmark(tmp_path, drawn_faces(60, seed=4), Plan(**PLAN | {"seed": 12}), lossless=True)
    one, other = ({r["identity"] for r in table(each / "manifest.csv")} for each in (tmp_path, drawn))
    assert one != other


def test_making_it_again_replaces_it(tmp_path: Path) -> None:
    small = PLAN | {"identities": 1, "distractors": 0, "videos_per_identity": 2}
    make_benchmark(tmp_path, drawn_faces(60, seed=4), Plan(**small), lossless=True)
    shorter = small | {"frames_per_video": 2}
    make_benchmark(tmp_path, drawn_faces(60, seed=4), Plan(**shorter), lossless=True)
    for row in table(tmp_path / "manifest.csv"):
        assert len(clip(tmp_path / row["path"])) == 2 + 6


def photographs(root: Path, counts: dict[str, int]) -> dict[bytes, tuple[str, str]]:
    """Folders of random pictures; returns which picture has which pixels."""
    rng = np.random.default_rng(0)
    known = {}
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
            known[pixels.tobytes()] = (name, f"{number}.png")
    return known


def test_a_photograph_is_used_once_and_belongs_to_whom_the_truth_says(tmp_path: Path) -> None:
    counts = {f"star{i}": 6 + i for i in range(4)} | {f"some{i}": 4 for i in range(8)}
    counts |= {f"single{i}": 1 for i in range(40)}
    known = photographs(tmp_path / "people", counts)
    make_benchmark(tmp_path / "out", faces_from_folder(tmp_path / "people"), Plan(**REAL), lossless=True)
    used: Counter[tuple[str, str]] = Counter()
    rows = table(tmp_path / "out/manifest.csv")
    shown = {row["video_id"]: clip(tmp_path / "out" / row["path"]) for row in rows}
    for row in table(tmp_path / "out/truth.csv"):
        if row["kind"] in ("person", "other"):
            frame = shown[row["video_id"]][int(row["frame"])]
            source = known[frame.tobytes()]
            assert source[0] == row["person"]
            used[source] += 1
    assert max(used.values()) == 1
    assert sum(used.values()) == 10 * (3 + 4)
    assert {row["identity"] for row in rows} == {"star0", "star1", "star2", "star3", ""}


def test_covered_photographs_are_not_shown_uncovered(tmp_path: Path) -> None:
    counts = {f"star{i}": 6 + 2 * (i % 2) for i in range(4)} | {f"some{i}": 3 for i in range(30)}
    photographs(tmp_path / "people", counts)
    faces = faces_from_folder(tmp_path / "people")
    asked: list[tuple[str, int]] = []
    honest = faces.picture

    def watched(name: str, index: int, video: int) -> np.ndarray[Any, Any]:
        asked.append((name, index))
        return honest(name, index, video)

    make_benchmark(tmp_path / "out", replace(faces, picture=watched), Plan(**REAL), lossless=True)
    assert len(asked) == 10 * (3 + 4 + 1)
    assert len(set(asked)) == len(asked)


def test_the_order_of_the_folder_listing_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs(tmp_path / "people", {f"p{i}": 7 for i in range(60)})
    make_benchmark(tmp_path / "a", faces_from_folder(tmp_path / "people"), Plan(**REAL), lossless=True)
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(listed(self), reverse=True))
    make_benchmark(tmp_path / "b", faces_from_folder(tmp_path / "people"), Plan(**REAL), lossless=True)
    monkeypatch.undo()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identities": 61}, "only 60 people"),
        ({"identities": 0}, "needs identities"),
        ({"noise_frames": -1}, "no negative"),
        ({"videos_per_identity": 1}, "at least one must be"),
        ({"distractors": 58}, "only 57 people are left"),
        ({"identities": 60, "distractors": 0}, "not enough other people"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_benchmark(tmp_path / "out", drawn_faces(60, seed=4), Plan(**PLAN | change))
    assert not (tmp_path / "out").exists()


def test_faces_of_another_size_and_missing_faces_are_refused(tmp_path: Path) -> None:
    photographs(tmp_path / "people", {f"p{i}": 7 for i in range(20)})
    Image.new("RGB", (64, 64)).save(tmp_path / "people/p3/0.png")
    faces = faces_from_folder(tmp_path / "people")
    with pytest.raises(MediaError, match=r"p3/0\.png: 64x64"):
        faces.picture("p3", 0, 0)
    (tmp_path / "people/p4/0.png").write_text("<html>")
    with pytest.raises(MediaError, match=r"p4/0\.png: not a readable image"):
        faces.picture("p4", 0, 0)
    with pytest.raises(UsageError, match="no such folder"):
        faces_from_folder(tmp_path / "nobody")
    with pytest.raises(UsageError, match="no images"):
        faces_from_folder(tmp_path / "people/p5")
