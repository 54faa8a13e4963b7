"""What YOLOv10 is built of: convolutions, blocks and stages, and how wide and deep each size is.

After Wang et al., "YOLOv10: Real-Time End-to-End Object Detection" (arXiv 2405.14458).
"""

import math
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

YoloSize: TypeAlias = Literal["n", "s", "m", "b", "l", "x"]


class _Scale(NamedTuple):
    """How one of the sizes differs from the others."""

    depth: float  # times the blocks of each stage
    width: float  # times the channels
    most_channels: int  # before they are multiplied
    compact: frozenset[str]  # stages of compact inverted blocks (the paper's rank-guided design)
    large_kernel: bool = False  # 7 x 7 in those blocks: in small networks only (section 3.3)


_DEEP = frozenset({"stage32", "bottom16", "bottom32"})
SIZES: dict[str, _Scale] = {
    "n": _Scale(1 / 3, 0.25, 1024, frozenset({"bottom32"}), large_kernel=True),
    "s": _Scale(1 / 3, 0.50, 1024, frozenset({"stage32", "bottom32"}), large_kernel=True),
    "m": _Scale(2 / 3, 0.75, 768, _DEEP),
    "b": _Scale(2 / 3, 1.00, 512, _DEEP | {"top16"}),
    "l": _Scale(1.0, 1.00, 512, _DEEP | {"top16"}),
    "x": _Scale(1.0, 1.25, 512, _DEEP | {"top16", "stage16"}),
}


class ConvNorm(nn.Module):
    """A convolution, batch normalisation and SiLU."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn: nn.Module = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
        self.activation = nn.SiLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / stride, w / stride)."""
        out: Tensor = self.activation(self.bn(self.conv(x)))
        return out

    def fold(self) -> None:
        """Take the batch norm, as it is in eval mode, into the convolution; for inference only."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class Bottleneck(nn.Module):
    """Two 3 x 3 convolutions, beside a shortcut or not."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.second = ConvNorm(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, h, w) to the same shape."""
        out: Tensor = self.second(self.first(x))
        return x + out if self.shortcut else out


