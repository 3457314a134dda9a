from __future__ import annotations

import dataclasses
import functools
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from counting import layers_seen, organisers_count, stored_numbers, torch_flops
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import CARD, TINY, tiny_onnx, tiny_torch, write_card

from vidface.backbones.budget import LIMITS, exceeded, read_budget, spec_budget
from vidface.backbones.costs import Budget, Layer
from vidface.backbones.mobilefacenet import build
from vidface.backbones.spec import STEPS, Spec, parse_spec
from vidface.errors import ModelError

# FLOPs on the organisers' counter, MACs and parameters in millions, MiB in float32, dimension.
COSTS = {
    "step0": (933.34, 468.83, 2.035, 7.76, 256),
    "y2": (933.34, 468.83, 2.035, 7.76, 256),
    "step1": (1077.30, 540.86, 4.381, 16.71, 256),
    "step2": (1041.87, 523.06, 4.660, 17.78, 256),
    "step3": (1001.94, 502.95, 4.908, 18.72, 256),
    "step4": (988.42, 496.16, 5.117, 19.52, 256),
    "step5": (976.59, 490.23, 5.207, 19.86, 282),
}


named = functools.cache(read_budget)


@pytest.mark.parametrize("name", COSTS)
def test_every_row_of_table_2(name: str) -> None:
    flops, macs, parameters, mib, dimension = COSTS[name]
    budget = named(name)
    assert budget.flops / 1e6 == pytest.approx(flops, abs=0.0051)
    assert budget.macs / 1e6 == pytest.approx(macs, abs=0.0051)
    assert budget.parameters / 1e6 == pytest.approx(parameters, abs=0.00051)
    assert budget.mib == pytest.approx(mib, abs=0.0051)
    assert (budget.dimension, budget.input_size, budget.not_counted) == (dimension, (112, 112), ())


@pytest.mark.parametrize("name", ["y1", "step5"])
def test_the_counters_of_others_agree(name: str) -> None:
    network = build(STEPS[name])
    budget = named(name)
    assert (budget.flops, budget.macs) == organisers_count(network)
    assert 2 * budget.macs == torch_flops(network, torch.zeros(1, 3, 112, 112))
    assert budget.parameters == stored_numbers(network)
    assert budget.trainable == sum(p.numel() for p in network.parameters() if p.requires_grad)


rows = st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 3), st.sampled_from([1, 1, 2]))
specs = st.builds(
    Spec,
    stem=st.integers(1, 9),
    blocks=st.lists(rows, min_size=1, max_size=3).map(tuple),
    head=st.integers(1, 9),
    dimension=st.integers(1, 9),
    se=st.booleans(),
    depthwise_stem=st.booleans(),
)


@settings(max_examples=12)
@given(spec=specs, height=st.integers(1, 3), width=st.integers(1, 3))
def test_any_network_costs_what_an_image_through_it_costs(spec: Spec, height: int, width: int) -> None:
    size = (height * spec.stride, width * spec.stride)
    network = build(spec, size)
    budget = spec_budget(spec, size, "any")
    assert (budget.flops, budget.macs) == organisers_count(network, size)
    assert budget.parameters == stored_numbers(network)
    assert budget.trainable == sum(p.numel() for p in network.parameters())
    kinds = {"Conv2d": "Conv"}
    seen = [
        (name, kinds.get(kind, kind), shape, count) for name, kind, shape, count in layers_seen(network, size)
    ]
    assert [(each.name, each.op.split()[0], each.output, each.parameters) for each in budget.layers] == seen


def test_rows_worked_out_by_hand() -> None:
    """Table 1 at 112x112: the stem, the first depthwise convolution, the global one, the embedding."""
    layers = {layer.name: layer for layer in named("step5").layers}
    depthwise = ((2 * 56 * 9 - 1) * 56 * 56, 56 * 9 * 56 * 56)
    for layer in (
        Layer("stem.0", "Conv 3x3/2", (24, 56, 56), 24 * 27, 53 * 56 * 56 * 24, 27 * 56 * 56 * 24),
        Layer("blocks.0.depthwise.0", "Conv 3x3 depthwise", (56, 56, 56), 56 * 9, *depthwise),
        Layer("gdc.0", "Conv 7x7 depthwise", (512, 1, 1), 512 * 49, 2 * 512 * 49 - 1, 512 * 49),
        Layer("fc", "Linear", (282,), 513 * 282, 2 * 512 * 282, 512 * 282),
    ):
        assert layers[layer.name] == layer


def test_a_name_is_counted_without_torch() -> None:
    code = "import sys; from vidface.backbones.budget import read_budget; read_budget('step5')"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_input_size() -> None:
    budget = read_budget("y1", (112, 96))
    assert (budget.flops, budget.macs) == organisers_count(build(STEPS["y1"], (112, 96)), (112, 96))
    with pytest.raises(ModelError, match="100x112: each side must be a multiple of 16"):
        read_budget("y1", (100, 112))


def test_the_table_of_the_docs_is_what_the_tool_writes_today() -> None:
    root = Path(__file__).resolve().parents[2]
    tool = runpy.run_path(str(root / "tools" / "write_budget_table.py"))
    text = (root / "docs" / "budget.md").read_text(encoding="utf-8")
    table = text.partition(tool["BEGIN"])[2].partition(tool["END"])[0]
    assert table.strip() == tool["table"]()


