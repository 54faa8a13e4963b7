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

from heatpose.model.detector_trunk import TrunkBackbone
from heatpose.model.yolov10_blocks import (
    SIZES,
    ConvNorm,
    Downsample,
    MultiKernel,
    PartialAttention,
    PyramidPool,
    YoloSize,
    bias_of,
    channels_of,
    make_stage,
)

BackboneKind: TypeAlias = Literal["yolov10", "resnet18"]
STRIDES = (8, 16, 32)
N_BINS = 16  # of each side's distance, in units of the stride
MAX_DETECTIONS = 300


@dataclass(frozen=True)
class YoloConfig:
    """What a detector is made of."""

    n_classes: int
    size: YoloSize = "m"
    backbone: BackboneKind = "yolov10"  # its own, or the trunk of a keypoint network

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {self.size!r}")
        if self.backbone not in ("yolov10", "resnet18"):
            raise ValueError(f"backbone must be yolov10 or resnet18, got {self.backbone!r}")
        if self.n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {self.n_classes}")


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
        own = config.backbone == "yolov10"
        self.backbone = Backbone(config.size) if own else TrunkBackbone(config.size)
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
        c2, c4, c8, c16, c32 = channels_of(size)
        self.stem = ConvNorm(3, c2, 3, 2)
        self.down4 = ConvNorm(c2, c4, 3, 2)
        self.stage4 = make_stage(size, "stage4", c4, c4, 3)
        self.down8 = ConvNorm(c4, c8, 3, 2)
        self.stage8 = make_stage(size, "stage8", c8, c8, 6)
        self.down16 = Downsample(c8, c16)
        self.stage16 = make_stage(size, "stage16", c16, c16, 6)
        self.down32 = Downsample(c16, c32)
        self.stage32 = make_stage(size, "stage32", c32, c32, 3)
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
        _, _, c8, c16, c32 = channels_of(size)
        self.top16 = make_stage(size, "top16", c32 + c16, c16, 3, shortcut=False)
        self.top8 = make_stage(size, "top8", c16 + c8, c8, 3, shortcut=False)
        self.down16 = ConvNorm(c8, c8, 3, 2)
        self.bottom16 = make_stage(size, "bottom16", c8 + c16, c16, 3, shortcut=False)
        self.down32 = Downsample(c16, c16)
        self.bottom32 = make_stage(size, "bottom32", c16 + c32, c32, 3, shortcut=False)

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
        channels = channels_of(config.size)[2:]
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
    nn.init.ones_(bias_of(last))
    return nn.Sequential(ConvNorm(channels, inside, 3), ConvNorm(inside, inside, 3), last)


def _class_branch(channels: int, inside: int, n_classes: int, stride: int) -> nn.Sequential:
    last = nn.Conv2d(inside, n_classes, 1)
    # Begin with the scores that some five objects in an image of 640 x 640 px deserve.
    nn.init.constant_(bias_of(last), math.log(5 / n_classes / (640 / stride) ** 2))
    return nn.Sequential(_separable(channels, inside), _separable(inside, inside), last)


def _separable(channels_in: int, channels: int) -> nn.Sequential:
    """Return a 3 x 3 convolution within each channel and a 1 x 1 one across them."""
    return nn.Sequential(
        ConvNorm(channels_in, channels_in, 3, groups=channels_in),
        ConvNorm(channels_in, channels, 1),
    )


def _twice_as_large(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
