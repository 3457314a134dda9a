"""Lists and features of IJB-B and IJB-C that are not as they should be: one line that names the file and the place."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import template_sets
from command_line import MODULE, Ran, vidface, vidface_process, write_manifest
from PIL import Image

PEOPLE = [person for person in range(8) for _ in range(6)]


@pytest.fixture
def made(tmp_path: Path) -> template_sets.TemplateSet:
    """IJB-C's lists and a matrix of features beside them."""
    random = np.random.default_rng(3)
    found = template_sets.write_lists(template_sets.arrange(tmp_path / "meta", "ijbc", PEOPLE, random))
    np.save(tmp_path / "features.npy", template_sets.drawn_features(found, random))
    return found


@pytest.fixture
def score(made: template_sets.TemplateSet, tmp_path: Path) -> Callable[..., Ran]:
    def run(*options: object, code: int | None = 1) -> Ran:
        words = ("--protocol", "ijbc", "--meta", made.meta, *options)
        return vidface("score", tmp_path / "features.npy", *words, code=code)

    return run


def change(made: template_sets.TemplateSet, name: str, line: int, text: str) -> None:
    """Put a text in the place of a line, from 1."""
    path = made.meta / f"ijbc_{name}"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("".join(f"{one}\n" for one in lines))


# -- lists


@pytest.mark.parametrize(
    "text",
    [
        "1.jpg 7",
        "1.jpg 7 x",
        "1.jpg -7 1",
        "1.jpg 7.0 1",
        "1.jpg 7 1 1",
        "1.jpg 99999999999999999 1",
        "1.jpg 9007199254740993 1",
        "",
    ],
)
def test_a_line_that_is_no_image_template_medium(
    text: str, made: template_sets.TemplateSet, score: Callable[..., Ran]
) -> None:
    change(made, "face_tid_mid.txt", 5, text)
    assert "ijbc_face_tid_mid.txt:5: " in score().error


def test_all_lines_that_are_wrong_are_counted(
    made: template_sets.TemplateSet, score: Callable[..., Ran]
) -> None:
    for line in range(5, 15):
        change(made, "face_tid_mid.txt", line, "?")
    error = score().error
    assert "face_tid_mid.txt:5: " in error and "(9 more, in line 6, 7, 8, 9, 10, ...)" in error


def test_an_image_in_two_lines(made: template_sets.TemplateSet, score: Callable[..., Ran]) -> None:
    image = made.images[2]
    change(made, "face_tid_mid.txt", 9, f"{image} 7 1")
    assert f"face_tid_mid.txt:9: image '{image}' is in line 3 already" in score().error


@pytest.mark.parametrize(
    "tail",
    [
        "1 2 3 4 5 6 7 8 9 0.5",
        "1 2 3 4 5 6 7 8 9 nan 0.5",
        "1 2 3 4 5 6 7 8 9 10 -1",
        "a 2 3 4 5 6 7 8 9 10 1",
    ],
)
def test_a_line_that_is_no_image_and_five_points(
    tail: str, made: template_sets.TemplateSet, score: Callable[..., Ran]
) -> None:
    change(made, "name_5pts_score.txt", 4, f"{made.images[3]} {tail}")
    assert "ijbc_name_5pts_score.txt:4: " in score().error
    assert score("--no-detector-score", code=0).err == ""  # it is not read then


def test_points_of_other_images(made: template_sets.TemplateSet, score: Callable[..., Ran]) -> None:
    change(made, "name_5pts_score.txt", 4, "other.jpg 1 2 3 4 5 6 7 8 9 10 1")
    assert f"lacks 1 images of ijbc_face_tid_mid.txt, the first is '{made.images[3]}'" in score().error


