"""One training step of the keypoint network, as Lightning wants it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from heatpose.model.heatmaps import STRIDE
from heatpose.model.network import KeypointNet
from heatpose.model.weights import save_network
from heatpose.objects.catalogue import ObjectModel
from heatpose.train.config import TrainConfig
from heatpose.train.contact_sheet import contact_sheet, decoded_error
from heatpose.train.labels import KeypointLabels, as_labelled
from heatpose.train.losses import KeypointLoss, keypoint_loss
from heatpose.train.training import Batch, Examination, Training


class KeypointTraining(Training[KeypointNet, TrainConfig]):
    """The keypoint network, its labels and its loss."""

    def __init__(
        self, network: KeypointNet, objects: Sequence[ObjectModel], config: TrainConfig
    ) -> None:
        super().__init__(network, config)
        if ("depth" in network.config.inputs) != (config.sample.depth is not None):
            raise ValueError(
                f"a network of fusion {network.config.fusion!r} takes {network.config.inputs}, "
                f"but samples are made with depth {config.sample.depth}"
            )
        self.labels = KeypointLabels(as_labelled(objects, config.labels))

    def frozen_parts(self) -> list[nn.Module]:
        """Return stem and first stage if they are to stay."""
        trunk = self.network.trunk
        return [trunk.conv1, trunk.bn1, trunk.layers[0]] if self.config.frozen else []

    def loss(
        self, network: KeypointNet, batch: Batch, seed: int = 0
    ) -> tuple[KeypointLoss, Tensor]:
        """Return the loss of a batch and the logits (b, k, h, w) that it came from."""
        crops = batch["crop"].permute(0, 3, 1, 2).float() / 255  # channels last as they come
        keypoints, pose_targets = self.labels(
            batch["object_index"],
            batch["camera_matrix"],
            batch["camera_from_object"],
            crops.shape[-1],
        )
        logits = network(crops, batch["object_index"], batch.get("depth"))
        return keypoint_loss(logits, keypoints, self.config.loss, pose_targets, seed), logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss that is stepped on, and log its terms."""
        # By the step, so that a run that goes on draws what it would have drawn.
        loss, _ = self.loss(self.network, batch, seed=self.config.seed + self.global_step)
        for term in fields(loss):
            self.log(f"train/{term.name}", getattr(loss, term.name).detach())
        return loss.total

    def examine(self, batches: Sequence[Batch]) -> Examination:
        """Return the loss and how far keypoints are off, of one batch."""
        (batch,) = batches
        loss, logits = self.loss(self.average, batch)
        median = decoded_error(logits, self.labels, batch)
        return Examination(
            measures={"unseen_loss": float(loss.total), "unseen_median_px": median},
            summary=f"loss {float(loss.total):.2f} and keypoints {median:.2f} px off in the median",
            sheet=contact_sheet(logits, self.labels, batch),
        )

    def progress(self, metrics: Mapping[str, Tensor]) -> str:
        """Say how far keypoints are off, in crop px."""
        return f"keypoints {float(metrics['train/distance']) * STRIDE:.2f} px"

    def save(self, path: Path, notes: Mapping[str, Any]) -> None:
        """Write the averaged network."""
        save_network(path, self.average, notes)
