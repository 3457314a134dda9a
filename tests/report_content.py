"""A small report's content, made by hand: every part is there, and every text that can be hostile is."""

from __future__ import annotations

import numpy as np

from vidface.frames.frame import Pixels
from vidface.report.run.content import (
    Cmc,
    Confused,
    Content,
    Curves,
    Histogram,
    Map,
    Number,
    OperatingPoint,
    Pair,
    Ranked,
    Strip,
    StripFrame,
    Sweep,
    Table,
)

SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    SCRIPT,
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7*7 }}{% for x in y %}",
    "two\nlines",
    "\u202egnp.exe",
    "x" * 3000,
    '=HYPERLINK("http://example.org","click")',
    "$\\frac{a}{b$ & _under",
    "人物 видео",
    "-->]]></style></svg>",
    "broken\udcff",
    "\x00\x1b[31m",
]


def thumbnail(seed: int, size: int = 64) -> Pixels:
    """A soft random picture, which takes about as many bytes as a face does."""
    coarse = np.random.default_rng(seed).integers(40, 220, (8, 8, 3)).astype(np.uint8)
    return np.repeat(np.repeat(coarse, size // 8, 0), size // 8, 1)


def some_curves(people: int = 200, seed: int = 0) -> Curves:
    """Cosines drawn from two normals, every pair a row."""
    random = np.random.default_rng(seed)
    same, different = random.normal(0.6, 0.13, people), random.normal(0.03, 0.12, people * 99)
    thresholds = np.sort(np.concatenate([same, different]))[::-1]
    tpr = np.searchsorted(np.sort(-same), -thresholds, side="right") / len(same)
    fpr = np.searchsorted(np.sort(-different), -thresholds, side="right") / len(different)
    points = []
    for target in ("1e-2", "1e-3", "1e-4"):
        at = int(np.searchsorted(fpr, float(target), side="right")) - 1
        rate = float(tpr[at])
        points.append(
            OperatingPoint(
                target, float(target), rate, rate - 0.03, min(rate + 0.02, 1.0), float(thresholds[at])
            )
        )
    points.append(OperatingPoint("1e-6", 1e-6, None, None, None, None))
    return Curves(thresholds, fpr, tpr, len(same), len(different), points, "every pair is a row")


def some_histogram(curves_seed: int = 0) -> Histogram:
    random = np.random.default_rng(curves_seed)
    edges = np.linspace(-1, 1, 401)
    same, _ = np.histogram(random.normal(0.6, 0.13, 200), edges)
    different, _ = np.histogram(random.normal(0.03, 0.12, 19800), edges)
    return Histogram(edges, same, different, {"1e-2": 0.31, "1e-3": 0.4, "1e-4": 0.41})


def some_map(videos: int = 60, people: int = 12, seed: int = 0) -> Map:
    random = np.random.default_rng(seed)
    person = np.arange(videos) % people
    xy = random.normal(0, 8, (people, 2))[person] + random.normal(0, 0.8, (videos, 2))
    identities = ["" if who == 0 else f"person{who:03d}" for who in person]
    ids = [HOSTILE[at] if at < len(HOSTILE) else f"v{at:05d}" for at in range(videos)]
    return Map(
        xy, identities, ids, "t-SNE by a library, perplexity 30, seed 0", videos * 2, "every second one"
    )


def a_strip(why: str, frames: int, seed: int, video_id: str) -> Strip:
    random = np.random.default_rng(seed)
    labels = np.sort(random.integers(0, 4, frames))
    cells = [
        StripFrame(
            2 * row,
            row * 0.125,
            int(label),
            None if row == 3 else float(random.normal(0.8 if label == 0 else 0.1, 0.05)),
            bool(label == 0),
            None if row == 2 else thumbnail(seed * 100 + row),
            None,
        )
        for row, label in enumerate(labels)
    ]
    kept = int((labels == 0).sum())
    return Strip(video_id, SCRIPT, why, "cosine 0.41 between both embeddings", cells, frames * 2, kept * 2, 4)


def a_content() -> Content:
    ranked = [
        Ranked(at + 1, name, name, 0.7 - 0.03 * at, at in (1, 4), thumbnail(at) if at else None)
        for at, name in enumerate(HOSTILE)
    ]
    pairs = [
        Pair(0.81 - 0.02 * at, name, "somebody", HOSTILE[at - 1], "", thumbnail(at), None)
        for at, name in enumerate(HOSTILE)
    ]
    return Content(
        title=f"demo {SCRIPT}",
        headline=[
            Number("mAP@100", 0.93124, 0.9012, 0.9553),
            Number("TPR at FPR 1e-4", 0.97909, 0.9581, 0.9948),
            Number("TPR at FPR 1e-6", None, None, None, "needs 1,000,000 impostor pairs; there are 19,800"),
        ],
        counts=Table("counts", "What was counted", ["what", "number"], [["videos", 442], ["pairs", 97461]]),
        protocol=[("iQIYI-VID", "Every identity is a query; <b>templates</b> are averages.")],
        warnings=[f"the threshold was chosen on the test split {SCRIPT}"],
        missing={},
        made_with=Table("made-with", "How it was made", ["what", "value"], [["model", SCRIPT], ["fps", 8.0]]),
        sweep=Sweep(
            ["none", *(f"{0.2 + 0.05 * at:.2f}" for at in range(7))],
            [1.0, 0.376, 0.322, 0.305, 0.299, 0.296, 0.290, 0.281],
            {
                "mAP@100": [0.9415, 0.9507, 0.9791, 0.9796, 0.9799, 0.9635, 0.93, 0.8797],
                "TPR at FPR 1e-3": [0.8848, 0.9529, 0.9791, 0.9791, 0.9791, 0.9634, 0.8, None],
            },
            "0.30",
            "chosen on the split that it is scored on",
        ),
        curves=some_curves(),
        histogram=some_histogram(),
        cmc=Cmc(np.arange(1, 101), 1 - 0.05 / np.arange(1, 101), 191),
        faces=False,
        weighted=False,
        strips=[
            a_strip("most changed", 14, 1, SCRIPT),
            a_strip("most fragmented", 60, 2, HOSTILE[5]),
            a_strip("random", 9, 3, "v00007"),
        ],
        confused=[
            Confused(SCRIPT, 0.1234, 2, 3, 2, ranked[:8], [HOSTILE[1]], thumbnail(77)),
            Confused(HOSTILE[7], 0.5, 1, 2, 2, ranked[4:9], [], None),
        ],
        impostors=pairs,
        genuine=pairs[:3],
        map=some_map(),
        fault_counts=Table(
            "fault-counts", "Faults by kind", ["stage", "kind", "number"], [["extract", "missing", 2]]
        ),
        faults=Table(
            "faults",
            "Every fault",
            ["video", "stage", "kind", "detail"],
            [[name, "extract", "missing", f"no such file: {name}"] for name in HOSTILE],
        ),
    )
