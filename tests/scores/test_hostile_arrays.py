"""Public functions on arrays, given what no caller should give: an error that says what is wrong, never a crash.

Rows that are not of unit length corrupted memory once, or gave wrong counts: a cosine below -1 was a negative index.
Which functions there are is found by looking: whatever `__all__` of a module lists must be in the table below, and no
compiled function may be listed, as those check nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numba.core.registry import CPUDispatcher
from numba.extending import _Intrinsic

import vidface.embeddings
import vidface.scores.metrics
import vidface.scores.pairs
import vidface.scores.search
from vidface.embeddings.exact import normalise_rows
from vidface.scores.metrics.bootstrap import draw
from vidface.scores.metrics.open_set import search_outcomes

FOLDERS = (vidface.scores.metrics, vidface.scores.pairs, vidface.scores.search, vidface.embeddings)
# What takes no arrays: files and their options, numbers, and the checks themselves.
OTHERS = {
    *("embeddings.cluster", "embeddings.options"),
    *("embeddings.thresholds", "scores.metrics.fpr_rules"),
}

VIDEOS, WIDTH = 8, 16
ROWS = normalise_rows(np.random.default_rng(0).normal(size=(VIDEOS, WIDTH)))
FAR = normalise_rows(np.random.default_rng(1).normal(size=(5, WIDTH)))
WHO = np.array([0, 0, 1, 1, 2, 2, -1, -1])
KNOWN = np.array([0, 0, 1, 1, 2, 2, 3, 3])
IDS = [f"v{n}" for n in range(VIDEOS)]
OFFSETS = np.array([0, 3, VIDEOS])
SCORES = np.linspace(-1, 1, VIDEOS)
DISTANCES = np.linspace(0, 4, VIDEOS)
SAME = np.arange(VIDEOS) % 2 == 0
FOLD = np.arange(VIDEOS) // 4
HALF = np.arange(VIDEOS) % 2 == 1
RELEVANT = np.eye(3, 4, dtype=bool)
OUTCOMES = search_outcomes(ROWS, ROWS[:4], KNOWN, KNOWN[:4])
TARGETS = ["0.5"]


def spoilt_rows(rows: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Rows that are not what is wanted, where unit rows are."""
    rows = np.asarray(rows)
    yield "norms of 100", rows * 100
    yield "norms of 11 in one row", np.where(np.arange(len(rows))[:, None] == 1, 11, 1) * rows
    yield "tiny", rows * 1e-25
    yield "a little too long", rows * np.float32(1.01)
    yield from spoilt_features(rows)


