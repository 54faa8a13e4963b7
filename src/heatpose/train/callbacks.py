"""What happens around the training steps: progress, checkpoints, contact sheets."""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.data import DataLoader, Dataset

from heatpose.data.images import write_image
from heatpose.files import write_whole
from heatpose.train.config import RunConfig
from heatpose.train.training import Batch, Training

LOG = logging.getLogger(__name__)


class ProgressBar(Callback):
    """One bar over the whole run, with samples per second and the time that is left."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[step]}/{task.total}"),
            TextColumn("{task.fields[rate]:.3g} samples/s{task.fields[so_far]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.task = self.bar.add_task("steps", total=config.steps, step=0, rate=0.0, so_far="")
        self.started, self.shown, self.first_step = 0.0, 0.0, 0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Start the clock; a run that goes on starts where it was left."""
        self.started, self.first_step = time.monotonic(), trainer.global_step
        if trainer.is_global_zero:
            self.bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Move the bar, once a second."""
        now = time.monotonic()
        if now - self.shown > 1 or trainer.is_last_batch:
            self.shown = now
            done = (trainer.global_step - self.first_step) * self.config.batch_size
            self.bar.update(
                self.task,
                completed=module.schedule_step(trainer.global_step),  # what is left may be time
                step=trainer.global_step,
                rate=done / (now - self.started),
                so_far=f", {module.progress(trainer.callback_metrics)}",
            )

    def teardown(self, trainer: lightning.Trainer, module: Any, stage: str) -> None:
        """Leave the terminal as it was, whatever ended the run."""
        self.bar.stop()


class EpochEnd(Callback):
    """Keeps what an epoch has brought: checkpoint, weights, contact sheet, a line of log.

    Every file is written whole or not at all, so a run that is killed goes on from the last one.
    Of several processes that train together the first one writes.
    """

    def __init__(
        self, run: Path, unseen: Dataset[Batch], batch_size: int | None, notes: dict[str, Any]
    ) -> None:
        """Take what the network is tried on: samples, or, without a batch size, batches."""
        self.run = run
        self.notes = notes
        self.loader = DataLoader(unseen, batch_size=batch_size)
        self.batches: list[Batch] = []
        self.epoch_started, self.first_step = 0.0, 0

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Start the clock of the epoch."""
        self.epoch_started, self.first_step = time.monotonic(), trainer.global_step

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Measure the averaged network on samples that training never sees, and write all."""
        assert isinstance(module, Training)
        seconds = time.monotonic() - self.epoch_started
        self.batches = self.batches or list(self.loader)
        batches = [{n: v.to(module.device) for n, v in batch.items()} for batch in self.batches]
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            seen = module.examine(batches)
        step = _numbers(trainer, "train/")
        config, epoch = module.config, trainer.current_epoch + 1
        samples = (trainer.global_step - self.first_step) * config.batch_size
        record = {
            "epoch": epoch,
            "samples": trainer.global_step * config.batch_size,
            "samples_per_second": round(samples / seconds, 1),
            **{f"train_{name}": value for name, value in step.items()},
            **seen.measures,
        }
        module.log_dict({name.replace("_", "/", 1): v for name, v in seen.measures.items()})
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.run / "last.ckpt")  # writes nothing, but is waited for
            return
        self._write(trainer, module, record)
        write_image(self.run / "contact_sheets" / f"epoch_{epoch:04d}.png", seen.sheet)
        LOG.info(
            "epoch %d of %s%d: %d samples, %.3g a second, loss %.2f, on unseen samples %s; %s left",
            epoch,
            "" if config.minutes is None else "at most ",
            config.epochs,
            record["samples"],
            record["samples_per_second"],
            step["total"],
            seen.summary,
            _duration(min(self._seconds_of_epochs(config.epochs - epoch), module.seconds_left)),
        )

    def _seconds_of_epochs(self, epochs: int) -> float:
        """Return how long epochs take that are as long as this one."""
        return epochs * (time.monotonic() - self.epoch_started)

    def _write(
        self, trainer: lightning.Trainer, module: Training[Any, Any], record: dict[str, Any]
    ) -> None:
        notes = {**self.notes, "train": asdict(module.config), "samples": record["samples"]}
        module.save(self.run / "network.safetensors", notes)
        with write_whole(self.run / "last.ckpt") as temporary:
            trainer.save_checkpoint(temporary)
        log = self.run / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        with write_whole(log) as temporary:
            temporary.write_text("\n".join([*lines, json.dumps(record)]) + "\n")


def _numbers(trainer: lightning.Trainer, prefix: str) -> dict[str, float]:
    """Return what the last step logged under a prefix."""
    metrics = trainer.callback_metrics.items()
    return {name.removeprefix(prefix): float(v) for name, v in metrics if name.startswith(prefix)}


def _duration(seconds: float) -> str:
    """Return hours and minutes, or minutes alone."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
