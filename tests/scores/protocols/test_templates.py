"""Templates of IJB-B and IJB-C against the definition in plain numpy, loops over searches, and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import template_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vidface.embeddings.exact import normalise_rows
from vidface.errors import ManifestError
from vidface.manifest.sources.template_pairs import read_template_pairs
from vidface.scores.options import ScoreOptions
from vidface.scores.pairs.listed import listed_cosines
from vidface.scores.protocols import templates as protocol
from vidface.scores.score import score_file

PEOPLE = [person for person in range(24) for _ in range(6 + person % 3)]
VARIANTS = list(product((True, False), (True, False)))


@pytest.fixture(scope="module", params=["ijbb", "ijbc"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> template_sets.TemplateSet:
    random = np.random.default_rng(5)
    meta = tmp_path_factory.mktemp(request.param) / "meta"
    return template_sets.write_lists(template_sets.arrange(meta, request.param, PEOPLE, random))


@pytest.fixture(scope="module")
def features(made: template_sets.TemplateSet) -> np.ndarray:
    return template_sets.drawn_features(made, np.random.default_rng(6))


@pytest.fixture(scope="module")
def matrix(made: template_sets.TemplateSet, features: np.ndarray) -> Path:
    path = made.meta.parent / "features.npy"
    np.save(path, features)
    return path


def scored(matrix: Path, made: template_sets.TemplateSet, **told: object) -> dict[str, Any]:
    options = ScoreOptions.model_validate({"protocol": made.kind, "meta": made.meta, **told})
    return score_file(matrix, None, options).scores


# -- 1:1


@pytest.mark.parametrize(("norm", "detector_score"), VARIANTS)
def test_pairs_are_scored_by_the_definition(
    made: template_sets.TemplateSet, features: np.ndarray, matrix: Path, norm: bool, detector_score: bool
) -> None:
    result = scored(matrix, made, norm=norm, detector_score=detector_score)
    unit = template_sets.pooled(made, features, norm=norm, detector_score=detector_score)
    scores, same = template_sets.pair_scores(made, unit)
    assert result["counts"]["genuine_pairs"] == same.sum() == 48
    assert result["counts"]["impostor_pairs"] == (~same).sum() == 24 * 48 - 48
    expected = {
        target: template_sets.at_most(scores, same, float(target)) for target in ("1e-3", "1e-2", "1e-1")
    }
    assert {target: result["tpr@fpr"][target] for target in expected} == pytest.approx(expected)
    assert 0.1 < expected["1e-2"] < 0.95
    assert [result["tpr@fpr"][target] for target in ("1e-6", "1e-5", "1e-4")] == [None] * 3
    assert any("1e-6, 1e-5 and 1e-4 is not measured" in warning for warning in result["warnings"])
    words = result["variant"]
    assert ("norms kept" in words) == norm
    assert ("multiplied by the detector's score" in words) == detector_score


def test_media_of_one_image_count_as_much_as_media_of_many() -> None:
    # Three frames of a video, one photograph.
    features = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    blocks = [(np.arange(4), features)]
    templates, media = np.zeros(4, np.int64), protocol.media_of(np.zeros(4, np.int64), np.array([5, 5, 5, 9]))
    lengths = protocol.feature_lengths(lambda: blocks, 4)
    rows = protocol.pool_templates(lambda: blocks, lengths, templates, media, None, norm=True, dimension=2)
    assert rows.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5])]  # the mean over images would be (3, 1)


def test_a_medium_belongs_to_its_template() -> None:
    assert protocol.media_of(np.array([0, 0, 1, 1]), np.array([8, 8, 8, 2])).tolist() in (
        [0, 0, 2, 1],
        [1, 1, 3, 2],
    )
    features = np.array([[1.0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    templates = np.array([0, 0, 1, 1])
    blocks = [(np.arange(4), features)]
    media = protocol.media_of(templates, np.array([8, 8, 8, 2]))
    lengths = protocol.feature_lengths(lambda: blocks, 4)
    rows = protocol.pool_templates(lambda: blocks, lengths, templates, media, None, norm=True, dimension=2)
    assert rows[0].tolist() == [1, 0] and rows[1] == pytest.approx(np.array([1, 2]) / 5**0.5)


def test_nearest_is_the_reference_and_may_go_beyond_the_target(
    made: template_sets.TemplateSet, features: np.ndarray, matrix: Path
) -> None:
    targets = ["0.0015", "0.0083", "1e-1"]
    result = scored(matrix, made, targets=targets, fpr_rule="nearest")
    scores, same = template_sets.pair_scores(
        made, template_sets.pooled(made, features, norm=True, detector_score=True)
    )
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    expected = {target: tpr[np.abs(fpr - float(target)).argmin()] for target in targets}
    assert result["tpr@fpr"] == pytest.approx(expected)
    assert any(result["fpr_reached"][target] > float(target) for target in targets)
    assert result["fpr_rule"] == "nearest" and result["definitions"]["fpr_rule"].startswith("nearest:")


def test_halves_of_a_row_are_an_embedding_and_its_mirror(
    made: template_sets.TemplateSet, features: np.ndarray, matrix: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    first = random.standard_normal(features.shape).astype(np.float32)
    np.save(tmp_path / "both.npy", np.concatenate([first, features - first], axis=1))
    both = scored(tmp_path / "both.npy", made, flip_halves=True)
    one = scored(matrix, made)
    assert both["tpr@fpr"] == one["tpr@fpr"]
    assert both["identification"]["mean"] == one["identification"]["mean"]
    assert "both halves" in both["variant"]


# -- 1:N


@pytest.mark.parametrize(("norm", "detector_score"), VARIANTS)
def test_each_gallery_is_searched_by_itself(
    made: template_sets.TemplateSet, features: np.ndarray, matrix: Path, norm: bool, detector_score: bool
) -> None:
    result = scored(matrix, made, norm=norm, detector_score=detector_score)
    unit = template_sets.pooled(made, features, norm=norm, detector_score=detector_score)
    values = []
    for name, gallery in zip(template_sets.GALLERIES[made.kind], made.galleries, strict=True):
        mated, others = template_sets.searches(unit, gallery, made.probes)
        assert (len(mated), len(others)) == (24, 24)
        found = result["identification"]["galleries"][name]
        assert found["tpir@fpir"]["1e-1"] == pytest.approx(template_sets.tpir(mated, others, 0.1))
        assert found["fpir_reached"]["1e-1"] == pytest.approx(2 / 24)
        assert found["tpir@fpir"]["1e-2"] is None  # 24 searches cannot tell one in a hundred
        for k in (1, 5, 10):
            assert found[f"rank{k}"] == pytest.approx(np.mean([rank <= k for _, rank in mated]))
        low, high = result["ci95"]["identification"][name]["tpir@fpir"]["1e-1"]
        assert low <= found["tpir@fpir"]["1e-1"] <= high and low < high
        values.append((found["tpir@fpir"]["1e-1"], found["rank1"]))
        assert result["counts"][f"mated_{name}"] == result["counts"][f"non-mated_{name}"] == 24
    mean = result["identification"]["mean"]
    assert (mean["tpir@fpir"]["1e-1"], mean["rank1"]) == pytest.approx(tuple(np.mean(values, axis=0)))
    assert mean["tpir@fpir"]["1e-2"] is None
    assert 0.1 < mean["tpir@fpir"]["1e-1"] < 0.95


# -- what holds for every input


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_neither_order_nor_blocks_change_a_template(seed: int, block: int) -> None:
    random = np.random.default_rng(seed)
    count = 40
    features = random.standard_normal((count, 5)).astype(np.float32)
    templates = np.append(np.arange(6), random.integers(0, 6, count - 6))
    media, scores = random.integers(0, 3, count), random.uniform(0.1, 1, count)

    def run(order: np.ndarray, size: int) -> np.ndarray:
        def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(0, count, size):
                places = np.arange(start, min(start + size, count))
                yield places, features[order][places]

        own = templates[order]
        lengths = protocol.feature_lengths(blocks, count)
        return protocol.pool_templates(
            blocks, lengths, own, protocol.media_of(own, media[order]), scores[order], norm=False, dimension=5
        )

    assert run(random.permutation(count), block) == pytest.approx(run(np.arange(count), count), abs=1e-6)


@given(st.integers(0, 10**6))
@settings(max_examples=25)
def test_listed_cosines_are_the_products_of_their_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = normalise_rows(random.standard_normal((7, 33)))
    first, second = random.integers(0, 7, (2, 50))
    expected = [
        sum(float(a) * float(b) for a, b in zip(rows[i], rows[j], strict=True))
        for i, j in zip(first, second, strict=True)
    ]
    assert listed_cosines(rows, first, second) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_more_pairs_than_a_task_are_all_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidface.scores.pairs.listed.PAIRS", 7)
    rows = np.eye(4, dtype=np.float32)
    first = np.arange(50) % 4
    assert listed_cosines(rows, first, first).tolist() == [1.0] * 50


# -- the lists


@pytest.mark.parametrize("chunk", [3, 10, 1000])
@pytest.mark.parametrize(
    "text",
    ["7 8 1\n8 7 0\n", "7 8 1\r\n8 7 0\r\n", "7 8 1\n8 7 0", "7\t8  1 \n8 7 0\n", "\ufeff7 8 1\n8 7 0\n"],
)
def test_pairs_in_chunks_and_other_spellings(
    text: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidface.manifest.sources.template_pairs.CHUNK", chunk)
    path = tmp_path / "pairs.txt"
    path.write_bytes(text.encode())
    pairs = read_template_pairs(path, np.array([7, 8]))
    assert [column.tolist() for column in pairs] == [[0, 1], [1, 0], [True, False]]


def naive_pairs(text: str) -> list[list[int]] | None:
    """The pairs of a text by words, or None where a line is no pair of the templates 0 to 3."""
    rows = []
    for line in text.removesuffix("\n").split("\n"):
        words = line.split()
        if len(words) != 3 or not all(set(word) <= set("0123456789") for word in words):
            return None
        first, second, label = map(int, words)
        if max(first, second) > 3 or label > 1:
            return None
        rows.append([first, second, label])
    return rows


@given(
    st.text("013 \n\t\r-x", max_size=30)
    | st.lists(
        st.sampled_from(["0 1 1", "3 2 0", " 1 1 0", "0\t2  1 ", "", "0 0x1 1", "1 2", "4 0 1", "1 1 2"])
    ).map("\n".join),
    st.sampled_from([1, 8, 1000]),
)
@settings(max_examples=300)
def test_any_text_is_read_as_its_words_or_refused(text: str, chunk: int) -> None:
    with TemporaryDirectory() as folder, patch("vidface.manifest.sources.template_pairs.CHUNK", chunk):
        path = Path(folder) / "pairs.txt"
        path.write_bytes(text.encode())
        expected = naive_pairs(text)
        if expected is None:
            with pytest.raises(ManifestError, match=r"pairs\.txt(:[0-9]+)?: "):
                read_template_pairs(path, np.arange(4))
        else:
            assert np.array(read_template_pairs(path, np.arange(4))).T.tolist() == expected
