"""Shards of a run: who does which videos, and their merge into the bytes of the run that does all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import frames_of, pooling_model, vidface, write_folder, write_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.backbones import Backbone, ModelCard
from vidface.embeddings.cluster import cluster
from vidface.embeddings.options import EMBEDDINGS_ATTRIBUTES, ClusterOptions
from vidface.errors import ChangedError, StoreError, UsageError
from vidface.features import extract as extracting
from vidface.features.engines import Engine, ExtractJob, open_engine
from vidface.features.engines.detection import FaceOptions
from vidface.features.extract import ExtractResult, extract
from vidface.features.options import FEATURES_ATTRIBUTES, ExtractOptions
from vidface.files.faults import read_faults
from vidface.files.shares import Shard, parse_shard, shard_range, shard_text
from vidface.files.store import (
    FACE_COUNTS,
    NO_FACES,
    FaceRows,
    Fault,
    VideoRows,
    read_embeddings,
    read_features,
)
from vidface.files.store import embeddings as store_embeddings
from vidface.files.store import shards as store_shards
from vidface.manifest.manifest import Manifest
from vidface.runs.merge import merge
from vidface.scores.options import ScoreOptions
from vidface.scores.scored import read_scored
from vidface.scores.sweep import sweep

DIMENSION, RUN = 6, 3  # RUN stands in for the 64 videos of a run
FACES = FaceOptions("yunet", "weights", "d" * 64, 0.7, 0.0, 0.0, 90.0, "all")
COUNTS = [2, 0, 1, 3, 5, 0, 1, 2, 2, 4, 1]  # frames of 11 videos: 4 runs


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "SHARD_VIDEOS", RUN)


def manifest_of(videos: int) -> Manifest:
    ids = [f"vidéo {video}" for video in range(videos)]
    people, splits = (
        [f"p{v % 3}" for v in range(videos)],
        ["train" if v < 3 else "val" for v in range(videos)],
    )
    return Manifest(Path("set.csv"), Path(), ids, ids, people, splits, "a" * 64)


def backbone_of(device: str = "cpu", sha256: str = "b" * 64) -> Backbone:
    card = ModelCard(
        name="fake",
        input_size=(112, 112),
        colour_order="rgb",
        mean=(0, 0, 0),
        std=(1, 1, 1),
        dimension=DIMENSION,
        licence="CC0",
        source="a test",
    )

    def embed(_pixels: object) -> Any:
        raise AssertionError("the engine of these tests decodes nothing")

    return Backbone(card, sha256, device, embed)


def engine_of(counts: Sequence[int], *, until: int | None = None) -> Engine:
    """Rows that depend on the run that a video is in, as batches do; stops before video ``until`` as a kill does."""

    def extract_chunks(
        job: ExtractJob, runs: Sequence[range], advance: Callable[[int], None]
    ) -> Iterator[list[VideoRows]]:
        for run in runs:
            if until is not None and until in run:
                raise KeyboardInterrupt
            yield [rows(job, run, video) for video in run]
            advance(len(run))

    def rows(job: ExtractJob, run: range, video: int) -> VideoRows:
        count, name = counts[video], job.videos[video].video_id
        features = np.random.default_rng([run.start, len(run), video]).normal(size=(count, DIMENSION))
        faults: list[Fault] = []
        if count in (0, 5):
            kind = "missing" if count == 0 else "damaged"
            faults = [{"video": name, "stage": "extract", "kind": kind, "detail": "dètail"}]
            faults *= 1 + video % 2
        status = "failed" if count == 0 else "partial" if faults else "ok"
        row = VideoRows(
            name, features.astype(job.options.dtype), np.arange(count, dtype=np.float32), status, faults
        )
        return row if job.reading.faces is None else row._replace(**faces(count, video))

    def faces(count: int, video: int) -> dict[str, Any]:
        random = np.random.default_rng(video)
        floats = [random.normal(size=(count, *like.shape[1:])).astype(np.float32) for like in NO_FACES[:4]]
        tracks = np.sort(random.integers(0, 3, count)).astype(np.int32)
        counts = random.integers(0, 9, len(FACE_COUNTS)).tolist()
        return {"faces": FaceRows(*floats, tracks), "face_counts": tuple(counts)}

    with open_engine(workers=0) as real:
        return real._replace(extract_chunks=extract_chunks)


def extracted(
    output: Path,
    shard: Shard | None = None,
    counts: Sequence[int] = COUNTS,
    backbone: Backbone | None = None,
    until: int | None = None,
    faces: FaceOptions | None = None,
    overwrite: bool = False,
    **options: Any,
) -> ExtractResult:
    output.parent.mkdir(exist_ok=True)
    return extract(
        manifest_of(len(counts)),
        backbone or backbone_of(),
        output,
        ExtractOptions(
            model=Path("fake.onnx"),
            device="cpu",
            shard=shard,
            faces="detect" if faces else "aligned",
            **options,
        ),
        engine=engine_of(counts, until=until),
        faces=faces,
        overwrite=overwrite,
    )


def shards_of(folder: Path, parts: int, **options: Any) -> list[Path]:
    files = [folder / f"f.{part}.h5" for part in range(1, parts + 1)]
    for part, file in enumerate(files, 1):
        extracted(file, (part, parts), **options)
    return files


def change(file: Path, **attributes: Any) -> Path:
    """A copy of a file with other attributes; None takes one away."""
    changed = file.with_name("changed-" + file.name)
    shutil.copyfile(file, changed)
    with h5py.File(changed, "a") as opened:
        for name, value in attributes.items():
            del opened.attrs[name]
            if value is not None:
                opened.attrs[name] = value
        del opened.attrs["rest_sha256"]  # which is of the attributes too
    return changed


# --- who does what ---


@pytest.mark.parametrize("text", ["1/1", "2/4", "999999999/999999999"])
def test_a_shard_is_read_and_written(text: str) -> None:
    assert shard_text(parse_shard(text)) == text


def test_no_shard_is_everything() -> None:
    assert shard_text(None) is None and shard_range(5, None, "videos") == range(5)
    assert parse_shard("02/004") == (2, 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "/",
        "2/",
        "/4",
        "0/4",
        "5/4",
        "-1/4",
        "1/4/4",
        "1 /4",
        "a/b",
        "1.5/4",
        "٢/٤",
        "1/" + "9" * 5000,
    ],
)
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="say I/N with 1 <= I <= N"):
        parse_shard(text)


@given(st.integers(1, 300), st.data())
def test_shares_are_even_and_every_thing_is_in_one(total: int, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, total))
    shares = [list(shard_range(total, (part, parts), "things")) for part in range(1, parts + 1)]
    assert [thing for share in shares for thing in share] == list(range(total))
    assert {len(share) for share in shares} <= {total // parts, -(-total // parts)}


def test_more_shares_than_there_is_work_names_how_much_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"shard 1/5: more shards than runs of 3 videos \(4\): say at most I/4"
    ):
        extracted(tmp_path / "f.h5", (1, 5))
    extracted(tmp_path / "f.h5")
    with pytest.raises(UsageError, match=r"shard 2/12: more shards than videos \(11\): say"):
        cluster(tmp_path / "f.h5", tmp_path / "e.h5", ClusterOptions(threshold=0.3, shard=(2, 12)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "faults.jsonl"]


# --- the bytes of the whole run ---


@settings(max_examples=20)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=14),
    dtype=st.sampled_from(["float32", "float16"]),
    threshold=st.sampled_from(["none", 0.2]),
    by=st.sampled_from(["video of frames", "video", "track"]),
    data=st.data(),
)
def test_any_shards_in_any_order_give_the_bytes_of_the_whole_run(
    counts: list[int], dtype: str, threshold: float | str, by: str, data: st.DataObject
) -> None:
    made: dict[str, Any] = {"counts": counts, "dtype": dtype, "faces": None if "frames" in by else FACES}
    by = by.split()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        whole, merged = root / "whole" / "f.h5", root / "merged" / "f.h5"
        one = extracted(whole, **made)
        runs = -(-len(counts) // RUN)
        files = shards_of(root / "shards", data.draw(st.integers(1, runs), "N"), **made)
        merged.parent.mkdir()
        result = merge(data.draw(st.permutations(files), "order"), merged)
        assert merged.read_bytes() == whole.read_bytes()
        faults = merged.with_name("faults.jsonl")
        assert faults.read_bytes() == whole.with_name("faults.jsonl").read_bytes()
        assert (result.kind, result.shards, result.already_done) == ("features", len(files), False)
        assert (result.videos, result.frames) == (len(counts), sum(counts))
        assert (result.status, result.faults, result.faces) == (one.status, one.faults, one.faces)
        assert merge(files, merged).already_done

        everything = cluster(whole, root / "e.h5", ClusterOptions(threshold=threshold, by=by)).embeddings
        assert everything.attributes.get("by", "video") == by
        parts = data.draw(st.integers(1, len(counts)), "N of cluster")
        files = [root / f"e.{part}.h5" for part in range(1, parts + 1)]
        for part, file in enumerate(files, 1):
            cluster(merged, file, ClusterOptions(threshold=threshold, shard=(part, parts), by=by))
        result = merge(data.draw(st.permutations(files), "order of cluster"), root / "merged.h5")
        assert (root / "merged.h5").read_bytes() == (root / "e.h5").read_bytes()
        rows = len(everything.video_ids)
        assert (result.kind, result.videos, result.frames) == ("embeddings", rows, sum(counts))
        assert (result.status, result.faults) == (dict(Counter(everything.status)), {})
        assert by == "track" or (rows == len(counts) and result.status == one.status)
        assert not (root / "faults.jsonl").exists()


def test_a_shard_is_an_ordinary_file_that_names_its_share_and_its_faults(tmp_path: Path) -> None:
    extracted(tmp_path / "whole.h5")
    whole = read_features(tmp_path / "whole.h5")
    shard = extracted(tmp_path / "f.h5", (2, 3))  # of the runs 0, 1, 2, 3 it does 1
    assert (shard.videos, shard.frames, shard.faults) == (3, 8, {"damaged": 1, "missing": 2})
    found = read_features(tmp_path / "f.h5")
    assert found.video_ids == whole.video_ids[3:6] and found.status == ["ok", "partial", "failed"]
    assert found.attributes["shard"] == "2/3" and "shard" not in whole.attributes
    with h5py.File(tmp_path / "f.h5") as part, h5py.File(tmp_path / "whole.h5") as all_of_it:
        np.testing.assert_array_equal(part["features"][:], all_of_it["features"][6 - 3 : 6 + 5])
        assert "faults" not in all_of_it
        faults = [fault for text in part["faults"][:] for fault in json.loads(text)]
    listed = [line for line in read_faults(tmp_path / "faults.jsonl") if line["output"] == "f.h5"]
    assert listed == [{**fault, "output": "f.h5"} for fault in faults]
    assert [fault["video"] for fault in faults] == ["vidéo 4", "vidéo 5", "vidéo 5"]


def test_a_killed_shard_goes_on(tmp_path: Path) -> None:
    extracted(tmp_path / "whole.h5", (2, 2))
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "f.h5", (2, 2), until=9)
    with pytest.raises(ChangedError, match=r"f\.h5\.parts was made otherwise \(shard was 2/2, now 1/2\)"):
        extracted(tmp_path / "f.h5", (1, 2))
    with pytest.raises(ChangedError, match="shard was 2/2, now none"):
        extracted(tmp_path / "f.h5")
    gone_on = extracted(tmp_path / "f.h5", (2, 2))
    assert (gone_on.videos, gone_on.resumed_videos, gone_on.already_done) == (5, 3, False)
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    again = extracted(tmp_path / "f.h5", (2, 2))
    assert (again.resumed_videos, again.already_done) == (5, True)


def test_unfinished_work_of_other_software_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on after an edit would be half of each."""
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "f.h5", until=9)
    monkeypatch.setattr(extracting, "software_text", lambda **_: "numpy 1.0")
    with pytest.raises(
        ChangedError, match=r"f\.h5\.parts was made otherwise \(software was vidface .*, now numpy 1\.0\)"
    ):
        extracted(tmp_path / "f.h5")
    assert extracted(tmp_path / "f.h5", overwrite=True).resumed_videos == 0
    with h5py.File(tmp_path / "f.h5") as whole:
        assert "software" not in whole.attrs  # the bytes of a whole run do not depend on comments in the code


