"""ResNet-18 (He et al., 2016) as a trunk: no pooling, no classifier, all four stages out.

Parameter names are torchvision's, so that its published weights load as they are.
"""

from typing import Literal

from torch import Tensor, nn

Activation = Literal["relu", "silu"]
WIDTH = 64  # of ResNet-18 as published
STAGE_CHANNELS = (64, 128, 256, 512)  # at strides 4, 8, 16, 32, of this width


def make_activation(name: Activation) -> nn.Module:
    """Return the activation of that name, working in place."""
    kinds: dict[str, type[nn.ReLU] | type[nn.SiLU]] = {"relu": nn.ReLU, "silu": nn.SiLU}
    if name not in kinds:
        raise ValueError(f"activation must be one of {sorted(kinds)}, got {name!r}")
    return kinds[name](inplace=True)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; the first may halve the resolution."""

    def __init__(
        self, channels_in: int, channels: int, stride: int, activation: Activation
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.activation = make_activation(activation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x)) + shortcut
        out: Tensor = self.activation(x)
        return out


class ResNet18(nn.Module):
    """The trunk: from a normalised image to features at strides 4, 8, 16 and 32."""

    def __init__(
        self, activation: Activation = "relu", channels_in: int = 3, width: int = WIDTH
    ) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 8 * width)  # of the stages
        c1, c2, c3, c4 = self.channels
        self.conv1 = nn.Conv2d(channels_in, c1, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(c1)
        self.activation = make_activation(activation)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _make_stage(c1, c1, 1, activation)
        self.layer2 = _make_stage(c1, c2, 2, activation)
        self.layer3 = _make_stage(c2, c3, 2, activation)
        self.layer4 = _make_stage(c3, c4, 2, activation)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, images: Tensor, added: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the features of the four stages.

        Args:
            images: (b, channels_in, h, w), normalised; h and w divisible by 32.
            added: as for `stem`.

        Returns:
            (b, c, h/4, w/4), (b, 2c, h/8, w/8), (b, 4c, h/16, w/16), (b, 8c, h/32, w/32) for
            trunks of width c.
        """
        x4 = self.layer1(self.stem(images, added))
        x8 = self.layer2(x4)
        x16 = self.layer3(x8)
        return x4, x8, x16, self.layer4(x16)

    def stem(self, images: Tensor, added: Tensor | None = None) -> Tensor:
        """Return what the first stage starts from, (b, c, h/4, w/4).

        Args:
            images: (b, channels_in, h, w), normalised.
            added: to what the first convolution gives, (b, c, h/2, w/2).
        """
        x = self.conv1(images)
        if added is not None:
            x = x + added
        out: Tensor = self.maxpool(self.activation(self.bn1(x)))
        return out

    @property
    def layers(self) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
        """The four stages, finest first."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    @property
    def blocks(self) -> dict[str, BasicBlock]:
        """The residual blocks by name, such as ``layer4.0``."""
        return {name: m for name, m in self.named_modules() if isinstance(m, BasicBlock)}


def _make_stage(
    channels_in: int, channels: int, stride: int, activation: Activation
) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(channels_in, channels, stride, activation),
        BasicBlock(channels, channels, 1, activation),
    )
