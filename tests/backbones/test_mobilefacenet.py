from __future__ import annotations

import pytest
import torch
from counting import organisers_count
from small_models import TINY, stirred
from torch import nn

from vidface.backbones.mobilefacenet import build, fold
from vidface.backbones.spec import STEPS, parse_spec
from vidface.errors import ModelError


def test_step_5_is_table_1_line_by_line() -> None:
    printed = [(56, 24, 2, 1), (116, 56, 1, 2), (116, 56, 6, 1), (248, 124, 1, 2)]
    printed += [(248, 124, 15, 1), (512, 256, 1, 2), (256, 256, 24, 1)]
    spec = STEPS["step5"]
    assert (spec.stem, list(spec.blocks), spec.head, spec.dimension) == (24, printed, 512, 282)
    assert sum(n for _, _, n, _ in spec.blocks) == len(build(spec).get_submodule("blocks"))  # type: ignore[arg-type]


def test_y1_is_the_published_mobilefacenet() -> None:
    # Chen et al. 2018, table 1: about one million parameters and 221M multiply-adds.
    network = build(STEPS["y1"])
    assert organisers_count(network)[1] / 1e6 == pytest.approx(221, abs=0.1)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(1.0, abs=0.05)


def test_a_block_computes_figure_2() -> None:
    """A whole small network again, by torch.nn.functional alone, from its state's names."""
    spec = parse_spec(TINY)
    network = stirred(spec, (16, 32))
    state = network.state_dict()
    x = torch.randn(3, 3, 16, 32, generator=torch.Generator().manual_seed(0))

    def conv(name: str, x: torch.Tensor, stride: int = 1, act: bool = True) -> torch.Tensor:
        weight = state[f"{name}.0.weight"]
        depthwise = weight.shape[1] == 1
        padding = 1 if weight.shape[2:] == (3, 3) else 0
        x = nn.functional.conv2d(x, weight, None, stride, padding, 1, len(weight) if depthwise else 1)
        mean, var = state[f"{name}.1.running_mean"], state[f"{name}.1.running_var"]
        scale = state[f"{name}.1.weight"] / (var + 1e-5).sqrt()
        x = (x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.1.bias"][:, None, None]
        return torch.where(x > 0, x, x * state[f"{name}.2.weight"][:, None, None]) if act else x

    y = conv("stem", x, 2)
    number = 0
    for _, c, n, s in spec.blocks:
        for i in range(n):
            name, stride = f"blocks.{number}", s if i == 0 else 1
            z = conv(
                f"{name}.project", conv(f"{name}.depthwise", conv(f"{name}.expand", y), stride), act=False
            )
            squeezed = z.mean((2, 3)) @ state[f"{name}.se.gate.1.weight"][:, :, 0, 0].T
            squeezed = squeezed + state[f"{name}.se.gate.1.bias"]
            assert squeezed.shape[1] == max(c // 16, 1)
            squeezed = torch.where(squeezed > 0, squeezed, squeezed * state[f"{name}.se.gate.2.weight"])
            gate = (
                squeezed @ state[f"{name}.se.gate.3.weight"][:, :, 0, 0].T + state[f"{name}.se.gate.3.bias"]
            )
            z = z * torch.sigmoid(gate)[:, :, None, None]
            y = z + y if stride == 1 else z
            number += 1
    y = conv("gdc", conv("head", y), act=False).flatten(1)
    y = y @ state["fc.weight"].T + state["fc.bias"]
    y = (y - state["bn.running_mean"]) / (state["bn.running_var"] + 1e-5).sqrt()
    y = y * state["bn.weight"] + state["bn.bias"]
    with torch.inference_mode():
        assert torch.allclose(network(x), y, atol=1e-5)


def test_the_seed_alone_decides_the_weights() -> None:
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(
            torch.cat([t.flatten().float() for t in build(parse_spec(TINY), (32, 32)).state_dict().values()])
        )
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_folding_changes_nothing() -> None:
    network = stirred(STEPS["step5"])
    x = torch.randn(4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = network(x)
        folded = fold(network)
        after = folded(x)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    assert torch.linalg.norm(after - before, dim=1).div(torch.linalg.norm(before, dim=1)).max() < 1e-5


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("step9", "'step9' is unknown: known are y1, y2, step0"),
        ({**TINY, "ratio": 4}, "unknown ratio"),
        ({"stem": 8}, "blocks, head, dimension|blocks, dimension, head"),
        ({**TINY, "blocks": [[16, 8, 1]]}, "row 1 of blocks"),
        ({**TINY, "blocks": [[16, 8, 1, 3]]}, "row 1 of blocks"),
        ({**TINY, "blocks": 3}, "list of rows"),
        ({**TINY, "blocks": []}, "at least one row"),
        ({**TINY, "stem": "8"}, "stem must be a positive"),
        ({**TINY, "stem": 0}, "stem must be a positive"),
        ({**TINY, "se": 1}, "se must be true or false"),
    ],
)
def test_a_bad_architecture_is_named(architecture: str | dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_spec(architecture)
