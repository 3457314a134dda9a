"""Lists and features of IJB-B and IJB-C that are not as they should be: one line that names the file and the place."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import template_sets
from command_line import MODULE, Ran, vidface, vidface_process, write_manifest
from fault_material import listed_rows
from PIL import Image
from template_sets import TemplateSet

from vidface.scores.protocols.templates import media_of, pool_templates

PEOPLE = [person for person in range(8) for _ in range(6)]
FACES, POINTS, PAIRS = "face_tid_mid.txt", "name_5pts_score.txt", "template_pair_label.txt"
GALLERY = "1N_gallery_G1.csv"


@pytest.fixture
def made(tmp_path: Path) -> TemplateSet:
    random = np.random.default_rng(3)
    found = template_sets.write_lists(template_sets.arrange(tmp_path / "meta", "ijbc", PEOPLE, random))
    np.save(tmp_path / "features.npy", template_sets.drawn_features(found, random))
    return found


@pytest.fixture
def crops(made: TemplateSet) -> Path:
    folder = made.meta.parent / "crops"
    folder.mkdir()
    grey = Image.fromarray(np.full((110, 100, 3), 90, np.uint8))
    for image in made.images:
        grey.save(folder / image)
    return folder


def score(made: TemplateSet, *options: object, features: str = "features.npy", code: int = 1) -> Ran:
    words = ("--protocol", "ijbc", "--meta", made.meta, *options)
    return vidface("score", made.meta.parent / features, *words, code=code)


def list_of(made: TemplateSet, name: str) -> Path:
    return made.meta / f"ijbc_{name}"


def change(made: TemplateSet, name: str, line: int, text: str) -> None:
    lines = list_of(made, name).read_text().splitlines()
    lines[line - 1] = text
    list_of(made, name).write_text("".join(f"{one}\n" for one in lines))


def changed_features(made: TemplateSet, change: Callable[[np.ndarray], Any]) -> None:
    """What ``change`` gives for the features, or, if nothing, what it made of them."""
    path = made.meta.parent / "features.npy"
    rows = np.load(path)
    other = change(rows)
    np.save(path, rows if other is None else other)


# -- lists


LINES = {  # list, line, texts that are none, what is said of each
    "a line of images": (FACES, 5, "1.jpg 7|1.jpg 7 x|1.jpg -7 1|1.jpg 7.0 1|1.jpg 7 1 1|", ""),
    "large numbers": (FACES, 5, "1.jpg 99999999999999999 1|1.jpg 9007199254740993 1", ""),
    "a line of points": (POINTS, 4, "4.jpg 1 2 3 4 5 6 7 8 9 0.5|4.jpg a 2 3 4 5 6 7 8 9 10 1", ""),
    "numbers of points": (POINTS, 4, "4.jpg 1 2 3 4 5 6 7 8 9 nan 0.5|4.jpg 1 2 3 4 5 6 7 8 9 10 -1", ""),
    "a line of pairs": (
        PAIRS,
        70,
        "7 31|7 31 2|7 31 1 1|a 31 1|7 0x1F 1|",
        "is not: template template label",
    ),
    "one unknown": (PAIRS, 70, "7 5000 1", "no image of template 5000 in face_tid_mid.txt"),
    "both unknown": (PAIRS, 70, "5000 5001 0", "no image of template 5000 and 5001"),
    "a gallery": (GALLERY, 1, "7,1000,a.jpg", "the header is not there"),
    "a word": (GALLERY, 3, "x,1000", "'x,1000' does not begin with a template and a subject"),
    "half a line": (GALLERY, 3, "7", "'7' does not begin"),
    "an unknown template": (GALLERY, 3, "5000,1000", "no image of template 5000"),
    "two subjects": (GALLERY, 3, "7,1999", "template 7 is of subject 1000 further up"),
    "two templates": (GALLERY, 5, "10,1000", "subject 1000 has template 7 already; a gallery has one"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_that_is_none(case: str, made: TemplateSet, monkeypatch: pytest.MonkeyPatch) -> None:
    name, line, texts, message = LINES[case]
    for chunk in (16, 1 << 24) if name == PAIRS else (16,):
        monkeypatch.setattr("vidface.manifest.sources.template_pairs.CHUNK", chunk)
        for text in texts.split("|"):
            change(made, name, line, text)
            error = score(made).error
            assert f"ijbc_{name}:{line}: " in error and message in error
    if name == POINTS:
        assert score(made, "--no-detector-score", code=0).err == ""  # it is not read then


def test_all_lines_that_are_wrong_are_counted(made: TemplateSet) -> None:
    for line in range(5, 15):
        change(made, FACES, line, "?")
    error = score(made).error
    assert "face_tid_mid.txt:5: " in error and "(9 more, in line 6, 7, 8, 9, 10, ...)" in error


def line_as(number: int, text: str) -> Callable[[bytes], bytes]:
    return lambda whole: b"\n".join(
        text.encode() if n == number else line for n, line in enumerate(whole.splitlines(), 1)
    )


def exchanged(whole: bytes) -> bytes:
    """The public code takes row i of both lists for one image without a look; which order a matrix has is unknown."""
    one, two, three, *rest = whole.splitlines()
    return b"\n".join([one, three, two, *rest])


MADE_UP = b"\x80\x04\x95" + bytes(range(256)) * 20
HUGE = re.compile(rb" [0-9.]+$", re.M)
LISTS: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "points of another image": (
        *(POINTS, line_as(4, "other.jpg 1 2 3 4 5 6 7 8 9 10 1")),
        "lacks 1 images of ijbc_face_tid_mid.txt, the first is '{0[3]}'",
    ),
    "another order": (POINTS, exchanged, "name_5pts_score.txt:2: another order than ijbc_face_tid_mid.txt"),
    "an image twice": (FACES, lambda x: x + x[: x.index(b"\n")], ":49: image '{0[0]}' is in line 1 already"),
    "not UTF-8": (FACES, lambda whole: whole.replace(b".jpg", b"\xff.jpg", 2), "mid.txt:1: not UTF-8"),
    "a pickle of pairs": (PAIRS, lambda _: MADE_UP, "ijbc_template_pair_label.txt:1: "),
    "pairs of one kind": (PAIRS, lambda _: b"7 10 0\n", "the same person and of different people are needed"),
    "an empty list": (FACES, lambda _: b"", "ijbc_face_tid_mid.txt: empty"),
    "scores of 1e308": (POINTS, lambda whole: HUGE.sub(b" 1e308", whole), "too large to be added"),
    "no points": (POINTS, lambda _: b"", "ijbc_name_5pts_score.txt: empty"),
    "no pairs": (PAIRS, lambda _: b"", "ijbc_template_pair_label.txt: empty"),
    "no probes": ("1N_probe_mixed.csv", lambda _: b"", "ijbc_1N_probe_mixed.csv: no template in it"),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_that_are_refused(made: TemplateSet, case: str) -> None:
    changed_features(made, lambda rows: 100 * rows)
    name, spoil, message = LISTS[case]
    list_of(made, name).write_bytes(spoil(list_of(made, name).read_bytes()))
    assert message.format(made.images) in score(made).error


def test_what_has_no_list_is_not_scored_and_told(made: TemplateSet) -> None:
    list_of(made, "1N_gallery_G2.csv").unlink()
    result = score(made, "--json", code=0).json
    assert result["identification"] is None and result["tpr@fpr"]["1e-1"] is not None
    assert any("1:N is not scored: no ijbc_1N_gallery_G2.csv" in warning for warning in result["warnings"])
    list_of(made, PAIRS).unlink()
    assert "nothing to score" in score(made).error


def test_pairs_that_are_listed_again_are_counted(made: TemplateSet) -> None:
    path = list_of(made, PAIRS)
    one, two = (line.split() for line in path.read_text().splitlines()[:2])
    more = [(one[1], one[0], one[2]), (two[0], two[1], str(1 - int(two[2]))), ("7", "7", "1")]
    path.write_text(path.read_text() + "".join(" ".join(words) + "\n" for words in more))
    out = score(made, code=0).out
    assert "warning: 2 listed pairs repeat another, in either order, 1 of them with the other label" in out
    assert "1 listed pairs are of a template with itself" in out


def test_a_list_of_the_other_set(made: TemplateSet, tmp_path: Path) -> None:
    """Or the folder above them."""
    for kind, meta, message in (
        ("ijbb", made.meta, "ijbb_face_tid_mid.txt: no such file"),
        ("ijbc", tmp_path, f"say {made.meta}"),
    ):
        words = ("score", tmp_path / "features.npy", "--protocol", kind, "--meta", meta)
        assert message in vidface(*words, code=1).error


# -- features


OBJECTS = np.array([{"run": "me"}], object)
FEATURES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "of another number": (lambda _: np.ones((47, 4), "f4"), "47 rows for the 48 images of face_tid_mid.txt"),
    "NaN": (lambda rows: rows.__setitem__((7, 3), np.nan), "1 features hold NaN or infinity, the first is"),
    "infinity": (lambda rows: rows.__setitem__((7, 3), np.inf), "the first is that of '{0[7]}'"),
    "a pickle": (lambda _: OBJECTS, "never run"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_features_that_are_refused(made: TemplateSet, case: str) -> None:
    spoil, message = FEATURES[case]
    changed_features(made, spoil)
    assert message.format(made.images) in score(made).error
    matrix = np.array([48, 4, 16, 5], "<i4").tobytes() + bytes(48 * 16)
    (made.meta.parent / "f.bin").write_bytes(matrix)
    assert "neither a features file (HDF5) nor a .npy matrix" in score(made, features="f.bin").error


def test_an_image_without_a_feature_is_counted_and_left_out_of_its_medium(made: TemplateSet) -> None:
    mine = made.templates == made.templates[0]
    changed_features(made, lambda rows: rows.__setitem__(mine, 0))
    result = score(made, "--json").json
    lost = [image for image, is_mine in zip(made.images, mine, strict=True) if is_mine]
    assert result["images_without_feature"] == lost
    assert result["counts"]["images_without_feature"] == len(lost)
    assert result["counts"]["templates_without_feature"] == 1
    told = " ".join(result["warnings"])
    assert f"{len(lost)} images have no feature" in told and "1 templates have no image" in told
    assert "pairs have a template without any feature: they score 0" in told


def test_features_of_unit_length_have_lost_their_norms(made: TemplateSet, tmp_path: Path) -> None:
    changed_features(made, lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert "the norms that --norm keeps are lost" in score(made, "-o", tmp_path / "s.json", code=0).out
    assert "norms" not in score(made, "--no-norm", code=0).out.split("warning", 1)[-1]
    # What cannot be had is null.
    json.loads((tmp_path / "s.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def features_file(made: TemplateSet, images: list[str], failed: str = "") -> str:
    """A features file with a row for each of these images, which may repeat; and one image that failed."""
    folder = made.meta.parent
    rows = [(image, image, "", "") for image in dict.fromkeys([*images, *([failed] if failed else [])])]
    manifest = write_manifest(folder / "some.csv", rows)
    matrix = np.arange(1, 4 * len(images) + 1, dtype=np.float32).reshape(-1, 4)
    vidface(*listed_rows(folder, matrix, images, manifest), code=int(bool(failed)))
    return "f.h5"


def test_a_features_file_in_another_order_and_with_more_videos_is_matched_by_name(
    made: TemplateSet, tmp_path: Path
) -> None:
    path = features_file(made, ["more.jpg", *reversed(made.images), "still-more.jpg"])
    ours = score(made, "--json", features=path, code=0).json
    assert "2 of 50 videos of f.h5 are not in face_tid_mid.txt" in ours["warnings"][0]
    np.save(tmp_path / "features.npy", np.load(tmp_path / "f.npy")[1:-1][::-1])
    theirs = score(made, "--json", code=0).json
    assert ours["identification"] == theirs["identification"] and ours["tpr@fpr"] == theirs["tpr@fpr"]


def test_a_features_file_that_does_not_fit(made: TemplateSet, tmp_path: Path) -> None:
    """Without an image, with several faces of one or one that failed, what is made of it, and with a flipped bit."""
    first, *others = made.images
    lacks = f"lacks 1 of the 48 images of face_tid_mid.txt, the first is '{first}'"
    several = f"1 images have several rows, the first is '{first}' with 2"
    for images, message in ((others, lacks), ([first, *made.images], several)):
        assert message in score(made, features=features_file(made, images)).error
        (tmp_path / "f.h5").unlink()
    failed = score(made, "--json", features=features_file(made, others, failed=first)).json
    assert failed["images_without_feature"] == [first]
    vidface("cluster", tmp_path / "f.h5", "-o", tmp_path / "e.h5", "--threshold", "none", code=1)
    assert "features" in score(made, features="e.h5").error
    whole = bytearray((tmp_path / "f.h5").read_bytes())
    whole[whole.index(np.load(tmp_path / "f.npy")[:1].tobytes()) + 3] ^= 0x40
    (tmp_path / "f.h5").write_bytes(whole)
    assert "f.h5: damaged" in score(made, features="f.h5").error


def test_options_of_templates(made: TemplateSet, tmp_path: Path) -> None:
    """--flip-halves of rows without two halves, those of others here, and these elsewhere."""
    changed_features(made, lambda _: np.ones((48, 5), np.float32))
    assert "have no two halves" in score(made, "--flip-halves", code=2).error
    assert "pass --no-norm" in score(made, "--normalise", code=2).error
    for option in ("--no-norm", "--no-detector-score", "--flip-halves"):
        words = ("score", tmp_path / "x.npy", "--manifest", tmp_path / "m.csv", "--protocol", "lfrc", option)
        assert "not used by --protocol lfrc" in vidface(*words, code=2).error


# -- manifests and crops


def words_of(made: TemplateSet, *options: object) -> tuple[object, ...]:
    folder = made.meta.parent
    return ("manifest", "from-ijbc", made.meta, folder / "crops", "-o", folder / "m.csv", *options)


def align(made: TemplateSet, *options: object, code: int = 0) -> Ran:
    return vidface(*words_of(made, "--aligned", made.meta.parent / "faces", *options), code=code)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_crops_that_no_face_can_be_cut_from_are_listed(made: TemplateSet, crops: Path) -> None:
    gone, html, cut, flat = made.images[:4]
    (crops / gone).unlink()
    (crops / html).write_text("<html>not found</html>")
    (crops / cut).write_bytes((crops / cut).read_bytes()[:200])
    change(made, POINTS, 4, f"{flat} {'5 5 ' * 5}0.9")
    result = align(made, "--json").json
    assert (result["rows"], result["missing"], result["splits"]) == (48, 4, {"test": 48})
    (listed,) = result["ignored"].values()
    assert [line.split(" ")[0] for line in listed] == [gone, html, cut, flat]
    assert all(line.endswith(")") for line in listed) and "one" in listed[3] and "no such file" in listed[0]
    assert len(list((made.meta.parent / "faces").glob("*.png"))) == 44


def test_an_aligned_face_cut_short_is_made_again(made: TemplateSet, crops: Path) -> None:
    """And faces that other points cut are not mixed with these."""
    align(made)
    folder = made.meta.parent / "faces"
    faces = contents(folder)
    short, empty, gone, *_ = sorted(name for name in faces if name.endswith(".png"))
    (folder / short).write_bytes(faces[short][:-30])
    (folder / empty).write_bytes(b"")
    (folder / gone).unlink()
    (folder / f".{gone}.123.partial").write_bytes(b"half")
    align(made)
    assert contents(folder) == faces
    change(made, POINTS, 2, f"{made.images[1]} {'5 6 7 8 ' * 2}9 1 0.9")
    assert "cut by another list of points" in align(made, code=2).error
    assert contents(folder) == faces


def noisy(made: TemplateSet, crops: Path) -> None:
    """Crops whose faces take some 35 kB each."""
    random = np.random.default_rng(4)
    for image in made.images:
        Image.fromarray(random.integers(0, 256, (110, 100, 3), np.uint8)).save(crops / image)


def test_aligning_that_is_killed_goes_on_and_ends_in_the_same_bytes(made: TemplateSet, crops: Path) -> None:
    noisy(made, crops)
    whole, killed = made.meta.parent / "faces", made.meta.parent / "killed"
    align(made)
    faces = contents(whole)
    (made.meta.parent / "m.csv").unlink()
    command = [*MODULE, *map(str, words_of(made, "--aligned", killed, "--workers", "1"))]
    for least in (1, 20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(killed.glob("*.png"))) < least:
            time.sleep(0.001)
        process.kill()
        process.wait()
        for path in killed.glob("[!.]*"):  # whole or not there
            assert path.read_bytes() == faces[path.name]
    vidface(*words_of(made, "--aligned", killed), code=0)
    assert contents(killed) == faces
    assert (made.meta.parent / "m.csv").read_text().count("killed/") == 48


def test_a_full_disk_while_faces_are_aligned(made: TemplateSet, crops: Path, tmp_path: Path) -> None:
    noisy(made, crops)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    ran = vidface_process(*words_of(made, "--aligned", tmp_path / "faces"), code=1, preexec_fn=limit)
    assert "no space left" in ran.error
    assert [path.name for path in (tmp_path / "faces").iterdir()] == ["alignment.json"]
    assert not (tmp_path / "m.csv").exists()


def test_an_image_outside_its_folder(made: TemplateSet, crops: Path, tmp_path: Path) -> None:
    """By a name, which may be none of a file; or because the manifest lies below the crops. Nothing is written."""
    aligned = ("--aligned", tmp_path / "faces")
    (tmp_path / "below").mkdir()
    for options in ((), aligned):
        below = words_of(made, "-o", tmp_path / "below" / "m.csv", *options)
        assert "not under" in vidface(*below, code=1).error
    leave = dict.fromkeys(("../1.jpg", "/etc/1.jpg", "a\\..\\1.jpg"), "may leave the root")
    none = dict.fromkeys((".", "./", "a/./b.jpg", "a//b.jpg", "b/"), "is no name of a file")
    for name, said in (leave | none).items():
        change(made, FACES, 6, f"{name} 7 1")
        change(made, POINTS, 6, f"{name} {'5 6 7 8 ' * 2}9 1 0.9")
        for options in ((), aligned):
            error = vidface(*words_of(made, *options), code=1).error
            assert ":6: " in error and said in error
    assert not (tmp_path / "m.csv").exists() and not (tmp_path / "faces").exists()


def test_crops_that_are_not_aligned_are_told(made: TemplateSet, crops: Path) -> None:
    assert "--aligned DIR cuts the faces" in vidface(*words_of(made, "--json")).json["notes"][0]
    assert not any("--aligned DIR" in note for note in align(made, "--json").json["notes"])


def test_crops_are_not_taken_for_aligned_faces(made: TemplateSet, crops: Path) -> None:
    for path in made.meta.iterdir():
        path.write_text(path.read_text().replace(".jpg", ".png"))
    for path in [*crops.iterdir()]:
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    before = contents(crops)
    error = vidface(*words_of(made, "--aligned", crops), code=2).error
    assert (
        f"'{made.images[0].replace('jpg', 'png')}' in it is no face that was cut here" in error
        and contents(crops) == before
    )
    for _ in range(2):  # the second time faces and note are there
        align(made)
    with Image.open(made.meta.parent / "faces" / "1.png") as face:
        assert face.size == (112, 112)


@pytest.mark.parametrize("score", [1e-250, 1e250])
def test_detector_scores_that_are_no_matter_of_scale(score: float) -> None:
    rows, templates = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 0, 1, 1, 2, 2])
    lengths, media = np.linalg.norm(rows, axis=1), media_of(templates, np.arange(6))
    blocks = lambda: [(np.arange(6), rows)]  # noqa: E731
    given = (blocks, lengths, templates, media)
    pooled = [pool_templates(*given, np.full(6, one), norm=True, dimension=4) for one in (score, 1.0)]
    np.testing.assert_allclose(*pooled, rtol=1e-6)
