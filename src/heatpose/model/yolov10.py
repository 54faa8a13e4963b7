"""YOLOv10: boxes and classes of everything in an image, with no suppression of doubles afterwards.

After Wang et al., "YOLOv10: Real-Time End-to-End Object Detection" (arXiv 2405.14458). Two heads
see the same features. One learns from many matches per object and teaches the features; the other
learns from one match per object, does not change the features, and is the one that is deployed.

A pixel of the input spans [0, 1) here, as everywhere in the YOLO family, half a pixel beside the
convention of the rest of heatpose.
"""

import copy
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

YoloSize: TypeAlias = Literal["n", "s", "m", "b", "l", "x"]
STRIDES = (8, 16, 32)
N_BINS = 16  # of each side's distance, in units of the stride
MAX_DETECTIONS = 300


@dataclass(frozen=True)
class YoloConfig:
    """What a detector is made of."""

    n_classes: int
    size: YoloSize = "m"

    def __post_init__(self) -> None:
        if self.size not in _SCALES:
            raise ValueError(f"size must be one of {', '.join(_SCALES)}, got {self.size!r}")
        if self.n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {self.n_classes}")


class _Scale(NamedTuple):
    """How one of the sizes differs from the others."""

    depth: float  # times the blocks of each stage
    width: float  # times the channels
    most_channels: int  # before they are multiplied
    compact: frozenset[str]  # stages of compact inverted blocks (the paper's rank-guided design)
    large_kernel: bool = False  # 7 x 7 in those blocks: in small networks only (section 3.3)


_DEEP = frozenset({"stage32", "bottom16", "bottom32"})
_SCALES: dict[str, _Scale] = {
    "n": _Scale(1 / 3, 0.25, 1024, frozenset({"bottom32"}), large_kernel=True),
    "s": _Scale(1 / 3, 0.50, 1024, frozenset({"stage32", "bottom32"}), large_kernel=True),
    "m": _Scale(2 / 3, 0.75, 768, _DEEP),
    "b": _Scale(2 / 3, 1.00, 512, _DEEP | {"top16"}),
    "l": _Scale(1.0, 1.00, 512, _DEEP | {"top16"}),
    "x": _Scale(1.0, 1.25, 512, _DEEP | {"top16", "stage16"}),
}


class Decoded(NamedTuple):
    """The raw maps of all levels as one list of anchor points, float32."""

    boxes: Tensor  # left, top, right, bottom, (b, n, 4), px of the input
    logits: Tensor  # of each class, (b, n, n_classes)
    points: Tensor  # (x, y) of the anchor points, (n, 2), px of the input
    strides: Tensor  # px of the input, (n,)
    bins: Tensor  # logits of the sides' distances from the point, (b, n, 4, N_BINS)


class YoloV10(nn.Module):
    """The detector, with its two heads."""

    def __init__(self, config: YoloConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.size)
        self.neck = Neck(config.size)
        self.one2many: Head | None = Head(config)
        self.one2one = Head(config)

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        """Return the raw maps of both heads, to learn from.

        Args:
            images: (b, 3, h, w), RGB in [0, 1], h and w divisible by 32.

        Returns:
            ``one2many`` and ``one2one``, each with one map per level, strides 8, 16 and 32:
            (b, 4 * N_BINS + n_classes, h / stride, w / stride). See `decode_boxes`.
        """
        if self.one2many is None:
            raise ValueError("a deployed network has only one head: use detect")
        features = self.neck(self.backbone(images))
        return {
            "one2many": self.one2many(features),
            "one2one": self.one2one([level.detach() for level in features]),
        }

    def detect(self, images: Tensor, max_detections: int = MAX_DETECTIONS) -> Tensor:
        """Return what is seen in each image, best first.

        Args:
            images: (b, 3, h, w), RGB in [0, 1], h and w divisible by 32.
            max_detections: per image; of an image with fewer anchor points, as many as those.

        Returns:
            left, top, right, bottom in px of the input, score in [0, 1] and class index,
            (b, max_detections, 6).
        """
        found = decode_boxes(self.one2one(self.neck(self.backbone(images))))
        return best_detections(found.boxes, found.logits.sigmoid(), max_detections)

    def deployed(self) -> Self:
        """Return a copy for inference only: one head, batch norms folded, kernels merged."""
        network = copy.deepcopy(self).eval()
        network.one2many = None
        for module in network.modules():
            if isinstance(module, MultiKernel):
                module.merge()
        for module in network.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        return network.requires_grad_(False)


