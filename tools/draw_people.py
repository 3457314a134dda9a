"""Draw people as training images: one tar, PERSON/VIEW.jpg, the same bytes every time.

    .venv/bin/python tools/draw_people.py -o data/drawn/people.tar
    .venv/bin/vidface train pipelines/demo_network.toml 2>&1 | tee tools/train_demo_network.log

The second line trains the demo's network on them; the demo's own people are of another population. What it then
writes as results/demo_network/model.safetensors lies in vidface/demo/weights as drawn.safetensors.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from vidface.demo.people.drawing import draw_person
from vidface.files.atomic import write_atomic
from vidface.runtime import cpu_count, in_processes

POPULATION = 1_000  # the demo draws from another one


def draw(person: int, views: int) -> list[bytes]:
    """The JPEG files of one person: of every quality that clips have."""
    random = np.random.default_rng([POPULATION, person, 9])
    files = []
    for view in range(views):
        buffer = io.BytesIO()
        pixels = draw_person(person, view, seed=POPULATION)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(random.integers(40, 95)))
        files.append(buffer.getvalue())
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=800)
    parser.add_argument("--views", type=int, default=32)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    people = ((person, options.views) for person in range(options.people))
    drawn = in_processes(draw, people, workers=cpu_count())
    with write_atomic(options.output) as handle, tarfile.open(fileobj=handle, mode="w") as tar:
        for person, files in enumerate(drawn):
            for view, content in enumerate(files):
                member = tarfile.TarInfo(
                    f"person{person:05d}/{view:03d}.jpg"
                )  # no time, no owner: the same bytes
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    print(f"{options.output}: {options.people} people, {options.views} pictures each")


if __name__ == "__main__":
    main()