def test_another_shard_never_goes_into_the_same_output(tmp_path: Path) -> None:
    features, embeddings = tmp_path / "f.h5", tmp_path / "e.h5"
    extracted(features)
    with pytest.raises(ChangedError, match="shard was none, now 1/2"):
        extracted(features, (1, 2))
    cluster(features, embeddings, ClusterOptions(threshold=0.3, shard=(1, 2)))
    assert cluster(features, embeddings, ClusterOptions(threshold=0.3, shard=(1, 2))).already_done
    for shard, now in (((2, 2), "2/2"), ((1, 3), "1/3"), (None, "none")):
        with pytest.raises(ChangedError, match=f"shard was 1/2, now {now}"):
            cluster(features, embeddings, ClusterOptions(threshold=0.3, shard=shard))


def test_embeddings_of_one_shard_of_features(tmp_path: Path) -> None:
    """They are like any other, but for merge and score, which say what is to be done."""
    extracted(tmp_path / "f.h5", (2, 2))
    cluster(tmp_path / "f.h5", tmp_path / "e.h5", ClusterOptions(threshold=0.3))
    found = read_embeddings(tmp_path / "e.h5")
    assert found.video_ids == read_features(tmp_path / "f.h5").video_ids
    assert "shard" not in found.attributes
    with pytest.raises(UsageError, match=r"e\.h5: not a shard: .* features that are shard 2/2: merge those"):
        merge([tmp_path / "e.h5"], tmp_path / "out.h5")
    with pytest.raises(StoreError, match="its features are shard 2/2: merge the features first"):
        read_scored(tmp_path / "e.h5", manifest_of(len(COUNTS)))
    files = [tmp_path / "e.1.h5", tmp_path / "e.2.h5"]
    for part, file in enumerate(files, 1):
        cluster(tmp_path / "f.h5", file, ClusterOptions(threshold=0.3, shard=(part, 2)))
    merge(files, tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "e.h5").read_bytes()


