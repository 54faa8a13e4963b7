"""Everything a training run depends on besides its data."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from heatpose.data.batch_detection import DetectionDrawingConfig
from heatpose.data.batch_samples import DrawingConfig
from heatpose.data.detection_samples import DetectionSampleConfig
from heatpose.data.samples import SampleConfig
from heatpose.objects.shape_turns import Labels
from heatpose.train.detection_losses import DetectionLossConfig
from heatpose.train.losses import LossConfig

Schedule: TypeAlias = Literal["cosine", "constant", "one-cycle"]


@dataclass(frozen=True)
class RunConfig:
    """How any network is trained. It is stored in the run folder."""

    samples: int = 1_000_000  # in all
    samples_per_epoch: int = 8192  # after each: checkpoint, contact sheet, one line of log
    batch_size: int = 32
    # After these training ends, its learning rate having come down by then, if samples are not
    # enough to end it before.
    minutes: float | None = None
    learning_rate: float = 1e-3  # at the top of the schedule
    schedule: Schedule = "cosine"  # how the learning rate goes on once it has risen
    weight_decay: float = 0.01
    warm_up: float = 0.03  # share of the steps in which the learning rate rises
    average: float = 0.999  # decay per step of the moving average of the weights
    clip: float = 5.0  # the gradient's norm is held below
    bf16: bool = True  # mixed precision
    seed: int = 0
    workers: int = 2  # processes that make samples, of each device
    devices: int = 1  # GPUs, or processes where there is none, that share each batch
    echo: int = 1  # how often each sample that is drawn on the device is learned from

    def __post_init__(self) -> None:
        for name in ("samples", "samples_per_epoch", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes must be positive, got {self.minutes}")
        if self.schedule not in get_args(Schedule):
            raise ValueError(
                f"schedule must be one of {', '.join(get_args(Schedule))}, got {self.schedule!r}"
            )
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")
        if self.echo < 1:
            raise ValueError(f"echo must be positive, got {self.echo}")
        if self.devices < 1 or self.batch_size % self.devices:
            raise ValueError(
                f"batch_size must be divisible by devices, got {self.batch_size} and {self.devices}"
            )
        if self.samples_per_epoch < self.batch_size:
            raise ValueError(
                f"samples_per_epoch must be at least batch_size {self.batch_size}, "
                f"got {self.samples_per_epoch}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.samples_per_epoch // self.batch_size

    @property
    def drawn_per_epoch(self) -> int:
        """Batches of an epoch that are drawn, where each sample is learned from several times."""
        return -(-self.steps_per_epoch // self.echo)

    @property
    def epochs(self) -> int:
        """Epochs in all, at least one."""
        return max(round(self.samples / (self.steps_per_epoch * self.batch_size)), 1)

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """How a keypoint network is trained."""

    frozen: bool = False  # stem and first stage keep their weights
    keypoints: str = "fps"  # how the objects' keypoints were chosen
    labels: Labels = "colour"  # what they tell of how an object is turned
    sample: SampleConfig = field(default_factory=SampleConfig)
    drawing: DrawingConfig | None = None  # of samples that are drawn on the device instead
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass(frozen=True)
class DetectorConfig(RunConfig):
    """How a detector is trained."""

    samples: int = 200_000
    samples_per_epoch: int = 4096
    batch_size: int = 16
    clip: float = 10.0
    image_size: int = 640  # side of the training images, px
    sample: DetectionSampleConfig = field(default_factory=DetectionSampleConfig)
    drawing: DetectionDrawingConfig | None = None  # of samples that are drawn on the device instead
    loss: DetectionLossConfig = field(default_factory=DetectionLossConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size <= 0 or self.image_size % 32:
            raise ValueError(f"image_size must be divisible by 32, got {self.image_size}")
        if self.sample.image_size != self.image_size:
            raise ValueError(
                f"samples must be {self.image_size} px, got {self.sample.image_size} px"
            )
