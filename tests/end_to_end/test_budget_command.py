"""`vidface budget` as a person or a script meets it."""

from __future__ import annotations

from pathlib import Path

from command_line import pooling_model, vidface


def test_the_light_track_lets_step_5_in() -> None:
    ran = vidface("budget", "step5", code=0)
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in ran.out.splitlines()}
    assert lines["FLOPs, challenge organisers' counter"] == "976.59M"
    assert lines["MACs"] == "490.23M"
    assert lines["2 x MACs"] == "980.45M"
    assert lines["parameters"] == "5.207M"
    assert lines["size in float32"] == "19.86 MiB (20.83 MB)"
    assert lines["size in float16"] == "9.93 MiB (10.41 MB)"
    assert lines["dimension"] == "282"
    assert "limits light: within (its 20 MB are read as MiB)" in ran.out
    assert ran.err == ""


def test_over_the_limit_ends_with_1_and_says_by_how_much() -> None:
    ran = vidface("budget", "step1", code=1)
    assert (
        "limits light: over: FLOPs on the organisers' counter: 1,077.30M, 77.30M more than the 1,000M allowed"
        in ran.out
    )
    script = vidface("budget", "step1", "--limits", "large", "--json", "--layers", code=0).json
    assert (script["limits"], script["within"], script["over"]) == ("large", True, [])
    assert sum(layer["flops"] for layer in script["layers"]) == script["flops_organisers"]
    assert script["input_size"] == [112, 112] and script["two_macs"] == 2 * script["macs"]
    assert script["as_stored"] is None and script["trainable"] < script["parameters"]
    assert script["bytes_float32"] == 4 * sum(layer["parameters"] for layer in script["layers"])


def test_an_onnx_model_with_a_row_for_every_layer(shared_data: Path) -> None:
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    ran = vidface("budget", model, "--layers", "--limits", "none", code=0)
    assert sum(" Conv " in line for line in ran.out.splitlines()) == 51
    assert "Conv 3x3/2" in ran.out and "64x56x56" in ran.out
    assert "limits" not in ran.out


def test_what_was_not_counted_is_never_within(tmp_path: Path) -> None:
    import onnx

    path = pooling_model(tmp_path / "cells.onnx")
    assert vidface("budget", path, "--json", code=0).json["macs"] == 0
    model = onnx.load(path)
    model.graph.node[1].op_type = "Flattened"
    model.graph.node[1].domain = "com.vendor"
    model.opset_import.add(domain="com.vendor", version=1)
    onnx.save(model, path)
    found = vidface("budget", path, "--json", code=1).json
    assert (found["at_least"], found["within"], found["over"]) == (True, None, [])
    assert found["not_counted"] == ["node 1 (com.vendor.Flattened)"]
    ran = vidface("budget", path, code=1)
    assert "at least 0.00M" in ran.out
    assert "not shown to be within: not all was counted" in ran.out


def test_wrong_usage_ends_with_2() -> None:
    for arguments in (["y1", "--limits", "heavy"], ["y1", "--input-size", "112"]):
        assert "Traceback" not in vidface("budget", *arguments, code=2).err
