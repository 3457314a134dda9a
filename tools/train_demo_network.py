"""Train the demo's compact network on drawn people; the people of the demo and of the validation are others.

    .venv/bin/python tools/train_demo_network.py --output vidface/demo/weights/drawn.safetensors \
        | tee tools/train_demo_network.log

Every run with the same options draws the same pictures. ArcFace (equation 1 of the paper); the weights of the last
epoch are kept.
"""

from __future__ import annotations

import argparse
import io
import math
import time
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from PIL import Image
from torch import nn
from torch.nn import functional

from vidface.backbones.mobilefacenet import Spec, build
from vidface.backbones.weights import save_weights
from vidface.demo.drawing import draw_person

SPEC = Spec(
    stem=16,
    blocks=((32, 24, 1, 2), (48, 24, 1, 1), (96, 48, 1, 2), (96, 48, 3, 1), (192, 96, 1, 2), (192, 96, 2, 1)),
    head=192,
    dimension=96,
)
TRAINING, VALIDATION = 1_000, 2_000  # populations; the demo draws from another one
SCALE, MARGIN = 32.0, 0.35


def compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Pixels after a trip through lossy compression, as those of a clip have."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def draw(person: int, views: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, person, 9])
    return np.stack(
        [compressed(draw_person(person, view, seed=seed), int(rng.integers(40, 95))) for view in range(views)]
    )


def draw_all(people: int, views: int, seed: int) -> torch.Tensor:
    """uint8 [people, views, 3, 112, 112]."""
    drawn = Parallel(n_jobs=-1, return_as="list")(
        delayed(draw)(person, views, seed) for person in range(people)
    )
    return torch.from_numpy(np.stack(drawn)).permute(0, 1, 4, 2, 3)


def prepared(pixels: torch.Tensor) -> torch.Tensor:
    return ((pixels.float() - 127.5) / 128).contiguous(memory_format=torch.channels_last)


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of them; erase a small rectangle in a fifth."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images[mirrored] = images[mirrored].flip(-1)
    for image in images[torch.rand(len(images), generator=generator) < 0.2]:
        top, left, height, width = (int(v) for v in torch.randint(8, 80, (4,), generator=generator))
        image[:, top : top + height // 3, left : left + width // 3] = 0
    return images


def arcface(embeddings: torch.Tensor, weights: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    cosine = functional.normalize(embeddings) @ functional.normalize(weights).T
    angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
    own = functional.one_hot(labels, len(weights)).bool()
    return functional.cross_entropy(SCALE * torch.where(own, torch.cos(angle + MARGIN), cosine), labels)


@torch.inference_mode()
def validate(network: nn.Module, faces: torch.Tensor) -> str:
    network.eval()
    people, views = faces.shape[:2]
    embeddings = torch.cat([network(prepared(batch)) for batch in faces.flatten(0, 1).split(64)])
    unit = functional.normalize(embeddings).numpy()
    rows, columns = np.triu_indices(len(unit), 1)
    scores, same = (unit @ unit.T)[rows, columns], rows // views == columns // views
    impostors = np.sort(scores[~same])[::-1]
    rates = [
        f"TPR {np.mean(scores[same] > impostors[int(target * len(impostors))]):.4f} at FPR {target:g}"
        for target in (1e-2, 1e-3, 1e-4)
    ]
    spread = f"cosine same {scores[same].mean():.3f} (5 % below {np.quantile(scores[same], 0.05):.3f})"
    return f"{people} unseen people: {', '.join(rates)}; {spread}, different {scores[~same].mean():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=800)
    parser.add_argument("--views", type=int, default=36)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    options = parser.parse_args()
    print(
        " ".join(f"{name}={value}" for name, value in vars(options).items() if name != "output"), flush=True
    )

    begun = time.monotonic()
    faces = draw_all(options.people, options.views, TRAINING).flatten(0, 1)
    unseen = draw_all(80, 12, VALIDATION)
    print(f"{len(faces)} pictures drawn in {time.monotonic() - begun:.0f} s", flush=True)

    torch.manual_seed(0)
    network = build(SPEC).to(memory_format=torch.channels_last)
    weights = nn.Parameter(torch.randn(options.people, SPEC.dimension))
    optimiser = torch.optim.AdamW([*network.parameters(), weights], lr=options.rate, weight_decay=5e-3)
    steps = options.epochs * (len(faces) // options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(0)
    print(f"{sum(p.numel() for p in network.parameters())} parameters", flush=True)
    for epoch in range(options.epochs):
        network.train()
        losses = []
        order = torch.randperm(len(faces), generator=generator)
        for chosen in order[: len(order) // options.batch * options.batch].split(options.batch):
            images = augmented(prepared(faces[chosen]), generator)
            loss = arcface(network(images), weights, chosen // options.views)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise SystemExit(f"the loss is {losses[-1]} in epoch {epoch + 1}")
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}; {validate(network, unseen)}", flush=True)
        save_weights(network, options.output)


if __name__ == "__main__":
    main()