def test_a_shard_is_not_scored_as_if_it_were_all(tmp_path: Path) -> None:
    extracted(tmp_path / "f.1.h5", (1, 2))
    with pytest.raises(StoreError, match=r"f\.1\.h5: lacks 5 .*; it is shard 1/2: merge the shards first"):
        sweep(tmp_path / "f.1.h5", manifest_of(len(COUNTS)), [None], ScoreOptions())
    extracted(tmp_path / "f.h5")
    cluster(tmp_path / "f.h5", tmp_path / "e.1.h5", ClusterOptions(threshold=0.3, shard=(1, 2)))
    with pytest.raises(StoreError, match=r"e\.1\.h5: lacks 6 .*; it is shard 1/2: merge the shards first"):
        read_scored(tmp_path / "e.1.h5", manifest_of(len(COUNTS)))


def test_different_devices_are_all_named(tmp_path: Path) -> None:
    first, second = shards_of(tmp_path, 2)
    third = change(second, device="cuda (float32)")
    merge([third, first], tmp_path / "out.h5")
    assert read_features(tmp_path / "out.h5").attributes["device"] == "cpu + cuda (float32)"
    with pytest.raises(ChangedError, match=r"device was cpu \+ cuda \(float32\), now cpu"):
        merge([first, second], tmp_path / "out.h5")


