"""One training step of the detector, as Lightning wants it, and what it is tried on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heatpose.evaluate.detections import TrueBox, average_precision
from heatpose.model.detector_trunk import TrunkBackbone
from heatpose.model.detector_weights import save_detector
from heatpose.model.yolov10 import MAX_DETECTIONS, YoloV10, best_detections, decode_boxes
from heatpose.train.config import DetectorConfig
from heatpose.train.detection_losses import detection_loss
from heatpose.train.detection_sheet import detection_sheet
from heatpose.train.training import Batch, Examination, Training
from heatpose.types import Detection

LEAST_SCORE = 0.005  # of detections that average precision looks at


class DetectorTraining(Training[YoloV10, DetectorConfig]):
    """The detector and its loss."""

    def __init__(self, network: YoloV10, object_ids: Sequence[int], config: DetectorConfig) -> None:
        """Put together what is trained.

        Args:
            network: with as many classes as there are objects.
            object_ids: BOP's id of each class.
            config: everything else.
        """
        super().__init__(network, config)
        self.object_ids = list(object_ids)
        norms = [m for m in self.network.modules() if isinstance(m, nn.BatchNorm2d)]
        self._norms = [(norm, norm.momentum or 0.0) for norm in norms]

    def frozen_parts(self) -> list[nn.Module]:
        """Return the trunk of a keypoint network, if the detector has one."""
        backbone = self.network.backbone
        return [backbone.trunk] if isinstance(backbone, TrunkBackbone) else []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Let the first batches make up the statistics of batch norms.

        YOLO's norms move by 3 % a batch; that much of the 0 and 1 that they start from would be
        left after a hundred batches that deep down nothing is found.
        """
        super().on_train_batch_start(batch, batch_idx)
        for norm, momentum in self._norms:
            norm.momentum = max(1 / (1 + self.trainer.global_step), momentum)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss that is stepped on, and log its terms."""
        raw = self.network(_as_input(batch["image"]))
        loss = detection_loss(raw, batch["boxes"], batch["labels"], self.config.loss)
        for name in ("total", "box", "classification", "distribution", "overlap"):
            self.log(f"train/{name}", getattr(loss, name).detach())
        return loss.total

    def examine(self, batches: Sequence[Batch]) -> Examination:
        """Return loss and average precision over all batches."""
        losses: list[float] = []
        truths: dict[int, list[TrueBox]] = {}
        found: dict[int, list[Detection]] = {}
        for batch in batches:
            raw = self.average(_as_input(batch["image"]))
            loss = detection_loss(raw, batch["boxes"], batch["labels"], self.config.loss)
            losses.append(float(loss.total))
            head = decode_boxes(raw["one2one"])
            best = best_detections(head.boxes, head.logits.sigmoid(), MAX_DETECTIONS)
            for i in range(len(best)):
                truths[len(truths)] = self._truths(batch["boxes"][i], batch["labels"][i])
                found[len(found)] = self._detections(best[i])
        precision = np.array(list(average_precision(truths, found).values())).reshape(-1, 2)
        ap, ap50 = precision.mean(axis=0).tolist() if len(precision) else (np.nan, np.nan)
        loss_mean = float(np.mean(losses))
        return Examination(
            measures={"unseen_loss": loss_mean, "unseen_ap": ap, "unseen_ap50": ap50},
            summary=f"loss {loss_mean:.2f}, mAP {ap:.3f}, mAP50 {ap50:.3f}",
            sheet=detection_sheet(
                [image.cpu().numpy() for image in batches[0]["image"]], truths, found
            ),
        )

    def progress(self, metrics: Mapping[str, Tensor]) -> str:
        """Say how well boxes of the deployed head fit."""
        return f"loss {float(metrics['train/total']):.2f}, overlap {metrics['train/overlap']:.2f}"

    def save(self, path: Path, notes: Mapping[str, Any]) -> None:
        """Write the averaged network."""
        save_detector(path, self.average, {**notes, "object_ids": self.object_ids})

    def _truths(self, boxes: Tensor, labels: Tensor) -> list[TrueBox]:
        there = labels >= 0
        pairs = zip(boxes[there].tolist(), labels[there].tolist(), strict=True)
        return [TrueBox(self.object_ids[label], tuple(box)) for box, label in pairs]

    def _detections(self, rows: Tensor) -> list[Detection]:
        """Turn rows of box, score and class index into detections, in our pixel convention."""
        sound = (rows[:, 2:4] > rows[:, :2]).all(dim=1) & (rows[:, 4] > LEAST_SCORE)
        return [
            Detection(self.object_ids[int(label)], tuple(v - 0.5 for v in box), score)
            for *box, score, label in rows[sound].tolist()
        ]


def _as_input(images: Tensor) -> Tensor:
    """Turn images (b, s, s, 3) of bytes into (b, 3, s, s) in [0, 1], channels last as they come."""
    return images.permute(0, 3, 1, 2).to(torch.float32) / 255