def spoilt_features(rows: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Rows that are not what is wanted, where rows of any length are."""
    rows = np.asarray(rows)
    for name, value in (("NaN", np.nan), ("inf", np.inf), ("-inf", -np.inf)):
        wrong = rows.copy()
        wrong[-1, -1] = value
        yield name, wrong
    yield "beyond float32", rows.astype(np.float64) * 1e300
    yield "one axis", rows[0]
    yield "three axes", rows[None]
    yield "no columns", rows[:, :0]
    yield "text", np.full(rows.shape, "x")
    yield "objects", np.full(rows.shape, None)
    yield "complex", rows.astype(complex)
    yield (
        "a masked row",
        np.ma.masked_array(rows, mask=np.arange(len(rows))[:, None] * np.ones(rows.shape[1]) == 1),
    )
    yield "a tensor with a gradient", torch.zeros(rows.shape, requires_grad=True)
    yield "a tensor of bfloat16", torch.from_numpy(rows.astype(np.float32)).bfloat16()


def spoilt_codes(codes: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "floats", codes.astype(float)
    yield "NaN", np.where(np.arange(len(codes)) == 0, np.nan, codes)
    yield "text", np.array([f"p{code}" for code in codes])
    yield from spoilt_lengths(codes)


def spoilt_lengths(values: np.ndarray) -> Iterator[tuple[str, Any]]:
    values = np.asarray(values)
    yield "one too few", values[:-1]
    yield "one too many", np.concatenate([values, values[-1:]])
    yield "empty", values[:0]
    yield "two axes", np.stack([values, values])
    yield "no axis", values[0]


def spoilt_places(places: np.ndarray, beyond: int) -> Iterator[tuple[str, Any]]:
    """Numbers of rows: what would be read beside the array."""
    for name, value in (("negative", -1), ("far below", -(10**9)), ("beyond", beyond), ("far beyond", 10**9)):
        yield name, np.where(np.arange(len(places)) == 1, value, places)
    yield from spoilt_codes(places)


def spoilt_numbers(values: np.ndarray) -> Iterator[tuple[str, Any]]:
    for name, value in (("NaN", np.nan), ("inf", np.inf)):
        yield name, np.where(np.arange(len(values)) == 1, value, values)
    yield "one masked", np.ma.masked_array(values, mask=np.arange(len(values)) == 1)
    yield "text", np.full(len(values), "x")
    yield from spoilt_lengths(values)


def spoilt_flags(flags: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "1 and -1", np.where(flags, 1, -1)
    yield "shares", np.where(flags, 0.5, 0)
    yield "NaN", np.where(flags, np.nan, 0)
    yield from spoilt_lengths(flags)


def spoilt_ids(ids: list[str]) -> Iterator[tuple[str, Any]]:
    yield "numbers", list(range(len(ids)))
    yield "a missing value", [*ids[:-1], None]
    yield "one too few", ids[:-1]
    yield "one too many", [*ids, "more"]


def narrow(rows: np.ndarray) -> tuple[str, Any]:
    return "another dimension", normalise_rows(rows[:, :-1])


def no_numbers(*names: str) -> Iterator[tuple[str, Any]]:
    """For numbers of threads and sizes of blocks."""
    for name in names:
        for value in (0, -3):
            yield f"{value} {name}", value


# Function -> its arguments, each right, with what may be wrong with it. A name after * is an option.
Argument = tuple[str, Any, list[tuple[str, Any]]]
CASES: dict[str, list[Argument]] = {}


def case(name: str, **arguments: tuple[Any, Any]) -> None:
    CASES[name] = [(key, right, list(wrong)) for key, (right, wrong) in arguments.items()]


def changed(outcomes: Any, **fields: Any) -> Any:
    return outcomes._replace(**fields)


WORK = {"workers": (1, no_numbers("workers")), "block": (4, no_numbers("block"))}
RULE = ("at-most", [("misspelt", "at_most"), ("none", None)])
WRONG_TARGETS = [("above 1", ["2"]), ("no number", ["many"]), ("NaN", ["nan"]), ("a float", [0.5])]
WRONG_OUTCOMES = [
    ("another length", changed(OUTCOMES, best=OUTCOMES.best[:-1])),
    ("NaN as a score", changed(OUTCOMES, best=OUTCOMES.best * np.nan)),
    ("mates without scores", changed(OUTCOMES, mate=OUTCOMES.mate * np.nan)),
    ("mates without ranks", changed(OUTCOMES, rank=OUTCOMES.rank * 0)),
    ("negative ranks", changed(OUTCOMES, rank=-OUTCOMES.rank)),
    ("no flags", changed(OUTCOMES, mated=np.full(VIDEOS, 7))),
]
FAR_WRONG = [
    *((name, wrong) for name, wrong in spoilt_rows(FAR)),
    narrow(FAR),
    ("a list", FAR.tolist()),
    ("whole numbers", FAR.astype(int)),
]

case(
    "scores.metrics.all_pairs.tpr_of_all_pairs",
    embeddings=(ROWS, spoilt_rows(ROWS)),
    identities=(WHO, spoilt_codes(WHO)),
    targets=(TARGETS, WRONG_TARGETS),
    rule=RULE,
    distractors=(FAR, FAR_WRONG),
    **WORK,
)
case(
    "scores.metrics.mate_search.search_among_distractors",
    embeddings=(ROWS, spoilt_rows(ROWS)),
    identities=(KNOWN, [*spoilt_codes(KNOWN), ("somebody unknown", WHO)]),
    distractors=(FAR, FAR_WRONG),
    targets=(TARGETS, WRONG_TARGETS),
    rule=RULE,
    workers=WORK["workers"],
)
case(
    "scores.metrics.open_set.search_outcomes",
    probes=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS)]),
    gallery=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS), ("empty", ROWS[:0])]),
    probe_codes=(WHO, spoilt_codes(WHO)),
    gallery_codes=(KNOWN, [*spoilt_codes(KNOWN), ("a row of nobody", WHO)]),
    workers=WORK["workers"],
)
case(
    "scores.metrics.open_set.fnir_at_fpir",
    outcomes=(OUTCOMES, WRONG_OUTCOMES),
    targets=(TARGETS, WRONG_TARGETS),
    rule=RULE,
    rank=(1, [("0", 0), ("NaN", np.nan)]),
)
case("scores.metrics.open_set.det", outcomes=(OUTCOMES, WRONG_OUTCOMES), rank=(1, [("0", 0)]))
case(
    "scores.metrics.open_set.returned",
    outcomes=(OUTCOMES, WRONG_OUTCOMES),
    threshold=(0.5, [("NaN", np.nan)]),
)
case("scores.metrics.open_set.closed_set_rates", outcomes=(OUTCOMES, WRONG_OUTCOMES))
case(
    "scores.metrics.identity_thresholds.identity_thresholds",
    probes=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS), ("empty", ROWS[:0])]),
    gallery=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS), ("empty", ROWS[:0])]),
    probe_codes=(WHO, spoilt_codes(WHO)),
    gallery_codes=(KNOWN, [*spoilt_codes(KNOWN), ("a row of nobody", WHO)]),
    choose=(HALF, spoilt_flags(HALF)),
    targets=(TARGETS, WRONG_TARGETS),
    workers=WORK["workers"],
)
case(
    "scores.metrics.listed_pairs.tpr_of_listed_pairs",
    scores=(SCORES, spoilt_numbers(SCORES)),
    same=(SAME, spoilt_flags(SAME)),
    targets=(TARGETS, WRONG_TARGETS),
    rule=RULE,
)
for name in ("auc", "equal_error_rate"):
    case(
        f"scores.metrics.listed_pairs.{name}",
        scores=(SCORES, spoilt_numbers(SCORES)),
        same=(SAME, spoilt_flags(SAME)),
    )
case(
    "scores.metrics.listed_pairs.equal_error_rate_of_curve",
    fpr=(np.array([0.1, 0.2]), [*spoilt_numbers(np.array([0.1, 0.2])), ("falls", [0.2, 0.1]), ("2", [0, 2])]),
    fnr=(np.array([0.3, 0.1]), [*spoilt_numbers(np.array([0.3, 0.1])), ("rises", [0.1, 0.3])]),
)
case(
    "scores.metrics.listed_pairs.fpr_fraction",
    target=("0.5", [("2", "2"), ("text", "x"), ("long", "1" * 99)]),
)
case(
    "scores.metrics.folds.ten_folds",
    distances=(
        DISTANCES,
        [*spoilt_numbers(DISTANCES), ("of raw features", DISTANCES * 100), ("below 0", -DISTANCES)],
    ),
    same=(SAME, spoilt_flags(SAME)),
    folds=(2, [("1", 1), ("more than pairs", 9)]),
    thresholds=([1.0, 2.0], [("falling", [2.0, 1.0]), ("none", []), ("NaN", [1.0, np.nan])]),
)
case(
    "scores.metrics.folds.given_folds",
    distances=(DISTANCES, [*spoilt_numbers(DISTANCES), ("of raw features", DISTANCES * 100)]),
    same=(SAME, spoilt_flags(SAME)),
    fold=(FOLD, [*spoilt_codes(FOLD), ("one", FOLD * 0)]),
)
case("scores.metrics.folds.cut_folds", pairs=(8, [("fewer", 1)]), folds=(2, [("1", 1), ("negative", -2)]))
case(
    "scores.metrics.folds.val_at_far",
    scores=(SCORES, spoilt_numbers(SCORES)),
    same=(SAME, spoilt_flags(SAME)),
    fold=(FOLD, [*spoilt_codes(FOLD), ("one", FOLD * 0)]),
    target=("0.5", [("2", "2")]),
    rule=RULE,
)
OF_ANY_NUMBER = [wrong for wrong in spoilt_numbers(SCORES) if "one too" not in wrong[0]]
for name in ("bootstrap_mean", "mean_replicates"):
    case(
        f"scores.metrics.bootstrap.{name}",
        values=(SCORES, OF_ANY_NUMBER),
        replicates=(9, no_numbers("replicates")),
    )
case(
    "scores.metrics.bootstrap.bootstrap_ratio",
    hits=(KNOWN, [*spoilt_numbers(KNOWN), ("more than all", KNOWN + 9), ("negative", -KNOWN)]),
    totals=(KNOWN + 1, [*spoilt_numbers(KNOWN + 1), ("negative", -KNOWN)]),
    replicates=(9, no_numbers("replicates")),
)
case(
    "scores.metrics.bootstrap.interval",
    replicates=(SCORES, OF_ANY_NUMBER),
    comparisons=(1, no_numbers("comparisons")),
)
case(
    "scores.metrics.bootstrap.difference",
    first=(0.5, []),
    second=(0.6, []),
    first_replicates=(SCORES, spoilt_numbers(SCORES)),
    second_replicates=(SCORES, spoilt_numbers(SCORES)),
)
case(
    "scores.metrics.bootstrap.draw",
    identities=(3, [("negative", -1)]),
    others=(2, [("negative", -1)]),
    replicates=(4, [("negative", -1)]),
)
case(
    "scores.metrics.bootstrap.auc_eer_intervals",
    scores=(SCORES, spoilt_numbers(SCORES)),
    same=(SAME, spoilt_flags(SAME)),
    first=(KNOWN, [*spoilt_codes(KNOWN), ("negative", WHO)]),
    second=(KNOWN, [*spoilt_codes(KNOWN), ("negative", WHO)]),
    replicates=(9, no_numbers("replicates")),
)
WRONG_RELEVANT = [("one axis", RELEVANT[0]), ("scores", RELEVANT * 0.5), ("NaN", RELEVANT * np.nan)]
case(
    "scores.metrics.ranking.average_precision_at_k",
    relevant=(RELEVANT, WRONG_RELEVANT),
    n_relevant=(np.array([1, 2, 3]), [*spoilt_codes(np.array([1, 2, 3])), ("none", [0, 1, 1])]),
)
case(
    "scores.metrics.ranking.rank_k_hits",
    relevant=(RELEVANT, WRONG_RELEVANT),
    k=(1, [*no_numbers("k"), ("NaN", np.nan)]),
)
case("scores.metrics.ranking.cmc", relevant=(RELEVANT, [*WRONG_RELEVANT, ("empty", RELEVANT[:0])]))
case(
    "scores.pairs.distribution.pair_distribution",
    embeddings=(ROWS, spoilt_rows(ROWS)),
    identities=(WHO, spoilt_codes(WHO)),
    video_ids=(IDS, spoilt_ids(IDS)),
    listed=(3, [("negative", -1)]),
    **WORK,
)
case(
    "scores.pairs.distribution.rates_at_edges",
    counts=(
        KNOWN,
        [("floats", KNOWN * 0.5), ("NaN", KNOWN * np.nan), ("negative", WHO), ("two axes", [KNOWN])],
    ),
)
case(
    "scores.pairs.listed.listed_cosines",
    rows=(ROWS, spoilt_rows(ROWS)),
    first=(KNOWN, spoilt_places(KNOWN, VIDEOS)),
    second=(KNOWN, spoilt_places(KNOWN, VIDEOS)),
)
case(
    "scores.pairs.replicates.tpr_replicates",
    embeddings=(ROWS, spoilt_rows(ROWS)),
    identities=(WHO, spoilt_codes(WHO)),
    targets=(TARGETS, WRONG_TARGETS),
    drawn=(
        draw(3, 2, replicates=4),
        [
            ("too few", draw(2, 2, replicates=4)),
            ("too many", draw(3, 3, replicates=4)),
            ("one axis", draw(3, 2, replicates=4)[:, 0]),
            ("another type", draw(3, 2, replicates=4).astype(float)),
            ("negative", -draw(3, 2, replicates=4).astype(np.int8)),
            ("a list", draw(3, 2, replicates=4).tolist()),
        ],
    ),
    **WORK,
)
case(
    "scores.search.retrieval.gallery_ranks",
    queries=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS)]),
    gallery=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS)]),
    gallery_ids=(IDS, spoilt_ids(IDS)),
    of_query=(KNOWN, spoilt_places(KNOWN, VIDEOS)),
    videos=(KNOWN, spoilt_places(KNOWN, VIDEOS)),
)
case(
    "scores.search.retrieval.search",
    queries=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS)]),
    gallery=(ROWS, [*spoilt_rows(ROWS), narrow(ROWS)]),
    gallery_ids=(IDS, spoilt_ids(IDS)),
    k=(3, no_numbers("k")),
    workers=WORK["workers"],
)
case(
    "scores.search.retrieval.identity_templates",
    embeddings=(ROWS, spoilt_rows(ROWS)),
    identities=(["a", "b"] * 4, spoilt_ids(["a", "b"] * 4)),
)
case("embeddings.exact.normalise_rows", x=(ROWS, spoilt_features(ROWS)))
case(
    "embeddings.pooling.pool_frames",
    unit=(ROWS, spoilt_rows(ROWS)),
    keep=(SAME, spoilt_flags(SAME)),
)
case(
    "embeddings.pooling.weigh_frames",
    norms=(KNOWN * 1.0, [*spoilt_numbers(KNOWN * 1.0), ("negative", -1.0 * KNOWN)]),
    labels=(KNOWN, [*spoilt_codes(KNOWN), ("negative", WHO)]),
    by_norm=(True, []),
)
for name, key, right in (("cluster_frames", "threshold", 0.4), ("cluster_sweep", "thresholds", [0.4, None])):
    wrong: list[tuple[str, Any]] = [("NaN", np.nan if key == "threshold" else [0.4, np.nan])]
    case(f"embeddings.union_find.{name}", unit=(ROWS, spoilt_rows(ROWS)), **{key: (right, wrong)})
WRONG_OFFSETS = [
    ("beyond the rows", [0, 3, 10**9]),
    ("negative", [0, -3, VIDEOS]),
    ("falling", [0, 9, 3, VIDEOS]),
    ("floats", OFFSETS * 1.0),
    *spoilt_lengths(OFFSETS),
]
WRONG_OFFSETS.remove(next(wrong for wrong in WRONG_OFFSETS if wrong[0] == "one too many"))  # an empty video
for name, key, right in (("embed_videos", "threshold", 0.4), ("embed_sweep", "thresholds", [0.4, None])):
    wrong = [("NaN", np.nan if key == "threshold" else [0.4, np.nan])]
    case(
        f"embeddings.embed.{name}",
        features=(ROWS, spoilt_features(ROWS)),
        offsets=(OFFSETS, WRONG_OFFSETS),
        **{key: (right, wrong)},
        pool=("size", [("another", "mean")]),
    )


def function_of(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"vidface.{module}"), function)
    return found


def public() -> Iterator[tuple[str, Any]]:
    """Whatever `__all__` lists in the folders."""
    for folder in FOLDERS:
        for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            listed = importlib.import_module(module.name)
            for name in getattr(listed, "__all__", ()):
                yield f"{module.name.removeprefix('vidface.')}.{name}", getattr(listed, name)


def test_every_public_function_on_arrays_is_in_the_table() -> None:
    functions = {
        name
        for name, value in public()
        if callable(value) and not isinstance(value, type) and name.rpartition(".")[0] not in OTHERS
    }
    assert functions == set(CASES)


def test_no_compiled_function_is_public() -> None:
    assert [name for name, value in public() if isinstance(value, CPUDispatcher | _Intrinsic)] == []


def call(name: str, **changed: Any) -> Any:
    arguments = {key: right for key, right, _ in CASES[name]} | changed
    return function_of(name)(**arguments)


@pytest.mark.parametrize("name", CASES)
def test_right_arguments_are_taken(name: str) -> None:
    call(name)


def test_ids_may_be_a_column_of_a_table_with_numbers_of_its_own() -> None:
    """Indexed by position, not by what the column calls its rows."""

    class Column(list[str]):
        def __getitem__(self, place: Any) -> Any:
            raise KeyError(place)

    for name, key in (
        ("pairs.distribution.pair_distribution", "video_ids"),
        ("search.retrieval.gallery_ranks", "gallery_ids"),
    ):
        name = f"scores.{name}"
        right = next(value for found, value, _ in CASES[name] if found == key)
        assert np.array_equal(np.array(call(name)[0]), np.array(call(name, **{key: Column(right)})[0]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CASES)
def test_hostile_arrays_are_an_error(name: str) -> None:
    silent = []
    for key, _, hostile in CASES[name]:
        for what, value in hostile:
            try:
                call(name, **{key: value})
            except ValueError as error:
                assert "\n" not in str(error)
            else:
                silent.append(f"{key}: {what}")
    assert silent == []