def decode_boxes(maps: list[Tensor]) -> Decoded:
    """Turn the raw maps of one head into boxes and logits.

    The distance of a side from its anchor point is the mean of a distribution over N_BINS whole
    strides (Li et al., "Generalized Focal Loss", arXiv 2006.04388, equation 3).

    Args:
        maps: one per level, (b, 4 * N_BINS + n_classes, h / stride, w / stride).
    """
    places = [_anchor_points(m, stride) for m, stride in zip(maps, STRIDES, strict=True)]
    points, strides = torch.cat([p for p, _ in places]), torch.cat([s for _, s in places])
    raw = torch.cat([m.flatten(2) for m in maps], dim=2).mT.float()  # (b, n, 64 + n_classes)
    bins, logits = raw[..., : 4 * N_BINS], raw[..., 4 * N_BINS :]
    bins = bins.view(*bins.shape[:2], 4, N_BINS)
    distances = bins.softmax(dim=3) @ torch.arange(N_BINS, device=raw.device, dtype=raw.dtype)
    near, far = (distances * strides[:, None]).chunk(2, dim=2)
    return Decoded(torch.cat([points - near, points + far], dim=2), logits, points, strides, bins)


def _anchor_points(level: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Return the centres of a map's cells, (n, 2), px of the input, and their strides, (n,)."""
    height, width = level.shape[2:]
    x = torch.arange(width, device=level.device, dtype=torch.float32) + 0.5
    y = torch.arange(height, device=level.device, dtype=torch.float32) + 0.5
    rows, cols = torch.meshgrid(y, x, indexing="ij")
    points = torch.stack([cols, rows], dim=2).flatten(0, 1) * stride
    return points, torch.full_like(points[:, 0], stride)


def best_detections(boxes: Tensor, scores: Tensor, most: int) -> Tensor:
    """Pick the best pairs of box and class of each image; a box may come with several classes.

    Args:
        boxes: (b, n, 4).
        scores: (b, n, n_classes).
        most: how many to pick.

    Returns:
        Box, score and class index, best first, (b, min(most, n), 6).
    """
    most = min(most, scores.shape[1])
    # The best pairs are among the boxes with the best classes: sorting few is quicker than all.
    nearest = scores.amax(dim=2).topk(most).indices[..., None]  # (b, most, 1)
    boxes = boxes.gather(1, nearest.expand(-1, -1, 4))
    scores = scores.gather(1, nearest.expand(-1, -1, scores.shape[2]))
    best, index = scores.flatten(1).topk(most)
    place = (index // scores.shape[2])[..., None].expand(-1, -1, 4)
    label = (index % scores.shape[2]).to(boxes.dtype)
    return torch.cat([boxes.gather(1, place), best[..., None], label[..., None]], dim=2)


class Backbone(nn.Module):
    """From the image to features at strides 8, 16 and 32."""

    def __init__(self, size: YoloSize) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = _channels(size)
        self.stem = ConvNorm(3, c2, 3, 2)
        self.down4 = ConvNorm(c2, c4, 3, 2)
        self.stage4 = _make_stage(size, "stage4", c4, c4, 3)
        self.down8 = ConvNorm(c4, c8, 3, 2)
        self.stage8 = _make_stage(size, "stage8", c8, c8, 6)
        self.down16 = Downsample(c8, c16)
        self.stage16 = _make_stage(size, "stage16", c16, c16, 6)
        self.down32 = Downsample(c16, c32)
        self.stage32 = _make_stage(size, "stage32", c32, c32, 3)
        self.pool = PyramidPool(c32)
        self.attend = PartialAttention(c32)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (b, 3, h, w) to features at strides 8, 16 and 32."""
        x8 = self.stage8(self.down8(self.stage4(self.down4(self.stem(images)))))
        x16 = self.stage16(self.down16(x8))
        x32 = self.attend(self.pool(self.stage32(self.down32(x16))))
        return x8, x16, x32


class Neck(nn.Module):
    """What is large tells what is small, then back (a path aggregation network)."""

    def __init__(self, size: YoloSize) -> None:
        super().__init__()
        _, _, c8, c16, c32 = _channels(size)
        self.top16 = _make_stage(size, "top16", c32 + c16, c16, 3, shortcut=False)
        self.top8 = _make_stage(size, "top8", c16 + c8, c8, 3, shortcut=False)
        self.down16 = ConvNorm(c8, c8, 3, 2)
        self.bottom16 = _make_stage(size, "bottom16", c8 + c16, c16, 3, shortcut=False)
        self.down32 = Downsample(c16, c16)
        self.bottom32 = _make_stage(size, "bottom32", c16 + c32, c32, 3, shortcut=False)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Map features at strides 8, 16 and 32 to the same shapes."""
        x8, x16, x32 = features
        top16 = self.top16(torch.cat([_twice_as_large(x32), x16], dim=1))
        out8 = self.top8(torch.cat([_twice_as_large(top16), x8], dim=1))
        out16 = self.bottom16(torch.cat([self.down16(out8), top16], dim=1))
        out32 = self.bottom32(torch.cat([self.down32(out16), x32], dim=1))
        return [out8, out16, out32]


class Head(nn.Module):
    """Boxes and, by a lighter branch, classes at each place of each level (section 3.3)."""

    def __init__(self, config: YoloConfig) -> None:
        super().__init__()
        channels = _channels(config.size)[2:]
        inside = max(64, channels[0] // 4)
        light = max(channels[0], min(config.n_classes, 100))
        self.boxes = nn.ModuleList(_box_branch(c, inside) for c in channels)
        self.classes = nn.ModuleList(
            _class_branch(c, light, config.n_classes, stride)
            for c, stride in zip(channels, STRIDES, strict=True)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map features at strides 8, 16 and 32 to raw maps, (b, 4 * N_BINS + n_classes, h, w)."""
        parts = zip(features, self.boxes, self.classes, strict=True)
        return [torch.cat([boxes(x), classes(x)], dim=1) for x, boxes, classes in parts]


def _box_branch(channels: int, inside: int) -> nn.Sequential:
    last = nn.Conv2d(inside, 4 * N_BINS, 1)
    nn.init.ones_(_bias(last))
    return nn.Sequential(ConvNorm(channels, inside, 3), ConvNorm(inside, inside, 3), last)


def _class_branch(channels: int, inside: int, n_classes: int, stride: int) -> nn.Sequential:
    last = nn.Conv2d(inside, n_classes, 1)
    # Begin with the scores that some five objects in an image of 640 x 640 px deserve.
    nn.init.constant_(_bias(last), math.log(5 / n_classes / (640 / stride) ** 2))
    return nn.Sequential(_separable(channels, inside), _separable(inside, inside), last)


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
        _bias(large).data += _bias(small).data  # folding put them there
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


def _channels(size: YoloSize) -> list[int]:
    """Return the channels at strides 2, 4, 8, 16 and 32."""
    scale = _SCALES[size]
    wanted = (min(c, scale.most_channels) * scale.width for c in (64, 128, 256, 512, 1024))
    return [8 * math.ceil(c / 8) for c in wanted]


def _make_stage(
    size: YoloSize, name: str, channels_in: int, channels: int, n_blocks: int, shortcut: bool = True
) -> Stage:
    scale, inside = _SCALES[size], channels // 2
    n_blocks = max(1, round(n_blocks * scale.depth))
    if name in scale.compact:
        blocks: list[nn.Module] = [
            CompactBlock(inside, scale.large_kernel) for _ in range(n_blocks)
        ]
    else:
        blocks = [Bottleneck(inside, shortcut) for _ in range(n_blocks)]
    return Stage(channels_in, channels, blocks)


def _separable(channels_in: int, channels: int) -> nn.Sequential:
    """Return a 3 x 3 convolution within each channel and a 1 x 1 one across them."""
    return nn.Sequential(
        ConvNorm(channels_in, channels_in, 3, groups=channels_in),
        ConvNorm(channels_in, channels, 1),
    )


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _twice_as_large(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
