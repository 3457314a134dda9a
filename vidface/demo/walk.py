"""The demo: make a benchmark, then walk the whole way over it with an ordinary recipe, and say what was seen."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import vidface
from vidface.backbones import load_backbone
from vidface.demo.benchmark import Plan, make_benchmark
from vidface.demo.sources import FaceSource, drawn_faces, faces_from_folder
from vidface.errors import UsageError
from vidface.files.atomic import write_atomic
from vidface.files.json_files import read_json, write_json
from vidface.files.locks import refuse_changed
from vidface.files.store import read_embeddings
from vidface.report.run.gather import gather
from vidface.report.run.page import write_report
from vidface.runs.opened import open_run
from vidface.runs.recipe import run_recipe
from vidface.runtime import cpu_count

Say = Callable[[str], object]
REPORT_NEEDS = "pip install -c constraints.txt -e '.[report]'"
WEIGHTS = Path(__file__).parent / "weights" / "drawn.safetensors"
POPULATION = 3_000  # the demo's people; the network was trained and chosen on another population
# Size, noise and threshold were chosen on a third one.
DRAWN = {
    "identities": 80,
    "videos_per_identity": 3,
    "frames_per_video": 6,
    "noise_frames": 12,
    "distractors": 60,
}
DRAWN_THRESHOLD = 0.5
REAL_FRAMES, REAL_NOISE, REAL_THRESHOLD, REAL_MIN_IMAGES = 3, 7, 0.25, 6
MOST_DISTRACTORS = 60

RECIPE = """\
# vidface run {name}
# The demo's way over its own clips; finished stages are not run again.
manifest = "manifest.csv"
output = "results"

[extract]
model = {model}

[cluster]
threshold = {threshold}

[score]

[sweep]
thresholds = "none,0.2:0.7:0.05"

[submit]
"""


def walk(output: Path, *, faces: Path | None, model: Path | None, say: Say) -> dict[str, Any]:
    """Make the demo's benchmark and run it; in a repeated run what is finished stays.

    ``faces`` is ``DIR/PERSON/IMAGE`` of aligned 112x112 faces of real people, ``model`` the model for these; None draws
    people, for whom there is a network. ``say`` gets a line or a table at a time.

    Returns:
        The recipe's result, with ``benchmark``, ``noise`` (shares of frames dropped, by kind), ``report`` (its page,
        None if what draws it is not installed), ``seconds`` and ``problems``.

    Raises:
        UsageError: only one of ``faces`` and ``model`` is given, or the folder holds another benchmark.
    """
    if (faces is None) != (model is None):
        raise UsageError("--faces and --model go together: real people need a model that was trained on such")
    begun = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    if faces is None:
        source, plan, threshold = drawn_faces(400, seed=POPULATION), DRAWN, DRAWN_THRESHOLD
        people = "drawn people"
    else:
        source = faces_from_folder(faces, min_images=REAL_MIN_IMAGES)
        plan, threshold, people = _real_plan(source), REAL_THRESHOLD, f"people of {faces}"
    used = (model or WEIGHTS).resolve()
    load_backbone(used)  # whatever is wrong with it should be known before the clips are made
    videos = plan["identities"] * plan["videos_per_identity"] + plan["distractors"]
    say(
        f"benchmark: {videos} clips of {people}: {plan['identities']} identities, {plan['distractors']} distractors; "
        f"each {plan['frames_per_video']} frames of one person and {plan['noise_frames']} of noise"
    )
    _make(output, source, {**plan, "seed": 1, "faces": people, "program_version": vidface.__version__})
    recipe = output / "recipe.toml"
    text = RECIPE.format(
        name=recipe.name, model=json.dumps(str(used), ensure_ascii=False), threshold=threshold
    )
    with write_atomic(recipe) as file:
        file.write(text.encode())
    result = run_recipe(recipe, say)
    noise = dropped_by_kind(output / "truth.csv", output / "results" / "embeddings.h5")
    page = None
    if find_spec("jinja2") is not None and find_spec("matplotlib") is not None:
        page = str(write_report(gather(open_run(output)), output / "report")[0].relative_to(output))
    seconds = time.monotonic() - begun
    shares = ", ".join(f"{share:.0%} of {kind}" for kind, share in noise.items())
    say(f"\nframes dropped at threshold {threshold}: {shares}")
    say(f"\nDone in {seconds:.0f} s. Where to look next:")
    files = {
        "videos/": "the clips, real 8 fps h264",
        "manifest.csv": "who is in which",
        "truth.csv": "what every frame shows",
        "recipe.toml": f"the stages, chained: vidface run {recipe}",
        "results/": "features, embeddings, scores, the sweep and both submission files",
    }
    if page is not None:
        files = {page: "look at it in a browser: scores, curves, frames, hard cases", **files}
    for name, what in files.items():
        say(f"  {output / name}  {what}")
    if page is None:
        say(f"  vidface report {output} -o {output}/report  shows it in a browser; it needs: {REPORT_NEEDS}")
    say(
        f"  vidface score {output}/results/submission.bin --manifest {output}/manifest.csv  scores a submission"
    )
    return {
        **result,
        "benchmark": plan,
        "noise": noise,
        "report": None if page is None else str(output / page),
        "seconds": round(seconds, 1),
        "problems": result["faults"],
    }


def dropped_by_kind(truth: Path, embeddings: Path) -> dict[str, float]:
    """Share of the frames of every kind in ``truth.csv`` that clustering left out of the video's embedding."""
    found = read_embeddings(embeddings)
    start = dict(zip(found.video_ids, np.cumsum(found.frames) - found.frames, strict=True))
    dropped: dict[str, list[bool]] = {}
    with truth.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            label = found.labels[start[row["video_id"]] + int(row["frame"])]
            dropped.setdefault(row["kind"], []).append(bool(label != 0))
    return {kind: float(np.mean(values)) for kind, values in sorted(dropped.items())}


def _real_plan(source: FaceSource) -> dict[str, int]:
    identities = sum(count >= source.min_images for count in source.counts.values())
    if identities < 2:
        raise UsageError(f"at least two people with {source.min_images} or more pictures are needed")
    others = sum(REAL_FRAMES <= count < source.min_images for count in source.counts.values())
    return {
        "identities": identities,
        "videos_per_identity": 2,
        "frames_per_video": REAL_FRAMES,
        "noise_frames": REAL_NOISE,
        "distractors": min(MOST_DISTRACTORS, others // 3),
    }


def _make(output: Path, source: FaceSource, plan: dict[str, Any]) -> None:
    """Make the clips, unless they are there; ``benchmark.json`` is written last."""
    mark = output / "benchmark.json"
    if mark.exists():
        refuse_changed(output, read_json(mark), plan)
        return
    numbers = {name: value for name, value in plan.items() if name not in ("faces", "program_version")}
    make_benchmark(output, source, Plan(**numbers), workers=cpu_count())
    write_json(mark, plan)