def test_points_in_another_order(made: template_sets.TemplateSet, score: Callable[..., Ran]) -> None:
    """The public code takes row i of both lists for one image without a look; which order a matrix has is unknown."""
    path = made.meta / "ijbc_name_5pts_score.txt"
    lines = path.read_text().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    path.write_text("\n".join(lines))
    assert "ijbc_name_5pts_score.txt:2: another order than ijbc_face_tid_mid.txt" in score().error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, "is not: template template label")
            for text in ("7 31", "7 31 2", "7 31 1 1", "a 31 1", "7 0x1F 1", "")
        ),
        ("7 5000 1", "no image of template 5000 in face_tid_mid.txt"),
        ("5000 5001 0", "no image of template 5000 and 5001"),
    ],
)
@pytest.mark.parametrize("chunk", [16, 1 << 24])
def test_a_line_that_is_no_pair(
    text: str,
    message: str,
    chunk: int,
    made: template_sets.TemplateSet,
    score: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vidface.manifest.sources.template_pairs.CHUNK", chunk)
    change(made, "template_pair_label.txt", 70, text)
    error = score().error
    assert "ijbc_template_pair_label.txt:70: " in error and message in error


def test_pairs_that_are_no_text(made: template_sets.TemplateSet, score: Callable[..., Ran]) -> None:
    (made.meta / "ijbc_template_pair_label.txt").write_bytes(b"\x80\x04\x95" + bytes(range(256)) * 20)
    assert "ijbc_template_pair_label.txt:1: " in score().error


def test_pairs_of_one_kind_only(made: template_sets.TemplateSet, score: Callable[..., Ran]) -> None:
    (made.meta / "ijbc_template_pair_label.txt").write_text("7 10 0\n")
    assert (
        "ijbc_template_pair_label.txt: pairs of the same person and of different people are needed"
        in score().error
    )


def test_pairs_that_are_listed_again_are_counted(
    made: template_sets.TemplateSet, score: Callable[..., Ran]
) -> None:
    path = made.meta / "ijbc_template_pair_label.txt"
    one, two = (line.split() for line in path.read_text().splitlines()[:2])
    more = [(one[1], one[0], one[2]), (two[0], two[1], str(1 - int(two[2]))), ("7", "7", "1")]
    path.write_text(path.read_text() + "".join(" ".join(words) + "\n" for words in more))
    out = score(code=0).out
    assert "warning: 2 listed pairs repeat another, in either order, 1 of them with the other label" in out
    assert "1 listed pairs are of a template with itself" in out


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "7,1000,a.jpg", ":1: the header is not there"),
        (3, "x,1000", ":3: 'x,1000' does not begin with a template and a subject"),
        (3, "7", ":3: '7' does not begin"),
        (3, "5000,1000", ":3: no image of template 5000"),
        (3, "7,1999", ":3: template 7 is of subject 1000 further up"),
        (5, "10,1000", ":5: subject 1000 has template 7 already; a gallery has one"),
    ],
)
def test_a_gallery_that_is_none(
    line: int, text: str, message: str, made: template_sets.TemplateSet, score: Callable[..., Ran]
) -> None:
    change(made, "1N_gallery_G1.csv", line, text)
    assert f"ijbc_1N_gallery_G1.csv{message}" in score().error


@pytest.mark.parametrize(
    "name", ["face_tid_mid.txt", "name_5pts_score.txt", "template_pair_label.txt", "1N_probe_mixed.csv"]
)
def test_an_empty_list(name: str, made: template_sets.TemplateSet, score: Callable[..., Ran]) -> None:
    (made.meta / f"ijbc_{name}").write_bytes(b"")
    error = score().error
    assert f"ijbc_{name}: " in error and ("empty" in error or "no template in it" in error)


def test_a_list_that_is_not_utf_8(made: template_sets.TemplateSet, score: Callable[..., Ran]) -> None:
    path = made.meta / "ijbc_face_tid_mid.txt"
    path.write_bytes(path.read_bytes().replace(b".jpg", b"\xff.jpg", 2)[:-1] + b"\n")
    assert "ijbc_face_tid_mid.txt:1: not UTF-8" in score().error


def test_a_list_of_the_other_set(made: template_sets.TemplateSet, tmp_path: Path) -> None:
    error = vidface(
        "score", tmp_path / "features.npy", "--protocol", "ijbb", "--meta", made.meta, code=1
    ).error
    assert "ijbb_face_tid_mid.txt: no such file" in error


def test_the_folder_above_the_lists(made: template_sets.TemplateSet, tmp_path: Path) -> None:
    error = vidface(
        "score", tmp_path / "features.npy", "--protocol", "ijbc", "--meta", tmp_path, code=1
    ).error
    assert f"say {made.meta}" in error


