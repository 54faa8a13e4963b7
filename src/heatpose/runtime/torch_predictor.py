"""The keypoint network through torch, as it was trained: what exports are compared with."""

import numpy as np
import torch
from numpy.typing import NDArray

from heatpose.geometry.arrays import Image
from heatpose.model.network import KeypointNet, heatmaps_of
from heatpose.runtime.predictor import check_inputs


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
        check_inputs(crops, object_index, depth)
        device = next(self._network.parameters()).device
        tensor = torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32)).to(device) / 255
        index = torch.from_numpy(object_index.astype(np.int64)).to(device)
        measured = None if depth is None else torch.from_numpy(depth).to(device)
        with torch.inference_mode():
            heatmaps = heatmaps_of(self._network(tensor, index, measured))
        return np.asarray(heatmaps.float().cpu().numpy(), np.float32)
