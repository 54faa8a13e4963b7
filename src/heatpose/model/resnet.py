"""ResNet-18 (He et al., 2016) as a trunk: no pooling, no classifier, all stages out.

Parameter names are torchvision's, so that its published weights load as they are.
"""

from typing import Literal

from torch import Tensor, nn

# Of the photographs that published trunks were trained on: what these expect their input to have.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Activation = Literal["relu", "silu", "mish"]
WIDTH, N_STAGES = 64, 4  # of ResNet-18 as published: the first stage's channels, and stages


def make_activation(name: Activation) -> nn.Module:
    """Return the activation of that name, working in place."""
    kinds: dict[str, type[nn.ReLU] | type[nn.SiLU] | type[nn.Mish]] = {
        "relu": nn.ReLU,
        "silu": nn.SiLU,
        "mish": nn.Mish,
    }
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
        self,
        activation: Activation = "relu",
        channels_in: int = 3,
        width: int = WIDTH,
        n_stages: int = N_STAGES,
    ) -> None:
        super().__init__()
        self.channels = tuple(width * 2**i for i in range(n_stages))  # of the stages
        self.conv1 = nn.Conv2d(channels_in, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.activation = make_activation(activation)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for i, wider in enumerate(self.channels):
            stage = _make_stage(channels, wider, 1 if i == 0 else 2, activation)
            self.add_module(f"layer{i + 1}", stage)
            channels = wider
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor, added: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the features of the stages.

        Args:
            images: (b, channels_in, h, w), normalised; h and w divisible by 32.
            added: as for `stem`.

        Returns:
            (b, c, h/4, w/4), (b, 2c, h/8, w/8), (b, 4c, h/16, w/16), (b, 8c, h/32, w/32) for
            trunks of width c and four stages.
        """
        x = self.stem(images, added)
        stages = []
        for layer in self.layers:
            x = layer(x)
            stages.append(x)
        return tuple(stages)

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
    def layers(self) -> tuple[nn.Module, ...]:
        """The stages, finest first."""
        return tuple(self.get_submodule(f"layer{i + 1}") for i in range(len(self.channels)))

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