def test_what_has_no_list_is_not_scored_and_told(
    made: template_sets.TemplateSet, score: Callable[..., Ran]
) -> None:
    (made.meta / "ijbc_1N_gallery_G2.csv").unlink()
    result = score("--json", code=0).json
    assert result["identification"] is None and result["tpr@fpr"]["1e-1"] is not None
    assert any("1:N is not scored: no ijbc_1N_gallery_G2.csv" in warning for warning in result["warnings"])
    (made.meta / "ijbc_template_pair_label.txt").unlink()
    assert "nothing to score" in score().error


# -- features


def test_features_of_another_number_of_images(
    made: template_sets.TemplateSet, score: Callable[..., Ran], tmp_path: Path
) -> None:
    np.save(tmp_path / "features.npy", np.ones((47, 4), np.float32))
    assert "features.npy: 47 rows for the 48 images of face_tid_mid.txt" in score().error


def test_a_matrix_of_the_other_form(score: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "features.npy").write_bytes(np.array([48, 4, 16, 5], "<i4").tobytes() + bytes(48 * 16))
    assert "neither a features file (HDF5) nor a .npy matrix" in score().error


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers(
    value: float, made: template_sets.TemplateSet, score: Callable[..., Ran], tmp_path: Path
) -> None:
    features = np.load(tmp_path / "features.npy")
    features[7, 3] = value
    np.save(tmp_path / "features.npy", features)
    assert f"1 features hold NaN or infinity, the first is that of '{made.images[7]}'" in score().error


def test_features_that_are_a_pickle(score: Callable[..., Ran], tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.array([{"run": "me"}], object), allow_pickle=True)
    assert "never run" in score().error


def test_an_image_without_a_feature_is_counted_and_left_out_of_its_medium(
    made: template_sets.TemplateSet, score: Callable[..., Ran], tmp_path: Path
) -> None:
    features = np.load(tmp_path / "features.npy")
    template = made.templates[0]
    features[made.templates == template] = 0
    np.save(tmp_path / "features.npy", features)
    result = score("--json").json
    lost = [image for image, of in zip(made.images, made.templates, strict=True) if of == template]
    assert result["images_without_feature"] == lost
    assert result["counts"]["images_without_feature"] == len(lost)
    assert result["counts"]["templates_without_feature"] == 1
    told = " ".join(result["warnings"])
    assert f"{len(lost)} images have no feature" in told and "1 templates have no image" in told
    assert "pairs have a template without any feature: they score 0" in told


def test_features_of_unit_length_have_lost_their_norms(score: Callable[..., Ran], tmp_path: Path) -> None:
    features = np.load(tmp_path / "features.npy")
    np.save(tmp_path / "features.npy", features / np.linalg.norm(features, axis=1, keepdims=True))
    assert "the norms that --norm keeps are lost" in score(code=0).out
    assert "norms" not in score("--no-norm", code=0).out.split("warning", 1)[-1]


def features_file(made: template_sets.TemplateSet, folder: Path, images: list[str], failed: str = "") -> Path:
    """A features file with a row for each of these images, which may repeat; and one image that failed."""
    rows = [(image, image, "", "") for image in dict.fromkeys([*images, *([failed] if failed else [])])]
    manifest = write_manifest(folder / "some.csv", rows)
    np.save(folder / "rows.npy", np.arange(1, 4 * len(images) + 1, dtype=np.float32).reshape(-1, 4))
    (folder / "index.csv").write_text("video_id\n" + "".join(f"{image}\n" for image in images))
    words = ("--index", folder / "index.csv", "--manifest", manifest, "-o", folder / "features.h5")
    vidface("features", "from-arrays", folder / "rows.npy", *words, code=int(bool(failed)))
    return folder / "features.h5"


def test_a_features_file_in_another_order_and_with_more_videos_is_matched_by_name(
    made: template_sets.TemplateSet, tmp_path: Path
) -> None:
    images = ["more.jpg", *reversed(made.images), "still-more.jpg"]
    path = features_file(made, tmp_path, images)
    words = ("--protocol", "ijbc", "--meta", made.meta, "--json")
    ours = vidface("score", path, *words, code=0).json
    assert "2 of 50 videos of features.h5 are not in face_tid_mid.txt" in ours["warnings"][0]
    np.save(tmp_path / "features.npy", np.load(tmp_path / "rows.npy")[1:-1][::-1])
    theirs = vidface("score", tmp_path / "features.npy", *words, code=0).json
    assert ours["identification"] == theirs["identification"] and ours["tpr@fpr"] == theirs["tpr@fpr"]


