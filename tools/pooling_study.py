"""Which rule makes the best embedding of a video's frames? Virtual videos of real people, and of drawn ones.

    python tools/pooling_study.py --faces aligned.tar --model face.onnx --thresholds 0.3,0.4
    python tools/pooling_study.py --drawn --thresholds 0.5,0.6

Embeds every face, moved versions of it, covered and blurred ones, pieces of faces and things (kept in --cache), puts
videos together from them, pools these by every rule and scores them. People are split by a hash of their names: rules
were chosen on one half, --half choose, the tables of docs/pooling.md are of the other. Seeds are fixed, so the same
pictures give the same tables. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from pooling.pictures import KINDS, Features, drawn, embed_all, tar_of_faces
from pooling.rules import RULES, Rule, rules_at
from pooling.scores import MEASURES, Scores, better_by, cut, score
from pooling.videos import MIXED, PLANS, Videos, make

from vidface.demo.walk import WEIGHTS

SEEDS = 4
DRAWN = {"people": 240, "pictures_each": 8, "population": 4_000}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--faces", type=Path, help="aligned 112x112 faces, as vidface dataset takes them")
    source.add_argument("--drawn", action="store_true", help="drawn people and their network")
    parser.add_argument("--model", type=Path, help="the network for --faces")
    parser.add_argument("--thresholds", default="0.3,0.4")
    parser.add_argument("--half", choices=["choose", "report"], default="report")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="sets of videos of every kind")
    parser.add_argument("--people", type=int, help="only so many drawn people: a quick look")
    parser.add_argument("--cache", type=Path, default=Path("runs/pooling_study.npz"))
    asked = parser.parse_args()
    if asked.faces:
        if asked.model is None:
            parser.error("--faces needs --model")
        material, model = tar_of_faces(asked.faces), asked.model
    else:
        numbers = {**DRAWN, "people": asked.people} if asked.people else DRAWN
        material, model = drawn(**numbers), WEIGHTS
    features = embed_all(*material, model, asked.cache, lambda line: print(line, file=sys.stderr, flush=True))
    thresholds = [float(text) for text in asked.thresholds.split(",")]
    study(features, asked.half == "report", thresholds, asked.seeds)


def study(features: Features, report: bool, thresholds: list[float], seeds: int) -> None:
    """Print the norms, a table a threshold, and a table of all rules."""
    begun = time.monotonic()
    rules: dict[str, Rule] = dict(RULES)
    for threshold in thresholds:
        rules.update({f"{name} at {threshold}": rule for name, rule in rules_at(threshold).items()})
    found: dict[str, dict[str, Scores]] = {}
    videos = people = 0
    for name, plan in {**PLANS, MIXED: None}.items():
        made: list[Videos] = [make(features, report, plan, seed) for seed in range(seeds)]
        sets = [(one, cut(features, one)) for one in made]
        found[name] = {title: score(rule, sets) for title, rule in rules.items()}
        videos += sum(len(one.splits) for one in made)
        people = len(next(iter(found[name].values())).people)
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(
        f"{people} people of the half to {'report' if report else 'choose on'}, {seeds} sets a kind,", end=" "
    )
    print(f"{videos:,} videos in all.\n")
    print_norms(features)
    for threshold in thresholds:
        for measure in (0, 1):
            print_threshold(found, threshold, measure)
    print_all(found)


def print_norms(features: Features) -> None:
    print("| picture | " + " | ".join(f"{p} %" for p in (5, 25, 50, 75, 95)) + " |\n|---|" + "---|" * 5)
    for kind, name in enumerate(KINDS):
        norms = np.linalg.norm(features.rows[features.kind == kind], axis=1)
        print(
            f"| {name} | " + " | ".join(f"{p:.1f}" for p in np.percentile(norms, [5, 25, 50, 75, 95])) + " |"
        )


def better_of(rows: dict[str, Scores], threshold: float, measure: int) -> Scores:
    """Plain averaging or the largest cluster, whichever scores higher here."""
    both = [rows["average"], rows[f"largest at {threshold}"]]
    return max(both, key=lambda scores: scores.values[:, measure].mean())


def print_threshold(found: dict[str, dict[str, Scores]], threshold: float, measure: int) -> None:
    print(f"\n{MEASURES[measure]} at threshold {threshold}\n")
    print(
        "| a video holds | average | largest | size | size-norm | size less the better of the first two, 95 % |",
        end="",
    )
    print(" size-norm less it |\n|---|---|---|---|---|---|---|")
    for kind, rows in found.items():
        names = ["average", *(f"{name} at {threshold}" for name in ("largest", "size", "size-norm"))]
        cells = [f"{rows[name].values[:, measure].mean():.4f}" for name in names]
        for name in names[2:]:
            gain, low, high = better_by(better_of(rows, threshold, measure), rows[name], measure)
            cells.append(f"{gain:+.4f} ({low:+.4f} to {high:+.4f})")
        print(f"| {kind} | " + " | ".join(cells) + " |")


def print_all(found: dict[str, dict[str, Scores]]) -> None:
    """The mean of every rule over the kinds, and its worst distance from the better of the two at any threshold."""
    counted = {kind: rows for kind, rows in found.items() if kind != "a stranger stays longer"}
    titles = list(next(iter(found.values())))
    plain = [title for title in titles if title == "average" or title.startswith("largest at")]
    print("\n| rule | " + " | ".join(MEASURES) + " | mAP, worst kind beside the better of the two | kind |")
    print("|---|---|---|---|---|---|")
    for title in titles:
        means = np.mean([rows[title].values.mean(axis=0) for rows in counted.values()], axis=0)
        short = {
            kind: rows[title].values[:, 0].mean() - max(rows[name].values[:, 0].mean() for name in plain)
            for kind, rows in counted.items()
        }
        worst = min(short, key=lambda kind: short[kind])
        print(
            f"| {title} | "
            + " | ".join("-" if np.isnan(m) else f"{m:.4f}" for m in means)
            + f" | {short[worst]:+.4f} | {worst} |"
        )


if __name__ == "__main__":
    main()
