from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch import Tensor, nn

from vidface.errors import StoreError
from vidface.training.checkpoint import load_checkpoint, optimiser_tensors, restore_optimiser, save_checkpoint

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    made = (torch.randn(shape, generator=generator) * 100).to(draw(st.sampled_from(TYPES)))
    if made.ndim == 4 and draw(st.booleans()):
        made = made.contiguous(memory_format=torch.channels_last)
    return made.transpose(0, -1) if made.ndim > 1 and draw(st.booleans()) else made


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.dictionaries(st.text(st.characters(categories=["L", "N"]), min_size=1), tensors(), max_size=4),
    st.dictionaries(st.text(), plain, max_size=4),
)
def test_round_trip_to_the_bit(tmp_path: Path, given: dict[str, Tensor], state: dict[str, Any]) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, given, state)
    found, again = load_checkpoint(path)
    assert again == state
    assert set(found) == set(given)
    for name, tensor in given.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        whole = tensor.contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), whole)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.safetensors"]


def test_it_is_a_plain_safetensors_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", {"x": nn.Parameter(torch.arange(3.0))}, {"epoch": 1})
    assert load_file(tmp_path / "a")["x"].tolist() == [0.0, 1.0, 2.0]
    header = (tmp_path / "a").read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert json.loads(json.loads(header[8 : 8 + length])["__metadata__"]["vidface"]) == {"epoch": 1}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: b"",
        lambda whole: whole[:7],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        lambda whole: b"\xff" * 8 + whole[8:],
        lambda whole: whole.replace(b"vidface", b"vidfake"),
    ],
)
def test_a_damaged_file(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.rand(50)}, {"epoch": 1})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StoreError) as raised:
        load_checkpoint(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.safetensors"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(StoreError, match="cannot be written"):
        save_checkpoint(tmp_path / "nowhere" / "a.safetensors", {}, {})


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.05),
}


def stepped(network: nn.Module, optimiser: torch.optim.Optimizer, steps: list[int]) -> None:
    for step in steps:
        x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        network(x.contiguous(memory_format=torch.channels_last)).square().mean().backward()
        optimiser.step()


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(256, 5)
    )
    return layers.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_an_optimiser_goes_on_to_the_same_weights(tmp_path: Path, kind: str) -> None:
    network = small_network()
    optimiser = OPTIMISERS[kind](network.parameters())
    stepped(network, optimiser, [1, 2, 3])
    save_checkpoint(
        tmp_path / "a", {**network.state_dict(), **optimiser_tensors(optimiser.state_dict())}, {"epoch": 1}
    )
    stepped(network, optimiser, [4, 5])

    resumed = small_network()
    other = OPTIMISERS[kind](resumed.parameters())
    saved, _ = load_checkpoint(tmp_path / "a")
    own = {name: saved.pop(name) for name in list(saved) if name not in resumed.state_dict()}
    resumed.load_state_dict(saved)
    other.load_state_dict(restore_optimiser(other.state_dict(), own))
    stepped(resumed, other, [4, 5])
    for one, two in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    # It cannot fail for want of a state: without it the weights are others.
    fresh = small_network()
    fresh.load_state_dict(saved)
    stepped(fresh, OPTIMISERS[kind](fresh.parameters()), [4, 5])
    assert not torch.equal(fresh[0].weight, network[0].weight)