def test_tracks_are_rows_of_their_own(tmp_path: Path) -> None:
    """By loops over the arrays: their ids, their frames, their means; a video without faces keeps a row."""
    extracted(tmp_path / "f.h5", faces=FACES)
    found = cluster(
        tmp_path / "f.h5", tmp_path / "e.h5", ClusterOptions(threshold="none", by="track")
    ).embeddings
    want: list[tuple[str, str, int]] = []
    means = []
    with h5py.File(tmp_path / "f.h5") as file:
        for video, status in enumerate(file["status"][:]):
            start, stop = file["offsets"][video : video + 2]
            tracks, rows = file["tracks"][start:stop], file["features"][start:stop].astype(np.float64)
            for track in sorted(set(tracks.tolist())) or [0]:
                own = rows[tracks == track]
                want.append((f"vidéo {video}#{track}", status.decode(), len(own)))
                mean = (own / np.linalg.norm(own, axis=1, keepdims=True)).sum(axis=0)
                means.append(mean / (np.linalg.norm(mean) or 1))
    assert list(zip(found.video_ids, found.status, found.frames.tolist(), strict=True)) == want
    assert len(want) > len(COUNTS) and {status for _, status, _ in want} == {"ok", "partial", "failed"}
    np.testing.assert_allclose(found.embeddings, means, atol=1e-6)
    with pytest.raises(ChangedError, match="by was track, now video"):
        cluster(tmp_path / "f.h5", tmp_path / "e.h5", ClusterOptions(threshold="none"))
    with pytest.raises(
        StoreError, match="its rows are tracks: cluster the features again without --by track"
    ):
        read_scored(tmp_path / "e.h5", manifest_of(len(COUNTS)))
    extracted(tmp_path / "frames.h5")
    with pytest.raises(UsageError, match=r"frames\.h5: has no tracks"):
        cluster(tmp_path / "frames.h5", tmp_path / "none.h5", ClusterOptions(threshold="none", by="track"))
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["tracks"][:] = file["tracks"][:][::-1]
    with pytest.raises(StoreError, match=r"f\.h5: damaged \(tracks of a video are not in order\)"):
        cluster(tmp_path / "f.h5", tmp_path / "none.h5", ClusterOptions(threshold="none", by="track"))


