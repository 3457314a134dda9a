"""Sets on which open-set identification has no answer, or only a part of one: a line, or None with its reason."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import Ran, vidface, write_manifest

from vidface.errors import UsageError
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.lfrc import check_targets
from vidface.scores.protocols.open_set_numbers import open_set_numbers

Row = tuple[str, str, str]
USUAL: list[Row] = [
    *((f"e{n}", f"p{n}", "train") for n in range(4)),
    *((f"m{n}", f"p{n}", "val") for n in range(4)),
    *((f"s{n}", f"stranger{n}", "val") for n in range(8)),
    *((f"u{n}", "", "val") for n in range(8)),
]


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., Ran]:
    """Score a set of (video, identity, split) with random embeddings, those of some videos zero."""

    def run(rows: Sequence[Row], *options: object, zero: str = "", code: int | None = 0) -> Ran:
        manifest = write_manifest(
            tmp_path / "set.csv", [(name, f"{name}.mp4", who, split) for name, who, split in rows]
        )
        vectors = np.random.default_rng(1).normal(size=(len(rows), 8))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[[name[0] in zero for name, _, _ in rows]] = 0
        np.save(tmp_path / "rows.npy", vectors.astype(np.float32))
        words = ["--manifest", manifest, "--protocol", "openset", *options]
        return vidface("score", tmp_path / "rows.npy", *words, code=code)

    return run


REFUSED = {  # options, exit code, what is said
    "nobody enrolled": (
        "",
        1,
        "no video with an identity in the enrolment split 'train'; splits here: 'val' (20), 'train' (4)",
    ),
    "nothing to search": ("--gallery-split test", 1, "no video in the gallery split 'test'"),
    "one split": ("--enrolment-split val", 2, "both 'val': each video would find itself"),
    **{
        f"target {target}": (f"--targets={target}", 2, "is not a rate above 0 and below 1")
        for target in ("0", "1", "1.5", "-0.1", "nan", "x", "")
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_sets_that_are_refused(score: Callable[..., Ran], case: str) -> None:
    options, code, said = REFUSED[case]
    strangers = [(name, "" if split == "train" else who, split) for name, who, split in USUAL]
    rows = strangers if case == "nobody enrolled" else USUAL
    assert said in score(rows, *options.split(), code=code).error


def test_no_non_mated_searches(score: Callable[..., Ran]) -> None:
    result = score(USUAL[:8], "--targets", "0.5", "--json").json
    assert result["fnir@fpir"] == {"0.5": None} and result["ci95"]["fnir@fpir"] == {"0.5": None}
    assert result["det"] is None and result["rank10"] == 1.0
    assert "FNIR at FPIR 0.5 is not measured: 0 non-mated searches are fewer than 1/0.5" in result["warnings"]
    assert "warning: FNIR at FPIR 0.5 is not measured" in score(USUAL[:8], "--targets", "0.5").out


def test_no_mated_searches(score: Callable[..., Ran]) -> None:
    rows = [row for row in USUAL if not row[0].startswith("m")]
    result = score(rows, "--targets", "0.5", "--json").json
    assert result["fnir@fpir"] == {"0.5": None} and result["rank1"] is result["ci95"]["rank1"] is None
    assert result["det"] is None and result["identity_thresholds"]["0.5"]["own"]["missed"] is None
    assert any("there are no mated searches" in warning for warning in result["warnings"])
    assert "rank1 of mated searches" in score(rows, "--targets", "0.5").out


@pytest.mark.parametrize("zero", ["msu", "e", "msue"])
def test_embeddings_that_are_all_zero(zero: str, score: Callable[..., Ran]) -> None:
    """All tie at 0, so nobody is identified; all searches stay counted, and the exit code is 1."""
    result = score(USUAL, "--targets", "0.5", "--json", zero=zero, code=1).json
    assert result["fnir@fpir"] == {"0.5": 1.0} and result["rank1"] == 0.0
    assert result["fpir_reached"] == {"0.5": 0.0} and result["threshold@fpir"] == {"0.5": None}
    assert (result["counts"]["mated_searches"], result["counts"]["non_mated_searches"]) == (4, 16)
    assert result["counts"]["zero_embeddings"] == sum(name[0] in zero for name, _, _ in USUAL)
    unusable = "4 of 4 enrolled identities have no usable video: they score 0" in result["warnings"]
    assert unusable == ("e" in zero)
    assert score(USUAL, "--targets", "0.5", zero=zero, code=1).out.startswith("measure")


def test_targets_below_one_search(score: Callable[..., Ran]) -> None:
    result = score(USUAL, "--targets", "0.0625,0.06", "--json").json
    assert result["fpir_reached"] == {"0.0625": 1 / 16, "0.06": None}
    assert result["fnir@fpir"]["0.0625"] is not None and result["fnir@fpir"]["0.06"] is None
    assert result["identity_thresholds"] == {"0.0625": None, "0.06": None}
    told = [warning for warning in result["warnings"] if "0.06 is" in warning or "0.06 are" in warning]
    assert len(told) == 2 and "16 non-mated searches are fewer than 1/0.06" in told[0]


def test_a_ranking_holds_no_scores(score: Callable[..., Ran], tmp_path: Path) -> None:
    score(USUAL)
    ranking = tmp_path / "ranking.txt"
    ranking.write_text("p0 m0.mp4 m1.mp4\n")
    words = ("--manifest", tmp_path / "set.csv", "--protocol", "openset")
    assert "a ranking holds no embeddings" in vidface("score", ranking, *words, code=2).error


def test_a_curve_that_cannot_be_written(score: Callable[..., Ran], tmp_path: Path) -> None:
    kept = tmp_path / "scores.json"
    error = score(USUAL[:8], "--det", tmp_path / "d.csv", "-o", kept, code=2).error
    assert "there is no DET curve: 4 mated and 0 non-mated searches" in error and kept.exists()
    assert "name a .csv file" in score(USUAL, "--det", tmp_path / "d.pdf", code=2).error
    assert "absent" in score(USUAL, "--det", tmp_path / "absent" / "d.csv", code=1).error
    words = ("score", tmp_path / "rows.npy", "--manifest", tmp_path / "set.csv", "--det", tmp_path / "d.csv")
    error = vidface(*words, code=2).error
    assert "--protocol both does not use --det" in error
    assert list(tmp_path.glob("d.*")) == []


def test_one_video_on_each_side(score: Callable[..., Ran]) -> None:
    result = score([USUAL[0], USUAL[4]], "--json").json
    assert result["rank1"] == 1.0 and set(result["fnir@fpir"].values()) == {None}
    result = score([USUAL[0], USUAL[8]], "--json").json
    assert result["rank1"] is None and result["counts"]["non_mated_searches"] == 1


@pytest.mark.parametrize("target", ["1e-99999999999", "1E-9999", "1e-1_000_000", "0." + "0" * 100 + "1"])
def test_targets_whose_exponent_is_absurd(target: str) -> None:
    """They are not written out; small ones stay."""
    with pytest.raises(ValueError, match="above 0 and below 1"):
        fpr_fraction(target)
    with pytest.raises(UsageError, match="is not a rate above 0 and below 1"):
        check_targets(["1e-3", target])
    check_targets(["1e-30", "1/3", "1E-4", "0.999"])
    assert fpr_fraction("1/3") * 3 == fpr_fraction("1e-30") * 10**30 == 1


def test_one_long_name_takes_no_room_for_all_videos() -> None:
    videos, letters = 20_000, 1_000
    people = [f"p{i // 2 % 50}" for i in range(videos)]
    splits = ["train" if i % 2 else "val" for i in range(videos)]
    people[2], splits[4] = "p" * letters, "s" * letters
    names = [f"v{i}" for i in range(videos)]
    rows = np.zeros((videos, 4), np.float32)
    rows[np.arange(videos), np.arange(videos) % 4] = 1

    options = ScoreOptions(protocol="openset", targets=["1e-1"])

    def numbers(count: int) -> None:
        columns = (column[:count] for column in (names, names, people, splits))
        open_set_numbers(rows[:count], Manifest(Path("set.csv"), Path(), *columns, ""), options)

    numbers(200)
    tracemalloc.start()
    try:
        numbers(videos)
        # Four times as much if each takes such room.
        assert tracemalloc.get_traced_memory()[1] < videos * letters
    finally:
        tracemalloc.stop()