# ---- limits


def budget_of(flops: int = 0, parameters: int = 0, dimension: int = 1) -> Budget:
    return Budget("made up", (112, 112), dimension, (Layer("a", "Conv", (1,), parameters, flops, 0),))


@pytest.mark.parametrize(
    ("limits", "within", "over", "text"),
    [
        ("light", {"flops": 10**9}, {"flops": 10**9 + 1}, r"1,000\.00M, 0\.00M more than the 1,000M"),
        ("light", {"flops": 10**9}, {"flops": 1_077_300_000}, r"1,077\.30M, 77\.30M more than the 1,000M"),
        ("light", {"parameters": 5 * 2**20 - 1}, {"parameters": 5 * 2**20}, r"20\.00 MiB, 0\.00 MiB more"),
        ("light", {"dimension": 512}, {"dimension": 600}, "dimension: 600, 88 more than the 512 allowed"),
        ("large", {"flops": 30 * 10**9}, {"flops": 31 * 10**9}, r"1,000\.00M more than the 30,000M allowed"),
        ("large", {"parameters": 10**9}, {"dimension": 513}, "1 more than the 512"),
    ],
)
def test_each_limit_holds_up_to_its_edge(
    limits: str, within: dict[str, int], over: dict[str, int], text: str
) -> None:
    assert exceeded(budget_of(**within), LIMITS[limits]) == []
    (excess,) = exceeded(budget_of(**over), LIMITS[limits])
    assert excess.value >= excess.allowed
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(excess.text)


def test_all_exceeded_limits_are_named() -> None:
    found = exceeded(budget_of(2 * 10**9, 10**7, 1024), LIMITS["light"])
    assert [excess.limit for excess in found] == ["flops", "size", "dimension"]


def test_which_steps_the_light_track_lets_in() -> None:
    over = {name for name in STEPS if exceeded(named(name), LIMITS["light"])}
    assert over == {"step1", "step2", "step3"}


# ---- what may be named


def test_a_card_its_weights_and_its_table_of_widths_cost_the_same(tmp_path: Path) -> None:
    weights = tiny_torch(tmp_path)
    wanted = spec_budget(parse_spec(TINY), (16, 32), "tiny")
    for path in (weights, weights.with_suffix(".toml")):
        found = read_budget(str(path))
        assert found == dataclasses.replace(wanted, name=str(path))


def test_a_card_beside_an_onnx_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    tiny_onnx(path, size=("H", "W"))
    write_card(path)
    assert read_budget(str(path)).macs == 6 * 3 * 16 * 32
    assert read_budget(str(path.with_suffix(".toml"))).macs == 6 * 3 * 16 * 32


def test_a_file_named_like_a_network_is_reached_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_onnx(tmp_path / "step5")
    assert read_budget("step5").dimension == 282
    assert read_budget("./step5").dimension == 6


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("step9", "step9: no such file, and no name of a network: known are y1, y2, step0"),
        ("none.onnx", "none.onnx: model cannot be read: No such file"),
        ("none.toml", "none.toml: no such model card"),
        ("", "model cannot be read: Is a directory"),
        ("alone.toml", "names no architecture, and there is no alone.onnx beside it"),
        ("broken.toml", "not a readable TOML card"),
        ("huge.toml", "architecture: 1000000000 blocks, up to 32 channels wide: at most 1000"),
        ("wide.toml", "its card: architecture: 1 blocks, up to 1000000000 channels wide: at most 1000"),
        ("wrong.toml", "wrong.toml: its card says dimension 7, its architecture 6"),
        ("bare.safetensors", "its card bare.toml must name an architecture"),
        ("other.safetensors", "weights of another network"),
        ("old.pth", "can run code when it is loaded: refused"),
        ("text.onnx", "not an ONNX model, or a damaged one"),
    ],
)
def test_what_cannot_be_counted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_card(tmp_path / "alone.onnx")
    (tmp_path / "broken.toml").write_text("name =")
    write_card(tmp_path / "huge.x", architecture={**TINY, "blocks": [[8, 8, 10**9, 1]]})
    write_card(tmp_path / "wide.x", architecture={**TINY, "blocks": [[10**9, 8, 1, 1]]})
    write_card(tmp_path / "wrong.x", architecture=TINY, dimension=7)
    tiny_torch(tmp_path).rename(tmp_path / "bare.safetensors")
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "bare.safetensors").read_bytes())
    write_card(tmp_path / "other.x", architecture={**TINY, "head": 33})
    (tmp_path / "old.pth").write_bytes(b"\x80\x02}q\x00.")
    (tmp_path / "text.onnx").write_text("no model\n")
    with pytest.raises(ModelError, match=message) as caught:
        read_budget(model)
    assert "\n" not in str(caught.value)


def test_a_card_is_not_contradicted(tmp_path: Path) -> None:
    path = tiny_torch(tmp_path)
    assert read_budget(str(path), (16, 32)).input_size == tuple(CARD["input_size"])
    with pytest.raises(ModelError, match=r"input_size is \[16, 32\], but the option says \[32, 32\]"):
        read_budget(str(path), (32, 32))