def test_shards_of_faces_and_of_frames_do_not_mix(tmp_path: Path) -> None:
    first, second = tmp_path / "1.h5", tmp_path / "2.h5"
    extracted(first, (1, 2), faces=FACES)
    extracted(second, (2, 2))
    with pytest.raises(UsageError, match=r"2\.h5: faces is none, but detect in .*1\.h5"):
        merge([first, second], tmp_path / "out.h5")
    extracted(tmp_path / "other.h5", (2, 2), faces=FACES._replace(track="main"))
    with pytest.raises(UsageError, match="track is main, but all"):
        merge([first, tmp_path / "other.h5"], tmp_path / "out.h5")


# --- what is refused ---


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("manifest_sha256", "c" * 64),
        ("model_name", "other"),
        ("model_sha256", "c" * 64),
        ("colour_order", "bgr"),
        ("decoder", "decord"),
        ("fps", "all"),
        ("flip", True),
        ("resize", True),
        ("half", True),
        ("dtype", "float16"),
        ("program_version", "0.0.1"),
        ("program_version", None),
        (
            "software",
            "vidface 0.1.0, vidface's code 0ddc0de",
        ),  # two clones of one version, or one that was edited
        ("software", None),
    ],
)
def test_features_of_another_run_are_refused(tmp_path: Path, attribute: str, value: Any) -> None:
    first, second, third = shards_of(tmp_path, 3)
    changed = change(second, **{attribute: value})
    with pytest.raises(UsageError, match="only shards of one run can be merged") as refused:
        merge([first, third, changed], tmp_path / "out.h5")
    assert str(refused.value).startswith(f"{changed}: {attribute} is ") and f"in {first}" in str(
        refused.value
    )
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("features_sha256", "c" * 64),
        ("threshold", "0.5"),
        ("pooling", "another"),
        ("manifest_sha256", "c" * 64),
        ("program_version", "0.0.1"),
        ("software", "numpy 1.0"),
    ],
)
def test_embeddings_of_another_run_are_refused(tmp_path: Path, attribute: str, value: str) -> None:
    extracted(tmp_path / "f.h5")
    files = [tmp_path / "e.1.h5", tmp_path / "e.2.h5"]
    for part, file in enumerate(files, 1):
        cluster(tmp_path / "f.h5", file, ClusterOptions(threshold=0.3, shard=(part, 2)))
    changed = change(files[1], **{attribute: value})
    with pytest.raises(UsageError, match=rf"changed-e\.2\.h5: {attribute} is "):
        merge([files[0], changed], tmp_path / "out.h5")


def test_a_set_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    files, halves = shards_of(tmp_path, 4), shards_of(tmp_path / "halves", 2)
    cluster(files[1], tmp_path / "e.h5", ClusterOptions(threshold=0.3, shard=(2, 3)))
    extracted(tmp_path / "whole.h5")
    output = tmp_path / "out.h5"
    for wrong, said in [
        (files[1:3], r"^shard: 2 of 4 are not among the files: 1/4, 4/4$"),
        ([files[0], files[1], files[0], *files[2:]], r"f\.1\.h5: shard 1/4 again: .*f\.1\.h5 is it too$"),
        (
            [files[0], halves[1]],
            r"halves/f\.2\.h5: shard is 2/2, but 1/4 in .*/f\.1\.h5: only shards of one run",
        ),
        ([files[0], tmp_path / "whole.h5"], r"whole\.h5: not a shard: it was made without --shard$"),
        ([files[0], tmp_path / "e.h5"], r"e\.h5: kind is embeddings, but features in .*f\.1\.h5"),
    ]:
        with pytest.raises(UsageError, match=said):
            merge(wrong, output)
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    for wrong, said in [
        ([tmp_path / "no.h5"], r"no\.h5: no such file"),
        ([text], r"text\.h5: not a readable HDF5 file"),
    ]:
        with pytest.raises(StoreError, match=said):
            merge(wrong, output)
    with h5py.File(text, "w") as file:
        file["features"] = np.zeros(3)
    with pytest.raises(
        StoreError, match="expected a vidface features or embeddings file, found another HDF5 file"
    ):
        merge([text], output)
    assert not output.exists() and not list(tmp_path.glob("*.partial"))


