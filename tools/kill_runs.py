"""Kill every stage with SIGKILL at random moments, run it again, and compare the bytes with those of a run left alone.

    python tools/kill_runs.py --clips DIR --model M.onnx [--detector-weights yunet.onnx] [--kills 60] [--seed 0]

The clips are videos of any size; what they hold becomes the material of all stages. Half of the kills come
when a file appears, grows, is renamed or is removed (whichever is drawn: so the last steps, join, sync and rename, are
met as often as the long ones), half at a moment drawn from the time that the command takes. After each the same
command runs to its end, now and then killed once more on the way, and every file of its folder is compared: name and
bytes. Where a clock is part of the content (metrics of a training run) the clock alone is left out.

Only the process itself is killed, as the kernel does when memory runs out: the decoding processes are left orphans,
and the next run begins at once beside them. Linux only, since moments of files are told by inotify.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import itertools
import json
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av

VIDFACE = [sys.executable, "-m", "vidface"]
SUFFIXES = {".mp4", ".mpg", ".mpeg", ".mkv", ".mov", ".avi", ".webm"}
SIDE, FRAMES = 112, 4  # of the faces; of a piece
_HAPPENS = {0x2: "grows", 0x8: "closed", 0x80: "renamed to", 0x100: "appears", 0x200: "removed"}  # inotify(7)
# What a recipe is at when it is killed: the first of these that is not there yet.
RECIPE_ORDER = {
    "extract": "features.h5",
    "cluster": "embeddings.h5",
    "score": "scores.json",
    "sweep": "sweep.json",
    "submit iqiyi": "submission.txt",
    "submit lfrc": "submission.bin",
}
_CLOCK = re.compile(rb'"images_per_second": [0-9.e+-]+')


class Stage(NamedTuple):
    """A command that writes into its own folder: its name, the words after ``vidface``, that folder."""

    name: str
    words: Sequence[str]
    output: Path


class Undisturbed(NamedTuple):
    """What a run that is left alone gives: files to SHA-256, the moments of its files, its begin of writing and end."""

    files: dict[str, str]
    moments: list[str]
    begins: float
    ends: float


class Kill(NamedTuple):
    """One kill: the stage, where in it, the moment that was waited for, what differs afterwards (None: nothing)."""

    stage: str
    inside: str
    moment: str
    differs: str | None


class Watch:
    """Tells of files under a folder as things happen to them, by inotify."""

    def __init__(self, folder: Path) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.handle = self.libc.inotify_init1(os.O_NONBLOCK)
        if self.handle < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        self.folder, self.folders = folder, {}
        self._add(folder)

    def _add(self, folder: Path) -> None:
        number = self.libc.inotify_add_watch(self.handle, os.fsencode(folder), sum(_HAPPENS))
        if number >= 0:  # else it is gone again
            self.folders[number] = folder
            for inner in folder.iterdir():  # made before it was watched
                if inner.is_dir():
                    self._add(inner)

    def wait(self, seconds: float) -> list[str]:
        """What happened, as "appears features.h5"; empty after so many seconds without anything."""
        if not select.select([self.handle], [], [], seconds)[0]:
            return []
        data, told, at = os.read(self.handle, 1 << 16), [], 0
        while at < len(data):
            number, mask, _, size = struct.unpack_from("iIII", data, at)
            name = os.fsdecode(data[at + 16 : at + 16 + size].rstrip(b"\0"))
            at += 16 + size
            word = next((text for bit, text in _HAPPENS.items() if mask & bit), None)
            if word is None or number not in self.folders:
                continue
            path = self.folders[number] / name
            if mask & 0x40000000 and word in ("appears", "renamed to"):
                self._add(path)
            # A process number in a name is another one in every run.
            told.append(
                f"{word} {re.sub(r'[.][0-9]+[.]part', '.N.part', str(path.relative_to(self.folder)))}"
            )
        return told

    def close(self) -> None:
        os.close(self.handle)


def start(stage: Stage) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*VIDFACE, *stage.words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # tiny networks are slower on more
    )


def finish(process: subprocess.Popen[bytes], stage: Stage, *, again: bool = False) -> None:
    """Wait for the end, which must be a good one; `pack` refuses, when it comes again, what it had finished."""
    error = process.communicate(timeout=600)[1].decode(errors="replace")
    finished = again and process.returncode == 2 and stage.name.startswith("pack") and "exists" in error
    if (process.returncode and not finished) or "Traceback" in error:
        raise RuntimeError(f"{stage.name} ended with {process.returncode}: {error}")


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder, hidden ones too, to the SHA-256 of its bytes; of folders the name alone."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[f"{name}/"] = ""
            continue
        data = path.read_bytes()
        if path.name in ("metrics.jsonl", "last_checkpoint.safetensors"):
            data = _CLOCK.sub(b"", data)
        if path.name.startswith("curves."):
            continue  # drawn over the clock of metrics.jsonl
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def run_alone(stage: Stage) -> Undisturbed:
    """Run a stage once and write down when what happens to its files."""
    shutil.rmtree(stage.output, ignore_errors=True)
    stage.output.mkdir(parents=True)
    watch = Watch(stage.output)
    try:
        began = time.monotonic()
        moments, first = [], None
        with start(stage) as process:
            while process.poll() is None:
                told = watch.wait(0.05)
                if told and first is None:
                    first = time.monotonic() - began
                moments += told
            finish(process, stage)
        ended = time.monotonic() - began
    finally:
        watch.close()
    return Undisturbed(contents(stage.output), list(dict.fromkeys(moments)), first or 0.0, ended)


def kill_once(
    stage: Stage, alone: Undisturbed, chance: random.Random, wanted: str | None = None
) -> str | None:
    """Start a stage and kill it at this moment, or a drawn one; it in words, None where it had ended before."""
    if wanted is None and chance.random() < 0.5:
        wanted = chance.choice(alone.moments)
    after = chance.uniform(alone.begins, alone.ends)
    watch = Watch(stage.output)
    try:
        with start(stage) as process:
            began = time.monotonic()
            while process.poll() is None:
                left = began + after - time.monotonic()
                told = watch.wait(0.05 if wanted else max(0.0, min(0.05, left)))
                if wanted in told if wanted else left <= 0.05 and began + after <= time.monotonic():
                    process.kill()
                    break
            if process.wait() == -signal.SIGKILL:
                return wanted or f"{after:.2f} s"
            finish(process, stage, again=True)
            return None
    finally:
        watch.close()


def inside(stage: Stage) -> str:
    """Which step of a recipe was not finished; of other stages whether something of the output is there."""
    if stage.name == "run":
        missing = [step for step, file in RECIPE_ORDER.items() if not any(stage.output.rglob(file))]
        return missing[0] if missing else "after its files"
    return "begun" if any(stage.output.iterdir()) else "not begun"


def kill_and_compare(
    stage: Stage, alone: Undisturbed, chance: random.Random, wanted: str | None = None
) -> list[Kill]:
    """Kill a stage, one time in four once more, run it to its end and compare; the kills that hit."""
    shutil.rmtree(stage.output, ignore_errors=True)
    stage.output.mkdir(parents=True)
    hits = []
    for _ in range(2 if chance.random() < 0.25 else 1):
        moment = kill_once(stage, alone, chance, wanted)
        if moment is not None:
            hits.append((inside(stage), moment))
    if not hits:
        return []
    with start(stage) as process:
        finish(process, stage, again=True)
    found = contents(stage.output)
    differ = sorted(
        name for name in found.keys() | alone.files.keys() if found.get(name) != alone.files.get(name)
    )
    return [Kill(stage.name, where, moment, ", ".join(differ) or None) for where, moment in hits]


def material(
    clips: Path, model: Path, folder: Path, detector_weights: Path | None, pieces: int
) -> list[Stage]:
    """Make what the stages need out of clips, and list them.

    Args:
        clips: a folder of videos; their frames are cut into short pieces, in turns for enrolment and for search.
        model: an ONNX model of 112 x 112 faces with its card.
        folder: all is written here.
        detector_weights: YuNet's; without them there is no stage that finds faces.
        pieces: how many; more than 64, or there are no shards to merge.
    """
    videos = sorted(path for path in clips.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(videos) < 2:
        raise SystemExit(f"{clips}: at least two videos are needed")
    manifest, faces, pairs = _cut(videos, folder, -(-pieces // len(videos)))

    def out(name: str) -> Path:
        return folder / "out" / name

    def stage(name: str, *words: object) -> Stage:
        return Stage(name, [str(word) for word in words], out(name))

    extract = ("extract", manifest, "--model", model, "--resize", "--device", "cpu", "--workers", 2)
    made = folder / "made"
    made.mkdir()
    base = {name: made / f"{name}.h5" for name in ("features", "one", "two", "other")}
    for words in [
        (*extract, "-o", base["features"]),
        (*extract, "-o", base["one"], "--shard", "1/2"),
        (*extract, "-o", base["two"], "--shard", "2/2"),
        ("cluster", base["features"], "-o", made / "embeddings.h5"),
        ("cluster", base["features"], "-o", made / "plain.h5", "--threshold", "none"),
    ]:
        subprocess.run([*VIDFACE, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    embeddings, told = made / "embeddings.h5", ("--manifest", manifest)
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'manifest = "set/manifest.csv"\noutput = "out/run/run"\n[extract]\nmodel = {json.dumps(str(model))}\n'
        'device = "cpu"\nresize = true\nworkers = 2\n[score]\n[sweep]\nthresholds = "none,0.2:0.6:0.1"\n[submit]\n'
    )
    training = folder / "train.toml"
    training.write_text(
        'data = "faces"\noutput = "out/train/train"\ndevice = "cpu"\nname = "killed"\ncheckpoint_steps = 1\n'
        "[architecture]\nstem = 8\nblocks = [[16, 8, 1, 2], [16, 8, 1, 2]]\nhead = 16\ndimension = 16\n"
        "[people]\nvalidation = 0.4\n"
        '[[stage]]\nname = "first"\nepochs = 2\nbatch_size = 8\n[[stage]]\nname = "second"\nepochs = 1\n'
    )
    verified = ("verify", pairs, "--images", faces, "--model", model, "--device", "cpu")
    stages = [
        stage("run", "run", recipe),
        stage("extract", *extract, "-o", out("extract") / "features.h5"),
        stage("cluster", "cluster", base["features"], "-o", out("cluster") / "embeddings.h5"),
        stage("score", "score", embeddings, *told, "-o", out("score") / "scores.json"),
        stage("sweep", "sweep", base["features"], *told, "-o", out("sweep") / "sweep.json"),
        stage("submit", "submit", embeddings, *told, "--format", "lfrc", "-o", out("submit") / "s.bin"),
        stage("merge", "merge", base["one"], base["two"], "-o", out("merge") / "features.h5"),
        stage("report", "report", embeddings, *told, "-o", out("report") / "report"),
        stage("compare", "compare", made / "plain.h5", embeddings, *told, "-o", out("compare") / "page"),
        stage(
            "pack tar", "dataset", "pack", faces, "--to", "tar", "--shards", 2, "-o", out("pack tar") / "t"
        ),
        stage("pack rec", "dataset", "pack", faces, "--to", "rec", "-o", out("pack rec") / "r.rec"),
        stage(
            *("pack bin", "dataset", "pack", faces, "--to", "bin", "--pairs", pairs),
            *("-o", out("pack bin") / "b.bin"),
        ),
        stage("verify", *verified, "-o", out("verify") / "verify.json"),
        stage("train", "train", training),
    ]
    if detector_weights is not None:
        found = ("--faces", "detect", "--detector-weights", detector_weights)
        words = [word for word in extract if word != "--resize"]
        stages.insert(2, stage("detect", *words, *found, "-o", out("detect") / "features.h5"))
    return stages


def _cut(videos: Sequence[Path], folder: Path, pieces: int) -> tuple[Path, Path, Path]:
    """Cut every clip into pieces of a few frames; their pictures are also people to train on.

    Returns:
        The manifest of the pieces; a folder of people, one a piece; a list of pairs of their pictures.
    """
    (folder / "set").mkdir()
    rows, people = ["video_id,path,identity,split"], []
    for path in videos:
        with av.open(str(path)) as container:
            frames = container.decode(video=0)
            for number in range(pieces):
                cut = list(itertools.islice(frames, FRAMES))
                if len(cut) < FRAMES:
                    break
                name = f"{path.stem}-{number}"
                _write_clip(folder / "set" / f"{name}.mp4", cut)
                rows.append(f"{name},{name}.mp4,{path.stem},{('train', 'val')[number % 2]}")
                (folder / "faces" / name).mkdir(parents=True)
                for at, frame in enumerate(cut[:4]):
                    frame.to_image(width=SIDE, height=SIDE).save(
                        folder / "faces" / name / f"{at}.jpg", quality=90
                    )
                people.append(name)
    manifest = folder / "set" / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    lines = ["first,second,same"]
    for one, other in itertools.pairwise(people):
        lines += [f"{one}/0.jpg,{one}/3.jpg,1", f"{one}/0.jpg,{other}/0.jpg,0"]
    pairs = folder / "pairs.csv"
    pairs.write_text("\n".join(lines) + "\n")
    return manifest, folder / "faces", pairs


def _write_clip(path: Path, frames: Sequence[av.VideoFrame]) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=8, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = (
            frames[0].width // 2 * 2,
            frames[0].height // 2 * 2,
            "yuv420p",
        )
        for number, frame in enumerate(frames):
            plain = av.VideoFrame.from_ndarray(
                frame.to_ndarray(width=stream.width, height=stream.height, format="rgb24"), format="rgb24"
            )
            plain.pts = number
            out.mux(stream.encode(plain))
        out.mux(stream.encode(None))


def table(kills: Sequence[Kill]) -> str:
    """Stage, where in it, kills, and how many ended in the same bytes; a row each."""
    counts: Counter[tuple[str, str]] = Counter((kill.stage, kill.inside) for kill in kills)
    equal = Counter((kill.stage, kill.inside) for kill in kills if kill.differs is None)
    rows = [(*key, str(count), str(equal[key])) for key, count in counts.items()]
    rows.append(("all", "", str(len(kills)), str(sum(equal.values()))))
    return "\n".join(
        f"{a:<10} {b:<16} {c:>6} {d:>6}" for a, b, c, d in [("stage", "step", "kills", "equal"), *rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True, help="a folder of videos")
    parser.add_argument("--model", type=Path, required=True, help="an ONNX model with its card")
    parser.add_argument(
        "--detector-weights", type=Path, help="YuNet's, to kill extract --faces detect as well"
    )
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="these stages alone")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="kill_runs.") as name:
        weights = asked.detector_weights and asked.detector_weights.resolve()
        stages = material(
            asked.clips.resolve(), asked.model.resolve(), Path(name).resolve(), weights, pieces=72
        )
        chosen = [stage for stage in stages if not asked.only or stage.name in asked.only]
        alone = {}
        for stage in chosen:
            alone[stage.name] = run_alone(stage)
            print(
                f"{stage.name}: {alone[stage.name].ends:.1f} s, {len(alone[stage.name].files)} files, "
                f"{len(alone[stage.name].moments)} moments",
                flush=True,
            )
        # The recipe holds five stages: it comes again after every two of the others.
        turns = [
            one for at in range(1, len(chosen), 2) for one in (chosen[0], *chosen[at : at + 2])
        ] or chosen
        kills: list[Kill] = []
        for stage in itertools.cycle(turns):
            if len(kills) >= asked.kills:
                break
            for kill in kill_and_compare(stage, alone[stage.name], chance):
                kills.append(kill)
                result = f"DIFFERS: {kill.differs}" if kill.differs else "equal"
                print(f"{len(kills)}: {kill.stage}: {kill.inside}: {kill.moment}: {result}", flush=True)
    print(f"\n{table(kills)}")
    sys.exit(any(kill.differs for kill in kills))


if __name__ == "__main__":
    main()
