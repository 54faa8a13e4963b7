"""A picture of crops with the keypoints that the network finds and those that are true.

Where there is depth it is drawn below each crop: near is bright, what was not measured is blue.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heatpose.geometry.arrays import Array, Image
from heatpose.model.heatmaps import crop_from_heatmap, decode
from heatpose.model.network import heatmaps_of
from heatpose.train.labels import KeypointLabels
from heatpose.train.losses import choose_labelling

FOUND, TRUE = (255, 80, 40), (60, 220, 90)  # RGB: a red dot where found, a green line to the truth
NOT_MEASURED = (20, 20, 110)

Batch = dict[str, Tensor]  # as `SampleStream` gives it


def decoded_error(logits: Tensor, labels: KeypointLabels, batch: Batch) -> float:
    """Return the median distance, crop px, of keypoints as inference reads them from the truth."""
    found, true = _found_and_true(logits, labels, batch)
    return float(np.nanmedian(np.linalg.norm(found - true, axis=-1)))


def contact_sheet(logits: Tensor, labels: KeypointLabels, batch: Batch, columns: int = 6) -> Image:
    """Draw the first crops of a batch side by side.

    Args:
        logits: (b, k, h, w), what the network made of the crops.
        labels: projects the true keypoints.
        batch: the crops and what is known of them.
        columns: crops in a row; as many rows as fill, four at most.
    """
    found, true = _found_and_true(logits, labels, batch)
    count = min(len(found) // columns, 4) * columns
    pictures = [_draw(batch["crop"][i].cpu().numpy(), found[i], true[i]) for i in range(count)]
    if "depth" in batch:
        depths = [depth_picture(batch["depth"][i].cpu().numpy()) for i in range(count)]
        below = [_draw(depth, found[i], true[i]) for i, depth in enumerate(depths)]
        pictures = [np.vstack(pair) for pair in zip(pictures, below, strict=True)]
    rows = [np.hstack(pictures[i : i + columns]) for i in range(0, count, columns)]
    return np.vstack(rows)


def depth_picture(depth: NDArray[np.float32]) -> Image:
    """Return depth (2, s, s), as networks take it, as a picture (s, s, 3)."""
    relative, measured = depth
    grey = np.clip(140 - 110 * relative, 0, 255)
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    picture[measured == 0] = NOT_MEASURED
    return picture


def _found_and_true(logits: Tensor, labels: KeypointLabels, batch: Batch) -> tuple[Array, Array]:
    """Return keypoints as decoded and as labelled, (b, k, 2) each, crop px."""
    truth, _ = labels(
        batch["object_index"],
        batch["camera_matrix"],
        batch["camera_from_object"],
        batch["crop"].shape[1],
    )
    chosen = choose_labelling(logits.float(), truth)
    truth = truth[torch.arange(len(chosen)), chosen.cpu()]
    maps = heatmaps_of(logits.float()).cpu().numpy()
    found = np.stack([decode(each).pixels for each in maps])
    return crop_from_heatmap(found), crop_from_heatmap(truth.cpu().numpy().astype(float))


def _draw(crop: Image, found: Array, true: Array) -> Image:
    """Draw a line from each keypoint that was found to where it is, and a dot where found."""
    picture = crop.copy()
    for here, there in zip(found, true, strict=True):
        if not (np.isfinite(here).all() and np.isfinite(there).all()):
            continue
        start, stop = (tuple(int(v) for v in np.rint(p)) for p in (here, there))
        cv2.line(picture, start, stop, TRUE, 1, cv2.LINE_AA)
        cv2.circle(picture, start, max(len(crop) // 128, 1), FOUND, -1, cv2.LINE_AA)
    return picture