def test_an_output_that_is_there(tmp_path: Path) -> None:
    files = shards_of(tmp_path, 2)
    output = tmp_path / "out.h5"
    result = merge(files, output)
    before = output.read_bytes()
    assert merge(files[::-1], output) == replace(result, already_done=True)
    with pytest.raises(ChangedError, match="dtype was float32, now float16"):
        merge(shards_of(tmp_path / "half", 2, dtype="float16"), output)
    # The same command on videos that were mended in between: other frames, and another status.
    with pytest.raises(ChangedError, match="content_sha256 was"):
        merge(shards_of(tmp_path / "mended", 2, counts=[2, 3, *COUNTS[2:]]), output)
    shutil.copy(files[0], tmp_path / "share.h5")
    with pytest.raises(ChangedError, match=r"shard was 1/2, now none"):
        merge(files, tmp_path / "share.h5")
    cluster(output, tmp_path / "e.h5", ClusterOptions(threshold=0.3))
    with pytest.raises(StoreError, match="expected a vidface features file, found embeddings"):
        merge(files, tmp_path / "e.h5")
    assert output.read_bytes() == before


def test_nothing_is_left_of_a_merge_that_fails(tmp_path: Path) -> None:
    first, second = shards_of(tmp_path, 2)
    with h5py.File(second, "a") as file:
        del file["timestamps"]
    with pytest.raises(StoreError, match=r"f\.2\.h5: damaged"):
        merge([first, second], tmp_path / "out.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.1.h5", "f.2.h5", "faults.jsonl"]


FEATURES_ORDER = [
    *(
        "manifest_sha256",
        "model_name",
        "model_sha256",
        "colour_order",
        "decoder",
        "fps",
        "flip",
        "resize",
        "half",
    ),
    *("dtype", "faces", "detector_sha256", "detector", "track", "min_score", "min_face", "min_sharpness"),
    *("max_yaw", "folder_frames", "template", "shard", "device", "program_version"),
]
EMBEDDINGS_ORDER = [
    *(
        "features_sha256",
        "threshold",
        "pooling",
        "shard",
        "by",
        "manifest_sha256",
        "model_name",
        "model_sha256",
    ),
    *("flip", "fps", "decoder", "faces", "track", "folder_frames", "features_shard", "program_version"),
]


