"""The trunk of a keypoint network as the backbone of a detector.

A backbone that begins afresh has to learn from renderings alone what edges and textures of
photographs look like. A trunk that was pretrained on photographs, and that keypoints of the same
objects were learned with, knows both: what is left to learn is which object it is and where it
ends. Keeping such features as they are is what Hinterstoisser et al. found for detectors that
are trained on renderings (arXiv 1710.10710).
"""

import torch
from torch import Tensor, nn

from heatpose.model.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet18
from heatpose.model.yolov10_blocks import (
    ConvNorm,
    Downsample,
    PartialAttention,
    PyramidPool,
    YoloSize,
    channels_of,
    make_stage,
)

N_STAGES = 3  # of the trunk: the fourth has three times their weights


class TrunkBackbone(nn.Module):
    """Three stages of ResNet-18, brought to YOLOv10's widths, and its own end at stride 32."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: YoloSize) -> None:
        super().__init__()
        _, _, c8, c16, c32 = channels_of(size)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.trunk = ResNet18(n_stages=N_STAGES)
        _, seen8, seen16 = self.trunk.channels
        self.lateral8 = ConvNorm(seen8, c8, 1)
        self.lateral16 = ConvNorm(seen16, c16, 1)
        self.down32 = Downsample(seen16, c32)
        self.stage32 = make_stage(size, "stage32", c32, c32, 3)
        self.pool = PyramidPool(c32)
        self.attend = PartialAttention(c32)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (b, 3, h, w), RGB in [0, 1], to features at strides 8, 16 and 32."""
        _, x8, x16 = self.trunk((images - self.mean) / self.std)
        x32 = self.attend(self.pool(self.stage32(self.down32(x16))))
        return self.lateral8(x8), self.lateral16(x16), x32
