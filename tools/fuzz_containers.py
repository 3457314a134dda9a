"""Look for a file that the frames of vidface cannot cope with: a fuzzer of the gate of containers and pictures.

    python tools/fuzz_containers.py --seconds 600 --seed 1 --folder fuzz

Small clips of every container that vidface opens, a JPEG and a PNG are changed again and again: bits, lengths, pieces
of each other, names of other files. Each is read by ``vidface.frames.read_frames`` as a video or a picture. What must
come out is frames that are sound, or a MediaError of a known kind. All else is a finding: any other error, a crash,
more than 5 seconds or 3 GB for one small file, a frame larger than the limit, and any other file that is
opened or any connection that is made. What is opened is seen twice: Python's audit hook hears of what Python opens,
and the system (inotify) tells when the canary beside the file is opened, which FFmpeg itself might do.

A changed file that gets further than all before it is kept and changed again. "Further" is a new step between two lines
of ``vidface/frames``, a new way of ending, or a message of FFmpeg's of a form that was not heard before: FFmpeg is
compiled without counters, so what it says stands in for them.

The reading is done in a process of its own, which may die. Findings lie in FOLDER/found, made as short as they stay the
same finding, with what is wrong in a text beside each; FOLDER/corpus is read again by the next run. Exit code 1 where
there are findings. The same seed gives the same files as long as none of them dies and time does not run out.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzzing.inputs import Input, changed, seeds, words
from fuzzing.watch import Problem, Watch, read_one

HANG_SECONDS = 30.0
MEMORY = 3 << 30  # bytes of one process


def shortened(data: bytes, is_same: Callable[[bytes], bool], seconds: float = 20.0) -> bytes:
    """A shorter content of which the same holds: pieces are taken out as long as it does."""
    end, size = time.monotonic() + seconds, len(data) // 2
    while size and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            less = data[:at] + data[at + size :]
            if is_same(less):
                data = less
            else:
                at += size
        size //= 2
    return data


def key(problem: str) -> str:
    """What two findings of one cause have in common."""
    return re.sub(r"\d+", "#", problem.partition(": ")[0] if " at " in problem else problem)


def keep(folder: Path, suffix: str, data: bytes, problem: str = "") -> None:
    name = hashlib.sha256(data).hexdigest()[:16]
    (folder / f"{name}{suffix}").write_bytes(data)
    if problem:
        (folder / f"{name}.txt").write_text(problem + "\n")


def work(folder: Path, seconds: float, seed: int) -> None:
    """Change and read files, until the time is over or this process dies of one."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    rng = random.Random(seed)
    now = folder / "now"
    canary = now / "canary.mp4"
    canary.write_bytes(seeds()[0][1])
    watch = Watch(now)
    dictionary = words(canary, watch.server.getsockname()[1])

    def read(suffix: str, data: bytes) -> Problem:
        path = now / f"input{suffix}"
        path.write_bytes(data)
        watch.others(path.name)
        return read_one(path, watch)

    corpus: list[Input] = []
    seen: set[object] = set()
    known: set[str] = set()
    runs, end = 0, time.monotonic() + seconds
    waiting = [
        *seeds(),
        *((path.suffix, path.read_bytes()) for path in sorted((folder / "corpus").iterdir())),
    ]
    while waiting or time.monotonic() < end:
        if waiting:
            suffix, data = waiting.pop(0)
        else:
            # The newest have been changed least.
            suffix, data = corpus[max(rng.randrange(len(corpus)), rng.randrange(len(corpus)))]
            others = [content for other, content in corpus if other == suffix]
            data = changed(data, others, dictionary, rng)
        problem = read(suffix, data)
        runs += 1
        if problem is not None and key(problem) not in known:
            known.add(key(problem))
            same = key(problem)
            data = shortened(data, lambda less, same=same, suffix=suffix: _is(read(suffix, less), same))
            keep(folder / "found", suffix, data, problem)
            print(f"found: {problem}", flush=True)
        elif problem is None and watch.heard - seen:
            seen |= watch.heard
            corpus.append((suffix, data))
            keep(folder / "corpus", suffix, data)
        if runs % 200 == 0:
            steps = sum(1 for one in seen if isinstance(one, tuple) and isinstance(one[1], tuple))
            print(
                f"runs {runs} kept {len(corpus)} steps {steps} messages and endings {len(seen) - steps}",
                flush=True,
            )


def _is(problem: Problem, same: str) -> bool:
    return problem is not None and key(problem) == same


def main() -> int:
    """Start the reading process again and again, and gather what is left where it dies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="where findings and what is kept go")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder.resolve()
    if given.work:
        work(folder, given.seconds, given.seed)
        return 0
    for name in ("found", "corpus"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    end, seed, last = time.monotonic() + given.seconds, given.seed, ""
    while (left := end - time.monotonic()) > 0:
        shutil.rmtree(folder / "now", ignore_errors=True)
        (folder / "now").mkdir()
        options = ["--folder", folder, "--seconds", left, "--seed", seed]
        process = subprocess.Popen(
            [sys.executable, __file__, "--work", *map(str, options)], stdout=subprocess.PIPE, text=True
        )
        for line in _lines(process, folder / "now"):
            last = line if line.startswith("runs") else last
            if line.startswith("found"):
                print(line, flush=True)
        if code := process.wait():
            problem = f"the process died or hung (code {code})"
            print(f"found: {problem}", flush=True)
            for path in (folder / "now").glob("input.*"):
                keep(folder / "found", path.suffix, path.read_bytes(), problem)
        seed += 1_000_003
    found = sorted((folder / "found").glob("*.txt"))
    print(f"{last or 'no 200 runs'}; findings {len(found)}")
    return 1 if found else 0


def _lines(process: subprocess.Popen[str], now: Path) -> Iterator[str]:
    """What the process says, until it ends; it is ended where one file takes too long."""

    def guard() -> None:
        while process.poll() is None:
            time.sleep(1.0)
            times = [path.stat().st_mtime for path in now.glob("input.*")]
            if times and time.time() - max(times) > HANG_SECONDS:
                process.kill()

    threading.Thread(target=guard, daemon=True).start()
    assert process.stdout is not None
    for line in process.stdout:
        yield line.strip()


if __name__ == "__main__":
    sys.exit(main())