def test_a_features_file_without_some_images(made: template_sets.TemplateSet, tmp_path: Path) -> None:
    path = features_file(made, tmp_path, made.images[1:])
    error = vidface("score", path, "--protocol", "ijbc", "--meta", made.meta, code=1).error
    assert f"lacks 1 of the 48 images of face_tid_mid.txt, the first is '{made.images[0]}'" in error


def test_an_image_that_failed_in_extract_is_counted(made: template_sets.TemplateSet, tmp_path: Path) -> None:
    path = features_file(made, tmp_path, made.images[1:], failed=made.images[0])
    result = vidface("score", path, "--protocol", "ijbc", "--meta", made.meta, "--json", code=1).json
    assert result["images_without_feature"] == [made.images[0]]


def test_a_features_file_with_several_faces_an_image(made: template_sets.TemplateSet, tmp_path: Path) -> None:
    path = features_file(made, tmp_path, [made.images[0], *made.images])
    error = vidface("score", path, "--protocol", "ijbc", "--meta", made.meta, code=1).error
    assert f"1 images have several rows, the first is '{made.images[0]}' with 2" in error


def test_embeddings_have_lost_what_templates_need(made: template_sets.TemplateSet, tmp_path: Path) -> None:
    path = features_file(made, tmp_path, made.images)
    vidface("cluster", path, "-o", tmp_path / "embeddings.h5", "--threshold", "none", code=0)
    words = ("--protocol", "ijbc", "--meta", made.meta)
    assert "features" in vidface("score", tmp_path / "embeddings.h5", *words, code=1).error


def test_halves_of_an_odd_row(score: Callable[..., Ran], tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.ones((48, 5), np.float32))
    assert "have no two halves" in score("--flip-halves", code=2).error


@pytest.mark.parametrize("option", ["--no-norm", "--no-detector-score", "--flip-halves"])
def test_options_of_templates_are_not_for_others(option: str, tmp_path: Path) -> None:
    words = ("score", tmp_path / "x.npy", "--manifest", tmp_path / "m.csv", "--protocol", "lfrc", option)
    assert "not used by --protocol lfrc" in vidface(*words, code=2).error


def test_normalise_is_not_an_option_of_templates(score: Callable[..., Ran]) -> None:
    assert "pass --no-norm" in score("--normalise", code=2).error


# -- manifests and crops


@pytest.fixture
def crops(made: template_sets.TemplateSet, tmp_path: Path) -> Path:
    folder = tmp_path / "loose_crop"
    folder.mkdir()
    grey = Image.fromarray(np.full((110, 100, 3), 90, np.uint8))
    for image in made.images:
        grey.save(folder / image)
    return folder


def test_crops_that_no_face_can_be_cut_from_are_listed(
    made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    gone, html, cut, flat = made.images[:4]
    (crops / gone).unlink()
    (crops / html).write_text("<html>not found</html>")
    (crops / cut).write_bytes((crops / cut).read_bytes()[:200])
    change(made, "name_5pts_score.txt", 4, f"{flat} {'5 5 ' * 5}0.9")
    words = (
        "manifest",
        "from-ijbc",
        made.meta,
        crops,
        "-o",
        tmp_path / "m.csv",
        "--aligned",
        tmp_path / "faces",
    )
    result = vidface(*words, "--json", code=0).json
    assert (result["rows"], result["missing"], result["splits"]) == (48, 4, {"test": 48})
    (listed,) = result["ignored"].values()
    assert [line.split(" ")[0] for line in listed] == [gone, html, cut, flat]
    assert all(line.endswith(")") for line in listed) and "one" in listed[3] and "no such file" in listed[0]
    assert len(list((tmp_path / "faces").glob("*.png"))) == 44


def test_an_aligned_face_cut_short_is_made_again(
    made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    words = (
        "manifest",
        "from-ijbc",
        made.meta,
        crops,
        "-o",
        tmp_path / "m.csv",
        "--aligned",
        tmp_path / "faces",
    )
    vidface(*words, code=0)
    faces = {path.name: path.read_bytes() for path in (tmp_path / "faces").iterdir()}
    short, empty, gone, *_ = sorted(name for name in faces if name.endswith(".png"))
    (tmp_path / "faces" / short).write_bytes(faces[short][:-30])
    (tmp_path / "faces" / empty).write_bytes(b"")
    (tmp_path / "faces" / gone).unlink()
    (tmp_path / "faces" / f".{gone}.123.partial").write_bytes(b"half")
    vidface(*words, code=0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "faces").iterdir()} == faces


def noisy(made: template_sets.TemplateSet, crops: Path) -> None:
    """Crops whose faces take some 35 kB each."""
    random = np.random.default_rng(4)
    for image in made.images:
        Image.fromarray(random.integers(0, 256, (110, 100, 3), np.uint8)).save(crops / image)


def test_aligning_that_is_killed_goes_on_and_ends_in_the_same_bytes(
    made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    noisy(made, crops)
    words = ("manifest", "from-ijbc", made.meta, crops, "-o", tmp_path / "m.csv", "--aligned")
    vidface(*words, tmp_path / "whole", code=0)
    faces = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    (tmp_path / "m.csv").unlink()
    for least in (1, 20):
        command = [*MODULE, *map(str, (*words, tmp_path / "killed", "--workers", "1"))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "killed").glob("*.png"))) < least:
            time.sleep(0.001)
        process.kill()
        process.wait()
        for path in (tmp_path / "killed").glob("[!.]*"):  # whole or not there
            assert path.read_bytes() == faces[path.name]
    vidface(*words, tmp_path / "killed", code=0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "killed").iterdir()} == faces
    assert (tmp_path / "m.csv").read_text().count("killed/") == 48


