from __future__ import annotations

from pathlib import Path

import pytest

from vidface.errors import ManifestError
from vidface.frames.folder import frame_files
from vidface.manifest.manifest import check_manifest, read_manifest
from vidface.manifest.sources import Converted, from_ytf

ALIGNED = (
    *(
        "Bo_Li/1/aligned_detect_1.1000.jpg",
        "Bo_Li/1/aligned_detect_1.99.jpg",
        "Bo_Li/1/aligned_detect_1.100.jpg",
    ),
    *(
        "Ann_Lee/10/aligned_detect_10.1.jpg",
        "Ann_Lee/2/aligned_detect_2.7.jpg",
        "Ann_Lee/0/aligned_detect_0.3.jpg",
    ),
)
FRAMES = ("Bo_Li/1/1.99.jpg", "Bo_Li/1/1.1000.jpg", "Bo_Li.labeled_faces.txt", "Ann_Lee/2/2.7.jpg")


def touch(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def convert(
    tmp_path: Path, part: str, names: tuple[str, ...]
) -> tuple[list[tuple[str, str, str, str]], Converted]:
    result = from_ytf(touch(tmp_path / "ytf" / part, names), tmp_path / "set.csv")
    assert check_manifest(tmp_path / "set.csv") == []
    found = read_manifest(tmp_path / "set.csv")
    return list(zip(found.video_ids, found.paths, found.identities, found.splits, strict=True)), result


def test_aligned_images(tmp_path: Path) -> None:
    rows, result = convert(tmp_path, "aligned_images_DB", ALIGNED)
    place = "ytf/aligned_images_DB"
    assert rows == [
        ("Ann_Lee/0", f"{place}/Ann_Lee/0", "Ann_Lee", "test"),
        ("Ann_Lee/2", f"{place}/Ann_Lee/2", "Ann_Lee", "test"),
        ("Ann_Lee/10", f"{place}/Ann_Lee/10", "Ann_Lee", "test"),
        ("Bo_Li/1", f"{place}/Bo_Li/1", "Bo_Li", "test"),
    ]
    assert (result.rows, result.identities, result.ignored) == (4, 2, {})
    names = [path.name for path in frame_files(tmp_path / place / "Bo_Li" / "1")]
    assert names == [f"aligned_detect_1.{n}.jpg" for n in (99, 100, 1000)]  # the order of extract


def test_frame_images_and_what_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "ytf" / "frame_images_DB" / "Cy_Ng" / "0").mkdir(parents=True)
    (tmp_path / "ytf" / "frame_images_DB" / "Ann_Lee" / "3").mkdir(parents=True)
    rows, result = convert(tmp_path, "frame_images_DB", (*FRAMES, "Ann_Lee/4/notes.txt", "Ann_Lee/clip.mp4"))
    assert [row[0] for row in rows] == ["Ann_Lee/2", "Bo_Li/1"]
    assert result.ignored == {
        "file that is no video or image": ["Ann_Lee/4/notes.txt", "Bo_Li.labeled_faces.txt"],
        "folder without videos or frames": ["Ann_Lee/3", "Ann_Lee/4", "Cy_Ng/0", "Cy_Ng"],
        "video file where a folder of frames belongs": ["Ann_Lee/clip.mp4"],
    }


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("aligned_images_DB/A/0/1.jpg",), "the whole set; give"),
        (("1.jpg",), "images directly in it"),
        (("A/1.jpg", "A/2.jpg"), "a video, where <person>/<video>"),
        (("A/x/y/1.jpg",), "folders of folders"),
        (("A/0.mp4",), "no <person>/<video>/<frame>.jpg in it; 1 video file"),
        (("A.txt",), "no <person>/<video>/<frame>.jpg in it; 1 file that is no video"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        from_ytf(touch(tmp_path / "set", names), tmp_path / "set.csv")
    assert not (tmp_path / "set.csv").exists()
