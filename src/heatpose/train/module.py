"""One training step of the keypoint network, as Lightning wants it."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from heatpose.model.network import KeypointNet
from heatpose.objects.catalogue import ObjectModel
from heatpose.train.config import TrainConfig
from heatpose.train.labels import KeypointLabels
from heatpose.train.losses import KeypointLoss, keypoint_loss

Batch = dict[str, Tensor]


class KeypointTraining(lightning.LightningModule):
    """The network, the moving average of its weights, the loss and the schedule."""

    def __init__(
        self, network: KeypointNet, objects: Sequence[ObjectModel], config: TrainConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.labels = KeypointLabels(objects)
        for part in self._frozen_parts():
            part.requires_grad_(False)

    def _frozen_parts(self) -> list[nn.Module]:
        """Return what keeps its weights.

        The first features of a network pretrained on photographs are worth keeping when all
        that is trained on is rendered (Hinterstoisser et al., 2017, arXiv 1710.10710), and the
        largest maps need no backward pass then.
        """
        trunk = self.network.trunk
        return [trunk.conv1, trunk.bn1, trunk.layer1] if self.config.frozen else []

    def on_train_epoch_start(self) -> None:
        """Put all in training mode but what keeps its weights."""
        self.network.train()
        for part in self._frozen_parts():
            part.eval()

    def loss(self, network: KeypointNet, batch: Batch) -> tuple[KeypointLoss, Tensor]:
        """Return the loss of a batch and the logits (b, k, h, w) that it came from."""
        crops = batch["crop"].permute(0, 3, 1, 2).float() / 255  # channels last as they come
        keypoints, pose_targets = self.labels(
            batch["object_index"],
            batch["camera_matrix"],
            batch["camera_from_object"],
            crops.shape[-1],
        )
        logits = network(crops, batch["object_index"])
        return keypoint_loss(logits, keypoints, self.config.loss, pose_targets), logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss that is stepped on, and log its terms."""
        loss, _ = self.loss(self.network, batch)
        for name in ("total", "heatmap", "reprojection", "pose", "distance"):
            self.log(f"train/{name}", getattr(loss, name).detach())
        return loss.total

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Follow the weights with their moving average; young averages follow faster."""
        step = self.trainer.global_step
        decay = min(self.config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            pairs = list(zip(self.average.parameters(), self.network.parameters(), strict=True))
            torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)
            for mean, now in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mean.copy_(now)  # statistics of batch norms are averages already

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW; the learning rate rises, then falls as a cosine, stepped with every batch."""
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
        rising = max(self.config.warm_up * self.config.steps, 1.0)
        if step < rising:
            return (step + 1) / (rising + 1)
        done = (step - rising) / max(self.config.steps - rising, 1.0)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