def test_a_full_disk_while_faces_are_aligned(
    made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    noisy(made, crops)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    words = (
        "manifest",
        "from-ijbc",
        made.meta,
        crops,
        "-o",
        tmp_path / "m.csv",
        "--aligned",
        tmp_path / "faces",
    )
    ran = vidface_process(*words, code=1, preexec_fn=limit)
    assert "no space left" in ran.error
    assert [path.name for path in (tmp_path / "faces").iterdir()] == ["alignment.json"]
    assert not (tmp_path / "m.csv").exists()


def test_faces_cut_by_other_points_are_not_mixed(
    made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    words = (
        "manifest",
        "from-ijbc",
        made.meta,
        crops,
        "-o",
        tmp_path / "m.csv",
        "--aligned",
        tmp_path / "faces",
    )
    vidface(*words, code=0)
    change(made, "name_5pts_score.txt", 2, f"{made.images[1]} {'5 6 7 8 ' * 2}9 1 0.9")
    assert "cut by another list of points" in vidface(*words, code=2).error


@pytest.mark.parametrize("name", ["../1.jpg", "/etc/1.jpg", "a\\..\\1.jpg"])
@pytest.mark.parametrize("aligned", [True, False])
def test_an_image_outside_its_folder(
    name: str, aligned: bool, made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    change(made, "face_tid_mid.txt", 6, f"{name} 7 1")
    change(made, "name_5pts_score.txt", 6, f"{name} {'5 6 7 8 ' * 2}9 1 0.9")
    more = ("--aligned", tmp_path / "faces") if aligned else ()
    error = vidface("manifest", "from-ijbc", made.meta, crops, "-o", tmp_path / "m.csv", *more, code=1).error
    assert ":6: " in error and "may leave the root" in error
    assert not (tmp_path / "m.csv").exists() and not (tmp_path / "faces").exists()


def test_crops_that_are_not_aligned_are_told(
    made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    words = ("manifest", "from-ijbc", made.meta, crops, "-o", tmp_path / "m.csv", "--json")
    assert "--aligned DIR cuts the faces" in vidface(*words).json["notes"][0]
    made_of_faces = vidface(*words, "--aligned", tmp_path / "faces").json
    assert not any("--aligned DIR" in note for note in made_of_faces["notes"])


def test_crops_outside_the_manifest_s_folder(
    made: template_sets.TemplateSet, crops: Path, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    words = ("manifest", "from-ijbc", made.meta, crops, "-o", tmp_path / "below" / "m.csv")
    assert "not under" in vidface(*words, code=1).error
    assert "not under" in vidface(*words, "--aligned", tmp_path / "faces", code=1).error
    assert not (tmp_path / "faces").exists()


def test_the_result_is_json_without_nan(score: Callable[..., Ran], tmp_path: Path) -> None:
    score("-o", tmp_path / "scores.json", code=0)
    json.loads((tmp_path / "scores.json").read_text(), parse_constant=lambda name: pytest.fail(name))
