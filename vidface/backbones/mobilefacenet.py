"""MobileFaceNet and its deeper descendants in torch: `build` turns a spec, table 1 of the paper, into a network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from vidface.backbones.spec import Spec


def conv_bn(
    cin: int,
    cout: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    depthwise: bool = False,
    act: bool = True,
) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, unless it is linear, PReLU with a slope per channel.

    Odd kernels up to 3x3 keep the size (padding 1 for 3x3); a kernel given as (height, width) is global: no
    padding.
    """
    padding = kernel // 2 if isinstance(kernel, int) else 0
    groups = cin if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
    ]
    if act:
        layers.append(nn.PReLU(cout))
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate in (0, 1) computed from all channels' means; ratio 16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(channels // 16, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.PReLU(squeezed),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        gated: Tensor = x * self.gate(x)
        return gated


class Block(nn.Module):
    """Figure 2: expand to t, depthwise 3x3, project linearly to c, SE; added to its input if shapes agree."""

    def __init__(self, cin: int, t: int, c: int, stride: int, *, se: bool) -> None:
        super().__init__()
        self.shortcut = stride == 1 and cin == c
        self.expand = conv_bn(cin, t, 1)
        self.depthwise = conv_bn(t, t, 3, stride, depthwise=True)
        self.project = conv_bn(t, c, 1, act=False)
        self.se = SqueezeExcite(c) if se else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, cin, H, W] -> [N, c, H / stride, W / stride]."""
        y: Tensor = self.se(self.project(self.depthwise(self.expand(x))))
        return x + y if self.shortcut else y


class MobileFaceNet(nn.Module):
    """The network of a spec; `build` makes it."""

    def __init__(self, spec: Spec, input_size: tuple[int, int]) -> None:
        super().__init__()
        height, width = input_size
        c = spec.stem
        self.stem = conv_bn(3, c, 3, stride=2)
        self.depthwise_stem = conv_bn(c, c, 3, depthwise=True) if spec.depthwise_stem else nn.Identity()
        self.blocks = nn.Sequential()
        for t, cout, n, s in spec.blocks:
            for i in range(n):
                self.blocks.append(Block(c, t, cout, s if i == 0 else 1, se=spec.se))
                c = cout
        self.head = conv_bn(c, spec.head, 1)
        kernel = (height // spec.stride, width // spec.stride)
        self.gdc = conv_bn(spec.head, spec.head, kernel, depthwise=True, act=False)
        self.fc = nn.Linear(spec.head, spec.dimension)
        self.bn = nn.BatchNorm1d(spec.dimension)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised faces float32 [N, 3, H, W] -> embeddings float32 [N, D], not normalised."""
        x = self.blocks(self.depthwise_stem(self.stem(x)))
        x = self.gdc(self.head(x))
        embeddings: Tensor = self.bn(self.fc(x.flatten(1)))
        return embeddings


def build(spec: Spec, input_size: tuple[int, int] = (112, 112)) -> MobileFaceNet:
    """The network of a spec with fresh weights, in training mode.

    The weights depend on ``torch.manual_seed`` alone. Input: float32 [N, 3, H, W], normalised as the card says;
    output: float32 [N, D], not L2-normalised. The global depthwise kernel covers the last feature map, (H / 16, W /
    16) for the networks of the paper.

    Raises:
        ModelError: the input size, (height, width) in pixels, is not a multiple of the network's stride.
    """
    spec.check_input(input_size)
    network = MobileFaceNet(spec, input_size)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # Fan-in, which for a depthwise convolution is 9: torch's fan-out ignores the groups.
            nn.init.kaiming_normal_(module.weight, a=0.25, mode="fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def fold(network: nn.Module) -> nn.Module:
    """The network for inference, every batch normalisation folded into the layer before it.

    The result agrees with the network in ``eval()`` to rounding. The network itself is used up.
    """
    network.eval()
    for parent in list(network.modules()):
        if isinstance(parent, nn.Sequential) and len(parent) > 1:
            conv, bn = parent[0], parent[1]
            if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                parent[0], parent[1] = fuse_conv_bn_eval(conv, bn), nn.Identity()
    fc, bn = network.get_submodule("fc"), network.get_submodule("bn")
    if isinstance(fc, nn.Linear) and isinstance(bn, nn.BatchNorm1d):
        network.set_submodule("fc", fuse_linear_bn_eval(fc, bn))
        network.set_submodule("bn", nn.Identity())
    return network
