"""Write the table of docs/budget.md: every network of the paper, counted by us from torch and from its ONNX export.

    .venv/bin/python tools/write_budget_table.py docs/budget.md

Only what stands between the two marks is replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vidface.backbones.budget import read_budget
from vidface.backbones.budget_onnx import graph_budget
from vidface.backbones.costs import Layer
from vidface.backbones.mobilefacenet import MobileFaceNet, build
from vidface.backbones.onnx_graph import onnx_model
from vidface.backbones.spec import STEPS

BEGIN, END = "<!-- table: tools/write_budget_table.py -->", "<!-- end of table -->"
# Table 2 of the paper: FLOPs and size as printed.
PRINTED = {
    "step0": ("933.3M", "18M"),
    "step1": ("1G", "18M"),
    "step2": ("1G", "18M"),
    "step3": ("1G", "19M"),
    "step4": ("998.4M", "20M"),
    "step5": ("976.6M", "20M"),
    "y1": ("-", "-"),
}
HEAD = (
    "network",
    "paper: FLOPs",
    "paper: size",
    "FLOPs, organisers' counter",
    "MACs",
    "2 x MACs",
    "parameters",
    "float32",
    "dimension",
    "ONNX: FLOPs, organisers' counter",
    "ONNX: parameters",
    "ONNX as it is: FLOPs, organisers' counter",
    "ONNX as it is: float32",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", type=Path, help="docs/budget.md")
    path: Path = parser.parse_args().page
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


def table() -> str:
    """The table as Markdown; the last four columns are counted from the exported graph."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row(name, *printed) for name, printed in PRINTED.items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def row(name: str, flops: str, size: str) -> tuple[str, ...]:
    definition = read_budget(name)
    network = build(STEPS[name]).eval()
    assert isinstance(network, MobileFaceNet)
    exported = graph_budget(onnx_model(network, STEPS[name], (112, 112)), name)
    assert exported.as_stored is not None
    return (
        name,
        flops,
        size,
        millions(definition.flops),
        millions(definition.macs),
        millions(2 * definition.macs),
        f"{definition.parameters / 1e6:.3f}M",
        sizes(definition.layers),
        str(definition.dimension),
        millions(exported.flops),
        f"{exported.parameters / 1e6:.3f}M",
        millions(sum(layer.flops for layer in exported.as_stored)),
        sizes(exported.as_stored),
    )


def millions(number: int) -> str:
    return f"{number / 1e6:.2f}M"


def sizes(layers: tuple[Layer, ...]) -> str:
    size = 4 * sum(layer.parameters for layer in layers)
    return f"{size / 2**20:.2f} MiB ({size / 1e6:.2f} MB)"


if __name__ == "__main__":
    main()
