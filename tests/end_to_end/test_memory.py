"""50,000 videos: memory is set by options, not by the data."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

LIMIT = 2_000_000_000  # bytes, of all processes together

PROGRAM = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np
from vidface.embeddings.cluster import cluster
from vidface.embeddings.options import ClusterOptions
from vidface.features.engines.batches import embed_chunk
from vidface.features.engines.local import local_engine, read_ahead
from vidface.features.engines.reading import Block, Video, VideoEnd
from vidface.files.store import join_shards, write_shard

VIDEOS, FRAMES, DIMENSION = 50_000, 8, 256
folder = Path(sys.argv[1])
ids = [f"v{i:06d}" for i in range(VIDEOS)]
random = np.random.default_rng(1)
people, noise = (random.standard_normal((256, DIMENSION)).astype(np.float32) for _ in range(2))

def read(asked):
    video = int(asked.video_id[1:])
    for frame in range(FRAMES):
        stranger = frame % 4 == 3
        pixel = [video % 256, frame * 20, 255] if not stranger else [(video + frame) % 256, frame * 20, 0]
        yield Block(np.array(pixel, np.uint8).reshape(1, 1, 1, 3), [frame / 8])
    yield VideoEnd([])

def embed(pixels):
    person, grain, kind = pixels[:, 0, 0].astype(int).T
    return people[person] * (kind > 0)[:, None] + noise[(grain + person) % 256] * 0.7

def mega():
    # VmHWM starts anew with the program; ru_maxrss would still know the size of the process that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3)

said, begun = {}, time.monotonic()
parts = folder / "parts"
parts.mkdir()
messages = read_ahead([Video(video, folder) for video in ids], read, 2)
sizes = {"dimension": DIMENSION, "dtype": "float16"}
for start in range(0, VIDEOS, 64):
    rows = embed_chunk(ids[start : start + 64], messages, embed, batch_size=256, advance=lambda n: None, **sizes)
    write_shard(parts / f"shard-{start:06d}.h5", rows, **sizes)
names = ("manifest_sha256", "model_name", "model_sha256", "flip", "fps", "decoder")
join_shards(sorted(parts.glob("shard-*.h5")), folder / "features.h5", dict.fromkeys(names, "made up"))
said["extract"] = [round(time.monotonic() - begun, 1), mega()]
digests = set()
for workers in (1, 2):
    begun, output = time.monotonic(), folder / f"embeddings-{workers}.h5"
    result = cluster(folder / "features.h5", output, ClusterOptions(threshold=0.4), engine=local_engine(workers))
    digests.add(hashlib.sha256(output.read_bytes()).hexdigest())
    said[f"cluster, {workers} workers"] = [round(time.monotonic() - begun, 1), mega()]
    assert len(result.embeddings.video_ids) == VIDEOS
    assert result.embeddings.frames.sum() == VIDEOS * FRAMES
    assert VIDEOS * FRAMES * 0.5 < result.embeddings.kept.sum() < VIDEOS * FRAMES * 0.9
assert len(digests) == 1, "the number of workers changed the file"
print(json.dumps(said))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc")
def test_50000_videos_stay_under_2_gigabytes(tmp_path: Path) -> None:
    """Extracting and clustering 400,000 frames; every process of the run is counted, shared pages once."""
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        run = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        peak = 0
        while run.poll() is None:
            peak = max(peak, sum(memory(pid) for pid in family(run.pid)))
            time.sleep(0.1)
    out, _ = run.communicate()
    assert run.returncode == 0, errors.read_text()
    said = json.loads(out.splitlines()[-1])
    print(f"peak of all processes {peak / 1e6:.0f} MB; [seconds, MB of the main process]: {said}")
    assert 100e6 < peak < LIMIT
    assert all(megabytes * 1e6 < LIMIT for _, megabytes in said.values())


def family(pid: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def memory(pid: int) -> int:
    """Bytes of a process, what it shares with others divided among them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