def test_the_order_of_the_attributes_is_that_of_the_first_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a part of their bytes; this list was written down from files, not from the models."""
    written: list[list[str]] = []

    def spy(original: Callable[..., None]) -> Callable[..., None]:
        def write(file: Any, kind: str, attributes: dict[str, Any], *more: Any, **others: Any) -> None:
            written.append(list(attributes))
            original(file, kind, attributes, *more, **others)

        return write

    for module in (store_shards, store_embeddings):
        monkeypatch.setattr(module, "write_attributes", spy(module.write_attributes))
    extracted(tmp_path / "f.h5", (1, 2), faces=FACES, folder_frames=3)
    options = ClusterOptions(threshold=0.3, by="track", shard=(1, 2))
    cluster(tmp_path / "f.h5", tmp_path / "e.h5", options)
    assert written == [[*order, "software", "dimension"] for order in (FEATURES_ORDER, EMBEDDINGS_ORDER)]
    for order, first in ((FEATURES_ATTRIBUTES, FEATURES_ORDER), (EMBEDDINGS_ATTRIBUTES, EMBEDDINGS_ORDER)):
        known = ["kind", "schema_version", *first, "dimension"]
        assert [name for name in order if name in known] == known  # others may have been added among them


def test_overwritten_features_are_whole_all_the_time(tmp_path: Path) -> None:
    """Killed on the way, the old file is there; called again, it goes on, and ends in the bytes of a new file."""
    extracted(tmp_path / "flipped.h5", flip=True)
    extracted(tmp_path / "f.h5")
    before = (tmp_path / "f.h5").read_bytes()
    with pytest.raises(ChangedError, match=r"flip was False, now True.*or pass --overwrite to replace it$"):
        extracted(tmp_path / "f.h5", flip=True)
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "f.h5", flip=True, until=9, overwrite=True)
    assert (tmp_path / "f.h5").read_bytes() == before
    gone_on = extracted(tmp_path / "f.h5", flip=True, overwrite=True)
    assert (gone_on.resumed_videos, gone_on.already_done) == (9, False)
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "flipped.h5").read_bytes() != before
    assert not (tmp_path / "f.h5.parts").exists()
    assert extracted(tmp_path / "f.h5", flip=True, overwrite=True).already_done


@pytest.mark.parametrize("lost", [False, True], ids=["others", "of nobody"])
def test_unfinished_work_of_other_options_is_thrown_away(tmp_path: Path, lost: bool) -> None:
    """Also where a kill, in the middle of throwing it away, left the rows and not what they are of."""
    extracted(tmp_path / "whole.h5", dtype="float16")
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "f.h5", until=9)
    if lost:
        (tmp_path / "f.h5.parts" / "identity.json").unlink()
    else:
        with pytest.raises(ChangedError, match=r"f\.h5\.parts was made otherwise .*or pass --overwrite"):
            extracted(tmp_path / "f.h5", dtype="float16")
    made = extracted(tmp_path / "f.h5", dtype="float16", overwrite=not lost)
    assert made.resumed_videos == 0
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_what_is_merged_replaces_another_file_and_no_shard(tmp_path: Path) -> None:
    files = shards_of(tmp_path / "shards", 2)
    extracted(tmp_path / "whole.h5")
    for made in ({"flip": True}, {"counts": [1, *COUNTS[1:]]}):  # other options; the same, and other rows
        extracted(tmp_path / "f.h5", **made)
        with pytest.raises(ChangedError, match="or pass --overwrite to replace it"):
            merge(files, tmp_path / "f.h5")
        assert not merge(files, tmp_path / "f.h5", overwrite=True).already_done
        assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
        assert merge(files, tmp_path / "f.h5", overwrite=True).already_done
        (tmp_path / "f.h5").unlink()
    before = files[0].read_bytes()
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is an input of this command"):
            merge(files, files[0], overwrite=overwrite)
    assert files[0].read_bytes() == before


def test_warnings_of_faults_in_several_shards_are_those_of_the_whole_run(tmp_path: Path) -> None:
    wrong, missing, videos = (1, 2, 7), 4, 3 * RUN
    for video in range(videos):
        frames = frames_of(video // 3, 2, seed=video)
        if video != missing:
            write_folder(tmp_path / f"v{video}", frames[:, :64, :64] if video in wrong else frames)
    rows = [(f"v{v}", f"v{v}", f"p{v // 3}", "val" if v % 3 else "train") for v in range(videos)]
    listed = write_manifest(tmp_path / "set.csv", rows)
    command = ("extract", listed, "--model", pooling_model(tmp_path / "model.onnx"), "--workers", 0)
    parts = [tmp_path / f"part{i}.h5" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        vidface(*command, "-o", part, "--shard", f"{i}/3")
    vidface(*command, "-o", tmp_path / "whole.h5", code=1)
    vidface("merge", parts[2], parts[0], parts[1], "-o", tmp_path / "merged.h5", code=1)
    assert (tmp_path / "merged.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    said = f"{len(wrong)} of {videos} videos have frames that do not have the model's size"
    for name in ("whole", "merged"):
        vidface("cluster", tmp_path / f"{name}.h5", "-o", tmp_path / f"{name}.emb.h5")
        scores = vidface("score", tmp_path / f"{name}.emb.h5", "--manifest", listed, "--json").json
        assert scores["warnings"][0].startswith(said)
    assert (tmp_path / "merged.emb.h5").read_bytes() == (tmp_path / "whole.emb.h5").read_bytes()
