"""The keypoint network: from crops to one heatmap per keypoint of the asked object.

All objects share the trunk and the decoder. Only the last layer, one weight vector per
keypoint, belongs to an object, and the object's index picks it inside the network.

A network may look at depth too, in one of four ways (`heatpose.model.fusion`). Whatever it does
with depth, trunk, decoder and output weights are those of a network of colours.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from heatpose.model.fusion import DEPTH_CHANNELS, FUSIONS, DepthStem, Fusion, TwoTrunks
from heatpose.model.resnet import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    N_STAGES,
    Activation,
    ResNet18,
    make_activation,
)


@dataclass(frozen=True)
class NetworkConfig:
    """What a keypoint network is made of."""

    n_objects: int
    n_keypoints: int = 32  # of each object
    activation: Activation = "relu"
    decoder_channels: int = 128
    crop_size: int = 256  # side of the crops it is trained for, px
    stages: int = N_STAGES  # of the trunk; three make a network of a quarter of the size
    fusion: Fusion = "none"  # what it does with depth
    depth_width: int = 32  # of the depth's own trunk, where there is one; the colours' has 64

    def __post_init__(self) -> None:
        for name in ("n_objects", "n_keypoints", "decoder_channels", "crop_size", "depth_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.stages not in (3, 4):
            raise ValueError(f"stages must be 3 or 4, got {self.stages}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {self.fusion!r}")
        if self.crop_size % 32:
            raise ValueError(f"crop_size must be divisible by 32, got {self.crop_size}")

    @property
    def inputs(self) -> tuple[Literal["crops", "depth"], ...]:
        """What it looks at: crops of colours, of depth, or both."""
        if self.fusion == "none":
            return ("crops",)
        return ("depth",) if self.fusion == "depth" else ("crops", "depth")


class KeypointNet(nn.Module):
    """ResNet-18, a light decoder back to stride 4, and output weights for each object."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        looks_at = DEPTH_CHANNELS if config.fusion == "depth" else 3
        self.trunk = ResNet18(config.activation, looks_at, n_stages=config.stages)
        channels = self.trunk.channels
        self.decoder = Decoder(channels, config.decoder_channels, config.activation)
        self.head = ObjectHead(config.n_objects, config.n_keypoints, config.decoder_channels)
        # Last, so that the same seed gives the same colour network whatever the depth does.
        self.fusion: DepthStem | TwoTrunks | None = None
        if config.fusion == "early":
            self.fusion = DepthStem()
        elif config.fusion in ("late", "cross"):
            exchange = config.fusion == "cross"
            self.fusion = TwoTrunks(channels, config.depth_width, config.activation, exchange)

    def forward(self, crops: Tensor, object_index: Tensor, depth: Tensor | None = None) -> Tensor:
        """Return the logits of the heatmaps, one map per keypoint.

        Args:
            crops: (b, 3, s, s), RGB in [0, 1], s divisible by 32. Networks of depth alone
                take their size alone.
            object_index: which object each crop shows, (b,), int64 in [0, n_objects).
            depth: (b, 2, s, s), as `heatpose.data.depth_crops.network_depth` gives it; None
                where nothing was measured. Networks without fusion do not look at it.

        Returns:
            (b, k, s / 4, s / 4), float32, autocast or not.
        """
        logits: Tensor = self.head(self.decoder(self._stages(crops, depth)), object_index)
        return logits

    def _stages(self, crops: Tensor, depth: Tensor | None) -> tuple[Tensor, ...]:
        """Return features at strides 4, 8, 16 and 32 of all that the network looks at."""
        if depth is None:
            depth = crops.new_zeros(len(crops), DEPTH_CHANNELS, *crops.shape[2:])
        stages: tuple[Tensor, ...]
        if self.config.fusion == "depth":
            stages = self.trunk(depth)
        elif self.fusion is None:
            stages = self.trunk((crops - self.mean) / self.std)
        else:
            stages = self.fusion(self.trunk, (crops - self.mean) / self.std, depth)
        return stages


class Decoder(nn.Module):
    """Features at stride 4 that know what the deeper stages saw (a feature pyramid)."""

    def __init__(
        self, stage_channels: tuple[int, ...], channels: int, activation: Activation
    ) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in stage_channels)
        self.merges = nn.ModuleList(
            SeparableConv(channels, activation) for _ in stage_channels[:-1]
        )

    def forward(self, stages: tuple[Tensor, ...]) -> Tensor:
        """Map the stages of the trunk, finest first, to (b, channels, s / 4, s / 4)."""
        x: Tensor = self.laterals[-1](stages[-1])
        for level in reversed(range(len(self.merges))):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.merges[level](x + self.laterals[level](stages[level]))
        return x


class SeparableConv(nn.Module):
    """A 3 x 3 convolution in two parts: within each channel, then across channels."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        # Not 5 x 5: its backward pass in bfloat16 on a CPU takes six times as long as this one.
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.activation = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, h, w) to the same shape."""
        out: Tensor = self.activation(self.bn(self.pointwise(self.depthwise(x))))
        return out


class ObjectHead(nn.Module):
    """A 1 x 1 convolution to k maps whose weights are those of the crop's object."""

    def __init__(self, n_objects: int, n_keypoints: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_objects, n_keypoints, channels) * 0.01)
        self.bias = nn.Parameter(torch.zeros(n_objects, n_keypoints))

    def forward(self, features: Tensor, object_index: Tensor) -> Tensor:
        """Map features (b, c, h, w) and indices (b,) to float32 logits (b, k, h, w)."""
        # bfloat16 keeps 8 bits: at a logit of 10 that is a step of 0.06, seen in the decoded
        # position. The exporter sees no autocast and so gets a graph without it.
        if torch.is_autocast_enabled(features.device.type):
            with torch.autocast(features.device.type, enabled=False):
                return self._multiply(features.float(), object_index)
        return self._multiply(features.float(), object_index)

    def _multiply(self, features: Tensor, object_index: Tensor) -> Tensor:
        weight, bias = self.weight[object_index], self.bias[object_index]  # (b, k, c), (b, k)
        # In this order features, and their gradient, stay in channels_last, as convolutions give
        # them: runtimes need not reorder what is largest.
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2)  # (b, h * w, c)
        logits = (pixels @ weight.mT + bias[:, None]).mT.contiguous()  # (b, k, h * w)
        b, _, height, width = features.shape
        return logits.view(b, -1, height, width)


def heatmaps_of(logits: Tensor) -> Tensor:
    """Turn logits (b, k, h, w) into probabilities over the pixels of each map, same shape."""
    return logits.flatten(2).softmax(dim=-1).view_as(logits)