class CompactBlock(nn.Module):
    """The compact inverted block: cheap within channels, 1 x 1 across them (figure 3b)."""

    def __init__(self, channels: int, large_kernel: bool) -> None:
        super().__init__()
        wide = 2 * channels
        spread = MultiKernel(wide) if large_kernel else ConvNorm(wide, wide, 3, groups=wide)
        self.layers = nn.Sequential(
            ConvNorm(channels, channels, 3, groups=channels),
            ConvNorm(channels, wide, 1),
            spread,
            ConvNorm(wide, channels, 1),
            ConvNorm(channels, channels, 3, groups=channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, h, w) to the same shape."""
        out: Tensor = x + self.layers(x)
        return out


class MultiKernel(nn.Module):
    """A 7 x 7 depthwise convolution that is trained with a 3 x 3 one beside it (RepVGG)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.large = ConvNorm(channels, channels, 7, groups=channels, activate=False)
        self.small: ConvNorm | None = ConvNorm(
            channels, channels, 3, groups=channels, activate=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, h, w) to the same shape."""
        out: Tensor = self.large(x)
        return functional.silu(out if self.small is None else out + self.small(x))

    def merge(self) -> None:
        """Take the small kernel into the large one; for inference only."""
        if self.small is None:
            return
        self.large.fold()
        self.small.fold()
        large, small = self.large.conv, self.small.conv
        large.weight.data += functional.pad(small.weight.data, [2, 2, 2, 2])
        bias_of(large).data += bias_of(small).data  # folding put them there
        self.small = None


class Stage(nn.Module):
    """Blocks of which every one's output is kept, joined by a 1 x 1 convolution (C2f)."""

    def __init__(self, channels_in: int, channels: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.enter = ConvNorm(channels_in, channels, 1)
        self.blocks = nn.ModuleList(blocks)  # on half of the channels
        self.leave = ConvNorm(channels + len(blocks) * (channels // 2), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h, w)."""
        parts = list(self.enter(x).chunk(2, dim=1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        out: Tensor = self.leave(torch.cat(parts, dim=1))
        return out


class Downsample(nn.Module):
    """Half the resolution, with channels changed first and pixels joined after (section 3.3)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.pointwise = ConvNorm(channels_in, channels, 1)
        self.depthwise = ConvNorm(channels, channels, 3, 2, groups=channels, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / 2, w / 2)."""
        out: Tensor = self.depthwise(self.pointwise(x))
        return out


class PyramidPool(nn.Module):
    """Maxima over 5, 9 and 13 pixels beside the features themselves (SPPF)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvNorm(channels, channels // 2, 1)
        self.leave = ConvNorm(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, h, w) to the same shape."""
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, stride=1, padding=2))
        out: Tensor = self.leave(torch.cat(parts, dim=1))
        return out


class PartialAttention(nn.Module):
    """Self-attention on half of the channels (figure 3c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = ConvNorm(channels, channels, 1)
        self.attention = Attention(half)
        self.feedforward = nn.Sequential(
            ConvNorm(half, 2 * half, 1), ConvNorm(2 * half, half, 1, activate=False)
        )
        self.leave = ConvNorm(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, h, w) to the same shape."""
        kept, seen = self.enter(x).chunk(2, dim=1)
        seen = seen + self.attention(seen)
        seen = seen + self.feedforward(seen)
        out: Tensor = self.leave(torch.cat([kept, seen], dim=1))
        return out


class Attention(nn.Module):
    """Every pixel asks every other; keys have half the channels of values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.n_heads = channels // 64
        self.value_size = channels // self.n_heads
        self.key_size = self.value_size // 2
        wide = self.n_heads * (2 * self.key_size + self.value_size)
        self.qkv = ConvNorm(channels, wide, 1, activate=False)
        self.position = ConvNorm(channels, channels, 3, groups=channels, activate=False)
        self.out = ConvNorm(channels, channels, 1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, h, w) to the same shape."""
        sizes = [self.key_size, self.key_size, self.value_size]
        heads = self.qkv(x).flatten(2).unflatten(1, (self.n_heads, sum(sizes)))
        query, key, value = heads.split(sizes, dim=2)  # (b, heads, size, h * w)
        weights = (query.mT @ key * self.key_size**-0.5).softmax(dim=3)
        seen = (value @ weights.mT).flatten(1, 2).view_as(x)
        out: Tensor = self.out(seen + self.position(value.flatten(1, 2).view_as(x)))
        return out


def channels_of(size: YoloSize) -> list[int]:
    """Return the channels at strides 2, 4, 8, 16 and 32."""
    scale = SIZES[size]
    wanted = (min(c, scale.most_channels) * scale.width for c in (64, 128, 256, 512, 1024))
    return [8 * math.ceil(c / 8) for c in wanted]


def make_stage(
    size: YoloSize, name: str, channels_in: int, channels: int, n_blocks: int, shortcut: bool = True
) -> Stage:
    """Return the stage of that name in the network of that size.

    Args:
        size: of the network.
        name: of the stage, which says whether its blocks are compact ones.
        channels_in: channels.
        channels: that it gives.
        n_blocks: in the largest networks.
        shortcut: whether blocks that are not compact have one.
    """
    scale, inside = SIZES[size], channels // 2
    n_blocks = max(1, round(n_blocks * scale.depth))
    if name in scale.compact:
        blocks: list[nn.Module] = [
            CompactBlock(inside, scale.large_kernel) for _ in range(n_blocks)
        ]
    else:
        blocks = [Bottleneck(inside, shortcut) for _ in range(n_blocks)]
    return Stage(channels_in, channels, blocks)


def bias_of(conv: nn.Conv2d) -> Tensor:
    """Return the bias of a convolution that has one."""
    assert conv.bias is not None
    return conv.bias
