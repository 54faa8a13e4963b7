"""What a keypoint network does with depth beside colours.

    none    nothing: it takes colours alone
    early   depth enters the colour trunk's first convolution, as further channels
    late    depth has a trunk of its own; its features join those of colours before the decoder
    cross   the two trunks exchange features after each of their first three stages as well
    depth   depth alone, through the same trunk, decoder and output weights

Where nothing was measured, a network of colours and depth is, number for number, the network of
colours that its trunk, decoder and output weights make: depth of zeros gives the first convolution
of `early` nothing to add, and in `late` and `cross` what depth adds to colours is weighted by the
share of a feature's pixels that were measured. All that depth adds begins as zero, so that a
network which starts from one of colours begins as that one, with depth or without.
"""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from heatpose.model.resnet import WIDTH, Activation, ResNet18

Fusion: TypeAlias = Literal["none", "early", "late", "cross", "depth"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
DEPTH_CHANNELS = 2  # relative depth, and whether it was measured: 1 or 0; both 0 where it was not


class DepthStem(nn.Module):
    """Early fusion: the part of a first convolution of five channels that sees the depth.

    The other part is the trunk's own, so that pretrained weights fit it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(DEPTH_CHANNELS, WIDTH, 7, stride=2, padding=3, bias=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, trunk: ResNet18, colours: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
        """Return the four stages of the trunk; see `TwoTrunks`."""
        stages: tuple[Tensor, ...] = trunk(colours, self.conv(depth))
        return stages


class TwoTrunks(nn.Module):
    """Late and cross fusion: a narrower ResNet-18 for depth beside the one for colours."""

    def __init__(
        self, channels: tuple[int, ...], width: int, activation: Activation, exchange: bool
    ) -> None:
        """Take the channels of the colour trunk's stages, and the width of the depth's own."""
        super().__init__()
        self.exchange = exchange
        self.trunk = ResNet18(activation, DEPTH_CHANNELS, width, len(channels))
        pairs = list(zip(channels, self.trunk.channels, strict=True))
        self.to_colours = nn.ModuleList(Mix(colour, depth) for colour, depth in pairs)
        mixes = [Mix(depth, colour) for colour, depth in pairs[:-1]] if exchange else []
        self.to_depth = nn.ModuleList(mixes)

    def forward(self, trunk: ResNet18, colours: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
        """Return features at strides 4, 8, 16 and 32 with the channels of the colour trunk.

        Args:
            trunk: the colour trunk.
            colours: (b, 3, s, s), normalised.
            depth: (b, 2, s, s).
        """
        x, y, mixed = trunk.stem(colours), self.trunk.stem(depth), []
        for level, layers in enumerate(zip(trunk.layers, self.trunk.layers, strict=True)):
            x, y = layers[0](x), layers[1](y)
            measured = functional.avg_pool2d(depth[:, 1:], 4 * 2**level)  # share of the pixels
            mixed.append(self.to_colours[level](x, y, measured))
            if self.exchange and level < len(self.to_depth):
                x, y = mixed[level], self.to_depth[level](y, x)
        return tuple(mixed)


class Mix(nn.Module):
    """Adds to some features a linear mixture, by a 1 x 1 convolution, of them and others."""

    def __init__(self, channels: int, others: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels + others, channels, 1, bias=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, features: Tensor, others: Tensor, weight: Tensor | None = None) -> Tensor:
        """Map (b, channels, h, w) and (b, others, h, w) to (b, channels, h, w).

        Args:
            features: what is added to.
            others: what else is mixed.
            weight: of what is added, (b, 1, h, w); None for 1.
        """
        added: Tensor = self.conv(torch.cat([features, others], dim=1))
        return features + (added if weight is None else weight * added)
