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
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.data import DataLoader

from heatpose.data.images import write_image
from heatpose.data.samples import SampleStream
from heatpose.files import write_whole
from heatpose.model.heatmaps import STRIDE
from heatpose.model.weights import save_network
from heatpose.train.config import TrainConfig
from heatpose.train.contact_sheet import contact_sheet, decoded_error
from heatpose.train.module import Batch, KeypointTraining

LOG = logging.getLogger(__name__)


class ProgressBar(Callback):
    """One bar over the whole run, with samples per second and the time that is left."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(
                "{task.fields[rate]:.0f} samples/s, keypoints {task.fields[distance]:.2f} px"
            ),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.task = self.bar.add_task("steps", total=config.steps, rate=0.0, distance=float("nan"))
        self.started, self.first_step = 0.0, 0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Start the clock; a run that goes on starts where it was left."""
        self.started, self.first_step = time.monotonic(), trainer.global_step
        self.bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Move the bar."""
        if trainer.global_step % 10 == 0:
            done = (trainer.global_step - self.first_step) * self.config.batch_size
            distance = trainer.callback_metrics.get("train/distance", torch.tensor(torch.nan))
            self.bar.update(
                self.task,
                completed=trainer.global_step,
                rate=done / (time.monotonic() - self.started),
                distance=float(distance) * STRIDE,
            )

    def teardown(self, trainer: lightning.Trainer, module: Any, stage: str) -> None:
        """Leave the terminal as it was, whatever ended the run."""
        self.bar.stop()


class EpochEnd(Callback):
    """Keeps what an epoch has brought: checkpoint, weights, contact sheet, a line of log.

    Every file is written whole or not at all, so a run that is killed goes on from the last one.
    """

    def __init__(self, run: Path, unseen: SampleStream, notes: dict[str, Any]) -> None:
        self.run = run
        self.notes = notes
        self.loader = DataLoader(unseen, batch_size=len(unseen))
        self.batch: Batch | None = None
        self.epoch_started = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Start the clock of the epoch."""
        self.epoch_started = time.monotonic()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Measure the averaged network on samples that training never sees, and write all."""
        assert isinstance(module, KeypointTraining)
        seconds = time.monotonic() - self.epoch_started
        self.batch = self.batch or next(iter(self.loader))
        batch = {name: value.to(module.device) for name, value in self.batch.items()}
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            loss, logits = module.loss(module.average, batch)
        config, epoch = module.config, trainer.current_epoch + 1
        record = {
            "epoch": epoch,
            "samples": trainer.global_step * config.batch_size,
            "samples_per_second": round(config.steps_per_epoch * config.batch_size / seconds, 1),
            "train_distance_px": _number(trainer, "train/distance") * STRIDE,
            "unseen_median_px": decoded_error(logits, module.labels, batch),
            "unseen_loss": float(loss.total),
        }
        module.log_dict(
            {f"unseen/{name}": record[f"unseen_{name}"] for name in ("loss", "median_px")}
        )
        self._write(trainer, module, record)
        sheet = contact_sheet(logits, module.labels, batch)
        write_image(self.run / "contact_sheets" / f"epoch_{epoch:04d}.png", sheet)
        LOG.info(
            "epoch %d of %d: %d samples, %.0f a second, loss %.2f, on unseen samples %.2f and "
            "keypoints %.2f px off in the median",
            epoch,
            config.epochs,
            record["samples"],
            record["samples_per_second"],
            _number(trainer, "train/total"),
            record["unseen_loss"],
            record["unseen_median_px"],
        )

    def _write(
        self, trainer: lightning.Trainer, module: KeypointTraining, record: dict[str, Any]
    ) -> None:
        notes = {**self.notes, "train": asdict(module.config), "samples": record["samples"]}
        save_network(self.run / "network.safetensors", module.average, notes)
        with write_whole(self.run / "last.ckpt") as temporary:
            trainer.save_checkpoint(temporary)
        log = self.run / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        with write_whole(log) as temporary:
            temporary.write_text("\n".join([*lines, json.dumps(record)]) + "\n")


def _number(trainer: lightning.Trainer, name: str) -> float:
    return float(trainer.callback_metrics.get(name, torch.tensor(torch.nan)))
