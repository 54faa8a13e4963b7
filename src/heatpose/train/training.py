"""What the training of every network has in common: the averaged weights, optimiser, schedule."""

import copy
import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from heatpose.geometry.arrays import Image
from heatpose.train.config import RunConfig

Batch = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True, eq=False)
class Examination:
    """What the averaged network makes of samples that it is never trained on."""

    measures: dict[str, float]  # what goes to the log, ``unseen_loss`` among them
    summary: str  # the same for people
    sheet: Image  # what was found and what is true, drawn


class Stopwatch:
    """Seconds since the first start, and those of a run that goes on before."""

    def __init__(self, before: float = 0.0) -> None:
        self.before = before
        self.started: float | None = None

    def start(self) -> None:
        """Begin to count; later starts change nothing."""
        if self.started is None:
            self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """What has been counted."""
        return self.before + (0.0 if self.started is None else time.monotonic() - self.started)


class Training(lightning.LightningModule, Generic[Network, Config]):
    """A network, the moving average of its weights, and the schedule they are trained by."""

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__()
        self.config = config
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in self.frozen_parts():
            part.requires_grad_(False)
        self.average: Network = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.stopwatch = Stopwatch()
        self.seconds = 0.0  # of training, when the stopwatch was last looked at

    def frozen_parts(self) -> list[nn.Module]:
        """Return what keeps its weights, and the statistics of its batch norms.

        The first features of a network pretrained on photographs are worth keeping when all
        that is trained on is rendered (Hinterstoisser et al., 2017, arXiv 1710.10710), and the
        largest maps need no backward pass then.
        """
        return []

    @abstractmethod
    def examine(self, batches: Sequence[Batch]) -> Examination:
        """Try the averaged network on unseen samples."""

    @abstractmethod
    def progress(self, metrics: Mapping[str, Tensor]) -> str:
        """Say in a few words how far training has come, from what the steps logged."""

    @abstractmethod
    def save(self, path: Path, notes: Mapping[str, Any]) -> None:
        """Write the averaged network."""

    def on_train_epoch_start(self) -> None:
        """Put all in training mode but the average, and what keeps its weights."""
        self.network.train()
        for part in self.frozen_parts():
            part.eval()

    def on_train_start(self) -> None:
        """Take no step more where the time was up before."""
        self._stop_in_time()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Let the time run from the first step on."""
        self.stopwatch.start()

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Look at the stopwatch once a step, in one of the processes.

        All learning rates and the end go by that time, and so do all processes: one that stopped
        alone would leave the others waiting.
        """
        if self.config.minutes is not None:
            self.seconds = self.trainer.strategy.broadcast(self.stopwatch.seconds)
        scheduler.step()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Follow the weights with their moving average."""
        self.follow(self.trainer.global_step)
        self._stop_in_time()

    def _stop_in_time(self) -> None:
        if self.seconds_left <= 0:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the time spent so far."""
        checkpoint["seconds"] = self.stopwatch.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting; checkpoints of earlier versions do not say from where."""
        self.seconds = checkpoint.get("seconds", 0.0)
        self.stopwatch = Stopwatch(self.seconds)

    @property
    def seconds_left(self) -> float:
        """Of the time that training may take; infinite where that is not limited."""
        minutes = self.config.minutes
        return math.inf if minutes is None else max(60 * minutes - self.seconds, 0.0)

    def schedule_step(self, step: int) -> float:
        """Return how far the schedule is, in steps: further than taken where time decides."""
        if self.config.minutes is None:
            return step
        return max(step, self.config.steps * min(self.seconds / (60 * self.config.minutes), 1.0))

    def follow(self, step: int) -> None:
        """Move the average towards the weights after a step; young averages follow faster."""
        decay = min(self.config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            pairs = list(zip(self.average.parameters(), self.network.parameters(), strict=True))
            torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)
            for mean, now in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mean.copy_(now)  # statistics of batch norms are averages already

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW; the learning rate follows the schedule, stepped with every batch."""
        config = self.config
        # Batch norms and biases are not decayed: they do not make a function more complex.
        learned = [p for p in self.network.parameters() if p.requires_grad]
        decayed = [p for p in learned if p.ndim > 2]
        others = [p for p in learned if p.ndim <= 2]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._share_of_learning_rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _share_of_learning_rate(self, step: int) -> float:
        return share_of_learning_rate(self.config, self.schedule_step(step))


def share_of_learning_rate(config: RunConfig, step: float) -> float:
    """Return the learning rate of a step over that at the top of the schedule, in (0, 1].

    ``cosine`` rises for the warm-up and falls to a hundredth; ``constant`` stays after the same
    rise; ``one-cycle`` (Smith and Topin, 2017, arXiv 1708.07120) rises from a 25th for three
    tenths of the steps and falls to a 250,000th, both as cosines, as torch has it. Momentum
    stays what it is.
    """
    if config.schedule == "one-cycle":
        rising = 0.3 * config.steps
        if step < rising:
            return _cosine(1 / 25, 1.0, step / rising)
        return _cosine(1.0, 4e-6, (step - rising) / (config.steps - rising))
    rising = max(config.warm_up * config.steps, 1.0)
    if step < rising:
        return (step + 1) / (rising + 1)
    if config.schedule == "constant":
        return 1.0
    return _cosine(1.0, 0.01, (step - rising) / max(config.steps - rising, 1.0))


def _cosine(start: float, end: float, done: float) -> float:
    """Go from one value to another along half a cosine, as far as is done, in [0, 1]."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
