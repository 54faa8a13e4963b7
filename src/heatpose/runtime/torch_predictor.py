"""The keypoint network through torch, as it was trained: what exports are compared with."""

import numpy as np
import torch
from numpy.typing import NDArray

from heatpose.geometry.arrays import Image
from heatpose.model.network import KeypointNet, heatmaps_of
from heatpose.runtime.predictor import checked_inputs

ALL_INPUTS = ("crops", "object_index", "depth")  # a network of depth alone takes the crops' size


class TorchPredictor:
    """Runs a network that was not exported; see `KeypointPredictor`."""

    def __init__(self, network: KeypointNet) -> None:
        self._network = network.eval()

    def __call__(
        self,
        crops: Image,
        object_index: NDArray[np.integer],
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Predict heatmaps (b, k, s / 4, s / 4) from crops (b, s, s, 3) and objects (b,)."""
        given = checked_inputs(ALL_INPUTS, crops, object_index, depth)
        device = next(self._network.parameters()).device
        bytes_, index, measured = (torch.from_numpy(given[name]).to(device) for name in ALL_INPUTS)
        with torch.inference_mode():
            numbers = bytes_.permute(0, 3, 1, 2).float() / 255
            heatmaps = heatmaps_of(self._network(numbers, index, measured))
        return np.asarray(heatmaps.float().cpu().numpy(), np.float32)
